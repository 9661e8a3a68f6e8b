//! A cluster: each command goes to the node that serves its key, all commands of a node in one round trip.
//!
//! A node that is gone costs the answers to its own commands, and nobody else's.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::future::{join_all, select_ok};
use redis::{Cmd, Pipeline, Value, cmd};
use tokio::time::{Instant, timeout};

use super::access::Access;
use super::address::Node;
use super::connection::{Connection, MOST_ANSWERS};
use super::fault::{Fault, LOST};
use super::reach::Reach;
use super::slots::{self, Redirect, Slots};
use super::visit::{Errand, Link, REST_AFTER_REFUSAL, Round, Visit, visit};
use super::wire::{self, Answer, Given, Missing, Question};
use super::{answer, opening};
use crate::sources::ReadError;
use crate::timestamp::Timestamp;

/// How long one node is waited for: less than a reader waits for the whole batch, so that one that hangs costs its
/// own queues only.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often it may be asked who serves what.
const LEARN_EVERY: Duration = Duration::from_millis(200);

/// How often a command may be sent on before its key counts as lost for this time.
const MOST_HOPS: usize = 4;

/// Most nodes of which a node that we do not know may be told while a slot is on the move.
const MOST_STRANGERS: usize = 16;

/// The masters of a cluster.
pub(super) struct Cluster {
    seeds: Vec<Node>,
    access: Access,
    slots: Slots,
    /// How far the names of nodes are believed, from where they were learned.
    reach: Reach,
    /// Whether something has happened after which others may serve what.
    is_stale: bool,
    learned_at: Instant,
    links: BTreeMap<Node, Link>,
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
                    let (mut connection, now) = opening::open(node, Reach::Anywhere, 0, access).await?;
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
        let reach = Reach::From { peer: connection.peer(), encrypted: access.tls.is_some() };
        let cluster = Self {
            seeds: seeds.to_vec(),
            access: access.clone(),
            slots,
            reach,
            is_stale: false,
            learned_at: Instant::now(),
            links: BTreeMap::from([(node, Link::Open(connection))]),
        };
        Ok((cluster, now))
    }

    /// The masters that were learned, with how far each may be followed, and who serves what.
    pub(super) fn into_masters(self) -> (Vec<(Node, Reach)>, Slots) {
        let masters = self.slots.masters().iter().map(|node| (node.clone(), self.reach(node)));
        (masters.collect(), self.slots)
    }

    fn reach(&self, node: &Node) -> Reach {
        let is_ours = self.seeds.iter().any(|seed| seed.host == node.host);
        if is_ours { Reach::Anywhere } else { self.reach }
    }

    /// Sends each command to the node that serves its key, and follows those that are sent on.
    pub(super) async fn ask(&mut self, questions: &[Question], by: Instant) -> Vec<Answer> {
        self.learn_anew().await;
        let commands: Vec<&Cmd> =
            questions.iter().flat_map(|question| question.commands.cmd_iter()).collect();
        let allowances = questions.iter().flat_map(|Question { commands, allowance }| {
            // Most of them go to one node, and share it there.
            std::iter::repeat_n(allowance.div_ceil(commands.len().max(1)), commands.len())
        });
        let mut round = Round {
            commands,
            allowances: allowances.collect(),
            answers: Vec::new(),
            by: by.min(Instant::now() + PATIENCE),
        };
        round.answers = vec![Err(Missing::NotReached); round.commands.len()];
        let mut errands = Errands::new();
        for (index, command) in round.commands.iter().enumerate() {
            match slots::key(command).and_then(|key| self.slots.master(key)) {
                Some(node) => errands.entry(node.clone()).or_default().push(Errand { index, asking: false }),
                None => {
                    self.is_stale = true;
                    round.answers[index] = Err(Missing::Lost(self.unserved()));
                }
            }
        }
        for _ in 0..MOST_HOPS {
            if errands.is_empty() {
                break;
            }
            errands = self.run(errands, &mut round).await;
            errands = self.known(errands, &mut round).await;
        }
        for errand in errands.into_values().flatten() {
            round.answers[errand.index] = Err(Missing::Lost(self.unserved()));
        }
        let mut answers = round.answers.into_iter();
        questions.iter().map(|question| together(answers.by_ref().take(question.commands.len()))).collect()
    }

    /// The errands to nodes that are known. A node may send a command anywhere: before a stranger is believed to serve
    /// a slot, the others are asked. One that a slot is on its way to may serve none yet.
    async fn known(&mut self, mut errands: Errands, round: &mut Round<'_>) -> Errands {
        let is_known = |slots: &Slots, node: &Node| slots.masters().binary_search(node).is_ok();
        if errands.keys().any(|node| !is_known(&self.slots, node)) {
            self.is_stale = true;
            self.learn_anew().await;
        }
        let mut strangers = 0;
        let slots = &self.slots;
        let refused = errands.extract_if(.., |node, errands| {
            if is_known(slots, node) {
                return false;
            }
            strangers += 1;
            strangers > MOST_STRANGERS || errands.iter().any(|errand| !errand.asking)
        });
        let refused: Vec<Errand> = refused.flat_map(|(_, errands)| errands).collect();
        for errand in refused {
            round.answers[errand.index] = Err(Missing::Lost(self.unserved()));
        }
        errands
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
        let reach = self.reach(&node);
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
                None => opening::open(&node, reach, 0, &self.access).await?.0,
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
    async fn run(&mut self, errands: Errands, round: &mut Round<'_>) -> Errands {
        let mut visits = Vec::with_capacity(errands.len());
        for (node, errands) in errands {
            let link = self.links.remove(&node);
            let reach = self.reach(&node);
            visits.push(visit(node, reach, link, errands, round, &self.access));
        }
        let visits = join_all(visits).await;
        let mut sent_on = Errands::new();
        for Visit { node, link, errands, answers } in visits {
            if let Some(link) = link {
                self.links.insert(node.clone(), link);
            }
            for (errand, answer) in errands.into_iter().zip(answers) {
                self.is_stale |= matches!(answer, Err(Missing::Lost(_)));
                if let Ok((value, _)) = &answer
                    && let Some(error) = answer::refusal(value)
                {
                    self.is_stale |= error.code() == "CLUSTERDOWN";
                    if let Some(Redirect { node, asking }) = Redirect::from_error(error, &node) {
                        self.is_stale |= !asking;
                        sent_on.entry(node).or_default().push(Errand { asking, ..errand });
                        continue;
                    }
                }
                round.answers[errand.index] = answer;
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
        let mut who: Vec<(Node, Option<Connection>)> = open.collect();
        if who.is_empty() {
            let known: BTreeSet<&Node> = self.slots.masters().iter().chain(&self.seeds).collect();
            who = known.into_iter().map(|node| (node.clone(), None)).collect();
        }
        let access = &self.access;
        let questions = who.into_iter().map(|(node, connection)| {
            let reach = self.reach(&node);
            Box::pin(async move {
                let asked = timeout(PATIENCE, async {
                    let mut connection = match connection {
                        Some(connection) => connection,
                        None => opening::open(&node, reach, 0, access).await?.0,
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

/// The answers to one question. If a node gave none and other nodes answered, an error is in its place. If an
/// answer was too long or did not arrive, all are asked for again.
fn together(answers: impl Iterator<Item = Result<(Value, Timestamp), Missing>>) -> Answer {
    let (mut values, mut first, mut again, mut lost) = (Vec::new(), None, None, None);
    for answer in answers {
        match answer {
            Ok((value, now)) => {
                values.push(value);
                first.get_or_insert(now);
            }
            Err(Missing::Lost(error)) => {
                values.push(not_given(&error));
                lost = Some(error);
            }
            // The command that is at fault counts, and not those behind it.
            Err(Missing::NotReached) => again = again.or(Some(Missing::NotReached)),
            Err(Missing::TooLong) => again = Some(Missing::TooLong),
        }
    }
    match (again, first, lost) {
        (Some(again), ..) => Err(again),
        (None, None, Some(error)) => Err(Missing::Lost(error)),
        (None, first, lost) => Ok(Given { values, now: first.unwrap_or_default(), lost }),
    }
}

/// The error in place of an answer that a node did not give.
fn not_given(error: &ReadError) -> Value {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = error.to_string().chars().map(plain).collect();
    let answer = redis::parse_redis_value(format!("-{LOST} {text}\r\n").as_bytes());
    answer.unwrap_or(Value::Nil)
}

/// Asks `node` who serves what.
///
/// # Errors
/// When it does not say.
pub(super) async fn learn(node: &Node, connection: &mut Connection) -> Result<Slots, Fault> {
    let answer = connection.ask(cmd("CLUSTER").arg("SLOTS"), MOST_ANSWERS).await?;
    if let Some(error) = answer::refusal(&answer) {
        return Err(Fault::of_cluster(error));
    }
    Slots::from_answer(&answer, node).ok_or_else(|| Fault::nonsense("CLUSTER SLOTS"))
}
