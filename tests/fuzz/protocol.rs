//! What workers write: every field of the protocol, with values that nobody should believe.

use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::limit::Dimension;
use agent_scaler::timestamp::Timestamp;
use agent_scaler::workers::keys::{self, Part};
use agent_scaler::workers::reader::{LimitScope, Memory, Scope};
use proptest::collection::vec;
use proptest::prelude::*;
use redis::{Pipeline, Value};
use serde_json::json;

use crate::budget::{fuzz, is_plain};
use crate::decisions::decide_beside;
use crate::text::{changed, changes, number, text};

/// Redis's time, as in the answers.
pub(crate) const NOW: Timestamp = Timestamp::from_millis(1_800_000_030_000);

type Fields = Vec<(String, String)>;

/// Numbers in digits: small, large, times about now, and what is none.
fn said() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (0..200_u64).prop_map(|number| number.to_string()),
        3 => (0..100_000_000_u64).prop_map(|ago| (NOW.as_millis() + 50_000_000 - ago).to_string()),
        3 => number(),
        1 => (number(), number()).prop_map(|(left, at)| format!("{left}@{at}")),
        1 => (0..100_u64, 0..600_000_u64).prop_map(|(left, ago)| format!("{left}@{}", NOW.as_millis() - ago)),
        1 => text(),
    ]
}

fn minute() -> impl Strategy<Value = Fields> {
    let counters = vec![
        keys::DONE,
        keys::FAILED,
        keys::BUSY,
        keys::THROTTLED,
        keys::CALLING,
        keys::REQUESTS,
        keys::INPUT_TOKENS,
        keys::OUTPUT_TOKENS,
        keys::REFUSED,
        "h:requests",
        "h:output_tokens",
        "h:concurrency",
    ];
    let name = prop_oneof![
        4 => prop::sample::select(counters).prop_map(str::to_owned),
        1 => ("[dw]", number()).prop_map(|(letter, bucket)| format!("{letter}{bucket}")),
        1 => text(),
    ];
    vec((name, said()), 0..14)
}

fn limit() -> impl Strategy<Value = Fields> {
    let mut names = vec![keys::BLOCKED.to_owned(), keys::BLOCKED_SEEN.to_owned()];
    names.extend(Dimension::ALL.iter().flat_map(|dimension| Part::ALL.map(|part| part.of(*dimension))));
    let today = NOW.as_millis() / 86_400_000;
    names.extend(keys::DAILY.map(|dimension| keys::day(today, dimension)));
    let why = prop_oneof![Just("quota".to_owned()), Just("rate".to_owned()), text()];
    let seen =
        (prop::sample::select(Dimension::ALL.to_vec()), 0..1_000_000_u64).prop_map(|(dimension, ago)| {
            (Part::Seen.of(dimension), (NOW.as_millis() + 60_000 - ago).to_string())
        });
    (vec((prop::sample::select(names), said()), 0..16), vec(seen, 0..6), why).prop_map(
        |(mut fields, seen, why)| {
            fields.extend(seen);
            fields.push((keys::WHY.to_owned(), why));
            fields
        },
    )
}

fn worker() -> impl Strategy<Value = String> {
    let ago = 0..40_000_u64;
    let right = (ago, 0..9_u32, any::<u32>(), prop::bool::ANY).prop_map(|(ago, running, slots, paces)| {
        let seen = NOW.as_millis() + 5_000 - ago;
        json!({"seen": seen, "state": "busy", "slots": slots, "running": running, "oldest": seen, "progress": seen,
            "paces": paces, "poison": 1})
    });
    prop_oneof![4 => (right, changes()).prop_map(|(right, changes)| changed(right, &changes).to_string()), 1 => text()]
}

#[test]
fn whatever_workers_write_is_read_and_decides_their_own_lot_only() {
    let strategy = (number(), vec(worker(), 0..5), vec(minute(), 1..6), limit());
    fuzz("worker protocol", &strategy, |(leases, workers, minutes, limit)| {
        let scope = Scope::new("liar", Duration::from_secs(60));
        let mut memory = Memory::default();
        let asked = scope.ask(&memory, NOW, &mut Pipeline::new());
        let leases = leases.parse().map_or(Value::Int(3), Value::Int);
        let workers = workers.into_iter().enumerate().map(|(at, said)| (format!("w{at}"), said)).collect();
        let mut answers = vec![leases, hash(workers)];
        answers.extend(minutes.into_iter().cycle().take(31).map(hash));
        let read = scope.read(&asked, &answers, &mut memory, NOW);
        let seen = LimitScope::new("prod").read(&[hash(limit)], NOW).unwrap();
        is_plain(&format!("{seen:?}"))?;
        match read {
            Ok((reported, _)) => decide_beside(Arc::new(reported), seen),
            Err(error) => is_plain(&format!("{error:?}")),
        }
    });
}

fn hash(fields: Fields) -> Value {
    let bulk = |text: String| Value::BulkString(text.into_bytes());
    let words = fields.into_iter().flat_map(|(name, value)| [bulk(name), bulk(value)]).collect();
    Value::Array(vec![bulk("0".to_owned()), Value::Array(words)])
}
