//! The way to the servers: a pipeline goes out, and its answers come back, whatever Redis it is.

use std::collections::BTreeMap;
use std::ops::Range;

use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value, cmd};

use super::answer;
use super::cluster::Cluster;
use super::endpoint::{Place, RedisEndpoint};
use super::fault::Fault;
use super::{opening, sentinel};
use crate::sources::ReadError;
use crate::timestamp::Timestamp;

/// An open way to where the queues are.
pub(super) enum Wire {
    /// One server, of which nothing else is expected.
    Server(MultiplexedConnection),
    /// One server that must be the master.
    Master(MultiplexedConnection),
    /// The masters of a cluster.
    Cluster(Box<Cluster>),
}

/// Answers to the commands of one pipeline, in order.
pub(super) struct Answers {
    values: Vec<Value>,
    /// Commands without an answer, because their node has given none.
    lost: BTreeMap<usize, ReadError>,
    times: Times,
}

/// When the answers were given, by the clocks of those who gave them.
enum Times {
    Same(Timestamp),
    Each(Vec<Timestamp>),
}

/// Opens the way to `endpoint`, and tells the time there.
///
/// # Errors
/// When there is none.
pub(super) async fn open(endpoint: &RedisEndpoint) -> Result<(Wire, Timestamp), Fault> {
    let RedisEndpoint { place, access } = endpoint;
    match place {
        Place::Server { node, database } => {
            let (connection, now) = opening::open(node, *database, access).await?;
            Ok((Wire::Server(connection), now))
        }
        Place::Cluster { nodes } => {
            let (cluster, now) = Cluster::open(nodes, access).await?;
            Ok((Wire::Cluster(Box::new(cluster)), now))
        }
        Place::Master { sentinels, login, name, database } => {
            let node = sentinel::master(name, sentinels, login.as_ref(), access).await?;
            let at_node = |fault: Fault| fault.said_by(&format!("master {node}"));
            let (mut connection, now) = opening::open(&node, *database, access).await.map_err(at_node)?;
            let role = opening::ask(&cmd("ROLE"), &mut connection).await.map_err(at_node)?;
            is_master(&role).map_err(at_node)?;
            Ok((Wire::Master(connection), now))
        }
    }
}

impl Wire {
    /// A pipeline to put commands into. The time comes with the answers, so that ages do not depend on how well two
    /// clocks agree, and so does the role of one that may lose it.
    pub(super) fn pipeline(&self) -> Pipeline {
        let mut pipeline = Pipeline::new();
        match self {
            Self::Server(_) => {
                pipeline.cmd("TIME");
            }
            Self::Master(_) => {
                pipeline.cmd("TIME").cmd("ROLE");
            }
            // It asks each node.
            Self::Cluster(_) => {}
        }
        pipeline
    }

    /// Sends a pipeline that began as [`pipeline`](Self::pipeline): one round trip to each node.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub(super) async fn ask(&mut self, pipeline: Pipeline) -> Result<Answers, Fault> {
        match self {
            Self::Server(connection) => {
                let values = send(pipeline, connection).await?;
                let now = time(values.first().unwrap_or(&Value::Nil))?;
                Ok(Answers { values, lost: BTreeMap::new(), times: Times::Same(now) })
            }
            Self::Master(connection) => {
                let values = send(pipeline, connection).await?;
                let now = time(values.first().unwrap_or(&Value::Nil))?;
                is_master(values.get(1).unwrap_or(&Value::Nil))?;
                Ok(Answers { values, lost: BTreeMap::new(), times: Times::Same(now) })
            }
            Self::Cluster(cluster) => Ok(cluster.ask(&pipeline).await),
        }
    }

    /// Executes commands about the key of each entry as one transaction: of all entries, or in a cluster of each.
    ///
    /// # Errors
    /// When one could not be executed.
    pub(super) async fn transact(&mut self, entries: Vec<(String, Pipeline)>) -> Result<(), Fault> {
        match self {
            Self::Server(connection) | Self::Master(connection) => {
                let answers =
                    send(transaction(entries.iter().map(|(_, commands)| commands)), connection).await?;
                executed(answers)
            }
            Self::Cluster(cluster) => {
                let mut first = Ok(());
                for (key, commands) in &entries {
                    let answers = cluster.ask_about(key, transaction([commands].into_iter())).await;
                    // One that is lost must not keep the others.
                    first = first.and(answers.and_then(executed));
                }
                first
            }
        }
    }

    /// Whether it goes on after the loss of a connection.
    pub(super) const fn mends_itself(&self) -> bool {
        matches!(self, Self::Cluster(_))
    }
}

