//! What workers saw of a limit, as the fields of a hash.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::Pipeline;

use super::answer::{self, Field};
use super::keys::{self, Part};
use crate::engine::limit::belief::RENEWED;
use crate::engine::limit::{Block, Dimension, Headroom, LimitSeen, Why};
use crate::engine::minutes::Used;
use crate::timestamp::Timestamp;

/// The day on which daily budgets begin anew, in UTC.
pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// How far a worker's clock may be ahead of Redis's before what it saw is not believed.
const MOST_AHEAD: Duration = Duration::from_secs(30);

/// The longest block, and the latest reset, that is believed: one until the next month, and a day for the time zone.
const LONGEST_BLOCK: Duration = Duration::from_secs(32 * 86_400);

/// The number of the day in which `at` lies.
pub(super) const fn day_of(at: Timestamp) -> u64 {
    at.as_millis() / 86_400_000
}

/// Adds the commands that write what a provider said. What it did not say this time is removed, so that
/// the parts of a dimension always come from one answer.
pub(super) fn write(key: &str, headroom: &BTreeMap<Dimension, Headroom>, pipeline: &mut Pipeline) {
    let (mut said, mut unsaid) = (Vec::new(), Vec::new());
    for (dimension, Headroom { limit, remaining, reset, seen }) in headroom {
        for (part, number) in [
            (Part::Limit, *limit),
            (Part::Remaining, *remaining),
            (Part::Reset, reset.map(Timestamp::as_millis)),
            (Part::Seen, Some(seen.as_millis())),
        ] {
            match number {
                Some(number) => said.push((part.of(*dimension), number)),
                None => unsaid.push(part.of(*dimension)),
            }
        }
    }
    if !said.is_empty() {
        // HSET takes several; the library's own word for that is the old HMSET.
        pipeline.cmd("HSET").arg(key).arg(said);
    }
    if !unsaid.is_empty() {
        pipeline.hdel(key, unsaid);
    }
}

/// Adds the commands that count what was used on the day of `now`.
pub(super) fn count(key: &str, used: Used, now: Timestamp, pipeline: &mut Pipeline) {
    for dimension in keys::DAILY {
        // All of `DAILY` add up; a zero is written too, because it is known.
        let amount = used.of(dimension).unwrap_or_default();
        pipeline.cmd("HINCRBY").arg(key).arg(keys::day(day_of(now), dimension)).arg(amount);
    }
}

