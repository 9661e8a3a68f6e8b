//! One node of a cluster: the commands that it serves go out, and their answers come back, or some of them.

use std::time::Duration;

use redis::{Cmd, Pipeline, Value};
use tokio::time::{Instant, timeout_at};

use super::access::Access;
use super::address::Node;
use super::connection::{Connection, Exchange, SMALL};
use super::fault::Fault;
use super::opening;
use super::reach::Reach;
use super::wire::{self, Missing};
use crate::sources::ReadError;
use crate::timestamp::Timestamp;

/// How long one that did not answer is left alone: others would wait for it each time.
const REST_AFTER_SILENCE: Duration = Duration::from_secs(5);

/// How long one that cannot be reached is left alone.
pub(super) const REST_AFTER_REFUSAL: Duration = Duration::from_millis(500);

/// The way to one node.
pub(super) enum Link {
    Open(Connection),
    /// It has failed, and is left alone for a while.
    Resting {
        until: Instant,
        error: ReadError,
    },
}

/// A command on its way.
#[derive(Clone, Copy)]
pub(super) struct Errand {
    /// Its place in the pipeline.
    pub(super) index: usize,
    /// Whether its slot is on the move.
    pub(super) asking: bool,
}

/// The commands of all questions, and what has come back so far.
pub(super) struct Round<'a> {
    pub(super) commands: Vec<&'a Cmd>,
    /// What the answer to each may cost at most.
    pub(super) allowances: Vec<usize>,
    pub(super) answers: Vec<Result<(Value, Timestamp), Missing>>,
    pub(super) by: Instant,
}

/// What came of the errands to one node.
pub(super) struct Visit {
    pub(super) node: Node,
    /// `None` if it has to be opened again.
    pub(super) link: Option<Link>,
    pub(super) errands: Vec<Errand>,
    pub(super) answers: Vec<Result<(Value, Timestamp), Missing>>,
}

/// Runs the errands to one node, in one round trip.
pub(super) async fn visit(
    node: Node,
    reach: Reach,
    link: Option<Link>,
    errands: Vec<Errand>,
    round: &Round<'_>,
    access: &Access,
) -> Visit {
    let lost = |error: &ReadError| vec![Err(Missing::Lost(error.clone())); errands.len()];
    let connection = match link {
        Some(Link::Resting { until, error }) if Instant::now() < until => {
            let answers = lost(&error);
            return Visit { node, link: Some(Link::Resting { until, error }), errands, answers };
        }
        Some(Link::Open(connection)) => Some(connection),
        Some(Link::Resting { .. }) | None => None,
    };
    let endpoint = format!("{}://{node}", access.scheme());
    let opened = match connection {
        Some(connection) => Ok(connection),
        None => timeout_at(round.by, opening::open(&node, reach, 0, access))
            .await
            .unwrap_or(Err(Fault::Late))
            .map(|(connection, _)| connection),
    };
    let exchanged = match opened {
        Ok(connection) => exchange(&errands, round, connection, &endpoint).await,
        Err(fault) => Err(fault),
    };
    let (link, answers) = match exchanged {
        Ok(exchanged) => exchanged,
        Err(fault) => {
            let error = fault.at(&endpoint);
            let answers = lost(&error);
            (Some(resting(error)), answers)
        }
    };
    Visit { node, link, errands, answers }
}

fn resting(error: ReadError) -> Link {
    let is_silent = matches!(error, ReadError::Deadline { .. });
    let rest = if is_silent { REST_AFTER_SILENCE } else { REST_AFTER_REFUSAL };
    Link::Resting { until: Instant::now() + rest, error }
}

/// Sends the commands of `errands`. Gives what becomes of the connection, and an answer for each errand.
///
/// # Errors
/// When there is no answer at all.
async fn exchange(
    errands: &[Errand],
    round: &Round<'_>,
    mut connection: Connection,
    endpoint: &str,
) -> Result<(Option<Link>, Vec<Result<(Value, Timestamp), Missing>>), Fault> {
    let mut time = Pipeline::new();
    time.cmd("TIME");
    let mut groups = vec![time];
    // An answer about the slots that was waited for no longer may come first.
    let mut allowance = SMALL + SMALL;
    for errand in errands {
        let Some(command) = round.commands.get(errand.index) else { continue };
        let mut group = Pipeline::new();
        if errand.asking {
            group.cmd("ASKING");
        }
        group.add_command((*command).clone());
        groups.push(group);
        let own = round.allowances.get(errand.index).copied().unwrap_or_default();
        allowance = allowance.saturating_add(own);
    }
    let Exchange { answers, end } = connection.exchange(&groups, allowance, round.by).await;
    let mut answers = answers.into_iter();
    let Some(head) = answers.next() else { return Err(end.map_or(Fault::Late, Fault::from)) };
    let now = wire::time(head.first().unwrap_or(&Value::Nil))?;
    let last = |mut values: Vec<Value>| Ok((values.pop().unwrap_or(Value::Nil), now));
    let mut answers: Vec<_> = answers.map(last).collect();
    let Some(end) = end else { return Ok((Some(Link::Open(connection)), answers)) };
    let mut missing = Missing::of(end, endpoint);
    let link = match &missing {
        Missing::Lost(error) => Some(resting(error.clone())),
        Missing::TooLong | Missing::NotReached => None,
    };
    while answers.len() < errands.len() {
        let next = missing.next();
        answers.push(Err(std::mem::replace(&mut missing, next)));
    }
    Ok((link, answers))
}
