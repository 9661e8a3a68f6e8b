//! Prometheus, and what speaks its query API: what waits, and numbers about tasks that other sources cannot know.
//!
//! `source: prometheus` reads one number, the backlog. The `…Query` keys of every source, and the presets that stand
//! for them, are a plan of their own, read through a connection of this kind beside the queue; so are the gauges that
//! tell what is left of a rate limit.

mod answer;
mod backlog;
mod client;
mod headroom;
mod presets;
mod promql;
mod queries;
mod series;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::client::PrometheusClient;
pub use self::headroom::{KEYS as HEADROOM_KEYS, parse as parse_headroom};
pub use self::queries::{KEYS as QUERY_KEYS, parse as parse_queries};
use super::web::{self, WebClient, WebEndpoint};
use crate::fields::Fields;
use crate::sources::{Client, ConnectionKind, Endpoint, ReadError, Spec, Wake};

/// What triggers that count by one query for what runs should have instead.
const OWN_QUERY: &str = "in each of them a query for what its own workers run";

/// Value of `type` of a connection that answers queries.
pub const KIND: &str = "prometheus";

/// Tasks that a query counts.
pub const QUERY: Spec = Spec {
    name: "prometheus",
    summary: "tasks that a query of Prometheus counts, or a preset for a known exporter",
    keys: backlog::KEYS,
    moved: backlog::MOVED,
    parse: backlog::parse,
    connections: &[&CONNECTION],
    to_show_running: Some(
        "`inFlightQuery`: a query for the number of running tasks; or a `queryPreset` that knows it (bullmq, vllm)",
    ),
};

/// What to write instead of a key that says where Prometheus is and who asks.
const IN_CONNECTION: &str = "name a `connection`: the server's file holds its address and credentials";

/// One server that answers Prometheus's query API.
const CONNECTION: ConnectionKind = ConnectionKind {
    name: KIND,
    summary: "Prometheus, or another server with its query API (Thanos, Mimir, VictoriaMetrics)",
    keys: web::KEYS,
    moved: &[
        ("serverAddress", IN_CONNECTION),
        ("authModes", IN_CONNECTION),
        ("username", IN_CONNECTION),
        ("password", IN_CONNECTION),
        ("bearerToken", IN_CONNECTION),
        ("customHeaders", IN_CONNECTION),
        ("queryParameters", IN_CONNECTION),
        ("namespace", "`queryParameters: namespace=…` of the connection"),
        ("identityOwner", "a proxy that signs, in front of the workspace"),
        ("awsRegion", "a proxy that signs, in front of the workspace"),
    ],
    // It knows nothing newer than its last scrape: asking more often would bring nothing.
    wake: Wake::Polled(Duration::from_secs(5)),
    parse,
    reports: None,
};

fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Endpoint>> {
    Some(Arc::new(Prometheus(web::parse(fields)?)))
}

/// One server.
#[derive(Debug)]
struct Prometheus(WebEndpoint);

#[async_trait]
impl Endpoint for Prometheus {
    fn address(&self) -> String {
        self.0.address()
    }

    async fn connect(&self) -> Result<Box<dyn Client>, ReadError> {
        Ok(Box::new(PrometheusClient::new(WebClient::open(&self.0).await?)))
    }
}
