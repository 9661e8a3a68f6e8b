//! Tasks in Redis: put in with their records, and looked up.

use std::sync::Arc;

use agent_scaler::engine::limit::Allowance;
use agent_scaler::timestamp::Timestamp;
use agent_scaler::workers::{keys, share};
use redis::{FromRedisValue, Value, cmd};
use serde_json::Value as Json;

use crate::link::{Fault, Link};
use crate::settings::{Kind, Queue, Settings, ShareOf};
use crate::task::{self, Status, Task};

const ENQUEUE: &str = include_str!("enqueue.lua");
const OLDEST: &str = include_str!("oldest.lua");

/// The queue and its records.
pub(crate) struct Store {
    settings: Arc<Settings>,
    link: Link,
}

/// A task to be put in.
pub(crate) struct NewTask<'a> {
    pub(crate) task: &'a Task,
    /// The caller's idempotency key.
    pub(crate) key: Option<&'a str>,
    /// What tells two prompts apart: letters and digits.
    pub(crate) fingerprint: &'a str,
}

/// What became of a task that was to be put in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Enqueued {
    /// It is in.
    New,
    /// Its key has a task already.
    Known { id: String, fingerprint: String, status: Status },
    /// Too many wait.
    Full,
    /// Its key has no task, and no new one was to be made.
    Refused,
}

/// What is known of a task; what its record does not say, or not sensibly, is `None`.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) status: Status,
    pub(crate) attempts: Option<u64>,
    pub(crate) steps: Option<u64>,
    pub(crate) enqueued: Option<Timestamp>,
    pub(crate) started: Option<Timestamp>,
    pub(crate) ended: Option<Timestamp>,
    pub(crate) error: Option<String>,
    pub(crate) result: Option<String>,
}

impl Store {
    /// A store that connects when it is first used.
    pub(crate) fn new(settings: &Arc<Settings>) -> Self {
        Self { settings: Arc::clone(settings), link: Link::new(settings.redis.clone()) }
    }

    /// Puts a task in, unless its key has one already, or too many wait.
    ///
    /// # Errors
    /// When Redis gives no sensible answer. The task may be in nevertheless.
    pub(crate) async fn enqueue(&self, new: &NewTask<'_>) -> Result<Enqueued, Fault> {
        self.run_enqueue(new, true).await
    }

    /// The task that the key of `new` has already. Puts nothing in.
    ///
    /// # Errors
    /// When Redis gives no sensible answer.
    pub(crate) async fn find(&self, new: &NewTask<'_>) -> Result<Enqueued, Fault> {
        self.run_enqueue(new, false).await
    }

    async fn run_enqueue(&self, new: &NewTask<'_>, admitted: bool) -> Result<Enqueued, Fault> {
        let NewTask { task, key, fingerprint } = new;
        let Settings { queue: Queue { kind, name, group }, max_backlog, idempotency_ttl, .. } =
            &*self.settings;
        let message = serde_json::to_string(task).map_err(|_| Fault::Nonsense("a task that is no JSON"))?;
        let mut command = cmd("EVAL");
        command.arg(ENQUEUE).arg(2 + usize::from(key.is_some())).arg(name).arg(task::record(name, &task.id));
        if let Some(key) = key {
            command.arg(task::idempotency(name, key));
        }
        let kind = match kind {
            Kind::Stream => "stream",
            Kind::List => "list",
        };
        command.arg(kind).arg(group).arg(max_backlog.get()).arg(u8::from(admitted));
        command.arg(message).arg(&task.id).arg(task.enqueued_ms).arg(fingerprint);
        command
            .arg(u64::try_from(idempotency_ttl.as_millis()).unwrap_or(u64::MAX))
            .arg(task::record(name, ""));
        let answer: Vec<String> = self.link.ask(&command).await?;
        match answer.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["new"] => Ok(Enqueued::New),
            ["full"] => Ok(Enqueued::Full),
            ["refused"] => Ok(Enqueued::Refused),
            ["known", id, fingerprint, status] => Ok(Enqueued::Known {
                id: (*id).to_owned(),
                fingerprint: (*fingerprint).to_owned(),
                status: read_status(status)?,
            }),
            _ => Err(Fault::Nonsense("an answer to no question")),
        }
    }

    /// The record of a task, if there is one, without its result.
    ///
    /// # Errors
    /// When Redis gives no sensible answer.
    pub(crate) async fn record(&self, id: &str) -> Result<Option<Record>, Fault> {
        self.read(id, &[]).await
    }

    /// The record of a task, if there is one, with its result.
    ///
    /// # Errors
    /// When Redis gives no sensible answer.
    pub(crate) async fn record_with_result(&self, id: &str) -> Result<Option<Record>, Fault> {
        self.read(id, &["result"]).await
    }

    async fn read(&self, id: &str, more: &[&str]) -> Result<Option<Record>, Fault> {
        const FIELDS: [&str; 7] =
            ["status", "attempts", "steps", "enqueued_ms", "started_ms", "ended_ms", "error"];
        let key = task::record(&self.settings.queue.name, id);
        let fields: Vec<Value> = self.link.ask(cmd("HMGET").arg(key).arg(&FIELDS).arg(more)).await?;
        let mut fields = fields.into_iter().map(text);
        let mut next = || fields.next().flatten();
        let Some(status) = next() else { return Ok(None) };
        let status = read_status(&status)?;
        let attempts = number(next());
        let steps = number(next());
        let [enqueued, started, ended] = [(); 3].map(|()| number(next()).map(Timestamp::from_millis));
        let (error, result) = (next(), next());
        Ok(Some(Record { status, attempts, steps, enqueued, started, ended, error, result }))
    }

    /// Redis's time, which is that of all who write and read here.
    ///
    /// # Errors
    /// When Redis gives no sensible answer.
    pub(crate) async fn time(&self) -> Result<Timestamp, Fault> {
        let (seconds, micros): (u64, u64) = self.link.ask(&cmd("TIME")).await?;
        Ok(Timestamp::from_millis(seconds.saturating_mul(1_000).saturating_add(micros / 1_000)))
    }

    /// What the scaler allows these workers, if it says so.
    ///
    /// # Errors
    /// When Redis gives no sensible answer.
    pub(crate) async fn share(&self, of: &ShareOf) -> Result<Option<Allowance>, Fault> {
        let mut command = cmd("HGET");
        let said: Option<String> =
            self.link.ask(command.arg(keys::share(&of.limit)).arg(&of.workers)).await?;
        Ok(said.as_deref().and_then(share::read))
    }

    /// When the task that is taken next from a list was put in; `None` of an empty list.
    ///
    /// # Errors
    /// When Redis gives no sensible answer.
    pub(crate) async fn oldest_of_list(&self) -> Result<Option<Timestamp>, Fault> {
        let mut command = cmd("EVAL");
        let millis: Option<u64> =
            self.link.ask(command.arg(OLDEST).arg(1).arg(&self.settings.queue.name)).await?;
        Ok(millis.map(Timestamp::from_millis))
    }
}

/// A field's text; bytes that are none are as good as absent.
fn text(value: Value) -> Option<String> {
    Option::<String>::from_redis_value(value).ok().flatten()
}

fn number(text: Option<String>) -> Option<u64> {
    text.and_then(|text| text.parse().ok())
}

fn read_status(text: &str) -> Result<Status, Fault> {
    serde_json::from_value(Json::String(text.to_owned()))
        .map_err(|_| Fault::Nonsense("a record of no known status"))
}
