//! When callers have to wait outside. Pure: what was seen goes in, an answer comes out.

use std::time::Duration;

use agent_scaler::engine::limit::belief::Sharing;
use agent_scaler::engine::limit::{Allowance, Block, Dimension, LimitSeen};
use agent_scaler::engine::minutes::Minute;
use agent_scaler::engine::signals::Workers;
use agent_scaler::timestamp::Timestamp;

/// Part of a limit whose use is as good as the whole: workers that keep to a limit stay a little below it.
const SATURATED: f64 = 0.95;

/// What a caller is told when nobody knows how fast tasks are taken.
const UNKNOWN_WAIT: Duration = Duration::from_secs(30);

/// Longest time that a caller is told. A block of a day may be lifted sooner: somebody tops up the account.
const LONGEST_WAIT: Duration = Duration::from_secs(3_600);

/// Part of a full backlog that should be gone before the next try.
const ROOM: f64 = 0.1;

/// What one look at Redis told. What it did not tell is `None`.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    /// Tasks that wait.
    pub(crate) backlog: Option<u64>,
    /// How long the oldest of them has waited.
    pub(crate) oldest: Option<Duration>,
    pub(crate) workers: Option<Workers>,
    pub(crate) limit: Option<LimitSeen>,
    /// What this queue's workers may use of the limit, if the scaler says so.
    pub(crate) share: Option<Allowance>,
}

/// What is too much.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// How long the oldest task may have waited while the limit is used up.
    pub(crate) max_wait: Duration,
    /// Length of the minute that workers and the provider count in.
    pub(crate) minute: Duration,
}

/// Why a task is not taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The provider refuses everything for some time.
    Blocked,
    /// The limit is used up, and tasks wait longer than they should.
    Saturated,
    /// Too many tasks wait.
    Backlog,
}

impl Reason {
    /// A word for metrics and for the caller.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Blocked => "blocked",
            Self::Saturated => "saturated",
            Self::Backlog => "backlog",
        }
    }
}

/// A task is better not put in at present.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pressure {
    pub(crate) reason: Reason,
    /// When it is worth another try.
    pub(crate) retry_after: Duration,
}

impl Seen {
    /// Whether callers have to wait outside, judged by the limit; the backlog is counted where tasks are put in.
    pub(crate) fn pressure(&self, bounds: Bounds, now: Timestamp) -> Option<Pressure> {
        if let Some(block) = self.blocked(now) {
            let retry_after = bounded(block.until.since(now));
            return Some(Pressure { reason: Reason::Blocked, retry_after });
        }
        let late = self.oldest.is_some_and(|oldest| bounds.max_wait < oldest);
        let used_up = self.use_of_limit(bounds, now).is_some_and(|used| SATURATED <= used);
        (late && used_up).then(|| {
            // The time after which a task that is put in would be taken within the bound.
            let drain = self.drain(1.0, bounds).map(|drain| drain.saturating_sub(bounds.max_wait));
            Pressure { reason: Reason::Saturated, retry_after: bounded(drain.unwrap_or(UNKNOWN_WAIT)) }
        })
    }

    /// What a caller is told when the backlog is full.
    pub(crate) fn full(&self, bounds: Bounds) -> Pressure {
        let retry_after = bounded(self.drain(ROOM, bounds).unwrap_or(UNKNOWN_WAIT));
        Pressure { reason: Reason::Backlog, retry_after }
    }

    /// The block that holds at `now`.
    fn blocked(&self, now: Timestamp) -> Option<Block> {
        self.limit.as_ref()?.block(Sharing::Alone, now).filter(|block| now < block.until)
    }

    /// Use of the fullest dimension, as a part of what may be used; `None` if no amount is known.
    pub(crate) fn use_of_limit(&self, bounds: Bounds, now: Timestamp) -> Option<f64> {
        let rates = Dimension::ALL.into_iter().filter(|dimension| !dimension.is_daily());
        rates.filter_map(|dimension| self.use_of(dimension, bounds, now)).max_by(f64::total_cmp)
    }

    fn use_of(&self, dimension: Dimension, bounds: Bounds, now: Timestamp) -> Option<f64> {
        let headroom = self.limit.as_ref().and_then(|limit| limit.headroom.get(&dimension));
        let whole = headroom.and_then(|headroom| headroom.limit).filter(|limit| 0 < *limit);
        let share = self.share.as_ref().and_then(|share| share.rates.get(&dimension)).copied();
        let may = share.filter(|share| 0.0 < *share).or(whole.map(amount));
        let used = self.whole_minutes().filter_map(|minute| minute.used.of(dimension)).max().map(amount);
        let by_use = used.zip(may).map(|(used, may)| used / may);
        // An older word of the provider says nothing of the present.
        let fresh = headroom.filter(|headroom| now.since(headroom.seen) <= bounds.minute);
        let left = fresh.and_then(|headroom| headroom.remaining).map(amount);
        let by_word = left.zip(whole.map(amount)).map(|(left, whole)| 1.0 - left / whole);
        [by_use, by_word].into_iter().flatten().max_by(f64::total_cmp)
    }

