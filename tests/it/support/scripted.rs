//! A source that sees what a test tells it, beside the real ones: for faults, and for what no source of this
//! build can know yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_scaler::engine::limit::LimitSeen;
use agent_scaler::engine::signals::{Reading, Workers};
use agent_scaler::fields::{Fields, Key, Need};
use agent_scaler::sources::named::Named;
use agent_scaler::sources::{
    ALL, Client, ConnectionKind, Endpoint, Plan, Published, ReadError, Reports, Sighting, Spec, Wake,
};
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
    connections: &[&KIND],
    to_show_running: None,
};

/// The kind of the script's connection. One that a server's file names has an empty script of its own, until
/// the harness gives it the test's.
pub(crate) const KIND: ConnectionKind = ConnectionKind {
    name: "scripted",
    summary: "a test",
    keys: &[],
    moved: &[],
    wake: Wake::Polled(Duration::from_millis(200)),
    parse: |_| Some(Arc::new(Stage(Arc::default()))),
    reports: Some(Reports {
        workers: |scope, _| Arc::new(Reported { what: "workers of", scope: scope.to_owned() }),
        limit: |scope| Arc::new(Reported { what: "limit", scope: scope.to_owned() }),
    }),
};

/// A kind of connection that workers cannot report through.
const MUTE: ConnectionKind = ConnectionKind { name: "mute", reports: None, ..KIND };
const MUTED: Spec = Spec { name: "muted", connections: &[&MUTE], ..SCRIPTED };

/// What workers report under a name.
#[derive(Debug)]
struct Reported {
    what: &'static str,
    scope: String,
}

impl Plan for Reported {
    fn queue(&self) -> String {
        format!("{} {}", self.what, self.scope)
    }

    fn name(&self) -> String {
        self.scope.clone()
    }

    fn names(&self) -> Vec<&str> {
        vec![&self.scope]
    }

    fn shows_running(&self) -> bool {
        true
    }

    fn commands(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Sources of this build, the scripted one, and the same without workers.
pub(crate) const SOURCES: &[Spec] = &{
    let mut sources = [SCRIPTED; ALL.len() + 2];
    let mut index = 0;
    while index < ALL.len() {
        sources[index] = ALL[index];
        index += 1;
    }
    sources[ALL.len() + 1] = MUTED;
    sources
};

/// What everything behind one connection shows.
#[derive(Debug, Default)]
pub(crate) struct Script {
    /// By the whole name of a plan: `queue jobs`, `workers of jobs`, `limit prod`.
    shown: Mutex<BTreeMap<String, Result<Sighting, ReadError>>>,
    silent: Mutex<BTreeSet<String>>,
    /// Plans whose read panics.
    cursed: Mutex<BTreeSet<String>>,
    published: Mutex<BTreeMap<String, Published>>,
}

impl Script {
    /// From now on `queue` shows `reading`.
    pub(crate) fn shows(&self, queue: &str, reading: Reading) {
        self.show(format!("queue {queue}"), Ok(reading.into()));
    }

    /// From now on reading `queue` fails, and loses the connection.
    pub(crate) fn breaks(&self, queue: &str) {
        let error = ReadError::Unreachable { endpoint: "script".into(), message: "it is down".into() };
        self.show(format!("queue {queue}"), Err(error));
    }

    /// From now on reading `queue`, and all that is read with it, hangs.
    pub(crate) fn hangs(&self, queue: &str) {
        self.shown.lock().unwrap().remove(&format!("queue {queue}"));
    }

    /// From now on workers report this under `scope`.
    pub(crate) fn reports(&self, scope: &str, workers: Workers) {
        self.show(format!("workers of {scope}"), Ok(Sighting::Workers(workers)));
    }

    /// From now on reading what workers report under `scope` fails.
    pub(crate) fn breaks_workers(&self, scope: &str) {
        let error = ReadError::Unexpected { endpoint: "script".into(), message: "it is full".into() };
        self.show(format!("workers of {scope}"), Err(error));
    }

    /// From now on workers have seen this of the limit `scope`.
    pub(crate) fn says(&self, scope: &str, seen: LimitSeen) {
        self.show(format!("limit {scope}"), Ok(Sighting::Limit(seen)));
    }

    /// From now on reading `queue`, and all that is read with it, panics.
    pub(crate) fn panics(&self, queue: &str) {
        self.cursed.lock().unwrap().insert(format!("queue {queue}"));
    }

    /// As if `queue` had never made anything panic.
    pub(crate) fn panics_no_more(&self, queue: &str) {
        self.cursed.lock().unwrap().remove(&format!("queue {queue}"));
    }

    /// From now on `plan`, and all that is read with it, hangs.
    pub(crate) fn never_answers(&self, plan: &str) {
        self.silent.lock().unwrap().insert(plan.to_owned());
    }

    /// What workers of the limit `scope` were last told.
    pub(crate) fn published(&self, scope: &str) -> Option<Published> {
        self.published.lock().unwrap().get(scope).cloned()
    }

    /// As if workers had never been told anything.
    pub(crate) fn forget_published(&self) {
        self.published.lock().unwrap().clear();
    }

    fn show(&self, plan: String, sighting: Result<Sighting, ReadError>) {
        self.silent.lock().unwrap().remove(&plan);
        self.shown.lock().unwrap().insert(plan, sighting);
    }

    /// What `plan` shows; `None` for a queue that was never named, which never answers.
    fn sighting(&self, plan: &dyn Plan) -> Option<Result<Sighting, ReadError>> {
        let name = plan.queue();
        assert!(!self.cursed.lock().unwrap().contains(&name), "a bug in a source");
        if self.silent.lock().unwrap().contains(&name) {
            return None;
        }
        let shown = self.shown.lock().unwrap().get(&name).cloned();
        // Nobody reports, and nothing is known of any limit.
        shown.or_else(|| match name.split_once(' ')?.0 {
            "workers" => Some(Ok(Sighting::Workers(Workers::default()))),
            "limit" => Some(Ok(Sighting::Limit(LimitSeen::default()))),
            _ => None,
        })
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
        let shown: Vec<_> = plans.iter().map(|plan| self.0.sighting(plan.as_ref())).collect();
        let mut results = Vec::new();
        for sighting in shown {
            results.push(match sighting {
                Some(sighting) => sighting,
                None => std::future::pending().await,
            });
        }
        results
    }

    async fn publish(&mut self, shares: &[Published]) -> Result<(), ReadError> {
        let mut published = self.0.published.lock().unwrap();
        published.extend(shares.iter().map(|shares| (shares.limit.clone(), shares.clone())));
        Ok(())
    }
}
