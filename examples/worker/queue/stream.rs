//! Tasks in a Redis stream, taken by a consumer group. The lease is the pending entry itself: renewing it sets its
//! idle time back, and whoever finds one idle for longer than the lease may claim it.

use std::time::Duration;

use async_trait::async_trait;
use redis::streams::{StreamAutoClaimReply, StreamId, StreamReadReply};

use super::{Back, Begun, Common, End, Hold, KEPT, LOOK, Message, Queue, Result, begun, ending, millis};

/// Holds what was handed back until somebody claims it, so that the consumer of a worker that left can be removed.
const NOBODY: &str = "handed-back";

/// A consumer that holds nothing and was not heard of for so long is removed.
const FORGOTTEN: Duration = Duration::from_secs(60 * 60);

/// A stream and our group.
pub(super) struct Stream {
    common: Common,
    group: String,
}

impl Stream {
    pub(super) fn new(common: Common, group: String) -> Self {
        Self { common, group }
    }

    /// An entry that nobody has renewed within the lease, if there is one. Only one of those who ask gets it.
    async fn claim(&self) -> Result<Option<Message>> {
        let Common { queue, worker, looking, .. } = &self.common;
        let lease = self.common.lease_millis();
        let mut looking = looking.clone();
        let mut look = redis::cmd("XPENDING");
        look.arg(queue).arg(&self.group).arg("IDLE").arg(lease).arg("-").arg("+").arg(1);
        let abandoned: Vec<(String, String, u64, u64)> = look.query_async(&mut looking).await?;
        let Some((entry, ..)) = abandoned.into_iter().next() else { return Ok(None) };
        let mut claim = redis::cmd("XAUTOCLAIM");
        claim.arg(queue).arg(&self.group).arg(worker).arg(lease).arg(entry).arg("COUNT").arg(1);
        let claimed: StreamAutoClaimReply = claim.query_async(&mut looking).await?;
        Ok(claimed.claimed.into_iter().next().map(message))
    }

    async fn read(&self) -> Result<Option<Message>> {
        let Common { queue, worker, looking, .. } = &self.common;
        let mut read = redis::cmd("XREADGROUP");
        read.arg("GROUP").arg(&self.group).arg(worker).arg("COUNT").arg(1);
        read.arg("BLOCK").arg(millis(LOOK)).arg("STREAMS").arg(queue).arg(">");
        let read: Option<StreamReadReply> = read.query_async(&mut looking.clone()).await?;
        let entry = read.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids).next();
        Ok(entry.map(message))
    }
}

#[async_trait]
impl Queue for Stream {
    async fn prepare(&self) -> Result<()> {
        let mut create = redis::cmd("XGROUP");
        // From the beginning: what was put in before the first worker came is not lost.
        create.arg("CREATE").arg(&self.common.queue).arg(&self.group).arg(0).arg("MKSTREAM");
        match create.exec_async(&mut self.common.connection.clone()).await {
            Err(error) if error.code() != Some("BUSYGROUP") => return Err(error.into()),
            _ => {}
        }
        self.tidy("", FORGOTTEN).await
    }

    async fn take(&self) -> Result<Option<Message>> {
        // What was begun once comes first.
        match self.claim().await? {
            Some(message) => Ok(Some(message)),
            None => self.read().await,
        }
    }

    async fn begin(&self, message: &Message, id: &str, token: &str) -> Result<Begun> {
        let Common { queue, worker, .. } = &self.common;
        let record = self.common.record(id);
        let keys = [queue, record.as_str()];
        let arguments = [&self.group, worker, message.handle.as_str(), token];
        let answer = self.common.run(include_str!("stream/begin.lua"), &keys, &arguments).await?;
        Ok(begun(answer, message, id, token))
    }

    async fn renew(&self, holds: &[Hold]) -> Result<Vec<bool>> {
        let Common { queue, worker, .. } = &self.common;
        let records: Vec<String> = holds.iter().map(|hold| self.common.record(&hold.id)).collect();
        let keys: Vec<&str> =
            std::iter::once(queue.as_str()).chain(records.iter().map(String::as_str)).collect();
        let each = holds.iter().flat_map(|hold| [hold.message.handle.as_str(), hold.token.as_str()]);
        let arguments: Vec<&str> = [self.group.as_str(), worker].into_iter().chain(each).collect();
        self.common.run(include_str!("stream/renew.lua"), &keys, &arguments).await
    }

    async fn checkpoint(&self, hold: &Hold, text: &str, steps: u32) -> Result<bool> {
        self.common.checkpoint(hold, text, steps).await
    }

    async fn finish(&self, hold: &Hold, end: &End, steps: u32) -> Result<bool> {
        let (status, field, text) = ending(end);
        let (record, dead) = (self.common.record(&hold.id), self.common.dead());
        let keys = [&self.common.queue, record.as_str(), &dead];
        let (kept, steps) = (KEPT.as_secs().to_string(), steps.to_string());
        let Message { handle, text: task, .. } = &hold.message;
        let arguments = [&self.group, handle, hold.token.as_str(), status, field, text, &kept, &steps, task];
        self.common.run(include_str!("stream/finish.lua"), &keys, &arguments).await
    }

    async fn hand_back(&self, hold: &Hold, how: Back) -> Result<bool> {
        let (idle, attempts) = match how {
            Back::Unharmed => (self.common.lease, hold.attempts.saturating_sub(1)),
            Back::Later(pause) => (self.common.lease.saturating_sub(pause), hold.attempts),
        };
        let record = self.common.record(&hold.id);
        let keys = [&self.common.queue, record.as_str()];
        let (idle, attempts) = (millis(idle).to_string(), attempts.to_string());
        let arguments =
            [&self.group, NOBODY, hold.message.handle.as_str(), hold.token.as_str(), &idle, &attempts];
        self.common.run(include_str!("stream/hand_back.lua"), &keys, &arguments).await
    }

    async fn bury(&self, message: &Message, reason: &str) -> Result<()> {
        let dead = self.common.dead();
        let keys = [&self.common.queue, dead.as_str()];
        let arguments = [&self.group, message.handle.as_str(), &message.text, reason];
        self.common.run(include_str!("stream/bury.lua"), &keys, &arguments).await
    }

    async fn leave(&self) -> Result<()> {
        self.tidy(&self.common.worker, FORGOTTEN).await
    }
}

impl Stream {
    async fn tidy(&self, consumer: &str, silent: Duration) -> Result<()> {
        let arguments = [&self.group, consumer, &millis(silent).to_string()];
        self.common.run(include_str!("stream/tidy.lua"), &[&self.common.queue], &arguments).await
    }
}

/// The message in an entry. One without the field `task` has an empty text, which is no task.
fn message(entry: StreamId) -> Message {
    Message { text: entry.get("task").unwrap_or_default(), handle: entry.id, ..Message::default() }
}