    /// How long the workers take for this part of the backlog, at their last pace; `None` if they took nothing.
    fn drain(&self, part: f64, bounds: Bounds) -> Option<Duration> {
        let minutes: Vec<u64> = self.whole_minutes().map(|minute| minute.waits.samples()).collect();
        let taken = minutes.iter().copied().fold(0, u64::saturating_add);
        let pace = amount(taken) / amount(u64::try_from(minutes.len()).ok()?);
        let minutes = part * amount(self.backlog?) / pace;
        Duration::try_from_secs_f64(minutes * bounds.minute.as_secs_f64()).ok()
    }

    /// The last two minutes that are over.
    fn whole_minutes(&self) -> impl Iterator<Item = &Minute> {
        let present = self.workers.as_ref().map_or(0, |workers| workers.minute);
        let minutes = self.workers.iter().flat_map(|workers| &workers.minutes);
        minutes
            .map(AsRef::as_ref)
            .filter(move |minute| minute.number < present && present <= minute.number.saturating_add(2))
    }
}

/// What a caller can be told: at least a second, because the header knows no less.
fn bounded(wait: Duration) -> Duration {
    wait.clamp(Duration::from_secs(1), LONGEST_WAIT)
}

/// A count for a ratio.
#[expect(clippy::cast_precision_loss, reason = "a ratio needs no more than 52 bits")]
fn amount(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use agent_scaler::engine::limit::{Headroom, Why};
    use agent_scaler::engine::minutes::{Histogram, Used};
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_030_000);
    const PRESENT: u64 = 30_000_000;
    const BOUNDS: Bounds = Bounds { max_wait: Duration::from_secs(120), minute: Duration::from_secs(60) };
    const EARLY: Option<Duration> = Some(Duration::from_secs(120));
    const LATE: Option<Duration> = Some(Duration::from_secs(121));

    #[test]
    fn what_is_not_known_refuses_nobody() {
        let seen = Seen { backlog: Some(1_000_000), oldest: Some(LONGEST_WAIT), ..Seen::default() };
        assert_eq!(seen.pressure(BOUNDS, NOW), None);
        assert_eq!(Seen { oldest: None, ..used(&[(1, 60)]) }.pressure(BOUNDS, NOW), None);
        assert_eq!(Seen { limit: None, ..used(&[(1, 60)]) }.pressure(BOUNDS, NOW), None);
        assert_eq!(Seen { workers: None, ..used(&[(1, 60)]) }.pressure(BOUNDS, NOW), None);
    }

    #[test]
    fn a_block_refuses_until_it_ends_and_for_an_hour_at_most() {
        for (seconds, told) in [(-1, None), (0, None), (1, Some(1)), (90, Some(90)), (86_400, Some(3_600))] {
            let until = Timestamp::from_millis(NOW.as_millis().saturating_add_signed(seconds * 1_000));
            let blocked = Some(Block { until, why: Why::Quota });
            let seen = Seen { limit: Some(LimitSeen { blocked, ..LimitSeen::default() }), ..Seen::default() };
            let told = told.map(|seconds| refusal(Reason::Blocked, seconds));
            assert_eq!(seen.pressure(BOUNDS, NOW), told, "{seconds}");
        }
    }

    #[test]
    fn it_takes_late_tasks_and_a_limit_that_is_used_up() {
        for (requests, oldest, refused) in
            [(56, LATE, false), (57, EARLY, false), (57, LATE, true), (80, LATE, true)]
        {
            let seen = Seen { oldest, ..used(&[(1, requests)]) };
            let expected = refused.then(|| refusal(Reason::Saturated, 30));
            assert_eq!(seen.pressure(BOUNDS, NOW), expected, "{requests} {oldest:?}");
        }
    }

    #[test]
    fn the_fuller_of_the_last_two_whole_minutes_counts() {
        for (minutes, ratio) in [
            (&[(1, 30), (2, 60)][..], Some(1.0)),
            (&[(1, 60), (2, 30)], Some(1.0)),
            // The present one is not over, and the third is long ago.
            (&[(0, 60), (1, 30), (3, 60)], Some(0.5)),
        ] {
            assert_eq!(used(minutes).use_of_limit(BOUNDS, NOW), ratio, "{minutes:?}");
        }
    }

    #[test]
    fn the_providers_word_counts_while_it_is_news_and_no_budget_of_a_day_does() {
        for (dimension, remaining, age, ratio) in [
            (Dimension::RequestsPerMinute, 3, 60, Some(0.95)),
            (Dimension::RequestsPerMinute, 3, 61, None),
            (Dimension::RequestsPerDay, 3, 0, None),
        ] {
            let said = headroom(remaining, NOW - Duration::from_secs(age));
            let limit = LimitSeen { headroom: BTreeMap::from([(dimension, said)]), ..LimitSeen::default() };
            let seen = Seen { limit: Some(limit), ..Seen::default() };
            assert_eq!(seen.use_of_limit(BOUNDS, NOW), ratio, "{dimension} {remaining} {age}");
        }
    }

    #[test]
    fn a_share_stands_for_the_limit() {
        let rates = BTreeMap::from([(Dimension::RequestsPerMinute, 15.0)]);
        let seen = Seen { share: Some(Allowance { slots: 1.0, rates }), ..used(&[(1, 12)]) };
        assert_eq!(seen.use_of_limit(BOUNDS, NOW), Some(0.8));
    }

    #[test]
    fn callers_come_back_when_there_is_room() {
        // Ten tasks a minute, and a hundred that wait: ten minutes, of which two are no reason to stay away.
        let mut seen = used(&[(1, 60), (2, 60)]);
        seen.backlog = Some(100);
        let minutes = seen.workers.iter_mut().flat_map(|workers| &mut workers.minutes);
        minutes.for_each(|minute| Arc::make_mut(minute).waits.add(40, 10));
        assert_eq!(seen.pressure(BOUNDS, NOW), Some(refusal(Reason::Saturated, 480)));
        assert_eq!(seen.full(BOUNDS), refusal(Reason::Backlog, 60));
        assert_eq!(Seen::default().full(BOUNDS), refusal(Reason::Backlog, 30));
    }

    proptest! {
        #[test]
        fn a_caller_is_told_between_a_second_and_an_hour_and_a_looser_bound_refuses_no_more(
            (requests, taken) in (0..200_u64, 0..200_u64),
            (backlog, oldest) in (any::<u64>(), 0..10_000_u64),
            (tight, more) in (1..1_000_u64, 0..1_000_u64),
        ) {
            let mut seen = used(&[(1, requests)]);
            seen.backlog = Some(backlog);
            seen.oldest = Some(Duration::from_secs(oldest));
            let minutes = seen.workers.iter_mut().flat_map(|workers| &mut workers.minutes);
            minutes.for_each(|minute| Arc::make_mut(minute).waits.add(40, taken));
            let bounds = |seconds| Bounds { max_wait: Duration::from_secs(seconds), ..BOUNDS };
            let (tight, loose) = (bounds(tight), bounds(tight + more));
            let pressures = [seen.pressure(tight, NOW), seen.pressure(loose, NOW), Some(seen.full(tight))];
            for pressure in pressures.into_iter().flatten() {
                prop_assert!((1..=3_600).contains(&pressure.retry_after.as_secs()), "{pressure:?}");
            }
            prop_assert!(pressures[1].is_none() || pressures[0].is_some());
        }
    }

    /// Late tasks, a limit of 60 requests a minute of which the provider says nothing else, and requests that were
    /// made in minutes so many before the present.
    fn used(minutes: &[(u64, u64)]) -> Seen {
        let minutes = minutes.iter().map(|(before, requests)| Minute {
            number: PRESENT - before,
            waits: Histogram::default(),
            used: Used { requests: *requests, ..Used::default() },
            ..Minute::default()
        });
        let workers =
            Workers { minutes: minutes.map(Arc::new).collect(), minute: PRESENT, ..Workers::default() };
        let said = Headroom { remaining: None, ..headroom(0, NOW) };
        let headroom = BTreeMap::from([(Dimension::RequestsPerMinute, said)]);
        let limit = LimitSeen { headroom, ..LimitSeen::default() };
        Seen { oldest: LATE, workers: Some(workers), limit: Some(limit), ..Seen::default() }
    }

    fn headroom(remaining: u64, seen: Timestamp) -> Headroom {
        Headroom { limit: Some(60), remaining: Some(remaining), reset: None, seen }
    }

    fn refusal(reason: Reason, seconds: u64) -> Pressure {
        Pressure { reason, retry_after: Duration::from_secs(seconds) }
    }
}
