//! A bug in a rule costs one trigger, and no other.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use prometheus_client::registry::Registry;

use super::*;
use crate::clock::SystemClock;
use crate::config::server::{Connection, Server};
use crate::config::trigger::{self, Trigger};
use crate::engine::decision::Answer;
use crate::engine::signals::Reading;
use crate::fields::{Fields, Key, Need};
use crate::scaler::board::{Purpose, Request};
use crate::sources::named::Named;
use crate::sources::{Client, ConnectionKind, Endpoint, Plan, ReadError, Sighting, Spec, Wake};

#[tokio::test(start_paused = true)]
async fn a_panic_while_deciding_is_counted_and_leaves_that_trigger_stale_and_the_others_alone() {
    let (board, changes) = Board::new(10);
    let board = Arc::new(board);
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let metrics = Metrics::register(&mut Registry::default());
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let decider = Decider::new(
        Arc::clone(&board),
        Arc::clone(&clock),
        metrics.clone(),
        Manner { tick: Duration::from_secs(5), minute: Duration::from_secs(60), voice: Voice::Silent },
        unlucky,
        (tasks.clone(), shutdown.clone()),
    );
    tasks.spawn(decider.run(changes));
    let cursed = board.watch(named("13"), Request::default(), Purpose::Answer, clock.now()).unwrap();
    let lucky = board.watch(named("7"), Request::default(), Purpose::Answer, clock.now()).unwrap();
    let answer = lucky.evaluated().await.unwrap().decision.answer.clone();
    assert!(matches!(answer, Answer::Fresh(size) if size.replicas == 7), "{answer:?}");
    // The two may be read one after the other.
    let panicked = async {
        while metrics.decision_panics.get() == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), panicked).await.expect("a panic is counted");
    assert!(cursed.evaluation().is_none(), "nothing was decided, so nothing is answered");
    shutdown.cancel();
}

/// An engine with a bug that one number brings out.
fn unlucky(
    policy: &Policy,
    signals: &Signals,
    share: Option<&Arc<Share>>,
    memory: &Memory,
    now: Timestamp,
) -> (Decision, Memory) {
    assert_ne!(signals.queue.seen().and_then(|reading| reading.ready), Some(13), "a bug");
    engine(policy, signals, share, memory, now)
}

/// A trigger on a queue of as many tasks as its name says.
fn named(tasks: &str) -> Trigger {
    let mut server = Server::parse("", SOURCES).unwrap();
    let connection = Connection { name: "here".into(), kind: &KIND, endpoint: Arc::new(Here) };
    server.connections.insert("here".to_owned(), Arc::new(connection));
    let metadata = BTreeMap::from(
        [("source", "numbers"), ("connection", "here"), ("tasks", tasks)]
            .map(|(key, value)| (key.to_owned(), value.to_owned())),
    );
    trigger::parse(&server, "acme", tasks, &metadata).unwrap()
}

const KIND: ConnectionKind = ConnectionKind {
    name: "here",
    summary: "",
    keys: &[],
    moved: &[],
    wake: Wake::Polled(Duration::from_millis(200)),
    parse: |_| None,
    reports: None,
};
const TASKS: Key = Key { name: "tasks", need: Need::Required, unit: "tasks", help: "", example: "" };
static SOURCES: &[Spec] = &[Spec {
    name: "numbers",
    summary: "",
    keys: &[TASKS],
    moved: &[],
    parse: |fields: &mut Fields<'_>| Some(Arc::new(Named(fields.read(&TASKS)?))),
    connections: &[&KIND],
    to_show_running: None,
}];

#[derive(Debug)]
struct Here;

#[async_trait]
impl Endpoint for Here {
    fn address(&self) -> String {
        "here".to_owned()
    }

    async fn connect(&self) -> Result<Box<dyn Client>, ReadError> {
        Ok(Box::new(Self))
    }
}

#[async_trait]
impl Client for Here {
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        let count = |plan: &Arc<dyn Plan>| plan.names()[0].parse().ok();
        let known = Some(crate::engine::signals::InFlight::Known(0));
        plans
            .iter()
            .map(|plan| Reading { ready: count(plan), in_flight: known, ..Reading::default() })
            .map(|reading| Ok(Sighting::from(reading)))
            .collect()
    }
}
