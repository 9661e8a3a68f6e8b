//! Redis lists and streams.

mod cluster;
mod connection;
mod hostile;
mod list;
mod push;
mod sentinel;
mod stream;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::signals::{Counters, InFlight, Reading};
use agent_scaler::fields::{Fields, Value};
use agent_scaler::secret::{Revealed, Secret};
use agent_scaler::sources::{ALL, Client, Endpoint, Plan, ReadError, Sighting, Spec};

use tokio::time::Instant;

use crate::support::servers::Redis;
use crate::support::tree::root;

/// How long a test waits for what should come at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long servers may take to agree on something among themselves.
const LONG: Duration = Duration::from_secs(30);

/// The rights that the errors name, and no more.
const RIGHTS: &str = "-@all +select +time +llen +xlen +xinfo|groups +xrange";

/// Makes `scaler` as docs/redis-connections.md says, with the password `hunter2` and the rights that it names for `on_top`.
fn let_in(redis: &Redis, on_top: &[&str]) {
    let document = std::fs::read_to_string(root().join("docs/redis-connections.md")).unwrap();
    let begin = "user scaler on >PASSWORD ~acme:* ";
    let line = document.lines().find_map(|line| line.strip_prefix(begin)).unwrap();
    let mut words: Vec<String> = ["ACL", "SETUSER", "scaler", "reset", "on", ">hunter2", "~acme:*"]
        .into_iter()
        .chain(line.split(' '))
        .map(str::to_owned)
        .collect();
    for what in on_top {
        let row = document.lines().find(|line| line.ends_with(&format!("| {what} |"))).unwrap();
        let rights = row.split('`').nth(1).unwrap().replace('\\', "");
        words.extend(rights.split(' ').map(str::to_owned));
    }
    redis.command(&words.iter().map(String::as_str).collect::<Vec<_>>());
}

/// What somebody was refused since the server was told to forget it.
fn refused(redis: &Redis) -> String {
    format!("{:?}", redis.command(&["ACL", "LOG"]))
}

fn list(waiting: &str) -> Arc<dyn Plan> {
    plan("redis", &[("listName", waiting)])
}

fn list_with_processing(waiting: &str, processing: &str) -> Arc<dyn Plan> {
    plan("redis", &[("listName", waiting), ("processingListName", processing)])
}

fn stream(name: &str, group: &str) -> Arc<dyn Plan> {
    plan("redis-streams", &[("stream", name), ("consumerGroup", group)])
}

pub(super) fn plan(source: &str, keys: &[(&str, &str)]) -> Arc<dyn Plan> {
    let values: BTreeMap<String, Value> = keys.iter().map(|(name, value)| text(name, value)).collect();
    let mut fields = Fields::new("metadata", &values);
    let plan = (spec(source).parse)(&mut fields);
    plan.unwrap_or_else(|| panic!("{:?}", fields.finish()))
}

/// One Redis server.
pub(super) fn endpoint(keys: &[(String, Value)]) -> Arc<dyn Endpoint> {
    endpoint_of("redis", keys)
}

fn endpoint_of(kind: &str, keys: &[(String, Value)]) -> Arc<dyn Endpoint> {
    let values: BTreeMap<String, Value> = keys.iter().cloned().collect();
    let mut fields = Fields::new("connections.main", &values);
    let kind = spec("redis").connections.iter().find(|known| known.name == kind).unwrap();
    let endpoint = (kind.parse)(&mut fields);
    endpoint.unwrap_or_else(|| panic!("{:?}", fields.finish()))
}

fn spec(source: &str) -> &'static Spec {
    ALL.iter().find(|spec| spec.name == source).unwrap()
}

pub(super) fn text(name: &str, value: &str) -> (String, Value) {
    (name.to_owned(), Value::Text(value.to_owned()))
}

pub(super) fn password(password: &str) -> (String, Value) {
    let value = Revealed::new(password);
    ("password".to_owned(), Value::Secret(Secret::Variable { name: "REDIS_PASSWORD".to_owned(), value }))
}

fn password_file(path: PathBuf) -> (String, Value) {
    ("password".to_owned(), Value::Secret(Secret::File(path)))
}

pub(super) async fn connect(endpoint: &dyn Endpoint) -> Result<Box<dyn Client>, ReadError> {
    tokio::time::timeout(PATIENCE, endpoint.connect()).await.unwrap()
}

/// A client of a server without a password.
pub(super) async fn client_of(redis: &Redis) -> Box<dyn Client> {
    client_at(redis.port()).await
}

pub(super) async fn client_at(port: u16) -> Box<dyn Client> {
    connect(&*endpoint(&[text("url", &address(port))])).await.unwrap()
}

pub(super) fn address(port: u16) -> String {
    format!("redis://127.0.0.1:{port}/0")
}

pub(super) async fn read(
    client: &mut Box<dyn Client>,
    plans: &[Arc<dyn Plan>],
) -> Vec<Result<Reading, ReadError>> {
    let sightings = tokio::time::timeout(PATIENCE, client.read(plans)).await.unwrap();
    let reading = |sighting| match sighting {
        Sighting::Queue(reading) => reading,
        Sighting::Workers(_) | Sighting::Limit(_) | Sighting::Queried(_) | Sighting::Unchanged => {
            panic!("no queue: {sighting:?}")
        }
    };
    sightings.into_iter().map(|result| result.map(reading)).collect()
}

/// Waits until `holds`.
async fn until(mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < LONG, "never seen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The reading of the one plan that is read.
pub(super) async fn read_one(
    client: &mut Box<dyn Client>,
    plan: &Arc<dyn Plan>,
) -> Result<Reading, ReadError> {
    let mut results = read(client, std::slice::from_ref(plan)).await;
    assert_eq!(results.len(), 1);
    results.remove(0)
}

fn seen(ready: u64, in_flight: Option<u64>) -> Reading {
    Reading { ready: Some(ready), in_flight: in_flight.map(InFlight::Known), ..Reading::default() }
}

/// What a group shows whose counters are known.
fn counted(ready: u64, in_flight: u64, added: u64, completed: u64) -> Reading {
    Reading {
        counters: Counters { added: Some(added), completed: Some(completed) },
        ..seen(ready, Some(in_flight))
    }
}
