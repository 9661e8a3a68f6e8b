//! The queue: where tasks come from, by a lease that is renewed while they run, and where they end.
//!
//! Each step is one command or one script, so a worker may die between any two of them: a message is in the queue,
//! in the hands of exactly one worker, or at its end. What a worker writes carries the token of its taking; once
//! somebody else has begun the task, the token is another and nothing more is written.

mod error;
mod held;
#[cfg(feature = "kafka")]
mod kafka;
mod list;
mod sqs;
mod stream;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use redis::FromRedisValue;
use redis::aio::ConnectionManager;

pub(crate) use error::Error;

use crate::settings::{Kind, Settings};
use crate::task;

/// How long one look for a task waits. A worker that is told to go has to wait for the end of it.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// How long a record stays after its task has ended.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What a queue answers.
pub(crate) type Result<T> = std::result::Result<T, Error>;

/// What was taken out of the queue, and not begun.
#[derive(Clone, Debug, Default)]
pub(crate) struct Message {
    /// Which it is: an entry's id in a stream, the element itself in a list, the message's id in SQS, partition and
    /// offset in Kafka.
    pub(crate) handle: String,
    /// What it says: a task as JSON, one hopes.
    pub(crate) text: String,
    /// Times it was delivered, this time included, where the queue itself counts them and no record does.
    pub(crate) delivered: u32,
    /// What SQS wants to hear with everything that it is told of this delivery.
    pub(crate) receipt: String,
    /// Group of a message in a FIFO queue of SQS.
    pub(crate) group: Option<String>,
}

/// A task that this worker runs.
#[derive(Clone, Debug)]
pub(crate) struct Hold {
    /// Its message.
    pub(crate) message: Message,
    /// Id of the task.
    pub(crate) id: String,
    /// Proves that it was this worker, this time.
    pub(crate) token: String,
    /// How often it was begun, this time included and times that were handed back not.
    pub(crate) attempts: u32,
}

/// What became of a message when it was to be begun.
#[derive(Debug)]
pub(crate) enum Begun {
    /// The task is ours.
    Run {
        hold: Hold,
        /// Where an earlier worker got to.
        checkpoint: Option<String>,
        /// Whether nobody ran it before.
        first: bool,
    },
    /// There is nothing to run, for this reason.
    Skip(&'static str),
}

/// How a task ends.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// With a result.
    Done(String),
    /// For good without one, for this reason; its message goes to the dead-letter queue.
    Failed(String),
}

/// How a task goes back to the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Back {
    /// At once, and this attempt does not count: nothing is wrong with the task.
    Unharmed,
    /// After a pause, and this attempt counts.
    Later(Duration),
}

/// A queue of tasks. In Redis, what is done is done as a whole or not at all; elsewhere the record comes first, and
/// whoever is given a message again does what is left.
#[async_trait]
pub(crate) trait Queue: Send + Sync {
    /// Makes what must be there before a task can be taken.
    async fn prepare(&self) -> Result<()>;

    /// The next message; waits for one for [`LOOK`].
    async fn take(&self) -> Result<Option<Message>>;

    /// Begins the task `id` of `message`. To ask again after an error is safe.
    async fn begin(&self, message: &Message, id: &str, token: &str) -> Result<Begun>;

    /// Renews leases; `false` for each one that is lost.
    async fn renew(&self, holds: &[Hold]) -> Result<Vec<bool>>;

    /// Keeps how far a task has got; `false` if the lease is lost.
    async fn checkpoint(&self, hold: &Hold, text: &str, steps: u32) -> Result<bool>;

    /// Ends a task after so many steps; `false` if the lease is lost. To ask again after an error is safe.
    async fn finish(&self, hold: &Hold, end: &End, steps: u32) -> Result<bool>;

    /// Puts a task back; `false` if the lease is lost, or if an earlier call did so already.
    async fn hand_back(&self, hold: &Hold, how: Back) -> Result<bool>;

    /// Moves a message that is no task to the dead-letter queue.
    async fn bury(&self, message: &Message, reason: &str) -> Result<()>;

    /// Puts back what dead workers held, where taking does not see to it.
    async fn sweep(&self) -> Result<()> {
        Ok(())
    }

    /// No more is taken: what others could take is not kept from them.
    fn stop(&self) {}

