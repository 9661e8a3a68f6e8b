//! What the scaler allows the workers of one scope, as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::engine::limit::{Allowance, Dimension};

/// How long what the scaler allows stands without being written anew: long enough for a restart.
pub const KEPT: Duration = Duration::from_secs(60);

#[derive(Serialize)]
struct Share {
    slots: f64,
    rates: BTreeMap<&'static str, f64>,
}

/// The text that allows it.
pub fn written(allowance: &Allowance) -> String {
    let Allowance { slots, rates } = allowance;
    let rates = rates.iter().map(|(dimension, rate)| (dimension.label(), *rate)).collect();
    // Numbers under fixed names: what is no number becomes null, and nothing is refused.
    serde_json::to_string(&Share { slots: *slots, rates }).unwrap_or_default()
}

/// What the text allows; a rate that makes no sense is absent, and without slots there is nothing.
pub fn read(text: &str) -> Option<Allowance> {
    let said: Value = serde_json::from_str(text).ok()?;
    let slots = amount(said.get("slots")?)?;
    let rates = said.get("rates").and_then(Value::as_object).into_iter().flatten();
    let rates = rates.filter_map(|(label, rate)| Some((Dimension::of_label(label)?, amount(rate)?)));
    Some(Allowance { slots, rates: rates.collect() })
}

fn amount(value: &Value) -> Option<f64> {
    value.as_f64().filter(|amount| *amount >= 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let allowance = Allowance {
            slots: 12.5,
            rates: BTreeMap::from([(Dimension::RequestsPerMinute, 15.0), (Dimension::Concurrency, 0.1)]),
        };
        let text = written(&allowance);
        assert_eq!(text, r#"{"slots":12.5,"rates":{"concurrency":0.1,"requests":15.0}}"#);
        assert_eq!(read(&text), Some(allowance));
    }

    #[test]
    fn nonsense_allows_nothing_in_particular() {
        for bad in ["", "7", "{}", r#"{"slots":-1}"#, r#"{"slots":"all"}"#, r#"{"rates":{"requests":1}}"#] {
            assert_eq!(read(bad), None, "{bad}");
        }
        let text =
            r#"{"slots":1,"rates":{"requests":-1,"tokens":"all","luck":3,"output_tokens":4},"more":1}"#;
        let rates = BTreeMap::from([(Dimension::OutputTokensPerMinute, 4.0)]);
        assert_eq!(read(text), Some(Allowance { slots: 1.0, rates }));
        assert_eq!(read(&written(&Allowance { slots: f64::NAN, rates: BTreeMap::new() })), None);
    }
}
