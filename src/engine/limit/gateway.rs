//! What a gateway, or the model's own server, tells of a limit beside what workers see of it.

use std::time::Duration;

use crate::engine::limit::LimitSeen;
use crate::engine::limit::policy::LimitPolicy;
use crate::engine::signals::{Quality, Signal};
use crate::timestamp::Timestamp;

/// Age up to which what workers saw outranks what a gateway tells: by then a bucket has refilled.
const FRESH: Duration = Duration::from_secs(60);

/// Age from which on what a gateway told is not known any more.
const TOLD: Duration = Duration::from_secs(120);

/// What `gateway` told, unless it is too old.
pub fn told(gateway: &Signal<LimitSeen>, now: Timestamp) -> Option<(&LimitSeen, Timestamp)> {
    match gateway {
        Signal::Seen { value, at, .. } if now.since(*at) <= TOLD => Some((value, *at)),
        Signal::Seen { .. } | Signal::Missing(_) => None,
    }
}

/// What workers saw, and for each dimension of which they saw nothing lately, what `gateway` told.
///
/// Where nobody tells the limit that something remains of, it is the configured one.
pub fn merge(
    workers: Signal<LimitSeen>,
    gateway: &Signal<LimitSeen>,
    policy: &LimitPolicy,
    now: Timestamp,
) -> Signal<LimitSeen> {
    let Some((told, at)) = told(gateway, now) else { return workers };
    let mut seen = match workers {
        Signal::Seen { value, .. } => value,
        Signal::Missing(_) => LimitSeen::default(),
    };
    seen.full = told.full;
    for (dimension, told) in &told.headroom {
        let own = seen.headroom.entry(*dimension).or_default();
        if own.remaining.is_some() && now.since(own.seen) <= FRESH {
            continue;
        }
        own.limit =
            told.limit.or(own.limit).or_else(|| policy.amounts.get(dimension).copied().map(configured));
        if told.remaining.is_some() {
            (own.remaining, own.reset, own.seen) = (told.remaining, None, at);
        }
    }
    Signal::Seen { value: seen, at, quality: Quality::Measured }
}

/// A configured amount as a provider would say it. Rounded up, because the smaller of what is configured and what was
/// said holds.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "amounts are positive and finite; too large ones stop at the largest number"
)]
pub(super) const fn configured(amount: f64) -> u64 {
    amount.ceil() as u64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::engine::limit::{Dimension, Headroom};
    use crate::engine::signals::Cause;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
    const REQUESTS: Dimension = Dimension::RequestsPerMinute;

    fn said(limit: Option<u64>, remaining: Option<u64>, ago: u64) -> Headroom {
        Headroom { limit, remaining, reset: None, seen: NOW - Duration::from_secs(ago) }
    }

    fn seen(headroom: Headroom, ago: u64) -> Signal<LimitSeen> {
        let headroom = BTreeMap::from([(REQUESTS, headroom)]);
        let value = LimitSeen { headroom, ..LimitSeen::default() };
        Signal::Seen { value, at: NOW - Duration::from_secs(ago), quality: Quality::Measured }
    }

    fn merged(
        workers: Signal<LimitSeen>,
        gateway: &Signal<LimitSeen>,
        configured: &[f64],
    ) -> Option<Headroom> {
        let amounts = configured.iter().map(|amount| (REQUESTS, *amount)).collect();
        let policy = LimitPolicy { amounts, ..LimitPolicy::default() };
        let merged = merge(workers, gateway, &policy, NOW);
        merged.seen().and_then(|seen| seen.headroom.get(&REQUESTS).copied())
    }

    #[test]
    fn workers_win_while_their_headers_are_fresh_and_then_the_gateway_does() {
        let gateway = seen(said(Some(80), Some(5), 0), 2);
        let fresh = said(Some(60), Some(50), 60);
        assert_eq!(merged(seen(fresh, 0), &gateway, &[]), Some(fresh));
        let old = said(Some(60), Some(50), 61);
        assert_eq!(merged(seen(old, 0), &gateway, &[]), Some(said(Some(80), Some(5), 2)));
        let nobody = Signal::Missing(Cause::new("no answer yet"));
        assert_eq!(merged(nobody, &gateway, &[]), Some(said(Some(80), Some(5), 2)));
    }

    #[test]
    fn what_remains_is_of_the_configured_limit_where_nobody_tells_another() {
        let gateway = seen(said(None, Some(5), 0), 0);
        let nobody = || seen(Headroom::default(), 0);
        assert_eq!(merged(nobody(), &gateway, &[59.5]), Some(said(Some(60), Some(5), 0)));
        assert_eq!(merged(nobody(), &gateway, &[]), Some(said(None, Some(5), 0)));
        // A limit alone leaves what workers saw of the rest.
        let only_limit = seen(said(Some(80), None, 0), 0);
        let old = said(Some(60), Some(50), 300);
        assert_eq!(merged(seen(old, 0), &only_limit, &[]), Some(said(Some(80), Some(50), 300)));
    }

    #[test]
    fn what_a_gateway_told_is_forgotten_after_two_minutes() {
        let workers = || seen(said(Some(60), Some(50), 300), 0);
        for (ago, remaining) in [(120, 5), (121, 50)] {
            let gateway = seen(said(Some(80), Some(5), 0), ago);
            let merged = merged(workers(), &gateway, &[]).and_then(|headroom| headroom.remaining);
            assert_eq!(merged, Some(remaining), "{ago}");
        }
        let silent = Signal::Missing(Cause::new("prom cannot be reached"));
        assert_eq!(merged(workers(), &silent, &[]), Some(said(Some(60), Some(50), 300)));
    }
}
