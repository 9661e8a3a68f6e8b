//! The routes that callers use, and what is true of every answer: an id, a line in the log, a count, an end.

use std::sync::Arc;
use std::time::Duration;

use agent_scaler::clock::{Clock as _, SystemClock};
use agent_scaler::telemetry::Chain;
use agent_scaler::timestamp::Timestamp;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::link::Fault;
use crate::metrics::Metrics;
use crate::pressure::Pressure;
use crate::problem::Problem;
use crate::settings::Settings;
use crate::store::Store;
use crate::watch::Watched;
use crate::{random, tasks};

/// Most requests under way. Each holds its body about four times on its way to Redis, so this bounds the memory.
const MOST_REQUESTS: usize = 256;

/// Longest request id that is taken over from a caller.
const LONGEST_ID: usize = 128;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// What the handlers share.
pub(crate) struct Api {
    pub(crate) settings: Arc<Settings>,
    pub(crate) store: Arc<Store>,
    pub(crate) watched: watch::Receiver<Watched>,
    clock: Arc<SystemClock>,
    pub(crate) metrics: Metrics,
    room: Semaphore,
}

impl Api {
    pub(crate) fn new(
        settings: Arc<Settings>,
        store: Arc<Store>,
        watched: watch::Receiver<Watched>,
        clock: Arc<SystemClock>,
        metrics: Metrics,
    ) -> Self {
        Self { settings, store, watched, clock, metrics, room: Semaphore::new(MOST_REQUESTS) }
    }

    /// The present, by Redis's clock.
    pub(crate) fn now(&self) -> Timestamp {
        self.watched.borrow().now(self.clock.now())
    }

    /// Whether callers have to wait outside because of the limit.
    pub(crate) fn pressure(&self) -> Option<Pressure> {
        let now = self.now();
        self.watched.borrow().seen()?.pressure(self.settings.bounds, now)
    }

    /// What a caller is told when too many tasks wait.
    pub(crate) fn full(&self) -> Pressure {
        self.watched.borrow().seen().cloned().unwrap_or_default().full(self.settings.bounds)
    }

    /// Redis gave no answer: says so in the log, and to the caller.
    pub(crate) fn without_redis(fault: &Fault) -> Problem {
        tracing::warn!(error = %Chain(fault), "A request got no answer from Redis.");
        Problem::unavailable("the queue cannot be reached")
    }
}

/// The routes.
pub(crate) fn routes(api: Arc<Api>) -> Router {
    Router::new()
        .route("/tasks", post(tasks::put_in))
        .route("/tasks/{id}", get(tasks::status))
        .route("/tasks/{id}/result", get(tasks::result))
        .fallback(async || Problem::not_found("there is no such page"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this page knows no such method")
        })
        .layer(middleware::from_fn_with_state(Arc::clone(&api), every_request))
        .with_state(api)
}

async fn every_request(State(api): State<Arc<Api>>, request: Request<Body>, next: Next) -> Response {
    let begun = Instant::now();
    let id = request_id(request.headers());
    let (method, route) = (known(request.method()), route(request.uri().path()));
    let span = tracing::info_span!("request", request_id = id.to_str().unwrap_or_default(), method, route);
    async move {
        let mut response = match api.room.try_acquire() {
            Ok(_under_way) => next.run(request).await,
            Err(_) => busy(&api).into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(REQUEST_ID, id);
        // A status changes, and a result is for its caller.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let (status, took) = (response.status().as_u16(), begun.elapsed());
        api.metrics.request(method, route, status, took);
        let took_ms = took.as_secs_f64() * 1_000.0;
        // Callers ask for their tasks again and again.
        if method == "GET" && status < 500 {
            tracing::debug!(status, took_ms, "Request answered.");
        } else {
            tracing::info!(status, took_ms, "Request answered.");
        }
        response
    }
    .instrument(span)
    .await
}

fn busy(api: &Api) -> Problem {
    api.metrics.rejected("busy");
    Problem::unavailable("too many requests are under way").retry_after(Duration::from_secs(1))
}

/// The caller's id for the request if it is one, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    let given = headers.get(REQUEST_ID).filter(|id| {
        let id = id.as_bytes();
        !id.is_empty() && id.len() <= LONGEST_ID && id.iter().all(u8::is_ascii_graphic)
    });
    let new = || HeaderValue::from_str(&random::id()).unwrap_or(HeaderValue::from_static("unknown"));
    given.cloned().unwrap_or_else(new)
}

/// The route of a path, for labels: callers choose paths, and may choose many.
fn route(path: &str) -> &'static str {
    match path.split('/').collect::<Vec<_>>().as_slice() {
        ["", "tasks"] => "/tasks",
        ["", "tasks", _] => "/tasks/{id}",
        ["", "tasks", _, "result"] => "/tasks/{id}/result",
        _ => "other",
    }
}

/// The method, for labels.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_come_from_a_closed_set() {
        for (path, label) in [
            ("/tasks", "/tasks"),
            ("/tasks/7", "/tasks/{id}"),
            ("/tasks/7/result", "/tasks/{id}/result"),
            ("/tasks/7/8", "other"),
            ("/", "other"),
            ("", "other"),
        ] {
            assert_eq!(route(path), label, "{path}");
        }
        assert_eq!(known(&Method::from_bytes(b"BREW").unwrap()), "other");
    }

    #[test]
    fn a_request_id_is_taken_over_only_if_it_is_one() {
        let with =
            |id: &str| request_id(&HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_str(id).unwrap())]));
        assert_eq!(with("trace-7"), "trace-7");
        for bad in ["", "two words", &"x".repeat(129)] {
            assert_eq!(with(bad).len(), 32, "{bad}");
        }
    }
}
