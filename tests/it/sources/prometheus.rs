//! Prometheus: what waits, and queries about tasks.

mod answers;
mod connection;
mod headroom;
mod histograms;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::queries::Queried;
use agent_scaler::engine::signals::Reading;
use agent_scaler::fields::{Fields, Value};
use agent_scaler::secret::{Revealed, Secret};
use agent_scaler::sources::prometheus::{QUERY, parse_queries};
use agent_scaler::sources::{Client, Endpoint, Plan, ReadError, Sighting};

/// How long a test waits for what should come at once.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// What `source: prometheus` reads with these keys.
pub(super) fn plan(keys: &[(&str, &str)]) -> Arc<dyn Plan> {
    let values = texts(keys);
    let mut fields = Fields::new("metadata", &values);
    (QUERY.parse)(&mut fields).unwrap_or_else(|| panic!("{:?}", fields.finish()))
}

fn backlog(promql: &str) -> Arc<dyn Plan> {
    plan(&[("query", promql)])
}

/// The queries of any source with these keys.
pub(super) fn queries(keys: &[(&str, &str)]) -> Arc<dyn Plan> {
    let values = texts(keys);
    let mut fields = Fields::new("metadata", &values);
    let plan = parse_queries(&mut fields);
    plan.flatten().unwrap_or_else(|| panic!("{:?}", fields.finish()))
}

fn texts(keys: &[(&str, &str)]) -> BTreeMap<String, Value> {
    keys.iter().map(|(name, value)| text(name, value)).collect()
}

fn text(name: &str, value: &str) -> (String, Value) {
    (name.to_owned(), Value::Text(value.to_owned()))
}

fn secret(name: &str, value: &str) -> (String, Value) {
    let value = Revealed::new(value);
    (name.to_owned(), Value::Secret(Secret::Variable { name: "SECRET".to_owned(), value }))
}

fn endpoint(keys: &[(String, Value)]) -> Arc<dyn Endpoint> {
    let values: BTreeMap<String, Value> = keys.iter().cloned().collect();
    let mut fields = Fields::new("connections.main", &values);
    (QUERY.connections[0].parse)(&mut fields).unwrap_or_else(|| panic!("{:?}", fields.finish()))
}

async fn client(keys: &[(String, Value)]) -> Box<dyn Client> {
    tokio::time::timeout(PATIENCE, endpoint(keys).connect()).await.unwrap().unwrap()
}

pub(super) async fn client_at(url: &str) -> Box<dyn Client> {
    client(&[text("url", url)]).await
}

pub(super) async fn read(client: &mut Box<dyn Client>, plan: &Arc<dyn Plan>) -> Result<Sighting, ReadError> {
    let mut results = tokio::time::timeout(PATIENCE, client.read(std::slice::from_ref(plan))).await.unwrap();
    assert_eq!(results.len(), 1);
    results.remove(0)
}

pub(super) async fn queried(client: &mut Box<dyn Client>, plan: &Arc<dyn Plan>) -> Queried {
    match read(client, plan).await {
        Ok(Sighting::Queried(queried)) => queried,
        other => panic!("{other:?}"),
    }
}

pub(super) fn waiting(tasks: u64) -> Sighting {
    Reading { ready: Some(tasks), ..Reading::default() }.into()
}
