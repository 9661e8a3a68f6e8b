//! SQS queues: on moto, on ElasticMQ, and against faults.

mod cost;
mod counts;
mod elasticmq;
mod faults;
mod hosts;
mod identity;
mod pace;
mod tls;
mod triggers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::signals::{InFlight, Reading};
use agent_scaler::fields::{Fields, Value};
use agent_scaler::secret::{Revealed, Secret};
use agent_scaler::sources::{ALL, Client, Endpoint, Plan, ReadError, Sighting, Spec};

use crate::support::moto::{ACCOUNT, REGION};

/// How long a test waits for what should come at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A key that no error may name, and a token.
const SECRET: &str = "hunter2hunter2hunter2hunter2hunter2hunter";
const TOKEN: &str = "tokenhunter2tokenhunter2tokenhunter2";

fn queue(name: &str) -> Arc<dyn Plan> {
    plan(&[("queueURL", name)])
}

fn plan(keys: &[(&str, &str)]) -> Arc<dyn Plan> {
    let values: BTreeMap<String, Value> = keys.iter().map(|(name, value)| text(name, value)).collect();
    let mut fields = Fields::new("metadata", &values);
    let plan = (spec().parse)(&mut fields);
    plan.unwrap_or_else(|| panic!("{:?}", fields.finish()))
}

/// A connection to the SQS at `url`, with a key, and what else is said.
fn endpoint(url: &str, more: &[(String, Value)]) -> Arc<dyn Endpoint> {
    let keys = [text("endpoint", url), secret("sessionToken", TOKEN), text("accounts", ACCOUNT)];
    endpoint_of_aws(&[&keys, more].concat())
}

/// A connection to AWS itself, which no test asks, unless `more` says otherwise.
fn endpoint_of_aws(more: &[(String, Value)]) -> Arc<dyn Endpoint> {
    let keys = [text("region", REGION), secret("accessKeyId", "AKIATEST"), secret("secretAccessKey", SECRET)];
    let values: BTreeMap<String, Value> = keys.iter().chain(more).cloned().collect();
    let mut fields = Fields::new("connections.main", &values);
    let endpoint = (spec().connections[0].parse)(&mut fields);
    endpoint.unwrap_or_else(|| panic!("{:?}", fields.finish()))
}

fn spec() -> &'static Spec {
    ALL.iter().find(|spec| spec.name == "aws-sqs-queue").unwrap()
}

fn text(name: &str, value: &str) -> (String, Value) {
    (name.to_owned(), Value::Text(value.to_owned()))
}

fn secret(name: &str, value: &str) -> (String, Value) {
    let value = Revealed::new(value);
    (name.to_owned(), Value::Secret(Secret::Variable { name: name.to_uppercase(), value }))
}

async fn client(url: &str) -> Box<dyn Client> {
    connect(&*endpoint(url, &[])).await.unwrap()
}

async fn connect(endpoint: &dyn Endpoint) -> Result<Box<dyn Client>, ReadError> {
    tokio::time::timeout(PATIENCE, endpoint.connect()).await.unwrap()
}

async fn read(client: &mut Box<dyn Client>, plans: &[Arc<dyn Plan>]) -> Vec<Result<Reading, ReadError>> {
    let sightings = tokio::time::timeout(PATIENCE, client.read(plans)).await.unwrap();
    let reading = |sighting| match sighting {
        Sighting::Queue(reading) => reading,
        Sighting::Workers(_) | Sighting::Limit(_) | Sighting::Queried(_) | Sighting::Unchanged => {
            panic!("no queue: {sighting:?}")
        }
    };
    let results: Vec<_> = sightings.into_iter().map(|result| result.map(reading)).collect();
    assert_eq!(results.len(), plans.len());
    for error in results.iter().filter_map(|result| result.as_ref().err()) {
        let text = format!("{error} {error:?}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    results
}

/// The reading of the one plan that is read.
async fn read_one(client: &mut Box<dyn Client>, plan: &Arc<dyn Plan>) -> Result<Reading, ReadError> {
    read(client, std::slice::from_ref(plan)).await.remove(0)
}

/// The text of the error with which the reading fails.
async fn refused(client: &mut Box<dyn Client>, plan: &Arc<dyn Plan>) -> String {
    read_one(client, plan).await.unwrap_err().to_string()
}

fn seen(ready: u64, in_flight: u64) -> Reading {
    Reading { ready: Some(ready), in_flight: Some(InFlight::Known(in_flight)), ..Reading::default() }
}

/// What SQS answers about a queue with these counts.
fn counted(visible: u64, in_flight: u64, delayed: u64) -> String {
    format!(
        "{{\"Attributes\":{{\"ApproximateNumberOfMessages\":\"{visible}\",\
         \"ApproximateNumberOfMessagesNotVisible\":\"{in_flight}\",\
         \"ApproximateNumberOfMessagesDelayed\":\"{delayed}\"}}}}"
    )
}

/// Moves the clock of this test's timers, and lets it run again: what answers is a real server.
async fn later(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}
