//! A document, and where its numbers are.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use serde_json_path::JsonPath;

use super::place::Place;
use crate::engine::signals::{InFlight, Reading};
use crate::fields::{Fields, Key, Need};
use crate::sources::Plan;
use crate::timestamp::Timestamp;

/// The trigger keys of a document.
pub(super) const KEYS: &[Key] = &[PATH, READY_PATH, RUNNING_PATH, OLDEST_PATH, OLDEST_UNIT];

/// Keys of KEDA's `metrics-api` scaler.
pub(super) const MOVED: &[(&str, &str)] = &[
    ("valueLocation", "`readyPath`, as JSONPath: `$.queue.waiting`"),
    ("targetValue", "`tasksPerReplica`: tasks that one replica runs at a time"),
    ("activationTargetValue", "`activationBacklog`"),
    ("format", "nothing: the answer must be JSON"),
    ("method", "nothing: the document is fetched by GET"),
];

const PATH: Key = Key {
    name: "path",
    need: Need::Required,
    unit: "path",
    help: "what follows the connection's address, a query included; begins with `/`",
    example: "/queues/acme",
};

const READY_PATH: Key = Key {
    name: "readyPath",
    need: Need::Required,
    unit: "JSONPath",
    help: "tasks that wait; several numbers are summed",
    example: "$.queues[*].waiting",
};

const RUNNING_PATH: Key = Key {
    name: "runningPath",
    need: Need::Optional,
    unit: "JSONPath",
    help: "tasks that run; several numbers are summed",
    example: "$.queues[*].running",
};

const OLDEST_PATH: Key = Key {
    name: "oldestPath",
    need: Need::Optional,
    unit: "JSONPath",
    help: "how long the oldest task has waited, or since when; of several the oldest, none where nothing waits",
    example: "$.oldest.enqueuedAt",
};

const OLDEST_UNIT: Key = Key {
    name: "oldestUnit",
    need: Need::Default("s"),
    unit: "s | ms | unix | unix-ms | rfc3339",
    help: "what `oldestPath` finds: an age in seconds or milliseconds, or a time",
    example: "rfc3339",
};

/// Longest JSONPath, in bytes.
const LONGEST: usize = 500;

/// A document, and where its numbers are.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) place: Place,
    ready: JsonPath,
    running: Option<JsonPath>,
    oldest: Option<JsonPath>,
    unit: Unit,
}

/// Parses the trigger keys of a document.
pub(super) fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Plan>> {
    parse_document(fields).map(|document| Arc::new(document) as Arc<dyn Plan>)
}

fn parse_document(fields: &mut Fields<'_>) -> Option<Document> {
    let place: Option<Place> = fields.read(&PATH);
    let ready: Option<Path> = fields.read(&READY_PATH);
    let running: Option<Path> = fields.read(&RUNNING_PATH);
    let oldest: Option<Path> = fields.read(&OLDEST_PATH);
    let unit: Option<Unit> = fields.read(&OLDEST_UNIT);
    if fields.has(&OLDEST_UNIT) && !fields.has(&OLDEST_PATH) {
        fields.problem(&OLDEST_UNIT, "says nothing without `oldestPath`");
    }
    let (place, Path(ready), unit) = (place?, ready?, unit?);
    let (running, oldest) = (running.map(|Path(path)| path), oldest.map(|Path(path)| path));
    Some(Document { place, ready, running, oldest, unit })
}

impl Document {
    /// The numbers in `value`, which was sent at `now` by the server's clock.
    ///
    /// # Errors
    /// What is missing, or is no number: neither is zero.
    pub(super) fn read(&self, value: &Value, now: Option<Timestamp>) -> Result<Reading, String> {
        let ready = sum(READY_PATH.name, &self.ready, value)?;
        let running = self.running.as_ref().map(|path| sum(RUNNING_PATH.name, path, value)).transpose()?;
        let oldest = self.oldest.as_ref().map(|path| self.oldest(path, value, now)).transpose()?.flatten();
        Ok(Reading {
            ready: Some(ready),
            in_flight: running.map(InFlight::Known),
            oldest,
            ..Reading::default()
        })
    }

