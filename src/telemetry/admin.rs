//! The admin port: probes for the kubelet, metrics for Prometheus, decisions for people.

mod hosts;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use serde::Deserialize;

use crate::secret::Secret;
use crate::telemetry::Chain;
use crate::telemetry::pages::metrics::{END, TriggerMetrics, encoded};
use crate::telemetry::pages::{COME_AGAIN, List, Readers, Shape, Triggers};
use crate::text::Short;
use crate::timestamp::Timestamp;

/// What the pages show.
pub struct Pages {
    /// Whether the process does its work; the kubelet restarts it otherwise.
    pub alive: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether KEDA should be sent here. Never a matter of backends: a scaler that leaves its Service
    /// cannot even say that it knows nothing.
    pub ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// The triggers of one ScaledObject (namespace and name) or all.
    pub triggers: Box<Watched>,
    /// The present.
    pub now: Box<dyn Fn() -> Timestamp + Send + Sync>,
    /// What everybody may see of the process.
    pub registry: Registry,
    /// Metrics that name what users named.
    pub named: Registry,
    /// What whoever wants to see such names is asked for.
    pub token: Option<Secret>,
    /// Names of this port beside those that no other site can have.
    pub hosts: Vec<String>,
    /// Who reads pages now.
    pub readers: Readers,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

/// The triggers of one ScaledObject (namespace and name), or all.
pub type Watched = dyn Fn(Option<(&str, &str)>) -> Arc<dyn Triggers> + Send + Sync;

/// The routes of the admin port.
pub fn routes(pages: Arc<Pages>) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .route("/decisions", get(decisions))
        .route("/decisions/{namespace}/{name}", get(decisions_of))
        .layer(from_fn_with_state(Arc::clone(&pages), ours));
    Router::new().route("/livez", get(livez)).route("/readyz", get(readyz)).merge(guarded).with_state(pages)
}

/// Refuses requests of a browser that was led here under the name of another site. A token keeps those out as well,
/// so it makes the name irrelevant.
async fn ours(State(pages): State<Arc<Pages>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).map(|host| host.to_str().unwrap_or_default());
    if pages.token.is_none() && host.is_some_and(|host| !hosts::is_ours(host, &pages.hosts)) {
        let message = "this server is not known under that name (hint: list it under `adminHosts`, or set `adminToken`)\n";
        return (StatusCode::MISDIRECTED_REQUEST, message).into_response();
    }
    next.run(request).await
}

async fn livez(State(pages): State<Arc<Pages>>) -> Response {
    probe((pages.alive)(), "the decider has stopped")
}

async fn readyz(State(pages): State<Arc<Pages>>) -> Response {
    probe((pages.ready)(), "shutting down")
}

fn probe(good: bool, otherwise: &'static str) -> Response {
    if good { "ok\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, otherwise).into_response() }
}

/// Everything for those with the token; without it what names nobody, so that a wrong token is noticed.
async fn metrics(State(pages): State<Arc<Pages>>, headers: HeaderMap) -> Response {
    let body = match access(&pages, &headers) {
        Access::Refused => return refused(),
        Access::Anonymous => Some(Body::from(encoded(&[&pages.registry]) + END)),
        Access::Full => {
            let registries = encoded(&[&pages.registry, &pages.named]);
            let metrics = TriggerMetrics::new((pages.triggers)(None), (pages.now)(), registries);
            pages.readers.page(metrics).await
        }
    };
    page("application/openmetrics-text; version=1.0.0; charset=utf-8", body)
}

/// A page, or the answer to one reader too many.
fn page(kind: &'static str, body: Option<Body>) -> Response {
    match body {
        Some(body) => ([(header::CONTENT_TYPE, kind)], body).into_response(),
        None => {
            let later = [(header::RETRY_AFTER, COME_AGAIN)];
            (StatusCode::SERVICE_UNAVAILABLE, later, "too many read pages now\n").into_response()
        }
    }
}

fn refused() -> Response {
    let ask = [(header::WWW_AUTHENTICATE, "Bearer")];
    (StatusCode::UNAUTHORIZED, ask, "a bearer token is needed\n").into_response()
}

/// `?format=text` or `?format=json`; without it the `Accept` header decides, and JSON in doubt.
#[derive(Debug, Deserialize)]
struct Wish {
    format: Option<String>,
}

async fn decisions(
    State(pages): State<Arc<Pages>>,
    Query(wish): Query<Wish>,
    headers: HeaderMap,
) -> Response {
    show(&pages, None, &wish, &headers).await
}

async fn decisions_of(
    State(pages): State<Arc<Pages>>,
    Path((namespace, name)): Path<(String, String)>,
    Query(wish): Query<Wish>,
    headers: HeaderMap,
) -> Response {
    show(&pages, Some((&namespace, &name)), &wish, &headers).await
}

async fn show(pages: &Pages, of: Option<(&str, &str)>, wish: &Wish, headers: &HeaderMap) -> Response {
    if access(pages, headers) != Access::Full {
        return refused();
    }
    if let Some(format) = wish.format.as_deref().filter(|format| !["text", "json"].contains(format)) {
        let format = Short { value: format, longest: LONGEST_ECHO };
        let message = format!("`{format}` is neither `text` nor `json`\n");
        return (StatusCode::BAD_REQUEST, message).into_response();
    }
    let triggers = (pages.triggers)(of);
    let is_empty = || (0..triggers.count()).all(|index| triggers.report(index).is_none());
    if let Some((namespace, name)) = of
        && is_empty()
    {
        let object = Short { value: format_args!("{namespace}/{name}"), longest: LONGEST_ECHO };
        let message = format!("no trigger of {object} is watched: KEDA has not asked for one yet\n");
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    let (shape, kind) = if wants_text(wish, headers) {
        (Shape::Text, "text/plain; charset=utf-8")
    } else {
        (Shape::Json, "application/json")
    };
    page(kind, pages.readers.page(List::new(triggers, (pages.now)(), shape)).await)
}

/// Most characters of a request that are said back: a namespace and a name are at most 317.
const LONGEST_ECHO: usize = 320;

fn wants_text(wish: &Wish, headers: &HeaderMap) -> bool {
    match wish.format.as_deref() {
        Some(format) => format == "text",
        None => headers
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.starts_with("text/plain")),
    }
}

/// What a request may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Everything.
    Full,
    /// What names nobody: a token is asked for, and none was given.
    Anonymous,
    /// Nothing: another token was given.
    Refused,
}

fn access(pages: &Pages, headers: &HeaderMap) -> Access {
    let Some(token) = &pages.token else { return Access::Full };
    let Some(given) = headers.get(header::AUTHORIZATION) else { return Access::Anonymous };
    let token = match token.reveal() {
        Ok(token) => token,
        Err(error) => {
            tracing::warn!(error = %Chain(&error), "The admin token cannot be read; nobody is let in.");
            return Access::Refused;
        }
    };
    // The scheme's name is the same in capitals and without (RFC 9110, 11.1).
    let given = given.to_str().ok().and_then(|value| value.split_once(' '));
    let given = given.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"));
    let is_right =
        given.is_some_and(|(_, given)| equal(token.expose().as_bytes(), given.trim_start().as_bytes()));
    if is_right { Access::Full } else { Access::Refused }
}

/// Compares in a time that does not tell how much was right.
fn equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
