//! A cluster: each command goes to the node that serves its key, all commands of a node in one round trip.
//!
//! A node that is gone costs the answers to its own commands, and nobody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{join_all, select_ok};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, Value, cmd};
use tokio::time::{Instant, timeout};

use super::access::Access;
use super::address::Node;
use super::fault::Fault;
use super::slots::{self, Redirect, Slots};
use super::wire::{self, Answers};
use super::{answer, opening};
use crate::sources::ReadError;
use crate::timestamp::Timestamp;

/// How long one node is waited for: less than a reader waits for the whole batch, so that one that hangs costs its
/// own queues only.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long one that did not answer is left alone: others would wait for it each time.
const REST_AFTER_SILENCE: Duration = Duration::from_secs(5);

/// How long one that cannot be reached is left alone.
const REST_AFTER_REFUSAL: Duration = Duration::from_millis(500);

/// How often it may be asked who serves what.
const LEARN_EVERY: Duration = Duration::from_millis(200);

/// How often a command may be sent on before its key counts as lost for this time.
const MOST_HOPS: usize = 4;

/// The masters of a cluster.
pub(super) struct Cluster {
    seeds: Vec<Node>,
    access: Access,
    slots: Slots,
    /// Whether something has happened after which others may serve what.
    is_stale: bool,
    learned_at: Instant,
    links: BTreeMap<Node, Link>,
}

/// The way to one node.
enum Link {
    Open(MultiplexedConnection),
    /// It has failed, and is left alone for a while.
    Resting {
        until: Instant,
        error: ReadError,
    },
}

/// A command on its way.
#[derive(Clone, Copy)]
struct Errand {
    /// Its place in the pipeline.
    index: usize,
    /// Whether its slot is on the move.
    asking: bool,
}

type Errands = BTreeMap<Node, Vec<Errand>>;

impl Cluster {
    /// Connects to the first of `seeds` that answers, and learns of the others.
    ///
    /// # Errors
    /// When none does.
    pub(super) async fn open(seeds: &[Node], access: &Access) -> Result<(Self, Timestamp), Fault> {
        let knocks = seeds.iter().map(|node| {
            Box::pin(async move {
                let opened = timeout(PATIENCE, async {
                    let (mut connection, now) = opening::open(node, 0, access).await?;
                    let slots = learn(node, &mut connection).await?;
                    Ok((node.clone(), connection, slots, now))
                });
                let late = || Fault::Lost("no answer in time".to_owned());
                opened
                    .await
                    .unwrap_or_else(|_| Err(late()))
                    .map_err(|fault| fault.said_by(&format!("node {node}")))
            })
        });
        let ((node, connection, slots, now), _) = select_ok(knocks).await?;
        let cluster = Self {
            seeds: seeds.to_vec(),
            access: access.clone(),
            slots,
            is_stale: false,
            learned_at: Instant::now(),
            links: BTreeMap::from([(node, Link::Open(connection))]),
        };
        Ok((cluster, now))
    }

    /// What was learned.
    pub(super) fn into_slots(self) -> Slots {
        self.slots
    }

    /// Sends each command to the node that serves its key, and follows those that are sent on.
    pub(super) async fn ask(&mut self, pipeline: &Pipeline) -> Answers {
        self.learn_anew().await;
        let commands: Vec<&Cmd> = pipeline.cmd_iter().collect();
        let mut collected = Collected {
            values: vec![Value::Nil; commands.len()],
            times: vec![Timestamp::default(); commands.len()],
            lost: BTreeMap::new(),
        };
        let mut errands = Errands::new();
        for (index, command) in commands.iter().enumerate() {
            match slots::key(command).and_then(|key| self.slots.master(key)) {
                Some(node) => errands.entry(node.clone()).or_default().push(Errand { index, asking: false }),
                None => {
                    self.is_stale = true;
                    collected.lost.insert(index, self.unserved());
                }
            }
        }
        for _ in 0..MOST_HOPS {
            if errands.is_empty() {
                break;
            }
            errands = self.run(errands, &commands, &mut collected).await;
        }
        for errand in errands.into_values().flatten() {
            collected.lost.insert(errand.index, self.unserved());
        }
        Answers::of_several(collected.values, collected.times, collected.lost)
    }