    fn oldest(
        &self,
        path: &JsonPath,
        value: &Value,
        now: Option<Timestamp>,
    ) -> Result<Option<Duration>, String> {
        let ages = path.query(value).all().into_iter().filter(|node| !node.is_null());
        let ages: Vec<Duration> = ages
            .map(|node| {
                self.unit.age(node, now).ok_or_else(|| {
                    format!(
                        "`{}`: {} is no age in {}, or the server does not say what time it has",
                        OLDEST_PATH.name,
                        shape(node),
                        self.unit.name()
                    )
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(ages.into_iter().max())
    }
}

/// The sum of the numbers that `path` finds.
fn sum(key: &str, path: &JsonPath, value: &Value) -> Result<u64, String> {
    let nodes = path.query(value).all();
    if nodes.is_empty() {
        return Err(format!("`{key}`: there is nothing at {path}"));
    }
    let mut sum = 0.0;
    for node in nodes {
        let number = number(node).filter(|number| *number >= 0.0);
        sum += number.ok_or_else(|| format!("`{key}`: {} at {path} is no number of tasks", shape(node)))?;
    }
    // A part of a task is one: what is not nothing must not become it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "finite and not negative; too large ones stop at the largest number"
    )]
    let whole = sum.ceil() as u64;
    Ok(whole)
}

/// A number, also one that is written as a text.
fn number(node: &Value) -> Option<f64> {
    let number = match node {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    number.filter(|number| number.is_finite())
}

/// What a value is, without repeating it: a document may hold anything.
fn shape(node: &Value) -> &'static str {
    match node {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "this number",
        Value::String(_) => "this text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// What the oldest task is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
    Unix,
    UnixMillis,
    Rfc3339,
}

impl Unit {
    const ALL: [Self; 5] = [Self::Seconds, Self::Milliseconds, Self::Unix, Self::UnixMillis, Self::Rfc3339];

    const fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Unix => "unix",
            Self::UnixMillis => "unix-ms",
            Self::Rfc3339 => "rfc3339",
        }
    }

    fn age(self, node: &Value, now: Option<Timestamp>) -> Option<Duration> {
        let time = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
        let since = |from: Timestamp| Some(now?.since(from));
        match self {
            Self::Seconds => time(number(node)?),
            Self::Milliseconds => time(number(node)? / 1_000.0),
            Self::Unix => since(Timestamp::default() + time(number(node)?)?),
            Self::UnixMillis => since(Timestamp::default() + time(number(node)? / 1_000.0)?),
            Self::Rfc3339 => since(Timestamp::of_rfc3339(node.as_str()?)?),
        }
    }
}

impl FromStr for Unit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|unit| unit.name() == text)
            .ok_or("not `s`, `ms`, `unix`, `unix-ms` or `rfc3339`")
    }
}

/// A JSONPath, as RFC 9535 has it.
struct Path(JsonPath);

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > LONGEST {
            return Err(format!("longer than {LONGEST} bytes"));
        }
        JsonPath::parse(text).map(Self).map_err(|error| error.to_string())
    }
}

impl Plan for Document {
    fn queue(&self) -> String {
        let Self { place, ready, running, oldest, unit } = self;
        let mut text = format!("GET {} ready {ready}", place.0);
        if let Some(running) = running {
            text.push_str(" running ");
            text.push_str(&running.to_string());
        }
        if let Some(oldest) = oldest {
            text.push_str(" oldest ");
            text.push_str(&oldest.to_string());
            text.push_str(" in ");
            text.push_str(unit.name());
        }
        text
    }

    fn name(&self) -> String {
        self.place.0.clone()
    }

