//! Tasks in a Redis list, moved to a processing list while they run. The lease is a member of the protocol's sorted
//! set; whoever finds an element without a live lease puts it back.
//!
//! Between the move and the lease a worker may die, or be slow. So an element that nobody has begun is put back only
//! when it was seen so for as long as a lease, and to begin a task takes one script that finds the element still
//! there and nobody else's lease alive: a worker that comes too late finds nothing to run.

use std::collections::BTreeMap;
use std::sync::Mutex;

use async_trait::async_trait;
use tokio::time::Instant;

use super::{
    Back, Begun, Common, End, Hold, KEPT, LOOK, Message, Queue, Result, begun, ending, held, millis,
};
use crate::task::Task;

/// Most elements that one sweep looks at, from the oldest: more tasks than run at a time on one queue.
const MOST_SWEPT: isize = 1_000;

/// What a sweep says of an element that was put back, and of one that nobody has begun.
const PUT_BACK: u8 = 1;
const NOT_BEGUN: u8 = 2;

/// A list, its processing list and its leases.
pub(super) struct List {
    common: Common,
    processing: String,
    leases: String,
    /// Elements that nobody has begun, and since when.
    idle: Mutex<BTreeMap<String, Instant>>,
}

impl List {
    pub(super) fn new(common: Common, processing: String, scope: &str) -> Self {
        let leases = held::leases(scope);
        Self { common, processing, leases, idle: Mutex::default() }
    }

    /// Remembers which elements nobody has begun, and forgets those that are gone.
    fn remember(&self, elements: &[String], verdicts: &[u8]) {
        let now = Instant::now();
        let waiting = elements.iter().zip(verdicts).filter(|(_, verdict)| **verdict == NOT_BEGUN);
        if let Ok(mut idle) = self.idle.lock() {
            let former = std::mem::take(&mut *idle);
            *idle = waiting
                .map(|(element, _)| (element.clone(), former.get(element).copied().unwrap_or(now)))
                .collect();
        }
    }

    fn has_waited(&self, element: &str) -> bool {
        let since = self.idle.lock().ok().and_then(|idle| idle.get(element).copied());
        since.is_some_and(|since| since.elapsed() >= self.common.lease)
    }
}

#[async_trait]
impl Queue for List {
    async fn prepare(&self) -> Result<()> {
        Ok(redis::cmd("PING").exec_async(&mut self.common.connection.clone()).await?)
    }

    async fn take(&self) -> Result<Option<Message>> {
        let mut take = redis::cmd("BLMOVE");
        take.arg(&self.common.queue).arg(&self.processing).arg("RIGHT").arg("LEFT").arg(LOOK.as_secs_f64());
        let element: Option<String> = take.query_async(&mut self.common.looking.clone()).await?;
        Ok(element.map(|text| Message { handle: text.clone(), text, ..Message::default() }))
    }

    async fn begin(&self, message: &Message, id: &str, token: &str) -> Result<Begun> {
        let record = self.common.record(id);
        let keys = [&self.processing, &self.leases, &record].map(String::as_str);
        let lease = self.common.lease_millis().to_string();
        let arguments = [&message.handle, self.common.worker.as_str(), id, token, &lease];
        let answer = self.common.run(include_str!("list/begin.lua"), &keys, &arguments).await?;
        Ok(begun(answer, message, id, token))
    }

    async fn renew(&self, holds: &[Hold]) -> Result<Vec<bool>> {
        self.common.renew(&self.leases, holds).await
    }

    async fn checkpoint(&self, hold: &Hold, text: &str, steps: u32) -> Result<bool> {
        self.common.checkpoint(hold, text, steps).await
    }

    async fn finish(&self, hold: &Hold, end: &End, steps: u32) -> Result<bool> {
        let (status, field, text) = ending(end);
        let (record, dead) = (self.common.record(&hold.id), self.common.dead());
        let keys = [&self.processing, &self.leases, &record, &dead].map(String::as_str);
        let lease = self.common.lease_of(&hold.id);
        let (kept, steps) = (KEPT.as_secs().to_string(), steps.to_string());
        let arguments =
            [&hold.message.handle, &lease, hold.token.as_str(), status, field, text, &kept, &steps];
        self.common.run(include_str!("list/finish.lua"), &keys, &arguments).await
    }

    async fn hand_back(&self, hold: &Hold, how: Back) -> Result<bool> {
        let (attempts, pause) = match how {
            Back::Unharmed => (hold.attempts.saturating_sub(1), 0),
            Back::Later(pause) => (hold.attempts, millis(pause)),
        };
        let record = self.common.record(&hold.id);
        let keys = [&self.processing, &self.common.queue, &self.leases, &record].map(String::as_str);
        let (lease, attempts, pause) =
            (self.common.lease_of(&hold.id), attempts.to_string(), pause.to_string());
        let arguments = [&hold.message.handle, hold.id.as_str(), &lease, &hold.token, &attempts, &pause];
        self.common.run(include_str!("list/hand_back.lua"), &keys, &arguments).await
    }

    async fn bury(&self, message: &Message, _reason: &str) -> Result<()> {
        let dead = self.common.dead();
        let keys = [self.processing.as_str(), dead.as_str()];
        self.common.run(include_str!("list/bury.lua"), &keys, &[&message.handle]).await
    }

    async fn sweep(&self) -> Result<()> {
        let mut range = redis::cmd("LRANGE");
        range.arg(&self.processing).arg(-MOST_SWEPT).arg(-1);
        let elements: Vec<String> = range.query_async(&mut self.common.connection.clone()).await?;
        if elements.is_empty() {
            self.remember(&[], &[]);
            return Ok(());
        }
        // What is no task is put back as well: whoever takes it next buries it.
        let ids: Vec<String> = elements
            .iter()
            .map(|element| serde_json::from_str::<Task>(element).map(|task| task.id).unwrap_or_default())
            .collect();
        let records: Vec<String> = ids.iter().map(|id| self.common.record(id)).collect();
        let keys: Vec<&str> = [self.processing.as_str(), &self.common.queue, &self.leases]
            .into_iter()
            .chain(records.iter().map(String::as_str))
            .collect();
        let arguments: Vec<&str> = elements
            .iter()
            .zip(&ids)
            .flat_map(|(element, id)| {
                [element.as_str(), id, if self.has_waited(element) { "1" } else { "0" }]
            })
            .collect();
        let verdicts: Vec<u8> = self.common.run(include_str!("list/sweep.lua"), &keys, &arguments).await?;
        let put_back = verdicts.iter().filter(|verdict| **verdict == PUT_BACK).count();
        if put_back > 0 {
            tracing::warn!(tasks = put_back, "Tasks that nobody holds were put back.");
        }
        self.remember(&elements, &verdicts);
        Ok(())
    }
}
