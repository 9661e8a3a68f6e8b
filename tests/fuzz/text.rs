//! Texts that look as if they might be right, and bytes that do not.

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Number, Value};

/// Numbers as people and machines write them, and some that no number can hold.
pub(crate) fn number() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (0..10_000_u64).prop_map(|number| number.to_string()),
        2 => any::<u64>().prop_map(|number| number.to_string()),
        1 => any::<i64>().prop_map(|number| number.to_string()),
        1 => any::<f64>().prop_map(|number| number.to_string()),
        2 => prop::sample::select(vec![
            "0", "-0", "+1", "1.5", "1e308", "1e999", "-1e999", "NaN", "inf", "-inf", "9223372036854775807",
            "9223372036854775808", "18446744073709551615", "18446744073709551616", "0x10", "1_000", " 7 ", "",
        ]).prop_map(str::to_owned),
    ]
}

/// Text of the kind that stands in names and values.
pub(crate) fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => number(),
        3 => "[a-z][a-z0-9:._-]{0,20}",
        2 => "-?[0-9]{0,6}(ns|us|ms|s|m|h|d|w)?( [0-9]{1,3}(ms|s|m))?",
        2 => "[a-z*?\\[\\]{}^,:/ -]{0,40}",
        2 => "(/[a-z{}?=&%;.]{0,12}){0,4}",
        2 => "\\$([.\\[\\]@?*'a-z0-9<=& ]{0,30})",
        2 => prop::sample::select(vec![
            "true", "false", "deployment", "job", "redis", "list", "quota", "rate", "busy", "idle", "draining", "inf",
            "acme:tasks", "none", "null", "~", "\u{1b}[31m", "a\nb\r\nc", "\u{202e}", "\u{0}", "{{", "$(id)", "../..",
        ]).prop_map(str::to_owned),
        1 => any::<String>(),
        1 => (any::<char>(), 0..2_000_usize).prop_map(|(letter, times)| letter.to_string().repeat(times)),
        1 => vec("[a-z0-9]{1,6}", 0..100).prop_map(|names| names.join(",")),
    ]
}

/// JSON of any shape.
pub(crate) fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        any::<u64>().prop_map(Value::from),
        (0..1_000_u64).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(|number| Number::from_f64(number).map_or(Value::Null, Value::Number)),
        text().prop_map(Value::String),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..8).prop_map(Value::Array),
            vec(("[a-z_]{1,8}", inner), 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect::<Map<_, _>>())),
        ]
    })
}

/// A change somewhere in a document.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// Another value at the place that a walk by these steps leads to.
    Put(Vec<usize>, Value),
    /// Nothing there.
    Remove(Vec<usize>),
}

/// A few changes.
pub(crate) fn changes() -> impl Strategy<Value = Vec<Change>> {
    let walk = || vec(any::<usize>(), 0..7);
    let change = prop_oneof![
        3 => (walk(), json()).prop_map(|(walk, value)| Change::Put(walk, value)),
        1 => walk().prop_map(Change::Remove),
    ];
    vec(change, 0..4)
}

/// The document after some changes.
pub(crate) fn changed(mut document: Value, changes: &[Change]) -> Value {
    for change in changes {
        match change {
            Change::Put(walk, value) => *place(&mut document, walk) = value.clone(),
            Change::Remove(walk) => *place(&mut document, walk) = Value::Null,
        }
    }
    document
}

fn place<'a>(document: &'a mut Value, walk: &[usize]) -> &'a mut Value {
    let Some((step, rest)) = walk.split_first() else { return document };
    let length = match document {
        Value::Array(items) => items.len(),
        Value::Object(fields) => fields.len(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    };
    if length == 0 {
        return document;
    }
    match document {
        Value::Array(items) => place(&mut items[step % length], rest),
        Value::Object(fields) => place(fields.values_mut().nth(step % length).unwrap(), rest),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => document,
    }
}

/// Bytes of a text with some of them cut, doubled or replaced.
#[derive(Clone, Debug)]
pub(crate) enum Cut {
    /// Whatever follows is missing.
    Off(usize),
    /// Other bytes in the place of one.
    Other(usize, Vec<u8>),
    /// A part twice.
    Twice(usize, usize),
}

/// A few of them; mostly none.
pub(crate) fn cuts() -> impl Strategy<Value = Vec<Cut>> {
    let cut = prop_oneof![
        any::<usize>().prop_map(Cut::Off),
        (any::<usize>(), vec(any::<u8>(), 0..12)).prop_map(|(at, bytes)| Cut::Other(at, bytes)),
        (any::<usize>(), 0..200_usize).prop_map(|(at, length)| Cut::Twice(at, length)),
    ];
    prop_oneof![2 => Just(Vec::new()), 1 => vec(cut, 1..4)]
}

/// The bytes after some cuts.
pub(crate) fn cut(mut bytes: Vec<u8>, cuts: &[Cut]) -> Vec<u8> {
    for cut in cuts {
        let length = bytes.len() + 1;
        match cut {
            Cut::Off(at) => bytes.truncate(at % length),
            Cut::Other(at, others) => {
                let (at, end) = (at % length, (at % length + 1).min(bytes.len()));
                bytes.splice(at..end, others.iter().copied());
            }
            Cut::Twice(at, some) => {
                let at = at % length;
                let end = at.saturating_add(*some).min(bytes.len());
                bytes.extend_from_within(at..end);
            }
        }
    }
    bytes
}
