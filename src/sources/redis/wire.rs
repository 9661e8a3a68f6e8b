//! The way to the servers: a pipeline goes out, and its answers come back, whatever Redis it is.

use redis::{Pipeline, Value, cmd};
use tokio::time::Instant;

use super::answer;
use super::cluster::Cluster;
use super::connection::{Connection, End, Exchange, SMALL};
use super::endpoint::{Place, RedisEndpoint};
use super::fault::Fault;
use super::reach::Reach;
use super::{opening, sentinel};
use crate::sources::ReadError;
use crate::timestamp::Timestamp;

/// An open way to where the queues are.
pub(super) enum Wire {
    /// One server, of which nothing else is expected.
    Server(Connection),
    /// One server that must be the master.
    Master(Connection),
    /// The masters of a cluster.
    Cluster(Box<Cluster>),
}

/// Commands whose answers belong together, and what these may cost.
pub(super) struct Question {
    pub(super) commands: Pipeline,
    pub(super) allowance: usize,
}

/// The answers to the commands of a question.
pub(super) type Answer = Result<Given, Missing>;

/// One answer for each command.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Given {
    pub(super) values: Vec<Value>,
    /// The time of the answers, by the clock of the node that gave the first.
    pub(super) now: Timestamp,
    /// The reason why some answers are missing, with an error in their places, although other nodes answered.
    pub(super) lost: Option<ReadError>,
}

/// Why a question has no answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Missing {
    /// Nothing is wrong with it: the connection ended with the answer to another.
    NotReached,
    /// The answer is longer than all answers together may be, or one before it was.
    TooLong,
    /// It was lost.
    Lost(ReadError),
}

/// Opens the way to `endpoint`, and tells the time there.
///
/// # Errors
/// When there is none.
pub(super) async fn open(endpoint: &RedisEndpoint) -> Result<(Wire, Timestamp), Fault> {
    let RedisEndpoint { place, access } = endpoint;
    match place {
        Place::Server { node, database } => {
            let (connection, now) = opening::open(node, Reach::Anywhere, *database, access).await?;
            Ok((Wire::Server(connection), now))
        }
        Place::Cluster { nodes } => {
            let (cluster, now) = Cluster::open(nodes, access).await?;
            Ok((Wire::Cluster(Box::new(cluster)), now))
        }
        Place::Master { sentinels, login, name, database } => {
            let (node, reach) = sentinel::master(name, sentinels, login.as_ref(), access).await?;
            let at_node = |fault: Fault| fault.said_by(&format!("master {node}"));
            let (mut connection, now) =
                opening::open(&node, reach, *database, access).await.map_err(at_node)?;
            let role = opening::ask(&cmd("ROLE"), &mut connection).await.map_err(at_node)?;
            is_master(&role).map_err(at_node)?;
            Ok((Wire::Master(connection), now))
        }
    }
}

impl Wire {
    /// Asks `questions` in one round trip to each server, and takes the answers that come until `by`. After a fault,
    /// or where the end of a connection cost an answer, it is of use only if it [mends itself](Self::mends_itself).
    ///
    /// # Errors
    /// When there is no answer at all.
    pub(super) async fn ask(
        &mut self,
        questions: &[Question],
        by: Instant,
        endpoint: &str,
    ) -> Result<Vec<Answer>, Fault> {
        let (connection, is_expected_to_lead) = match self {
            Self::Server(connection) => (connection, false),
            Self::Master(connection) => (connection, true),
            Self::Cluster(cluster) => return Ok(cluster.ask(questions, by).await),
        };
        // The time comes with the answers, so that ages do not depend on how well two clocks agree, and so does the
        // role of one that may lose it.
        let mut head = Pipeline::new();
        head.cmd("TIME");
        if is_expected_to_lead {
            head.cmd("ROLE");
        }
        let allowance = questions.iter().fold(SMALL, |sum, question| sum.saturating_add(question.allowance));
        let groups: Vec<Pipeline> =
            std::iter::once(head).chain(questions.iter().map(|question| question.commands.clone())).collect();
        let Exchange { answers, end } = connection.exchange(&groups, allowance, by).await;
        let mut answers = answers.into_iter();
        let Some(head) = answers.next() else { return Err(end.map_or(Fault::Late, Fault::from)) };
        let now = time(head.first().unwrap_or(&Value::Nil))?;
        if is_expected_to_lead {
            is_master(head.get(1).unwrap_or(&Value::Nil))?;
        }
        let mut answers: Vec<Answer> = answers.map(|values| Ok(Given { values, now, lost: None })).collect();
        if let Some(end) = end {
            let mut missing = Missing::of(end, endpoint);
            while answers.len() < questions.len() {
                let next = missing.next();
                answers.push(Err(std::mem::replace(&mut missing, next)));
            }
        }
        Ok(answers)
    }

    /// Executes commands about the key of each entry as one transaction: of all entries, or in a cluster of each.
    ///
    /// # Errors
    /// When one could not be executed.
    pub(super) async fn transact(&mut self, entries: Vec<(String, Pipeline)>) -> Result<(), Fault> {
        match self {
            Self::Server(connection) | Self::Master(connection) => {
                executed(send(transaction(entries.iter().map(|(_, commands)| commands)), connection).await?)
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

impl Missing {
    /// Why the first answer that did not come is missing.
    pub(super) fn of(end: End, endpoint: &str) -> Self {
        match end {
            End::TooLong => Self::TooLong,
            End::Late | End::Lost(_) => Self::Lost(Fault::from(end).at(endpoint)),
        }
    }

    /// Why the one after it is.
    pub(super) fn next(&self) -> Self {
        match self {
            Self::TooLong | Self::NotReached => Self::NotReached,
            Self::Lost(error) => Self::Lost(error.clone()),
        }
    }
}

/// One short answer for each command, errors of single commands among them. Who waits, and for how long, is up to the
/// caller.
///
/// # Errors
/// When the connection breaks.
pub(super) async fn send(pipeline: Pipeline, connection: &mut Connection) -> Result<Vec<Value>, Fault> {
    /// The answer to one of the commands that write, or that have Redis tell of a key: a number or an error.
    const SHORT: usize = 1 << 10;
    const A_LONG_TIME: std::time::Duration = std::time::Duration::from_secs(60);
    let most = SMALL.saturating_add(pipeline.len().saturating_mul(SHORT));
    connection.exchange(&[pipeline], most, Instant::now() + A_LONG_TIME).await.all()
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
