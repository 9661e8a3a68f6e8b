//! What the kubelet and Prometheus ask: three probes that mean three things, and the metrics.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus_client::registry::Registry;
use tokio::time::Instant;

/// How much longer than three beats the heart may be silent: each of the commands of a beat may run into its timeout.
const SLACK: Duration = Duration::from_secs(15);

/// How the worker is.
pub(crate) struct Health {
    started: Instant,
    beat: Duration,
    /// Milliseconds after the start at which the heart last beat, whatever Redis said.
    beaten: AtomicU64,
    /// Whether the queue was there once.
    prepared: AtomicBool,
    /// Whether Redis did what it was asked last.
    reached: AtomicBool,
    draining: AtomicBool,
}

impl Health {
    pub(crate) fn new(beat: Duration) -> Self {
        Self {
            started: Instant::now(),
            beat,
            beaten: AtomicU64::new(0),
            prepared: AtomicBool::new(false),
            reached: AtomicBool::new(false),
            draining: AtomicBool::new(false),
        }
    }

    pub(crate) fn beats(&self) {
        let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.beaten.store(millis, Ordering::Relaxed);
    }

    pub(crate) fn is_prepared(&self) {
        self.prepared.store(true, Ordering::Relaxed);
    }

    /// Redis did what it was asked, or did not. Says whether that is news.
    pub(crate) fn reached(&self, reached: bool) -> bool {
        self.reached.swap(reached, Ordering::Relaxed) != reached
    }

    pub(crate) fn drains(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// The loop that renews leases and reports goes on. Neither Redis nor the model matters: to restart would end
    /// running tasks and help nobody.
    fn alive(&self) -> Result<(), &'static str> {
        let beaten = Duration::from_millis(self.beaten.load(Ordering::Relaxed));
        let silent = self.started.elapsed().saturating_sub(beaten);
        if silent <= 3 * self.beat + SLACK { Ok(()) } else { Err("the heart has stopped\n") }
    }

    /// Takes tasks. Never a matter of being busy: Kubernetes ends pods first that are not ready.
    fn ready(&self) -> Result<(), &'static str> {
        if self.draining.load(Ordering::Relaxed) {
            return Err("draining\n");
        }
        self.begun()?;
        if self.reached.load(Ordering::Relaxed) { Ok(()) } else { Err("Redis cannot be reached\n") }
    }

    /// Has connected once and found or made what it needs.
    fn begun(&self) -> Result<(), &'static str> {
        let prepared = self.prepared.load(Ordering::Relaxed);
        if prepared { Ok(()) } else { Err("the queue could not be opened yet\n") }
    }
}

/// What the pages show.
pub(crate) struct Pages {
    pub(crate) health: Arc<Health>,
    pub(crate) registry: Registry,
}

/// The routes of the worker's port.
pub(crate) fn routes(pages: Arc<Pages>) -> Router {
    Router::new()
        .route("/livez", get(async |State(pages): State<Arc<Pages>>| probe(pages.health.alive())))
        .route("/readyz", get(async |State(pages): State<Arc<Pages>>| probe(pages.health.ready())))
        .route("/startupz", get(async |State(pages): State<Arc<Pages>>| probe(pages.health.begun())))
        .route("/metrics", get(metrics))
        .with_state(pages)
}

fn probe(state: Result<(), &'static str>) -> Response {
    match state {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, reason).into_response(),
    }
}

async fn metrics(State(pages): State<Arc<Pages>>) -> Response {
    let mut page = String::new();
    match prometheus_client::encoding::text::encode(&mut page, &pages.registry) {
        Ok(()) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], page).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_probes_fail_for_reasons_of_their_own() {
        let health = Health::new(Duration::from_secs(10));
        assert_eq!(health.begun(), Err("the queue could not be opened yet\n"));
        health.is_prepared();
        assert_eq!((health.begun(), health.ready()), (Ok(()), Err("Redis cannot be reached\n")));
        assert!(health.reached(true) && !health.reached(true));
        assert_eq!((health.ready(), health.alive()), (Ok(()), Ok(())));
        health.drains();
        assert_eq!((health.ready(), health.alive()), (Err("draining\n"), Ok(())));
        tokio::time::advance(Duration::from_secs(45)).await;
        assert_eq!(health.alive(), Ok(()));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!((health.alive(), health.begun()), (Err("the heart has stopped\n"), Ok(())));
        health.beats();
        assert_eq!(health.alive(), Ok(()));
    }

    #[tokio::test]
    async fn a_probe_that_fails_answers_503() {
        assert_eq!(probe(Err("no\n")).status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(probe(Ok(())).status(), StatusCode::OK);
    }
}
