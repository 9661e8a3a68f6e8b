//! One minute of work, as the fields of a hash.

use std::time::Duration;

use redis::Pipeline;

use super::answer::{self, Field};
use super::keys;
use super::tally::Tally;
use crate::engine::limit::Dimension;
use crate::engine::minutes::{Histogram, Minute};
use crate::timestamp::Timestamp;

/// Times in whole milliseconds, which is what counters can hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Times {
    pub(super) busy: u64,
    pub(super) throttled: u64,
    pub(super) calling: u64,
}

/// Adds the commands that add a tally to the minute in `key`. The first of them is always there: that a
/// worker can tell what a rate limit costs it is worth knowing even if that is nothing.
pub(super) fn write(key: &str, tally: &Tally, times: Times, pipeline: &mut Pipeline) {
    let Times { busy, throttled, calling } = times;
    let Tally { durations, waits, done, failed, used, refused, remaining, .. } = tally;
    pipeline.cmd("HINCRBY").arg(key).arg(keys::THROTTLED).arg(throttled);
    for (field, amount) in [
        (keys::DONE, *done),
        (keys::FAILED, *failed),
        (keys::BUSY, busy),
        (keys::CALLING, calling),
        (keys::REQUESTS, used.requests),
        (keys::INPUT_TOKENS, used.input_tokens),
        (keys::OUTPUT_TOKENS, used.output_tokens),
        (keys::REFUSED, *refused),
    ] {
        if amount > 0 {
            pipeline.cmd("HINCRBY").arg(key).arg(field).arg(amount);
        }
    }
    for (letter, histogram) in [(keys::DURATION, durations), (keys::WAIT, waits)] {
        for (bucket, times) in histogram.buckets() {
            pipeline.cmd("HINCRBY").arg(key).arg(format!("{letter}{bucket}")).arg(times);
        }
    }
    for (dimension, (left, seen)) in remaining {
        let field = format!("{}{}", keys::REMAINING, dimension.label());
        pipeline.cmd("HSETNX").arg(key).arg(field).arg(format!("{left}@{}", seen.as_millis()));
    }
}

/// The minute that the fields of its hash describe.
pub(super) fn read(number: u64, fields: &[Field<'_>]) -> Minute {
    let mut minute = Minute { number, ..Minute::default() };
    for (name, value) in fields {
        if let Some(label) = name.strip_prefix(keys::REMAINING) {
            if let (Some(dimension), Some(left)) = (Dimension::of_label(label), remaining(value)) {
                minute.remaining.insert(dimension, left);
            }
        } else if let Some(amount) = answer::amount(value) {
            add(&mut minute, name, amount);
        }
    }
    minute
}

fn add(minute: &mut Minute, name: &str, amount: u64) {
    match name {
        keys::DONE => minute.done = amount,
        keys::FAILED => minute.failed = amount,
        keys::BUSY => minute.busy = Duration::from_millis(amount),
        keys::THROTTLED => minute.throttled = Some(Duration::from_millis(amount)),
        keys::CALLING => minute.calling = Duration::from_millis(amount),
        keys::REQUESTS => minute.used.requests = amount,
        keys::INPUT_TOKENS => minute.used.input_tokens = amount,
        keys::OUTPUT_TOKENS => minute.used.output_tokens = amount,
        keys::REFUSED => minute.refused = amount,
        _ => {
            if let Some(bucket) = name.strip_prefix(keys::DURATION) {
                count(&mut minute.durations, bucket, amount);
            } else if let Some(bucket) = name.strip_prefix(keys::WAIT) {
                count(&mut minute.waits, bucket, amount);
            }
        }
    }
}

fn count(histogram: &mut Histogram, bucket: &str, times: u64) {
    let bucket = answer::number(bucket).and_then(|bucket| u8::try_from(bucket).ok());
    if let Some(bucket) = bucket.filter(|_| times > 0) {
        histogram.add(bucket, times);
    }
}

/// What was left, and when that was seen: `<remaining>@<ms>`.
fn remaining(text: &str) -> Option<(u64, Timestamp)> {
    let (left, seen) = text.split_once('@')?;
    Some((answer::amount(left)?, answer::timestamp(seen)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nonsense_in_one_field_leaves_the_others() {
        let minute = read(
            7,
            &[
                ("done", "20"),
                ("fail", "-1"),
                ("busy_ms", "soon"),
                ("throttle_ms", "1.5"),
                ("req", "99999999999999999999"),
                ("itok", "5"),
                ("d10", "3"),
                ("d256", "3"),
                ("d-1", "3"),
                ("d", "3"),
                ("dx", "3"),
                ("w4", "0"),
                ("w5", "x"),
                ("h:requests", "100@5"),
                ("h:tokens", "100"),
                ("h:output_tokens", "-1@5"),
                ("h:credits", "1@5"),
                ("later", "1"),
            ],
        );
        let mut known = Minute { number: 7, done: 20, ..Minute::default() };
        known.used.input_tokens = 5;
        known.durations.add(10, 3);
        known.remaining.insert(Dimension::RequestsPerMinute, (100, Timestamp::from_millis(5)));
        assert_eq!(minute, known);
    }
}
