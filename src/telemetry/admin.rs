//! The admin port: probes for the kubelet, metrics for Prometheus, decisions for people.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::stream;
use prometheus_client::registry::Registry;
use serde::Deserialize;

use crate::secret::Secret;
use crate::telemetry::Chain;
use crate::telemetry::report::Report;
use crate::timestamp::Timestamp;

/// What the pages show.
pub struct Pages {
    /// Whether the process does its work; the kubelet restarts it otherwise.
    pub alive: Box<dyn Fn() -> bool + Send + Sync>,
    /// Whether KEDA should be sent here. Never a matter of backends: a scaler that leaves its Service
    /// cannot even say that it knows nothing.
    pub ready: Box<dyn Fn() -> bool + Send + Sync>,
    /// What /decisions shows.
    pub reports: Box<Reports>,
    /// What /metrics shows.
    pub registry: Registry,
    /// What /decisions asks for.
    pub token: Option<Secret>,
}

impl fmt::Debug for Pages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Pages")
    }
}

/// Reports on the triggers of one ScaledObject (namespace and name) or of all, and the present.
pub type Reports = dyn Fn(Option<(&str, &str)>) -> (Vec<Report>, Timestamp) + Send + Sync;

/// The routes of the admin port.
pub fn routes(pages: Arc<Pages>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/decisions", get(decisions))
        .route("/decisions/{namespace}/{name}", get(decisions_of))
        .with_state(pages)
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

async fn metrics(State(pages): State<Arc<Pages>>) -> Response {
    let mut page = Page::default();
    match prometheus_client::encoding::text::encode(&mut page, &pages.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], page.into_body()).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// A page in pieces. 10,000 triggers make nearly 10 MB, and one text that grows would need twice that.
#[derive(Default)]
struct Page {
    full: Vec<String>,
    last: String,
}

impl Page {
    /// Size of a piece.
    const PIECE: usize = 64 * 1024;

    fn into_body(self) -> Body {
        let pieces = self.full.into_iter().chain([self.last]);
        Body::from_stream(stream::iter(pieces.map(Ok::<_, Infallible>)))
    }
}

impl fmt::Write for Page {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.last.len() + text.len() > Self::PIECE {
            let next = String::with_capacity(Self::PIECE.max(text.len()));
            self.full.push(std::mem::replace(&mut self.last, next));
        }
        self.last.push_str(text);
        Ok(())
    }
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
    show(&pages, None, &wish, &headers)
}

async fn decisions_of(
    State(pages): State<Arc<Pages>>,
    Path((namespace, name)): Path<(String, String)>,
    Query(wish): Query<Wish>,
    headers: HeaderMap,
) -> Response {
    show(&pages, Some((&namespace, &name)), &wish, &headers)
}

fn show(pages: &Pages, of: Option<(&str, &str)>, wish: &Wish, headers: &HeaderMap) -> Response {
    if !permitted(pages, headers) {
        let ask = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, ask, "a bearer token is needed\n").into_response();
    }
    let (reports, now) = (pages.reports)(of);
    if let (Some((namespace, name)), true) = (of, reports.is_empty()) {
        let message =
            format!("no trigger of {namespace}/{name} is watched: KEDA has not asked for one yet\n");
        return (StatusCode::NOT_FOUND, message).into_response();
    }
    if let Some(format) = wish.format.as_deref().filter(|format| !["text", "json"].contains(format)) {
        return (StatusCode::BAD_REQUEST, format!("`{format}` is neither `text` nor `json`\n"))
            .into_response();
    }
    if wants_text(wish, headers) {
        return reports
            .iter()
            .map(|report| report.shown(now).to_string())
            .collect::<String>()
            .into_response();
    }
    Json(reports.iter().map(|report| report.shown(now)).collect::<Vec<_>>()).into_response()
}

fn wants_text(wish: &Wish, headers: &HeaderMap) -> bool {
    match wish.format.as_deref() {
        Some(format) => format == "text",
        None => headers
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok())
            .is_some_and(|accept| accept.starts_with("text/plain")),
    }
}

fn permitted(pages: &Pages, headers: &HeaderMap) -> bool {
    let Some(token) = &pages.token else { return true };
    let given = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.strip_prefix("Bearer "));
    match (token.reveal(), given) {
        (Ok(token), Some(given)) => equal(token.expose().as_bytes(), given.as_bytes()),
        (Ok(_), None) => false,
        (Err(error), _) => {
            tracing::warn!(error = %Chain(&error), "The admin token cannot be read; nobody is let in.");
            false
        }
    }
}

/// Compares in a time that does not tell how much was right.
fn equal(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len() && left.iter().zip(right).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}