    /// Leaves nothing of this worker behind.
    async fn leave(&self) -> Result<()> {
        Ok(())
    }
}

/// The queue that the settings name. Nothing is asked of it yet. `looking` is a connection of its own, because it
/// waits on the server.
///
/// # Errors
/// When a file cannot be read, or the settings make no client.
pub(crate) async fn open(
    settings: &Settings,
    connection: ConnectionManager,
    looking: ConnectionManager,
) -> std::result::Result<Arc<dyn Queue>, Box<dyn std::error::Error>> {
    let common = Common {
        queue: settings.queue.clone(),
        worker: settings.worker.clone(),
        lease: settings.lease,
        attempts: settings.attempts,
        connection,
        looking,
    };
    Ok(match &settings.kind {
        Kind::Stream { group } => Arc::new(stream::Stream::new(common, group.clone())),
        Kind::List { processing } => Arc::new(list::List::new(common, processing.clone(), &settings.scope)),
        Kind::Sqs(sqs) => {
            Arc::new(sqs::Sqs::open(held::Held::new(common, &settings.scope), sqs.clone()).await)
        }
        #[cfg(feature = "kafka")]
        Kind::Kafka(kafka) => {
            Arc::new(kafka::Kafka::open(held::Held::new(common, &settings.scope), kafka.clone())?)
        }
    })
}

/// What all kinds need.
struct Common {
    queue: String,
    worker: String,
    lease: Duration,
    /// Attempts after which a task is given up.
    attempts: u32,
    connection: ConnectionManager,
    looking: ConnectionManager,
}

impl Common {
    fn record(&self, id: &str) -> String {
        task::record(&self.queue, id)
    }

    fn dead(&self) -> String {
        task::dead_letters(&self.queue)
    }

    fn lease_millis(&self) -> u64 {
        millis(self.lease)
    }

    /// Member of the leases that says that we run a task.
    fn lease_of(&self, id: &str) -> String {
        format!("{}/{id}", self.worker)
    }

    async fn renew(&self, leases: &str, holds: &[Hold]) -> Result<Vec<bool>> {
        let records: Vec<String> = holds.iter().map(|hold| self.record(&hold.id)).collect();
        let keys: Vec<&str> = std::iter::once(leases).chain(records.iter().map(String::as_str)).collect();
        let lease = self.lease_millis().to_string();
        let each = holds.iter().flat_map(|hold| [hold.id.as_str(), hold.token.as_str()]);
        let arguments: Vec<&str> = [self.worker.as_str(), &lease].into_iter().chain(each).collect();
        self.run(include_str!("renew.lua"), &keys, &arguments).await
    }

    async fn checkpoint(&self, hold: &Hold, text: &str, steps: u32) -> Result<bool> {
        let record = self.record(&hold.id);
        let arguments = [hold.token.as_str(), text, &steps.to_string()];
        self.run(include_str!("checkpoint.lua"), &[&record], &arguments).await
    }

    /// Runs a script. It is sent whole each time: a Redis that was restarted has forgotten it, and tasks are few.
    async fn run<T: FromRedisValue>(&self, script: &str, keys: &[&str], arguments: &[&str]) -> Result<T> {
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(keys.len()).arg(keys).arg(arguments);
        Ok(command.query_async(&mut self.connection.clone()).await?)
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// Reads what the scripts that begin a task answer: a verdict, and for `run` checkpoint, attempts and whether
/// it is the first time.
fn begun(answer: (String, String, u32, bool), message: &Message, id: &str, token: &str) -> Begun {
    let (verdict, checkpoint, attempts, first) = answer;
    match verdict.as_str() {
        "run" => Begun::Run {
            hold: Hold { message: message.clone(), id: id.to_owned(), token: token.to_owned(), attempts },
            checkpoint: (!checkpoint.is_empty()).then_some(checkpoint),
            first,
        },
        "done" => Begun::Skip("it is done already"),
        "duplicate" => Begun::Skip("another message carries it"),
        _ => Begun::Skip("another worker has it"),
    }
}

/// Status, field and text with which a record ends.
fn ending(end: &End) -> (&'static str, &'static str, &str) {
    match end {
        End::Done(result) => ("done", "result", result),
        End::Failed(reason) => ("failed", "error", reason),
    }
}