    /// Sends commands about `key` to the node that serves it.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) async fn ask_about(&mut self, key: &str, pipeline: Pipeline) -> Result<Vec<Value>, Fault> {
        self.learn_anew().await;
        let Some(node) = self.slots.master(key.as_bytes()).cloned() else {
            self.is_stale = true;
            return Err(Fault::unserved());
        };
        let connection = match self.links.remove(&node) {
            Some(Link::Resting { until, error }) if Instant::now() < until => {
                let fault = Fault::Lost(error.to_string());
                self.links.insert(node, Link::Resting { until, error });
                return Err(fault);
            }
            Some(Link::Open(connection)) => Some(connection),
            Some(Link::Resting { .. }) | None => None,
        };
        let endpoint = format!("{}://{node}", self.access.scheme());
        let asked = timeout(PATIENCE, async {
            let mut connection = match connection {
                Some(connection) => connection,
                None => opening::open(&node, 0, &self.access).await?.0,
            };
            let answers = wire::send(pipeline, &mut connection).await?;
            Ok((connection, answers))
        });
        let late = || Fault::Lost("no answer in time".to_owned());
        let (connection, answers) = match asked.await.unwrap_or_else(|_| Err(late())) {
            Ok(answered) => answered,
            Err(fault) => {
                self.is_stale = true;
                let until = Instant::now() + REST_AFTER_REFUSAL;
                let error = Fault::at(fault.clone(), &endpoint);
                self.links.insert(node.clone(), Link::Resting { until, error });
                return Err(fault.said_by(&format!("node {node}")));
            }
        };
        let mut refusals = answers.iter().filter_map(answer::refusal);
        self.is_stale |= refusals.any(|error| Redirect::from_error(error, &node).is_some());
        self.links.insert(node, Link::Open(connection));
        Ok(answers)
    }

    /// Runs errands to all their nodes at once. Gives those that were sent on.
    async fn run(&mut self, errands: Errands, commands: &[&Cmd], collected: &mut Collected) -> Errands {
        let mut visits = Vec::with_capacity(errands.len());
        for (node, errands) in errands {
            let link = self.links.remove(&node);
            visits.push(visit(node, link, errands, commands, &self.access));
        }
        let visits = join_all(visits).await;
        let mut sent_on = Errands::new();
        for Visit { node, link, errands, result } in visits {
            self.is_stale |= result.is_err();
            self.links.insert(node.clone(), link);
            let (answers, now) = match result {
                Ok(answered) => answered,
                Err(error) => {
                    let lost = errands.iter().map(|errand| (errand.index, error.clone()));
                    collected.lost.extend(lost);
                    continue;
                }
            };
            for (errand, answer) in errands.into_iter().zip(answers) {
                if let Some(error) = answer::refusal(&answer) {
                    self.is_stale |= error.code() == "CLUSTERDOWN";
                    if let Some(Redirect { node, asking }) = Redirect::from_error(error, &node) {
                        self.is_stale |= !asking;
                        sent_on.entry(node).or_default().push(Errand { asking, ..errand });
                        continue;
                    }
                }
                collected.values[errand.index] = answer;
                collected.times[errand.index] = now;
            }
        }
        sent_on
    }

    /// Asks who serves what, where that may have changed.
    async fn learn_anew(&mut self) {
        if !self.is_stale || self.learned_at.elapsed() < LEARN_EVERY {
            return;
        }
        self.learned_at = Instant::now();
        let open = self.links.iter().filter_map(|(node, link)| match link {
            Link::Open(connection) => Some((node.clone(), Some(connection.clone()))),
            Link::Resting { .. } => None,
        });
        let mut who: Vec<(Node, Option<MultiplexedConnection>)> = open.collect();
        if who.is_empty() {
            let known: BTreeSet<&Node> = self.slots.masters().iter().chain(&self.seeds).collect();
            who = known.into_iter().map(|node| (node.clone(), None)).collect();
        }
        let access = &self.access;
        let questions = who.into_iter().map(|(node, connection)| {
            Box::pin(async move {
                let asked = timeout(PATIENCE, async {
                    let mut connection = match connection {
                        Some(connection) => connection,
                        None => opening::open(&node, 0, access).await?.0,
                    };
                    learn(&node, &mut connection).await
                });
                asked.await.unwrap_or_else(|_| Err(Fault::Lost("no answer in time".to_owned())))
            })
        });
        let Ok((slots, _)) = select_ok(questions).await else { return };
        let masters = slots.masters();
        self.links.retain(|node, _| masters.contains(node));
        // Until every slot has somebody who answers for it, the next time may tell more.
        self.is_stale = self.links.values().any(|link| matches!(link, Link::Resting { .. }));
        self.slots = slots;
    }

    fn unserved(&self) -> ReadError {
        let nodes: Vec<String> = self.seeds.iter().map(Node::to_string).collect();
        Fault::unserved().at(&format!("{}://{} (cluster)", self.access.scheme(), nodes.join(",")))
    }
}

