//! The answer to one query: a number, or why it is none. Missing is never zero.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;

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
    Kind(String),
    /// The server could not see all of its data.
    #[error("the result is not complete: {0}")]
    Partial(String),
    /// It was made long before it was asked for.
    #[error("the result is {} s old, so it comes out of a cache", .0.as_secs())]
    Old(Duration),
    /// The server did not take the query.
    #[error("{0}")]
    Refused(String),
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
    result: Value,
}

/// Reads the answer to an instant query, which was given at `now` by the server's clock. `None` if it is none.
pub(super) fn read(body: &[u8], now: Option<Timestamp>) -> Option<Result<f64, Blank>> {
    let Envelope { status, data, error_type, error, warnings } = serde_json::from_slice(body).ok()?;
    if status != "success" {
        let (kind, error) = (error_type?, error?);
        let what = if kind == "bad_data" { "the query is wrong".to_owned() } else { kind };
        return Some(Err(Blank::Refused(format!("{what}: {error}"))));
    }
    let Data { result_type, result } = data?;
    // What a Prometheus of version 2 has to say of the query's style comes among the warnings.
    if let Some(warning) = warnings.into_iter().find(|warning| !warning.starts_with("PromQL info")) {
        return Some(Err(Blank::Partial(warning)));
    }
    let sample = match result_type.as_str() {
        "scalar" => result,
        "vector" => match one(result)? {
            Ok(sample) => sample,
            Err(blank) => return Some(Err(blank)),
        },
        _ => return Some(Err(Blank::Kind(result_type))),
    };
    let (time, text): (f64, String) = serde_json::from_value(sample).ok()?;
    let made = Duration::try_from_secs_f64(time).ok()?;
    let made = Timestamp::default() + made;
    let age = now.map_or(Duration::ZERO, |now| now.since(made));
    if age > OLDEST {
        return Some(Err(Blank::Old(age)));
    }
    Some(number(text.parse().ok()?))
}

/// The sample of the only series.
fn one(result: Value) -> Option<Result<Value, Blank>> {
    let Value::Array(mut series) = result else { return None };
    let count = series.len();
    let Some(Value::Object(mut only)) = series.pop() else {
        return (count == 0).then_some(Err(Blank::Empty));
    };
    if count > 1 {
        return Some(Err(Blank::Several(count)));
    }
    if only.contains_key("histogram") {
        return Some(Err(Blank::Kind("histogram".to_owned())));
    }
    only.remove("value").map(Ok)
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
            (histogram, Blank::Kind("histogram".to_owned())),
            (r#"{"resultType":"matrix","result":[]}"#, Blank::Kind("matrix".to_owned())),
            (r#"{"resultType":"string","result":[1700000060,"7"]}"#, Blank::Kind("string".to_owned())),
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
        let partial = Blank::Partial("store 10.0.0.7 is down".to_owned());
        assert_eq!(with("store 10.0.0.7 is down"), Some(Err(partial)));
        assert_eq!(with("PromQL info: metric might not be a counter"), Some(Ok(7.0)));
    }

    #[test]
    fn a_refusal_says_why() {
        let body = br#"{"status":"error","errorType":"bad_data","error":"1:5: parse error"}"#;
        assert_eq!(
            read(body, None),
            Some(Err(Blank::Refused("the query is wrong: 1:5: parse error".to_owned())))
        );
        let body = br#"{"status":"error","errorType":"timeout","error":"query timed out"}"#;
        assert_eq!(read(body, None), Some(Err(Blank::Refused("timeout: query timed out".to_owned()))));
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
