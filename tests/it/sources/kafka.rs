//! Kafka's consumer groups, on real brokers.

mod client;
mod cluster;
mod connection;
mod group;
mod lies;
mod login;
mod mock;
mod program;
mod scale;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::signals::{Counters, InFlight, Reading};
use agent_scaler::fields::{Fields, Value};
use agent_scaler::secret::{Revealed, Secret};
use agent_scaler::sources::{ALL, Client, Endpoint, Plan, ReadError, Sighting, Spec};

use crate::support::kafka::{Kafka, Listener, Watched, use_program};

/// How long a test waits for what should come at once.
const PATIENCE: Duration = Duration::from_secs(30);

fn spec() -> &'static Spec {
    ALL.iter().find(|spec| spec.name == "kafka").unwrap()
}

/// A plan for the records of `topic` that the group of the same name takes, which begins at the earliest.
fn tasks(topic: &str) -> Arc<dyn Plan> {
    plan(&[("topic", topic), ("consumerGroup", topic), ("offsetResetPolicy", "earliest")])
}

fn plan(keys: &[(&str, &str)]) -> Arc<dyn Plan> {
    let values: BTreeMap<String, Value> = keys.iter().map(|(name, value)| text(name, value)).collect();
    let mut fields = Fields::new("metadata", &values);
    let plan = (spec().parse)(&mut fields);
    plan.unwrap_or_else(|| panic!("{:?}", fields.finish()))
}

fn endpoint(keys: &[(String, Value)]) -> Arc<dyn Endpoint> {
    use_program();
    let values: BTreeMap<String, Value> = keys.iter().cloned().collect();
    let mut fields = Fields::new("connections.main", &values);
    let endpoint = (spec().connections[0].parse)(&mut fields);
    endpoint.unwrap_or_else(|| panic!("{:?}", fields.finish()))
}

fn text(name: &str, value: &str) -> (String, Value) {
    (name.to_owned(), Value::Text(value.to_owned()))
}

fn path(name: &str, path: &Path) -> (String, Value) {
    text(name, path.to_str().unwrap())
}

fn secret(name: &str, value: &str) -> (String, Value) {
    let value = Revealed::new(value);
    (name.to_owned(), Value::Secret(Secret::Variable { name: "SECRET".to_owned(), value }))
}

fn file(name: &str, path: &Path) -> (String, Value) {
    (name.to_owned(), Value::Secret(Secret::File(path.to_owned())))
}

async fn connect(endpoint: &dyn Endpoint) -> Result<Box<dyn Client>, ReadError> {
    tokio::time::timeout(PATIENCE, endpoint.connect()).await.unwrap()
}

/// A client in the clear.
async fn client_of(kafka: &Kafka, listener: Listener) -> Box<dyn Client> {
    client_at(&kafka.bootstrap(listener)).await
}

async fn client_at(servers: &str) -> Box<dyn Client> {
    connect(&*endpoint(&[text("bootstrapServers", servers)])).await.unwrap()
}

async fn read(client: &mut Box<dyn Client>, plans: &[Arc<dyn Plan>]) -> Vec<Result<Reading, ReadError>> {
    let sightings = tokio::time::timeout(PATIENCE, client.read(plans)).await.unwrap();
    let reading = |sighting| match sighting {
        Sighting::Queue(reading) => reading,
        Sighting::Workers(_) | Sighting::Limit(_) | Sighting::Queried(_) | Sighting::Unchanged => {
            panic!("no queue: {sighting:?}")
        }
    };
    sightings.into_iter().map(|result| result.map(reading)).collect()
}

/// The reading of the one plan that is read.
async fn read_one(client: &mut Box<dyn Client>, plan: &Arc<dyn Plan>) -> Result<Reading, ReadError> {
    let mut results = read(client, std::slice::from_ref(plan)).await;
    assert_eq!(results.len(), 1);
    results.remove(0)
}

/// Reads until the answer is `wanted`, within the time that a cluster takes to get over something.
async fn read_until<T: PartialEq + std::fmt::Debug>(
    client: &mut Box<dyn Client>,
    plan: &Arc<dyn Plan>,
    wanted: &T,
    what: impl Fn(Result<Reading, ReadError>) -> T,
) {
    let mut last = None;
    let started = tokio::time::Instant::now();
    while started.elapsed() < PATIENCE {
        let seen = what(read_one(client, plan).await);
        if seen == *wanted {
            return;
        }
        last = Some(seen);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("{last:?} instead of {wanted:?}");
}

/// What waits and what runs.
fn lag(reading: &Reading) -> (Option<u64>, Option<u64>) {
    (reading.ready, reading.in_flight.map(InFlight::tasks))
}

/// What a group shows of which `completed` of `added` records are committed.
fn seen(ready: u64, running: u64, partitions: u32, (added, completed): (u64, u64)) -> Reading {
    Reading {
        ready: Some(ready),
        in_flight: Some(InFlight::Estimated(running)),
        ceiling: Some(partitions),
        counters: Counters { added: Some(added), completed: Some(completed) },
        ..Reading::default()
    }
}
