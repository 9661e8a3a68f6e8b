//! What Prometheus scrapes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use agent_scaler::scaler::Scaler;
use tonic::Code;

use super::get;
use crate::support::harness::{Harness, eventually, queue, scripted, trigger};

/// Every series that there can be: its name and its labels.
const SERIES: &[&str] = &[
    "agent_scaler_certificate_errors_total{}",
    "agent_scaler_connection_read_duration_seconds_bucket{connection,le}",
    "agent_scaler_connection_read_duration_seconds_count{connection}",
    "agent_scaler_connection_read_duration_seconds_sum{connection}",
    "agent_scaler_connection_read_errors_total{connection,kind}",
    "agent_scaler_connection_reads_total{connection}",
    "agent_scaler_decision_panics_total{}",
    "agent_scaler_log_lines_dropped_total{reason}",
    "agent_scaler_request_duration_seconds_bucket{le,method}",
    "agent_scaler_request_duration_seconds_count{method}",
    "agent_scaler_request_duration_seconds_sum{method}",
    "agent_scaler_requests_total{code,method}",
    "agent_scaler_trigger_active{name,namespace,trigger}",
    "agent_scaler_trigger_backlog_part{name,namespace,trigger}",
    "agent_scaler_trigger_known{name,namespace,trigger}",
    "agent_scaler_trigger_limited_by{name,namespace,reason,trigger}",
    "agent_scaler_trigger_reading_age_seconds{name,namespace,trigger}",
    "agent_scaler_trigger_replicas{name,namespace,trigger}",
    "agent_scaler_trigger_signal{name,namespace,signal,trigger}",
    "agent_scaler_trigger_want_slots{name,namespace,trigger}",
    "agent_scaler_triggers{}",
];

