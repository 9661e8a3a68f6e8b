//! The answer to one query: a number, or why it is none. Missing is never zero.
//!
//! No word of an answer is repeated: a server behind the one that was asked names its addresses in warnings and errors.

use std::time::Duration;

use serde::Deserialize;

use super::series::Found;
use crate::timestamp::Timestamp;

/// How much older than the server's own present an answer may be. Older ones come out of somebody's cache.
const OLDEST: Duration = Duration::from_secs(60);

/// Why there is no number.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(super) enum Blank {
    /// No series fits, or none had a sample lately.
    #[error(
        "no result: no series fits, or its last sample is older than five minutes; where that does mean none, write `… or vector(0)`"
    )]
    Empty,
    /// Nothing divided by nothing, mostly.
    #[error("the result is NaN, as a rate or percentile is without samples")]
    NotANumber,
    /// Something divided by nothing.
    #[error("the result is infinite")]
    Infinite,
    /// No number of tasks and no time is negative.
    #[error("the result is negative: {0}")]
    Negative(f64),
    /// It is not clear which is meant.
    #[error("{0} series in the result, and one is wanted: wrap the query in `sum(…)` or `max(…)`")]
    Several(usize),
    /// A range, a text, or a whole histogram.
    #[error("the result is a {0}, and a number is wanted")]
    Kind(&'static str),
    /// The server could not see all of its data.
    #[error("the result is not complete: the server warns of it")]
    Partial,
    /// It was made long before it was asked for.
    #[error("the result is {} s old, so it comes out of a cache", .0.as_secs())]
    Old(Duration),
    /// The query is wrong, perhaps at this line and column.
    #[error("the query is wrong{}: Prometheus's own page says why", .0.as_ref().map(|place| format!(" at {place}")).unwrap_or_default())]
    Wrong(Option<String>),
    /// The server did not answer the query, for a reason of this kind.
    #[error("the server does not answer the query ({0})")]
    Refused(&'static str),
}

/// The envelope of every answer of the API.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    status: String,
    data: Option<Data>,
    error_type: Option<String>,
    error: Option<String>,
    #[serde(default)]
    warnings: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Found,
}

/// The reasons that Prometheus's API gives.
const REASONS: [&str; 7] =
    ["canceled", "execution", "internal", "not_acceptable", "not_found", "timeout", "unavailable"];

/// The results that there are beside those that hold a number.
const KINDS: [&str; 2] = ["matrix", "string"];

/// Reads the answer to an instant query, which was given at `now` by the server's clock. `None` if it is none.
pub(super) fn read(body: &[u8], now: Option<Timestamp>) -> Option<Result<f64, Blank>> {
    let Envelope { status, data, error_type, error, warnings } = serde_json::from_slice(body).ok()?;
    if status != "success" {
        return Some(Err(refusal(&error_type?, &error?)));
    }
    let Data { result_type, result } = data?;
    // What a Prometheus of version 2 has to say of the query's style comes among the warnings.
    if warnings.iter().any(|warning| !warning.starts_with("PromQL info")) {
        return Some(Err(Blank::Partial));
    }
    let (time, text) = match (result_type.as_str(), result) {
        ("scalar", Found::Sample(sample)) => sample,
        ("vector", Found::Series { count: 0, .. }) => return Some(Err(Blank::Empty)),
        ("vector", Found::Series { count: 1, first }) if first.is_histogram => {
            return Some(Err(Blank::Kind("histogram")));
        }
        ("vector", Found::Series { count: 1, first }) => first.sample?,
        ("vector", Found::Series { count, .. }) => return Some(Err(Blank::Several(count))),
        ("scalar" | "vector", _) => return None,
        (other, _) => {
            let kind = KINDS.into_iter().find(|kind| *kind == other);
            return Some(Err(Blank::Kind(kind.unwrap_or("result of another kind"))));
        }
    };
    let made = Duration::try_from_secs_f64(time).ok()?;
    let made = Timestamp::default() + made;
    let age = now.map_or(Duration::ZERO, |now| now.since(made));
    if age > OLDEST {
        return Some(Err(Blank::Old(age)));
    }
    Some(number(text.parse().ok()?))
}

