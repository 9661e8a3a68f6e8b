//! What a provider says of a limit, put together with what the configuration says.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::engine::limit::policy::LimitPolicy;
use crate::engine::limit::share::DimensionState;
use crate::engine::limit::{Block, Dimension, LimitSeen, Why};
use crate::timestamp::Timestamp;

/// Headroom below which nobody grows beyond their part.
const SCARCE: f64 = 0.2;

/// A block shorter than this passes before a replica would have started.
const PASSING: Duration = Duration::from_secs(60);

const DAY: u64 = 86_400_000;
const DAY_LONG: Duration = Duration::from_millis(DAY);

/// The amounts that hold: the smaller of what the file and the provider say.
pub(super) fn amounts(policy: &LimitPolicy, seen: Option<&LimitSeen>) -> BTreeMap<Dimension, f64> {
    let mut amounts = policy.amounts.clone();
    for (dimension, headroom) in seen.iter().flat_map(|seen| &seen.headroom) {
        if let Some(limit) = headroom.limit.filter(|limit| *limit > 0) {
            let amount = amounts.entry(*dimension).or_insert(f64::INFINITY);
            *amount = amount.min(limit as f64);
        }
    }
    amounts
}

/// What is left of a daily budget; `None` if neither the provider nor the workers' own count tells.
pub(super) fn left_today(
    seen: Option<&LimitSeen>,
    dimension: Dimension,
    amount: f64,
    now: Timestamp,
) -> Option<f64> {
    let seen = seen?;
    let headroom = seen.headroom.get(&dimension);
    let said = headroom
        .filter(|headroom| {
            headroom.reset.is_none_or(|reset| now < reset) && now.since(headroom.seen) < DAY_LONG
        })
        .and_then(|headroom| headroom.remaining)
        .map(|remaining| remaining as f64);
    let counted = seen.used_today.get(&dimension).map(|used| (amount - *used as f64).max(0.0));
    said.or(counted)
}

/// Whether the provider says that little is left of a rate, as of now.
pub(super) fn is_scarce(seen: &LimitSeen, length: Duration, now: Timestamp) -> bool {
    seen.headroom.iter().filter(|(dimension, _)| !dimension.is_daily()).any(|(_, headroom)| {
        let (Some(limit), Some(remaining)) = (headroom.limit, headroom.remaining) else { return false };
        let refilled = now.since(headroom.seen).as_secs_f64() / length.as_secs_f64();
        (remaining as f64 / limit as f64) + refilled < SCARCE
    })
}

/// A block that a replica would not outwait: one that the provider announced, or a daily budget that is used up.
pub(super) fn blocked(
    seen: Option<&LimitSeen>,
    dimensions: &[DimensionState],
    now: Timestamp,
) -> Option<Block> {
    let said = seen.and_then(|seen| seen.blocked).filter(|block| match block.why {
        Why::Quota | Why::Spend => block.until > now,
        Why::Rate | Why::Overload => block.until.since(now) > PASSING,
    });
    let used_up = dimensions.iter().find(|state| state.dimension.is_daily() && state.room <= 0.0);
    said.or_else(|| {
        let reset = seen?.headroom.get(&used_up?.dimension).and_then(|headroom| headroom.reset);
        let midnight = Timestamp::from_millis((now.as_millis() / DAY + 1) * DAY);
        Some(Block { until: reset.filter(|reset| *reset > now).unwrap_or(midnight), why: Why::Quota })
    })
}
