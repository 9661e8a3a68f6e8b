//! The admin port: probes that mean different things, and metrics.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::watch::Watched;

/// What the pages show.
pub(crate) struct Admin {
    pub(crate) registry: Registry,
    pub(crate) watched: watch::Receiver<Watched>,
    pub(crate) stopping: CancellationToken,
}

/// The routes of the admin port.
pub(crate) fn routes(admin: Arc<Admin>) -> Router {
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/startupz", get(startupz))
        .route("/metrics", get(metrics))
        .with_state(admin)
}

/// Whether a restart would help. Redis is no part of it: one that is away would have every pod restarted.
async fn livez(State(admin): State<Arc<Admin>>) -> Response {
    probe(admin.watched.borrow().alive(), "the watcher has stopped")
}

/// Whether callers should be sent here: they would get 503 while Redis is away, and nothing after the end.
async fn readyz(State(admin): State<Arc<Admin>>) -> Response {
    if admin.stopping.is_cancelled() {
        return probe(false, "shutting down");
    }
    probe(admin.watched.borrow().ready(), "Redis does not answer")
}

/// Whether Redis was reached at all: until then the address or the password may be wrong.
async fn startupz(State(admin): State<Arc<Admin>>) -> Response {
    probe(admin.watched.borrow().started(), "Redis has not answered yet")
}

fn probe(good: bool, otherwise: &'static str) -> Response {
    if good { "ok\n".into_response() } else { (StatusCode::SERVICE_UNAVAILABLE, otherwise).into_response() }
}

async fn metrics(State(admin): State<Arc<Admin>>) -> Response {
    let mut page = String::new();
    match prometheus_client::encoding::text::encode(&mut page, &admin.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], page).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}
