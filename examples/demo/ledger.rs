//! What is counted: by the provider, in the records of the tasks, and by looking at both each second.

use std::collections::VecDeque;
use std::time::Duration;

use agent_scaler::timestamp::Timestamp;
use redis::aio::MultiplexedConnection;
use serde::Deserialize;

use crate::Failure;
use crate::deployment::Kind;
use crate::world::{MINUTE, REQUESTS};

/// A task that was put in.
#[derive(Clone, Debug)]
pub(crate) struct Task {
    pub(crate) kind: Kind,
    pub(crate) id: String,
    /// Calls of the model that it needs.
    pub(crate) calls: u64,
}

/// What the provider has counted from its start.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct Counts {
    pub(crate) admitted: u64,
    pub(crate) refused: u64,
}

impl Counts {
    /// Asks the provider; the world's one key is its only account, and none before the first call.
    pub(crate) async fn of(http: &reqwest::Client, provider: &str) -> Result<Self, Failure> {
        #[derive(Deserialize)]
        struct Page {
            accounts: std::collections::BTreeMap<String, Counts>,
        }
        let page: Page = http.get(format!("{provider}/counts")).send().await?.json().await?;
        Ok(page.accounts.into_values().next().unwrap_or_default())
    }
}

/// How much of the key was used.
#[derive(Clone, Debug, Default)]
pub(crate) struct Use {
    /// Looks of the last minute of the provider: when, and what was admitted until then.
    recent: VecDeque<(Duration, u64)>,
    last: (Duration, u64),
    /// Requests that were admitted while there was work, and those that could have been.
    admitted: u64,
    admissible: f64,
}

impl Use {
    /// Notes that `admitted` requests were admitted until `elapsed`, by a provider that has admitted the part
    /// `capacity` of its limit since the last look, and whether there was work.
    pub(crate) fn note(&mut self, elapsed: Duration, admitted: u64, capacity: f64, work: bool) {
        let (before, until) = self.last;
        if work {
            self.admitted += admitted.saturating_sub(until);
            self.admissible += limit(elapsed.saturating_sub(before)) * capacity;
        }
        self.last = (elapsed, admitted);
        self.recent.push_back(self.last);
        while self.recent.get(1).is_some_and(|(at, _)| *at + MINUTE <= elapsed) {
            self.recent.pop_front();
        }
    }

    /// The part of the whole limit that was used in the provider's last minute, or a little more.
    pub(crate) fn of_last_minute(&self) -> f64 {
        let Some(((from, before), (to, after))) = self.recent.front().zip(self.recent.back()) else {
            return 0.0;
        };
        let possible = limit(to.saturating_sub(*from));
        if possible > 0.0 { (after - before) as f64 / possible } else { 0.0 }
    }

    /// The part of what was admissible that was used while there was work; `None` if there was none.
    pub(crate) fn while_there_was_work(&self) -> Option<f64> {
        (self.admissible > 0.0).then(|| self.admitted as f64 / self.admissible)
    }
}

/// Requests that the whole limit admits in `time`.
fn limit(time: Duration) -> f64 {
    f64::from(REQUESTS) * time.as_secs_f64() / MINUTE.as_secs_f64()
}

/// How it ended.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) put: u64,
    pub(crate) done: u64,
    /// Given up after too many attempts.
    pub(crate) failed: u64,
    /// Still in a queue or with a worker.
    pub(crate) left: u64,
    /// Begun more than once, because a worker did not hand it back in order.
    pub(crate) again: u64,
    /// Calls that the tasks that are done needed.
    pub(crate) needed: u64,
    /// Calls that were admitted beyond these.
    pub(crate) repeated: u64,
    pub(crate) refused: u64,
    pub(crate) used: Option<f64>,
    /// Lives of all workers together.
    pub(crate) lived: Duration,
    /// Workers that were killed at the end of their grace.
    pub(crate) killed: u32,
    /// When the last task was done.
    pub(crate) finished: Duration,
    /// 95 % of the tasks of `research` were done within this time.
    pub(crate) research: Option<Duration>,
}

impl Outcome {
    /// Tasks that are nowhere.
    pub(crate) fn lost(&self) -> u64 {
        self.put.saturating_sub(self.done + self.failed + self.left)
    }

    pub(crate) fn worker_minutes(&self) -> f64 {
        self.lived.as_secs_f64() / 60.0
    }
}

/// Reads the records of all tasks.
pub(crate) async fn outcome_of(
    tasks: &[Task],
    redis: &mut MultiplexedConnection,
    started: Timestamp,
) -> Result<Outcome, Failure> {
    let mut outcome = Outcome { put: tasks.len() as u64, ..Outcome::default() };
    let mut pipeline = redis::pipe();
    for Task { kind, id, .. } in tasks {
        let record = format!("{}:task:{id}", kind.name());
        pipeline.hmget(record, &["status", "attempts", "enqueued_ms", "ended_ms"]);
    }
    if tasks.is_empty() {
        return Ok(outcome);
    }
    type Record = (Option<String>, Option<u64>, Option<u64>, Option<u64>);
    let records: Vec<Record> = pipeline.query_async(redis).await?;
    let mut times = Vec::new();
    for (task, (status, attempts, enqueued, ended)) in tasks.iter().zip(records) {
        match status.as_deref() {
            Some("done") => {
                outcome.done += 1;
                outcome.needed += task.calls;
                let ended = ended.map(|ended| Timestamp::from_millis(ended).since(started));
                outcome.finished = outcome.finished.max(ended.unwrap_or_default());
            }
            Some("failed") => outcome.failed += 1,
            _ => {}
        }
        outcome.again += u64::from(attempts > Some(1));
        if task.kind == Kind::Research
            && let Some((enqueued, ended)) = enqueued.zip(ended)
        {
            times.push(Duration::from_millis(ended.saturating_sub(enqueued)));
        }
    }
    times.sort_unstable();
    outcome.research = times.get((times.len() * 95).div_ceil(100).saturating_sub(1)).copied();
    Ok(outcome)
}