/// Why the server does not answer. Of its words only the place of a mistake is repeated, which is two numbers.
fn refusal(kind: &str, error: &str) -> Blank {
    if kind != "bad_data" {
        let reason = REASONS.into_iter().find(|reason| *reason == kind);
        return Blank::Refused(reason.unwrap_or("for a reason of its own"));
    }
    let is_number =
        |text: &str| (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    let before = error.split_once(": parse error").and_then(|(before, _)| before.split(' ').next_back());
    let place = before.filter(|place| {
        place.split_once(':').is_some_and(|(line, column)| is_number(line) && is_number(column))
    });
    Blank::Wrong(place.map(str::to_owned))
}

fn number(number: f64) -> Result<f64, Blank> {
    if number.is_nan() {
        return Err(Blank::NotANumber);
    }
    if number.is_infinite() {
        return Err(Blank::Infinite);
    }
    if number < 0.0 {
        return Err(Blank::Negative(number));
    }
    Ok(number.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_060_000);

    #[test]
    fn a_number_is_that_of_the_only_series_or_of_a_scalar() {
        for result in [
            r#"{"resultType":"vector","result":[{"metric":{},"value":[1700000060.1,"3.5"]}]}"#,
            r#"{"resultType":"scalar","result":[1700000060,"3.5"]}"#,
            // As old as it may be.
            r#"{"resultType":"scalar","result":[1700000000,"3.5"]}"#,
        ] {
            assert_eq!(told(result), Some(Ok(3.5)), "{result}");
        }
    }

    #[test]
    fn everything_else_has_a_meaning_of_its_own_and_none_is_zero() {
        let vector = |value: &str| {
            format!(
                r#"{{"resultType":"vector","result":[{{"metric":{{}},"value":[1700000060,"{value}"]}}]}}"#
            )
        };
        let two =
            r#"{"resultType":"vector","result":[{"value":[1700000060,"1"]},{"value":[1700000060,"2"]}]}"#;
        let histogram = r#"{"resultType":"vector","result":[{"histogram":[1700000060,{"count":"1"}]}]}"#;
        for (result, blank) in [
            (r#"{"resultType":"vector","result":[]}"#, Blank::Empty),
            (&vector("NaN"), Blank::NotANumber),
            (&vector("+Inf"), Blank::Infinite),
            (&vector("-Inf"), Blank::Infinite),
            (&vector("-1"), Blank::Negative(-1.0)),
            (two, Blank::Several(2)),
            (histogram, Blank::Kind("histogram")),
            (r#"{"resultType":"matrix","result":[]}"#, Blank::Kind("matrix")),
            (r#"{"resultType":"string","result":[1700000060,"7"]}"#, Blank::Kind("string")),
            (r#"{"resultType":"scalar","result":[1699999999,"7"]}"#, Blank::Old(Duration::from_secs(61))),
        ] {
            assert_eq!(told(result), Some(Err(blank)), "{result}");
        }
    }

    #[test]
    fn a_partial_answer_is_none_and_a_remark_on_style_is_no_warning() {
        let with = |warning: &str| {
            let body = format!(
                r#"{{"status":"success","warnings":["{warning}"],"infos":["x"],"data":{{"resultType":"scalar","result":[1700000060,"7"]}}}}"#
            );
            read(body.as_bytes(), Some(NOW))
        };
        assert_eq!(with("store 10.0.0.7 is down"), Some(Err(Blank::Partial)));
        assert_eq!(with("PromQL info: metric might not be a counter"), Some(Ok(7.0)));
    }

    #[test]
    fn a_refusal_says_why_in_words_of_ours() {
        let refused = |kind: &str, error: &str| {
            let body = format!(r#"{{"status":"error","errorType":"{kind}","error":"{error}"}}"#);
            read(body.as_bytes(), None).unwrap().unwrap_err()
        };
        let wrong = |place: Option<&str>| Blank::Wrong(place.map(str::to_owned));
        for (error, place) in [
            ("1:5: parse error: unclosed left parenthesis", Some("1:5")),
            (r#"invalid parameter \"query\": 12:345: parse error: hunter2"#, Some("12:345")),
            ("invalid parameter hunter2: parse error", None),
            ("hunter2:5: parse error", None),
            ("hunter2", None),
        ] {
            assert_eq!(refused("bad_data", error), wrong(place), "{error}");
        }
        let sentence = wrong(Some("1:5")).to_string();
        assert_eq!(sentence, "the query is wrong at 1:5: Prometheus's own page says why");
        assert_eq!(refused("timeout", "dial 10.0.0.7"), Blank::Refused("timeout"));
        assert_eq!(refused("hunter2", "hunter2"), Blank::Refused("for a reason of its own"));
    }

    #[test]
    fn nonsense_is_neither_a_number_nor_a_panic() {
        for body in [
            "",
            "{}",
            "[]",
            "<html>",
            r#"{"status":"success"}"#,
            r#"{"status":"error"}"#,
            r#"{"status":"success","data":{}}"#,
        ] {
            assert_eq!(read(body.as_bytes(), Some(NOW)), None, "{body}");
        }
        for result in [
            r#"{"resultType":"vector","result":{}}"#,
            r#"{"resultType":"vector","result":[7]}"#,
            r#"{"resultType":"vector","result":[{}]}"#,
            r#"{"resultType":"vector","result":[{"value":[1700000060,7]}]}"#,
            r#"{"resultType":"scalar","result":[1700000060,"seven"]}"#,
            r#"{"resultType":"scalar","result":["then","7"]}"#,
            r#"{"resultType":"scalar","result":[-1,"7"]}"#,
            r#"{"resultType":"scalar","result":[1e300,"7"]}"#,
        ] {
            assert_eq!(told(result), None, "{result}");
        }
    }

    fn told(data: &str) -> Option<Result<f64, Blank>> {
        read(format!(r#"{{"status":"success","data":{data}}}"#).as_bytes(), Some(NOW))
    }
}
