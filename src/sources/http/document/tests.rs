//! Numbers of documents.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::*;
use crate::fields::Value as Given;
use crate::sources::http::json;

const NOW: Timestamp = Timestamp::from_millis(1_700_000_060_000);

#[test]
fn several_numbers_are_summed_and_may_be_written_as_texts() {
    let document = document(&[("readyPath", "$.queues[*].waiting"), ("runningPath", "$.running")]);
    let value = json!({"queues": [{"waiting": 3}, {"waiting": "4"}, {"waiting": 0.5}], "running": 2});
    let reading = Reading { ready: Some(8), in_flight: Some(InFlight::Known(2)), ..Reading::default() };
    assert_eq!(read_from(&document, &value, None), Ok(reading));
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
        (json!({"ready": {"running": 1}}), "`readyPath`: an object at $.ready is no number of tasks"),
    ] {
        assert_eq!(read_from(&document, &value, None), Err(error.to_owned()), "{value}");
    }
}

#[test]
fn an_error_beside_the_waiting_tasks_costs_only_its_own_figure() {
    let document =
        document(&[("readyPath", "$.ready"), ("runningPath", "$.running"), ("oldestPath", "$.oldest")]);
    for (running, why) in [
        (Value::Null, "null at $.running is no number of tasks"),
        (json!("busy"), "this text at $.running is no number of tasks"),
        (json!(-1), "this number at $.running is no number of tasks"),
        (json!([1]), "a list at $.running is no number of tasks"),
    ] {
        let reading =
            read_from(&document, &json!({"ready": 3, "running": running, "oldest": 5}), None).unwrap();
        assert_eq!((reading.ready, reading.in_flight), (Some(3), None));
        assert_eq!(reading.oldest, Some(Duration::from_secs(5)));
        assert_eq!(
            reading.unknown,
            [Cause::new(format!("the number of running tasks is not known: `runningPath`: {why}"))]
        );
    }
    let reading = read_from(&document, &json!({"ready": 3, "running": 2, "oldest": "long"}), None).unwrap();
    assert_eq!((reading.in_flight, reading.oldest), (Some(InFlight::Known(2)), None));
    let reading = read_from(&document, &json!({"ready": 3}), None).unwrap();
    let causes: Vec<String> = reading.unknown.iter().map(ToString::to_string).collect();
    assert_eq!(
        causes[0],
        "the number of running tasks is not known: `runningPath`: there is nothing at $.running"
    );
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
        let read = read_from(&document, &value, Some(NOW)).map(|reading| reading.oldest);
        assert_eq!(read, Ok(seconds.map(Duration::from_secs)), "{unit} {value}");
    }
    let document = document(&[("readyPath", "$.ready"), ("oldestPath", "$.oldest"), ("oldestUnit", "unix")]);
    let reading = read_from(&document, &json!({"ready": 1, "oldest": 1_700_000_000}), None).unwrap();
    assert_eq!(
        reading.unknown[0].to_string(),
        "the age of the oldest task is not known: `oldestPath`: this number is no age in unix, or the server does not say what time it has"
    );
}

#[test]
fn what_a_list_or_an_object_holds_can_be_counted_and_paths_can_be_summed() {
    let value = json!({"jobs": [1, 2, 3], "by": {"a": {}, "b": {}}, "waiting": "4", "text": "abc"});
    for (path, read) in [
        ("length($.jobs)", Ok(3)),
        ("$.jobs.length", Ok(3)),
        ("length($.by) + $.waiting", Ok(6)),
        ("length($.*)", Err("`readyPath`: this text at $.* has no length")),
        ("length($.none)", Err("`readyPath`: there is nothing at $.none")),
        ("$.waiting + $.none", Err("`readyPath`: there is nothing at $.none")),
        ("$.text", Err("`readyPath`: this text at $.text is no number of tasks")),
    ] {
        let document = document(&[("readyPath", path)]);
        let ready = read_from(&document, &value, None).map(|reading| reading.ready.unwrap());
        assert_eq!(ready, read.map_err(str::to_owned), "{path}");
    }
}

fn document(keys: &[(&str, &str)]) -> Document {
    let mut values: BTreeMap<String, Given> =
        keys.iter().map(|(key, text)| ((*key).to_owned(), Given::Text((*text).to_owned()))).collect();
    values.insert("path".to_owned(), Given::Text("/queue".to_owned()));
    let mut fields = Fields::new("x", &values);
    parse_document(&mut fields).unwrap_or_else(|| panic!("{:?}", fields.finish()))
}

fn read_from(document: &Document, value: &Value, now: Option<Timestamp>) -> Result<Reading, String> {
    let text = value.to_string();
    document.read(&json::parse(text.as_bytes()).unwrap(), now, &mut Budget::default())
}