impl Answers {
    /// Answers of several nodes: with the time of each answer, and those that were lost.
    pub(super) fn of_several(
        values: Vec<Value>,
        times: Vec<Timestamp>,
        lost: BTreeMap<usize, ReadError>,
    ) -> Self {
        Self { values, lost, times: Times::Each(times) }
    }

    /// The answers to the commands of `range`.
    ///
    /// # Errors
    /// When one of them was lost.
    pub(super) fn of(&self, range: Range<usize>) -> Result<&[Value], ReadError> {
        match self.lost.range(range.clone()).next() {
            Some((_, error)) => Err(error.clone()),
            None => Ok(self.values.get(range).unwrap_or_default()),
        }
    }

    /// When the command at `index` was answered.
    pub(super) fn time(&self, index: usize) -> Timestamp {
        match &self.times {
            Times::Same(now) => *now,
            Times::Each(times) => times.get(index).copied().unwrap_or_default(),
        }
    }

    /// The earliest time of all.
    pub(super) fn earliest(&self) -> Option<Timestamp> {
        match &self.times {
            Times::Same(now) => Some(*now),
            Times::Each(times) => {
                let answered = times.iter().enumerate().filter(|(index, _)| !self.lost.contains_key(index));
                answered.map(|(_, time)| *time).min()
            }
        }
    }
}

/// One answer for each command, errors of single commands among them.
///
/// # Errors
/// When the connection breaks.
pub(super) async fn send(
    mut pipeline: Pipeline,
    connection: &mut MultiplexedConnection,
) -> Result<Vec<Value>, Fault> {
    let answers = pipeline.ignore_errors().query_async(connection).await;
    answers.map_err(|error| Fault::of_connection(&error))
}

/// The time that Redis answers to `TIME`.
///
/// # Errors
/// When it refuses, or the answer makes no sense.
pub(super) fn time(answer: &Value) -> Result<Timestamp, Fault> {
    if let Some(error) = answer::refusal(answer) {
        return Err(Fault::said(error));
    }
    answer::time(answer).ok_or_else(|| Fault::nonsense("TIME"))
}

/// Reads the answer to `ROLE`.
///
/// # Errors
/// When it is not a master's: one that was demoted still answers, of a past that others have left behind.
pub(super) fn is_master(role: &Value) -> Result<(), Fault> {
    if let Some(error) = answer::refusal(role) {
        return Err(Fault::of_role(error));
    }
    match answer::array(role).and_then(|role| role.first()).and_then(answer::bytes) {
        Some(b"master") => Ok(()),
        Some(_) => Err(Fault::Lost("it is no master any more".to_owned())),
        None => Err(Fault::nonsense("ROLE")),
    }
}

fn transaction<'a>(entries: impl Iterator<Item = &'a Pipeline>) -> Pipeline {
    let mut pipeline = Pipeline::new();
    pipeline.cmd("MULTI");
    for command in entries.flat_map(Pipeline::cmd_iter) {
        pipeline.add_command(command.clone());
    }
    pipeline.cmd("EXEC");
    pipeline
}

/// One command that fails within a transaction is an answer within the last answer.
fn executed(mut answers: Vec<Value>) -> Result<(), Fault> {
    if let Some(Value::Array(executed)) = answers.pop_if(|answer| matches!(answer, Value::Array(_))) {
        answers.extend(executed);
    }
    answers.iter().find_map(answer::refusal).map_or(Ok(()), |error| Err(Fault::of_share(error)))
}