/// What workers saw of the limit that the fields of its hash describe.
pub(super) fn read(fields: &[Field<'_>], now: Timestamp) -> LimitSeen {
    let fields: BTreeMap<&str, &str> = fields.iter().copied().collect();
    let said = |name: &str| fields.get(name).copied();
    let number = |name: &str| said(name).and_then(answer::number);
    let headroom = Dimension::ALL.into_iter().filter_map(|dimension| {
        let part = |part: Part| number(&part.of(dimension));
        let amount = |part: Part| said(&part.of(dimension)).and_then(answer::amount);
        let seen = part(Part::Seen).map(Timestamp::from_millis)?;
        let headroom = Headroom {
            // A provider that allows nothing at all would refuse; a zero is how some say "unknown".
            limit: amount(Part::Limit).filter(|limit| *limit > 0),
            remaining: amount(Part::Remaining),
            reset: part(Part::Reset)
                .map(Timestamp::from_millis)
                .filter(|reset| *reset <= now + LONGEST_BLOCK),
            seen,
        };
        (seen <= now + MOST_AHEAD).then_some((dimension, headroom))
    });
    let blocked = block(number(keys::BLOCKED), said(keys::WHY), now);
    let block_seen = blocked.and(refused(number(keys::BLOCKED_SEEN), now));
    let used = keys::DAILY.map(|dimension| number(&keys::day(day_of(now), dimension)));
    LimitSeen { headroom: headroom.collect(), blocked, block_seen, used_today: used_today(used), full: None }
}

/// The block that ends at `until`, if it is not over. A reason that nobody knows is the one that passes by
/// itself.
pub(super) fn block(until: Option<u64>, why: Option<&str>, now: Timestamp) -> Option<Block> {
    let until = until.map(Timestamp::from_millis)?;
    let believed = now < until && until <= now + LONGEST_BLOCK;
    believed.then(|| Block { until, why: why.and_then(Why::of_label).unwrap_or(Why::Rate) })
}

/// When somebody was last refused because of a block; a time to come is none.
pub(super) fn refused(at: Option<u64>, now: Timestamp) -> Option<Timestamp> {
    at.map(Timestamp::from_millis).filter(|at| *at <= now + MOST_AHEAD)
}

/// Whether workers are to keep to a block. After half of the time for which a refusal counts they call again: it may
/// be over, and if it is not, the refusal renews it. Where nobody says when that was, a far end is not believed.
pub(super) fn is_kept(block: Block, refused: Option<Timestamp>, now: Timestamp) -> bool {
    match refused {
        Some(refused) => now.since(refused) < RENEWED / 2,
        None => block.until.since(now) <= RENEWED,
    }
}

fn used_today([requests, input, output]: [Option<u64>; 3]) -> BTreeMap<Dimension, u64> {
    let tokens = input.zip(output).map(|(input, output)| input.saturating_add(output));
    [
        (Dimension::RequestsPerDay, requests),
        (Dimension::InputTokensPerDay, input),
        (Dimension::OutputTokensPerDay, output),
        (Dimension::TokensPerDay, tokens),
    ]
    .into_iter()
    .filter_map(|(dimension, used)| Some((dimension, used?)))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn nonsense_in_one_field_leaves_the_others() {
        let (now, ahead) = (NOW.as_millis().to_string(), (NOW + 2 * MOST_AHEAD).as_millis().to_string());
        let seen = read(
            &[
                ("requests.limit", "0"),
                ("requests.remaining", "-1"),
                ("requests.reset", "soon"),
                ("requests.seen", &now),
                ("tokens.limit", "1000"),
                ("tokens.remaining", "0"),
                ("tokens.seen", &now),
                ("input_tokens.limit", "1000"),
                ("output_tokens.limit", "1000"),
                ("output_tokens.seen", &ahead),
                ("blocked_ms", "later"),
                ("why", "quota"),
                ("day:19675:requests", "7"),
                ("day:19674:requests", "8"),
                ("day:19675:input_tokens", "9"),
                ("day:19675:output_tokens", "-9"),
                ("later", "1"),
            ],
            NOW,
        );
        let unknown = Headroom { seen: NOW, ..Headroom::default() };
        let tokens = Headroom { limit: Some(1_000), remaining: Some(0), ..unknown };
        let known = LimitSeen {
            headroom: BTreeMap::from([
                (Dimension::RequestsPerMinute, unknown),
                (Dimension::TokensPerMinute, tokens),
            ]),
            blocked: None,
            block_seen: None,
            full: None,
            used_today: BTreeMap::from([(Dimension::RequestsPerDay, 7), (Dimension::InputTokensPerDay, 9)]),
        };
        assert_eq!(seen, known);
    }

    #[test]
    fn workers_call_again_after_five_minutes_whatever_a_block_says() {
        let block = Block { until: NOW + 31 * DAY, why: Why::Quota };
        let after = |minutes: u64| is_kept(block, Some(NOW), NOW + Duration::from_secs(60 * minutes));
        assert_eq!([0, 4, 5, 1_440].map(after), [true, true, false, false]);
        assert!(!is_kept(block, None, NOW));
        assert!(is_kept(Block { until: NOW + RENEWED, ..block }, None, NOW));
        assert_eq!(refused(Some((NOW + 2 * MOST_AHEAD).as_millis()), NOW), None);
    }

    #[test]
    fn a_block_counts_until_it_ends_and_a_century_is_none() {
        let block = |until: Timestamp, why| block(Some(until.as_millis()), why, NOW);
        let soon = NOW + Duration::from_secs(5);
        for why in Why::ALL {
            assert_eq!(block(soon, Some(why.label())), Some(Block { until: soon, why }));
        }
        assert_eq!(block(soon, None), Some(Block { until: soon, why: Why::Rate }));
        assert_eq!(block(soon, Some("bad luck")), Some(Block { until: soon, why: Why::Rate }));
        assert_eq!(block(NOW, Some("rate")), None);
        assert_eq!(block(NOW + 100 * 365 * DAY, Some("spend")), None);
    }
}