#[tokio::test]
async fn every_series_has_its_type_and_help_and_none_is_made_of_what_others_say() {
    let harness = Harness::with("connections: { main: { type: redis, url: \"redis://127.0.0.1:1\" } }").await;
    harness.script.shows("queue-of-hunter2", queue(12, 3));
    let jobs = trigger(
        "jobs",
        &[("source", "scripted"), ("connection", "script"), ("queueName", "queue-of-hunter2")],
    );
    assert_eq!(harness.value(&jobs).await.unwrap(), 15.0);
    // Errors, refusals and unknown names, all with words of their own.
    let dead = trigger("dead", &[("source", "redis"), ("connection", "main"), ("listName", "hunter2")]);
    eventually("a failed read", async || harness.value(&dead).await.err()).await;
    let wrong = scripted("hunter2", &[("passwordFromEnv", "hunter2"), ("hunter2", "hunter2")]);
    assert_eq!(harness.is_active(&wrong).await.unwrap_err().code(), Code::InvalidArgument);

    let page = Page::of(&harness.scaler).await;
    assert_eq!(page.kind, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert_eq!(page.names(), SERIES.iter().map(|&name| name.to_owned()).collect());
    assert!(!page.text.contains("hunter2"), "{}", page.text);
    assert!(!page.text.contains("127.0.0.1"), "{}", page.text);
}

#[tokio::test]
async fn the_series_of_a_trigger_say_what_its_decision_says() {
    let harness = Harness::start().await;
    let keys = [("tasksPerReplica", "4"), ("maxReplicaCount", "20"), ("expectedTaskDuration", "45s")];
    let jobs = scripted("jobs", &keys);
    harness.script.shows("jobs", queue(120, 45));
    assert_eq!(harness.value(&jobs).await.unwrap(), 20.0);
    let labels =
        format!("name=\"jobs\",namespace=\"acme\",trigger=\"{}\"", harness.report(&jobs).unwrap().trigger);
    let page = Page::of(&harness.scaler).await;
    for (series, value) in [
        ("replicas{LABELS}", 20.0),
        ("active{LABELS}", 1.0),
        ("known{LABELS}", 1.0),
        ("reading_age_seconds{LABELS}", 0.0),
        ("want_slots{LABELS}", 105.0),
        ("backlog_part{LABELS}", 0.5),
        ("limited_by{reason=\"maximum\",LABELS}", 1.0),
        ("signal{signal=\"ready\",LABELS}", 120.0),
        ("signal{signal=\"in_flight\",LABELS}", 45.0),
        ("signal{signal=\"service_seconds\",LABELS}", 45.0),
    ] {
        let series = format!("agent_scaler_trigger_{}", series.replace("LABELS", &labels));
        assert_eq!(page.value(&series), Some(value), "{series}");
    }
    assert_eq!(page.value("agent_scaler_triggers{}"), Some(1.0));
}

/// A missing value is never a zero.
#[tokio::test]
async fn what_is_not_known_has_no_series() {
    let harness = Harness::start().await;
    let idle = scripted("idle", &[]);
    harness.script.shows("idle", queue(0, 0));
    assert_eq!(harness.value(&idle).await.unwrap(), 0.0);
    let of = async |name: &str| {
        let trigger = harness.report(&idle).unwrap().trigger;
        let labels = format!("name=\"idle\",namespace=\"acme\",trigger=\"{trigger}\"");
        Page::of(&harness.scaler).await.value(&format!("agent_scaler_trigger_{name}{{{labels}}}"))
    };
    assert_eq!(
        [of("known").await, of("replicas").await, of("active").await],
        [Some(1.0), Some(0.0), Some(0.0)]
    );
    harness.script.breaks("idle");
    eventually("the failure", async || harness.report(&idle)?.error).await;
    harness.clock.advance(Duration::from_secs(91));
    assert_eq!([of("known").await, of("replicas").await, of("active").await], [Some(0.0), None, None]);
    assert_eq!(of("reading_age_seconds").await, Some(91.0));
}

#[tokio::test]
async fn requests_and_reads_are_counted_by_their_end() {
    let harness = Harness::start().await;
    harness.script.shows("jobs", queue(1, 0));
    let (jobs, wrong) = (scripted("jobs", &[]), scripted("jobs", &[("tasksPerReplica", "0")]));
    for _ in 0..3 {
        harness.value(&jobs).await.unwrap();
    }
    harness.is_active(&wrong).await.unwrap_err();
    harness.script.breaks("jobs");
    let counted = async |series: &str| Page::of(&harness.scaler).await.value(series);
    let of = |method: &str, code: &str| {
        format!("agent_scaler_requests_total{{code=\"{code}\",method=\"{method}\"}}")
    };
    assert_eq!(counted(&of("GetMetrics", "ok")).await, Some(3.0));
    assert_eq!(counted(&of("IsActive", "invalid_argument")).await, Some(1.0));
    assert_eq!(counted(&of("IsActive", "ok")).await, None);
    let took = "agent_scaler_request_duration_seconds_count{method=\"GetMetrics\"}";
    assert_eq!(counted(took).await, Some(3.0));
    let errors = "agent_scaler_connection_read_errors_total{connection=\"script\",kind=\"unreachable\"}";
    eventually("a counted error", async || counted(errors).await.filter(|errors| *errors >= 1.0)).await;
    let reads = "agent_scaler_connection_reads_total{connection=\"script\"}";
    assert!(counted(reads).await > counted(errors).await, "good ones and bad ones");
}

#[tokio::test]
async fn a_forgotten_trigger_leaves_no_series() {
    let harness = Harness::start().await;
    harness.script.shows("jobs", queue(1, 0));
    harness.value(&scripted("jobs", &[])).await.unwrap();
    harness.clock.advance(Duration::from_secs(16 * 60));
    eventually("an empty board", async || {
        let page = Page::of(&harness.scaler).await;
        let of_triggers = page.samples.keys().filter(|series| series.contains("name=\"jobs\"")).count();
        (page.value("agent_scaler_triggers{}") == Some(0.0) && of_triggers == 0).then_some(())
    })
    .await;
}

/// A page in OpenMetrics, taken apart.
struct Page {
    kind: String,
    text: String,
    /// The samples by their name and sorted labels.
    samples: BTreeMap<String, f64>,
}

impl Page {
    async fn of(scaler: &Scaler) -> Self {
        let response = get(scaler, "/metrics").await;
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        let text = response.text().await.unwrap();
        let lines = text.strip_suffix("# EOF\n").unwrap_or_else(|| panic!("no end: {text}")).lines();
        let (mut types, mut helps, mut samples) = (BTreeMap::new(), BTreeSet::new(), BTreeMap::new());
        for line in lines {
            if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
                assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "twice: {line}");
            } else if let Some((name, _)) = line.strip_prefix("# HELP ").and_then(|rest| rest.split_once(' '))
            {
                helps.insert(name.to_owned());
            } else {
                let (series, value) = line.rsplit_once(' ').unwrap();
                let series = sorted(series);
                let family = family(&series);
                assert!(
                    types.contains_key(family) && helps.contains(family),
                    "neither type nor help: {line}"
                );
                let value: f64 = value.parse().unwrap();
                assert!(samples.insert(series, value).is_none(), "twice: {line}");
            }
        }
        Self { kind, text, samples }
    }

    fn value(&self, series: &str) -> Option<f64> {
        self.samples.get(&sorted(series)).copied()
    }

    /// The names, each with the names of its labels.
    fn names(&self) -> BTreeSet<String> {
        let without_value = |label: &str| label.split_once('=').map_or("", |(name, _)| name).to_owned();
        let name = |series: &String| {
            let (name, labels) = split(series);
            format!("{name}{{{}}}", labels.map(without_value).collect::<Vec<_>>().join(","))
        };
        self.samples.keys().map(name).collect()
    }
}

/// The same series with its labels in order.
fn sorted(series: &str) -> String {
    let (name, labels) = split(series);
    let labels: BTreeSet<&str> = labels.collect();
    format!("{name}{{{}}}", labels.into_iter().collect::<Vec<_>>().join(","))
}

/// A name, and labels whose values hold no comma.
fn split(series: &str) -> (&str, impl Iterator<Item = &str>) {
    let (name, rest) = series.split_once('{').unwrap_or((series, "}"));
    (name, rest.trim_end_matches('}').split(',').filter(|label| !label.is_empty()))
}

/// The metric that a series belongs to.
fn family(series: &str) -> &str {
    let (name, _) = split(series);
    let ends = ["_total", "_bucket", "_count", "_sum"];
    ends.iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}
