//! What is known of a limit beforehand. Valid by construction: amounts are positive and finite.

use std::collections::BTreeMap;

use super::Dimension;

/// What the server's file says of one limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitPolicy {
    /// What the provider admits, by dimension, in the dimension's own unit. An absent dimension is not known,
    /// unless the provider's answers tell it.
    pub amounts: BTreeMap<Dimension, f64>,
    /// What a task uses until that is measured.
    pub use_per_task: UsePerTask,
}

/// What one task uses from its beginning to its end. `None` is not known, never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct UsePerTask {
    /// Requests.
    pub requests: Option<f64>,
    /// Tokens sent.
    pub input_tokens: Option<f64>,
    /// Tokens generated.
    pub output_tokens: Option<f64>,
}

impl LimitPolicy {
    /// What one task uses of `dimension`, in the same unit for a minute and for a day.
    ///
    /// `None` where the file does not say, and for concurrency, which a task holds and does not use up.
    pub fn use_of(&self, dimension: Dimension) -> Option<f64> {
        let UsePerTask { requests, input_tokens, output_tokens } = self.use_per_task;
        match dimension {
            Dimension::RequestsPerMinute | Dimension::RequestsPerDay => requests,
            Dimension::InputTokensPerMinute | Dimension::InputTokensPerDay => input_tokens,
            Dimension::OutputTokensPerMinute | Dimension::OutputTokensPerDay => output_tokens,
            // Half of a sum would be too little.
            Dimension::TokensPerMinute | Dimension::TokensPerDay => Some(input_tokens? + output_tokens?),
            Dimension::Concurrency => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_task_uses_is_known_by_dimension() {
        let use_per_task =
            UsePerTask { requests: Some(12.0), input_tokens: Some(60_000.0), output_tokens: Some(4_000.0) };
        let policy = LimitPolicy { use_per_task, ..LimitPolicy::default() };
        let uses = Dimension::ALL.map(|dimension| policy.use_of(dimension));
        let minute = [Some(12.0), Some(60_000.0), Some(4_000.0), Some(64_000.0)];
        assert_eq!(uses[..4], minute);
        assert_eq!(uses[4..8], minute);
        assert_eq!(uses[8], None);
    }

    #[test]
    fn half_of_a_sum_is_not_known() {
        let use_per_task = UsePerTask { output_tokens: Some(4_000.0), ..UsePerTask::default() };
        let policy = LimitPolicy { use_per_task, ..LimitPolicy::default() };
        assert_eq!(policy.use_of(Dimension::TokensPerMinute), None);
        assert_eq!(policy.use_of(Dimension::OutputTokensPerMinute), Some(4_000.0));
        assert_eq!(policy.use_of(Dimension::RequestsPerDay), None);
    }
}
