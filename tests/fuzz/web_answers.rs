//! What the servers behind `http`, `prometheus` and `aws` connections answer.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_scaler::config::server::Server;
use agent_scaler::config::trigger;
use agent_scaler::sources::{ALL, Client, Sighting};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::budget::{fuzz, is_plain};
use crate::liar::Liar;
use crate::text::{Change, Cut, changed, changes, cut, cuts, text};

/// A status, further headers, and the document with its changes and cuts.
type Told = (u16, Vec<(String, String)>, Vec<Change>, Vec<Cut>);

/// A reading may last this long, as in the server, which drops the client then.
const DEADLINE: Duration = Duration::from_secs(4);

#[test]
fn whatever_a_document_holds_is_a_number_or_a_short_error() {
    let document = json!({"queues": [{"name": "a", "ready": 3, "running": 1, "oldest": 12.5},
        {"name": "b", "ready": "4", "running": null, "oldest": "2026-01-01T00:00:00Z"}], "total": 7});
    answers(
        "http",
        document,
        &[
            ("source", "http"),
            ("connection", "web"),
            ("path", "/queues"),
            ("readyPath", "$.queues[*].ready"),
            ("runningPath", "$.queues[*].running"),
            ("oldestPath", "$.queues[*].oldest"),
        ],
    );
}

#[test]
fn whatever_prometheus_answers_is_a_number_or_a_short_error() {
    let series = json!({"metric": {"queue": "a"}, "value": [1_800_000_000, "3"]});
    let document =
        json!({"status": "success", "data": {"resultType": "vector", "result": [series]}, "error": "x"});
    answers("prometheus", document, &[("source", "prometheus"), ("connection", "web"), ("query", "sum(up)")]);
}

#[test]
fn whatever_sqs_answers_is_a_number_or_a_short_error() {
    let attributes = json!({"ApproximateNumberOfMessages": "3", "ApproximateNumberOfMessagesNotVisible": "1",
        "ApproximateNumberOfMessagesDelayed": "0", "VisibilityTimeout": "30",
        "QueueArn": "arn:aws:sqs:eu-central-1:123456789012:acme-tasks"});
    let document = json!({"Attributes": attributes, "QueueUrl": "http://127.0.0.1/123456789012/acme-tasks",
        "__type": "com.amazonaws.sqs#QueueDoesNotExist", "message": "no"});
    answers(
        "sqs",
        document,
        &[("source", "aws-sqs-queue"), ("connection", "web"), ("queueURL", "acme-tasks")],
    );
}

/// Reads a queue from a server whose answers are `document` with some changes.
fn answers(target: &'static str, document: Value, metadata: &[(&str, &str)]) {
    let nothing: Told = (200, Vec::new(), Vec::new(), Vec::new());
    let liar = Liar::start(nothing, move |came, told| answer(came, &document, told));
    let address = format!("http://127.0.0.1:{}", liar.port);
    let connection = match target {
        "sqs" => format!("{{ type: aws, region: eu-central-1, endpoint: \"{address}\" }}"),
        kind => format!("{{ type: {kind}, url: \"{address}\" }}"),
    };
    let server = Server::parse(&format!("connections: {{ web: {connection} }}"), ALL).unwrap();
    let metadata: BTreeMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let trigger = trigger::parse(&server, "acme", "tasks", &metadata).unwrap();
    let status = prop_oneof![6 => Just(200_u16), 1 => Just(429), 1 => Just(302), 1 => 200..600_u16];
    let header = ("(date|retry-after|content-type|location|content-encoding|x-amz-crc32)", text());
    let strategy = (status, vec(header, 0..3), changes(), cuts());
    let runtime = Runtime::new().unwrap();
    let client = Mutex::new(None::<Box<dyn Client>>);
    fuzz(target, &strategy, |told| {
        liar.tell(told);
        runtime.block_on(async {
            let mut client = client.lock().await;
            if client.is_none() {
                let connecting = tokio::time::timeout(DEADLINE, trigger.connection.endpoint.connect()).await;
                *client = connecting.ok().and_then(Result::ok);
            }
            let Some(open) = client.as_mut() else { return Ok(()) };
            match tokio::time::timeout(DEADLINE, open.read(std::slice::from_ref(&trigger.plan))).await {
                Ok(results) => results.iter().try_for_each(is_sound),
                // As the server does after its deadline.
                Err(_) => {
                    *client = None;
                    Ok(())
                }
            }
        })
    });
}

fn is_sound(result: &Result<Sighting, agent_scaler::sources::ReadError>) -> Result<(), TestCaseError> {
    match result {
        Ok(seen) => is_plain(&format!("{seen:?}")),
        Err(error) => is_plain(&error.to_string()),
    }
}

/// The answer to one request, once it has come in full.
fn answer(came: &mut Vec<u8>, document: &Value, told: &Told) -> Option<(Vec<u8>, bool)> {
    let head = came.windows(4).position(|bytes| bytes == b"\r\n\r\n")? + 4;
    let words = String::from_utf8_lossy(&came[..head]).to_lowercase();
    let length =
        words.split_once("content-length: ").and_then(|(_, rest)| rest.split("\r\n").next()?.parse().ok());
    let end = head + length.unwrap_or(0);
    if came.len() < end {
        return None;
    }
    came.drain(..end);
    let (status, headers, changes, cuts) = told;
    let body = cut(changed(document.clone(), changes).to_string().into_bytes(), cuts);
    let mut said = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        let value: String = value.chars().filter(|letter| !letter.is_control()).collect();
        said.push_str(name);
        said.push_str(": ");
        said.push_str(&value);
        said.push_str("\r\n");
    }
    said.push_str("\r\n");
    Some(([said.into_bytes(), body].concat(), true))
}
