//! What workers said of a limit, as far as it counts for everybody who shares it.
//!
//! All workers of a limit write to one place, and nobody can tell who wrote what. Where several namespaces share the
//! limit, the amounts of the server's file stand, and what workers say counts while they renew it.

use std::time::Duration;

use crate::engine::limit::gateway::configured;
use crate::engine::limit::policy::LimitPolicy;
use crate::engine::limit::{Block, Dimension, Headroom, LimitSeen};
use crate::engine::signals::Signal;
use crate::timestamp::Timestamp;

/// How long the words of a provider count after a worker last reported them. Workers call again after half of it to
/// find out whether a block still holds, so that one that does never lapses in between.
pub const RENEWED: Duration = Duration::from_secs(10 * 60);

/// The most of a day's budget that the workers' own count can use up where namespaces share it. Nobody renews a count,
/// so the provider has to say that nothing is left.
const MOST_COUNTED: f64 = 0.9;

/// How many namespaces use a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sharing {
    /// One: what its workers say is its own affair.
    Alone,
    /// Several, which do not answer for one another.
    Shared,
}

/// What workers saw, as far as it counts.
pub fn believed(
    seen: Signal<LimitSeen>,
    policy: &LimitPolicy,
    sharing: Sharing,
    now: Timestamp,
) -> Signal<LimitSeen> {
    match seen {
        Signal::Seen { value, at, quality } => {
            Signal::Seen { value: believed_of(value, policy, sharing, now), at, quality }
        }
        Signal::Missing(cause) => Signal::Missing(cause),
    }
}

fn believed_of(seen: LimitSeen, policy: &LimitPolicy, sharing: Sharing, now: Timestamp) -> LimitSeen {
    let blocked = seen.block(sharing, now);
    if sharing == Sharing::Alone {
        return LimitSeen { blocked, ..seen };
    }
    let headroom = seen.headroom.into_iter();
    let headroom = headroom
        .filter_map(|(dimension, said)| Some((dimension, within(said, dimension, policy, now)?)))
        .collect();
    let mut used_today = seen.used_today;
    for (dimension, used) in &mut used_today {
        if let Some(amount) = policy.amounts.get(dimension) {
            *used = (*used).min(configured(amount * MOST_COUNTED));
        }
    }
    LimitSeen { headroom, blocked, used_today, ..seen }
}

impl LimitSeen {
    /// The block, if somebody was refused lately because of it. Where reporters do not say when that was, it counts in
    /// its last minutes only, unless nobody else is concerned.
    pub fn block(&self, sharing: Sharing, now: Timestamp) -> Option<Block> {
        self.blocked.filter(|block| match (self.block_seen, sharing) {
            (Some(refused), _) => now.since(refused) <= RENEWED,
            (None, Sharing::Alone) => true,
            (None, Sharing::Shared) => block.until.since(now) <= RENEWED,
        })
    }
}

/// What is said of one dimension, within the amounts of the server's file. Where it gives none at all, only the
/// provider's words tell the limit.
fn within(said: Headroom, dimension: Dimension, policy: &LimitPolicy, now: Timestamp) -> Option<Headroom> {
    let is_fresh = now.since(said.seen) <= RENEWED;
    if policy.amounts.is_empty() {
        return is_fresh.then_some(said);
    }
    let limit = Some(configured(*policy.amounts.get(&dimension)?));
    // What is left of a rate is forgotten as the bucket refills.
    let remaining = said.remaining.filter(|_| is_fresh || !dimension.is_daily());
    Some(Headroom { limit, remaining, ..said })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::limit::Why;
    use crate::engine::signals::Quality;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const REQUESTS: Dimension = Dimension::RequestsPerMinute;
    const DAY: Duration = Duration::from_secs(86_400);
    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_block_counts_for_ten_minutes_after_the_last_refusal() {
        let month = Block { until: NOW + 31 * DAY, why: Why::Quota };
        let soon = Block { until: NOW + RENEWED, why: Why::Quota };
        let counts = |block, refused, sharing| {
            let seen = LimitSeen { blocked: Some(block), block_seen: refused, ..LimitSeen::default() };
            of(seen, &LimitPolicy::default(), sharing).blocked.is_some()
        };
        for sharing in [Sharing::Alone, Sharing::Shared] {
            assert!(counts(month, Some(NOW), sharing));
            assert!(counts(month, Some(NOW - RENEWED), sharing));
            assert!(!counts(month, Some(NOW - RENEWED - SECOND), sharing));
        }
        assert!(!counts(month, None, Sharing::Shared), "nobody knows when somebody was refused");
        assert!(counts(soon, None, Sharing::Shared));
        assert!(counts(month, None, Sharing::Alone));
    }

    #[test]
    fn amounts_of_the_file_stand_where_namespaces_share_a_limit() {
        let one = said(1, 1, Duration::ZERO);
        let seen = |headroom| LimitSeen {
            headroom: BTreeMap::from([(REQUESTS, headroom), (Dimension::Concurrency, headroom)]),
            ..LimitSeen::default()
        };
        let policy = policy(REQUESTS, 59.5);
        let shared = BTreeMap::from([(REQUESTS, Headroom { limit: Some(60), ..one })]);
        assert_eq!(of(seen(one), &policy, Sharing::Shared).headroom, shared);
        assert_eq!(of(seen(one), &policy, Sharing::Alone), seen(one));

        // Without an amount in the file, the provider's words tell the limit, while they are fresh.
        assert_eq!(of(seen(one), &LimitPolicy::default(), Sharing::Shared), seen(one));
        let old = said(1, 1, RENEWED + SECOND);
        let nothing = LimitSeen::default();
        assert_eq!(of(seen(old), &LimitPolicy::default(), Sharing::Shared), nothing);
    }

    #[test]
    fn a_day_is_used_up_when_the_provider_says_so_and_not_by_a_count_alone() {
        let day = Dimension::RequestsPerDay;
        let seen = |ago| LimitSeen {
            headroom: BTreeMap::from([(day, said(1_000, 0, ago))]),
            used_today: BTreeMap::from([(day, u64::MAX)]),
            ..LimitSeen::default()
        };
        let shared = |ago| of(seen(ago), &policy(day, 1_000.0), Sharing::Shared);
        assert_eq!(shared(Duration::ZERO).headroom[&day].remaining, Some(0));
        assert_eq!(shared(RENEWED + SECOND).headroom[&day].remaining, None);
        assert_eq!(shared(Duration::ZERO).used_today[&day], 900);
        assert_eq!(of(seen(DAY), &policy(day, 1_000.0), Sharing::Alone), seen(DAY));
    }

    fn of(seen: LimitSeen, policy: &LimitPolicy, sharing: Sharing) -> LimitSeen {
        let seen = Signal::Seen { value: seen, at: NOW, quality: Quality::Measured };
        believed(seen, policy, sharing, NOW).seen().cloned().unwrap_or_default()
    }

    fn said(limit: u64, remaining: u64, ago: Duration) -> Headroom {
        Headroom { limit: Some(limit), remaining: Some(remaining), reset: None, seen: NOW - ago }
    }

    fn policy(dimension: Dimension, amount: f64) -> LimitPolicy {
        LimitPolicy { amounts: BTreeMap::from([(dimension, amount)]), ..LimitPolicy::default() }
    }
}