/// What has come back so far.
struct Collected {
    values: Vec<Value>,
    times: Vec<Timestamp>,
    lost: BTreeMap<usize, ReadError>,
}

/// What came of the errands to one node.
struct Visit {
    node: Node,
    link: Link,
    errands: Vec<Errand>,
    result: Result<(Vec<Value>, Timestamp), ReadError>,
}

/// Runs the errands to one node, in one round trip.
async fn visit(
    node: Node,
    link: Option<Link>,
    errands: Vec<Errand>,
    commands: &[&Cmd],
    access: &Access,
) -> Visit {
    let connection = match link {
        Some(Link::Resting { until, error }) if Instant::now() < until => {
            let result = Err(error.clone());
            return Visit { node, link: Link::Resting { until, error }, errands, result };
        }
        Some(Link::Open(connection)) => Some(connection),
        Some(Link::Resting { .. }) | None => None,
    };
    let endpoint = format!("{}://{node}", access.scheme());
    let asked = timeout(PATIENCE, async {
        let mut connection = match connection {
            Some(connection) => connection,
            None => opening::open(&node, 0, access).await?.0,
        };
        let answers = exchange(&errands, commands, &mut connection).await?;
        Ok((connection, answers))
    });
    let (link, result) = match asked.await {
        Ok(Ok((connection, answers))) => (Link::Open(connection), Ok(answers)),
        Ok(Err(fault)) => resting(Fault::at(fault, &endpoint), REST_AFTER_REFUSAL),
        Err(_) => resting(ReadError::Deadline { endpoint }, REST_AFTER_SILENCE),
    };
    Visit { node, link, errands, result }
}

fn resting<T>(error: ReadError, rest: Duration) -> (Link, Result<T, ReadError>) {
    (Link::Resting { until: Instant::now() + rest, error: error.clone() }, Err(error))
}

/// Sends the commands of `errands`, and gives an answer for each, and the node's time.
async fn exchange(
    errands: &[Errand],
    commands: &[&Cmd],
    connection: &mut MultiplexedConnection,
) -> Result<(Vec<Value>, Timestamp), Fault> {
    let mut pipeline = Pipeline::new();
    pipeline.cmd("TIME");
    let mut places = Vec::with_capacity(errands.len());
    for errand in errands {
        let Some(command) = commands.get(errand.index) else { continue };
        if errand.asking {
            pipeline.cmd("ASKING");
        }
        places.push(pipeline.len());
        pipeline.add_command((*command).clone());
    }
    let mut answers = wire::send(pipeline, connection).await?;
    let now = wire::time(answers.first().unwrap_or(&Value::Nil))?;
    let answer = |place: usize| answers.get_mut(place).map_or(Value::Nil, std::mem::take);
    Ok((places.into_iter().map(answer).collect(), now))
}

/// Asks `node` who serves what.
///
/// # Errors
/// When it does not say.
pub(super) async fn learn(node: &Node, connection: &mut MultiplexedConnection) -> Result<Slots, Fault> {
    let answer = opening::ask(cmd("CLUSTER").arg("SLOTS"), connection).await?;
    if let Some(error) = answer::refusal(&answer) {
        return Err(Fault::of_cluster(error));
    }
    Slots::from_answer(&answer, node).ok_or_else(|| Fault::nonsense("CLUSTER SLOTS"))
}