    fn names(&self) -> Vec<&str> {
        vec![&self.place.0]
    }

    fn shows_running(&self) -> bool {
        self.running.is_some()
    }

    fn commands(&self) -> Vec<String> {
        vec![format!("GET {}", self.place.0)]
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;
    use crate::fields::Value as Given;

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_060_000);

    #[test]
    fn several_numbers_are_summed_and_may_be_written_as_texts() {
        let document = document(&[("readyPath", "$.queues[*].waiting"), ("runningPath", "$.running")]);
        let value = json!({"queues": [{"waiting": 3}, {"waiting": "4"}, {"waiting": 0.5}], "running": 2});
        let reading = Reading { ready: Some(8), in_flight: Some(InFlight::Known(2)), ..Reading::default() };
        assert_eq!(document.read(&value, None), Ok(reading));
    }

    #[test]
    fn what_is_missing_or_no_number_is_an_error_and_never_a_zero() {
        let document = document(&[("readyPath", "$.ready"), ("runningPath", "$.running")]);
        for (value, error) in [
            (json!({}), "`readyPath`: there is nothing at $.ready"),
            (json!([]), "`readyPath`: there is nothing at $.ready"),
            (json!({"ready": null}), "`readyPath`: null at $.ready is no number of tasks"),
            (json!({"ready": -1}), "`readyPath`: this number at $.ready is no number of tasks"),
            (json!({"ready": "many"}), "`readyPath`: this text at $.ready is no number of tasks"),
            (json!({"ready": "NaN"}), "`readyPath`: this text at $.ready is no number of tasks"),
            (json!({"ready": true}), "`readyPath`: a boolean at $.ready is no number of tasks"),
            (json!({"ready": [1]}), "`readyPath`: a list at $.ready is no number of tasks"),
            (json!({"ready": {}}), "`readyPath`: an object at $.ready is no number of tasks"),
            (json!({"ready": 1}), "`runningPath`: there is nothing at $.running"),
        ] {
            assert_eq!(document.read(&value, None), Err(error.to_owned()), "{value}");
        }
    }

    #[test]
    fn the_oldest_is_an_age_or_a_time_and_may_be_absent() {
        for (unit, oldest, seconds) in [
            ("s", json!([3, 60, "7"]), Some(60)),
            ("ms", json!([60_000]), Some(60)),
            ("unix", json!([1_700_000_000]), Some(60)),
            ("unix-ms", json!([1_700_000_000_000_u64, 1_700_000_030_000_u64]), Some(60)),
            ("rfc3339", json!(["2023-11-14T22:13:20Z"]), Some(60)),
            ("s", json!([null]), None),
            ("s", json!([]), None),
        ] {
            let document =
                document(&[("readyPath", "$.ready"), ("oldestPath", "$.oldest[*]"), ("oldestUnit", unit)]);
            let value = json!({"ready": 1, "oldest": oldest});
            let read = document.read(&value, Some(NOW)).map(|reading| reading.oldest);
            assert_eq!(read, Ok(seconds.map(Duration::from_secs)), "{unit} {value}");
        }
        let document =
            document(&[("readyPath", "$.ready"), ("oldestPath", "$.oldest"), ("oldestUnit", "unix")]);
        let error = document.read(&json!({"ready": 1, "oldest": 1_700_000_000}), None).unwrap_err();
        assert_eq!(
            error,
            "`oldestPath`: this number is no age in unix, or the server does not say what time it has"
        );
    }

    fn document(keys: &[(&str, &str)]) -> Document {
        let mut values: BTreeMap<String, Given> =
            keys.iter().map(|(key, text)| ((*key).to_owned(), Given::Text((*text).to_owned()))).collect();
        values.insert("path".to_owned(), Given::Text("/queue".to_owned()));
        let mut fields = Fields::new("x", &values);
        parse_document(&mut fields).unwrap_or_else(|| panic!("{:?}", fields.finish()))
    }
}
