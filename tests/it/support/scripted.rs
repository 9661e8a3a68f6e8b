//! A source that sees what a test tells it, beside the real ones: for faults, and for what no source of this
//! build can know yet.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use agent_scaler::engine::signals::Reading;
use agent_scaler::fields::{Fields, Key, Need};
use agent_scaler::sources::named::Named;
use agent_scaler::sources::{ALL, Client, ConnectionKind, Endpoint, Plan, ReadError, Sighting, Spec};
use async_trait::async_trait;

const QUEUE: Key = Key {
    name: "queueName",
    need: Need::Required,
    unit: "name",
    help: "a queue of the script",
    example: "q",
};

const SCRIPTED: Spec = Spec {
    name: "scripted",
    summary: "what a test says",
    keys: &[QUEUE],
    moved: &[],
    parse: |fields: &mut Fields<'_>| Some(Arc::new(Named(fields.read(&QUEUE)?))),
    connection: &KIND,
};

/// The kind of the script's connection.
pub(crate) const KIND: ConnectionKind = ConnectionKind {
    name: "scripted",
    summary: "a test",
    keys: &[],
    moved: &[],
    parse: |_| None,
    reports: None,
};

/// The sources of this build, and the scripted one.
pub(crate) const SOURCES: &[Spec] = &[ALL[0], ALL[1], SCRIPTED];

/// What every queue of one connection shows.
#[derive(Debug, Default)]
pub(crate) struct Script {
    queues: Mutex<BTreeMap<String, Shows>>,
}

/// What one queue shows; one that was never named never answers.
#[derive(Clone, Debug)]
enum Shows {
    Reading(Reading),
    Error(ReadError),
}

impl Script {
    /// From now on `queue` shows `reading`.
    pub(crate) fn shows(&self, queue: &str, reading: Reading) {
        self.queues.lock().unwrap().insert(queue.to_owned(), Shows::Reading(reading));
    }

    /// From now on reading `queue` fails, and loses the connection.
    pub(crate) fn breaks(&self, queue: &str) {
        let error = ReadError::Unreachable { endpoint: "script".into(), message: "it is down".into() };
        self.queues.lock().unwrap().insert(queue.to_owned(), Shows::Error(error));
    }

    /// From now on reading `queue`, and all that is read with it, hangs.
    pub(crate) fn hangs(&self, queue: &str) {
        self.queues.lock().unwrap().remove(queue);
    }
}

/// The script as a backend.
#[derive(Clone, Debug)]
pub(crate) struct Stage(pub(crate) Arc<Script>);

#[async_trait]
impl Endpoint for Stage {
    fn address(&self) -> String {
        "script".to_owned()
    }

    async fn connect(&self) -> Result<Box<dyn Client>, ReadError> {
        Ok(Box::new(self.clone()))
    }
}

#[async_trait]
impl Client for Stage {
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        let shown: Vec<Option<Shows>> = {
            let queues = self.0.queues.lock().unwrap();
            plans.iter().map(|plan| queues.get(plan.names()[0]).cloned()).collect()
        };
        let mut results = Vec::new();
        for shows in shown {
            results.push(match shows {
                Some(Shows::Reading(reading)) => Ok(reading.into()),
                Some(Shows::Error(error)) => Err(error),
                None => std::future::pending().await,
            });
        }
        results
    }
}
