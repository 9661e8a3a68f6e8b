//! Records and leases, in Redis, of tasks whose messages lie elsewhere.
//!
//! The record says who runs a task, and the message says that there is one. A message is removed only after its end
//! is in the record, so a worker may die between the two: whoever is given the message next reads the record, and
//! does what is left to be done.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Back, Begun, Common, End, Hold, KEPT, Message, Result, begun, ending};

/// What the record says of a message that is to be begun.
pub(super) enum Verdict {
    /// The task is ours.
    Run(Begun),
    /// There is nothing more to do but to remove the message.
    Remove(&'static str),
    /// The task was given up after so many attempts, for this reason, and its message is not yet a dead letter.
    Dead { reason: String, attempts: u32 },
    /// Another worker runs it by this very message.
    Elsewhere,
}

/// The records and leases of one queue.
pub(super) struct Held {
    pub(super) common: Common,
    leases: String,
    /// Tokens of tasks that are being ended or let go of.
    closing: Mutex<BTreeSet<String>>,
}

/// A task that is being ended or let go of, for as long as this lives.
///
/// Its record comes first, and from then on it has no lease to renew; that is no reason to leave its message as it is.
pub(super) struct Closing<'a> {
    held: &'a Held,
    token: &'a str,
}

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.held.closing().remove(self.token);
    }
}

impl Held {
    pub(super) fn new(common: Common, scope: &str) -> Self {
        Self { leases: leases(scope), common, closing: Mutex::default() }
    }

    /// Whether Redis is there and lets us in.
    pub(super) async fn prepare(&self) -> Result<()> {
        Ok(redis::cmd("PING").exec_async(&mut self.common.connection.clone()).await?)
    }

    pub(super) async fn begin(&self, message: &Message, id: &str, token: &str) -> Result<Verdict> {
        let record = self.common.record(id);
        let keys = [&self.leases, &record].map(String::as_str);
        let (lease, delivered) = (self.common.lease_millis().to_string(), message.delivered.to_string());
        let arguments = [&message.handle, self.common.worker.as_str(), id, token, &lease, &delivered];
        let answer: (String, String, u32, bool) =
            self.common.run(include_str!("held/begin.lua"), &keys, &arguments).await?;
        Ok(match answer.0.as_str() {
            "dead" => Verdict::Dead { reason: answer.1, attempts: answer.2 },
            "elsewhere" => Verdict::Elsewhere,
            _ => match begun(answer, message, id, token) {
                Begun::Skip(reason) => Verdict::Remove(reason),
                run @ Begun::Run { .. } => Verdict::Run(run),
            },
        })
    }

    pub(super) async fn renew(&self, holds: &[Hold]) -> Result<Vec<bool>> {
        let closing = self.closing().clone();
        let is_closing = |hold: &Hold| closing.contains(&hold.token);
        let open: Vec<Hold> = holds.iter().filter(|hold| !is_closing(hold)).cloned().collect();
        let renewed =
            if open.is_empty() { Vec::new() } else { self.common.renew(&self.leases, &open).await? };
        let mut renewed = renewed.into_iter();
        Ok(holds.iter().map(|hold| is_closing(hold) || renewed.next().unwrap_or(false)).collect())
    }

    /// Begins to end a task or to let go of it.
    pub(super) fn close<'a>(&'a self, hold: &'a Hold) -> Closing<'a> {
        self.closing().insert(hold.token.clone());
        Closing { held: self, token: &hold.token }
    }

    fn closing(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.closing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes how a task ended; `false` if the lease is lost.
    pub(super) async fn finish(&self, hold: &Hold, end: &End, steps: u32) -> Result<bool> {
        let (status, field, text) = ending(end);
        let record = self.common.record(&hold.id);
        let keys = [&self.leases, &record].map(String::as_str);
        let lease = self.common.lease_of(&hold.id);
        let (kept, steps) = (KEPT.as_secs().to_string(), steps.to_string());
        let arguments = [&lease, hold.token.as_str(), status, field, text, &kept, &steps];
        self.common.run(include_str!("held/finish.lua"), &keys, &arguments).await
    }

    /// Lets go of a task; `false` if the lease is lost.
    pub(super) async fn hand_back(&self, hold: &Hold, how: Back) -> Result<bool> {
        let attempts = match how {
            Back::Unharmed => hold.attempts.saturating_sub(1),
            Back::Later(_) => hold.attempts,
        };
        let record = self.common.record(&hold.id);
        let keys = [&self.leases, &record].map(String::as_str);
        let (lease, attempts) = (self.common.lease_of(&hold.id), attempts.to_string());
        let arguments = [&lease, hold.token.as_str(), &attempts];
        self.common.run(include_str!("held/hand_back.lua"), &keys, &arguments).await
    }
}

/// Key of the leases of a scope, which the worker protocol has.
pub(super) fn leases(scope: &str) -> String {
    format!("agent-scaler:{{{scope}}}:leases")
}
