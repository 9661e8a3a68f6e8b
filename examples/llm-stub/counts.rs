//! What was admitted and refused: the truth that tests compare with.

use std::collections::BTreeMap;

use serde::Serialize;

/// Minutes that are kept; a day of real ones.
const MINUTES: usize = 1_440;

/// Everything that one account did.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Counts {
    #[serde(flatten)]
    pub(crate) all: Tally,
    /// Refusals and failures by reason: a dimension's label, `concurrency`, `quota`, `spend`, `503`, `529`,
    /// `reset`.
    pub(crate) reasons: BTreeMap<&'static str, u64>,
    /// Recorded answers that were given instead, by name.
    pub(crate) replayed: BTreeMap<String, u64>,
    /// Admitted requests whose client went away before the end; their output counts for nothing.
    pub(crate) abandoned: u64,
    /// Requests under way.
    pub(crate) running: u64,
    /// Most requests at a time.
    pub(crate) most_running: u64,
    /// By the number of the minute: Unix time divided by the length of the stub's minute. Output tokens belong
    /// to the minute in which the answer ended, the rest to the one in which the request came.
    pub(crate) minutes: BTreeMap<u64, Tally>,
    /// By the worker's name: header `x-agent`, else `user` (OpenAI) or `metadata.user_id` (Anthropic).
    pub(crate) agents: BTreeMap<String, Tally>,
}

/// What was counted of some requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Tally {
    /// Requests that were admitted.
    pub(crate) admitted: u64,
    /// Requests that were refused with 429.
    pub(crate) refused: u64,
    /// Requests that an outage hit.
    pub(crate) failed: u64,
    /// Input tokens of those admitted.
    pub(crate) input_tokens: u64,
    /// Output tokens of those that came to their end.
    pub(crate) output_tokens: u64,
}

impl Counts {
    /// Counts something in all, in its minute and for its worker.
    pub(crate) fn count(&mut self, minute: u64, agent: Option<&str>, what: impl Fn(&mut Tally)) {
        what(&mut self.all);
        what(self.minutes.entry(minute).or_default());
        if self.minutes.len() > MINUTES {
            self.minutes.pop_first();
        }
        if let Some(agent) = agent {
            what(self.agents.entry(agent.to_owned()).or_default());
        }
    }

    /// Counts the reason of a refusal or failure.
    pub(crate) fn because(&mut self, reason: &'static str) {
        *self.reasons.entry(reason).or_default() += 1;
    }
}
