//! What gauges of LiteLLM and vLLM in a real Prometheus tell of a limit.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use agent_scaler::clock::{Clock, SystemClock};
use agent_scaler::engine::limit::{Dimension, Headroom, LimitSeen};
use agent_scaler::fields::Fields;
use agent_scaler::sources::prometheus::parse_headroom;
use agent_scaler::sources::{Client, Plan, Sighting};

use super::{client_at, read, texts};
use crate::support::prometheus::{Prometheus, Setup};

const REQUESTS: &str = "litellm_remaining_requests_metric";
const TOKENS: &str = "litellm_remaining_tokens_metric";

/// Deployments of which LiteLLM's file knows a limit, and one of which it does not.
const A: &str = r#"litellm_model_name="a",api_base="x""#;
const B: &str = r#"litellm_model_name="b",api_base="y""#;
const FREE: &str = r#"litellm_model_name="free",api_base="z""#;

#[tokio::test]
async fn what_is_left_is_that_of_the_gauges_which_change() {
    let prometheus = Prometheus::start(Setup { history: litellm(), ..Setup::default() }).await;
    let mut client = client_at(&prometheus.url()).await;
    let headroom = |limit, remaining| Headroom { limit, remaining, ..Headroom::default() };
    for (group, requests, tokens) in [
        // Of two keys of one deployment the smaller counts, and the one that rests not at all.
        ("both", Some(headroom(Some(100), Some(30))), Some(headroom(None, Some(500)))),
        ("quiet", Some(headroom(Some(60), None)), None),
        ("half-quiet", Some(headroom(Some(100), Some(17))), None),
        // A limit of some deployments is none of all.
        ("partly", Some(headroom(None, Some(17))), None),
        ("constant", Some(headroom(Some(60), None)), None),
        ("x\"} or vector(1) #", None, None),
        ("nobody", None, None),
    ] {
        let dimensions = [(Dimension::RequestsPerMinute, requests), (Dimension::TokensPerMinute, tokens)];
        let headroom: BTreeMap<Dimension, Headroom> =
            dimensions.into_iter().filter_map(|(dimension, headroom)| Some((dimension, headroom?))).collect();
        let expected = LimitSeen { headroom, ..LimitSeen::default() };
        assert_eq!(seen(&mut client, "litellm", group).await, expected, "{group}");
    }
}

#[tokio::test]
async fn a_server_of_models_is_full_while_requests_wait_for_its_memory() {
    let mut history = String::new();
    let mut gauge = |name: &str, of: &[(&str, f64)]| {
        family(&mut history, name);
        for (model, value) in of {
            series(&mut history, name, &format!("model_name=\"{model}\",engine=\"0\""), |_| *value);
        }
    };
    gauge(
        "vllm:num_requests_waiting",
        &[("full", 3.0), ("short", 3.0), ("idle", 0.0), ("old", 1.0), ("half", 9.0)],
    );
    gauge("vllm:kv_cache_usage_perc", &[("full", 0.97), ("short", 0.4), ("idle", 0.97)]);
    gauge("vllm:gpu_cache_usage_perc", &[("old", 0.97)]);
    let prometheus = Prometheus::start(Setup { history, ..Setup::default() }).await;
    let mut client = client_at(&prometheus.url()).await;
    for (model, full) in [
        ("full", Some(true)),
        ("old", Some(true)),
        ("short", Some(false)),
        ("idle", Some(false)),
        ("half", None),
        ("nobody", None),
    ] {
        let expected = LimitSeen { full, ..LimitSeen::default() };
        assert_eq!(seen(&mut client, "vllm", model).await, expected, "{model}");
    }
}

#[tokio::test]
async fn a_prometheus_that_is_gone_is_an_error_and_no_headroom() {
    let mut prometheus = Prometheus::start(Setup::default()).await;
    let mut client = client_at(&prometheus.url()).await;
    assert_eq!(seen(&mut client, "litellm", "both").await, LimitSeen::default());
    prometheus.kill();
    assert!(read(&mut client, &plan("litellm", "both")).await.unwrap_err().loses_connection());
}

async fn seen(client: &mut Box<dyn Client>, preset: &str, model: &str) -> LimitSeen {
    match read(client, &plan(preset, model)).await {
        Ok(Sighting::Limit(seen)) => seen,
        other => panic!("{other:?}"),
    }
}

fn plan(preset: &str, model: &str) -> Arc<dyn Plan> {
    let values = texts(&[("headroomPreset", preset), ("headroomModel", model)]);
    let mut fields = Fields::new("llmLimits.prod", &values);
    let plan = parse_headroom(&mut fields);
    plan.flatten().unwrap_or_else(|| panic!("{:?}", fields.finish()))
}

fn litellm() -> String {
    let alternating = |low: f64| move |age: u32| low + f64::from(age / 15 % 2);
    let resting = |at: f64| move |age: u32| if age > 150 { f64::from(age) } else { at };
    let mut history = String::new();
    family(&mut history, REQUESTS);
    let of = |deployment: &str, group: &str, key: &str| {
        format!(r#"{deployment},model_group="{group}",hashed_api_key="{key}""#)
    };
    series(&mut history, REQUESTS, &of(A, "both", "1"), alternating(10.0));
    series(&mut history, REQUESTS, &of(A, "both", "2"), alternating(12.0));
    series(&mut history, REQUESTS, &of(A, "both", "3"), resting(1.0));
    series(&mut history, REQUESTS, &of(B, "both", "1"), alternating(20.0));
    series(&mut history, REQUESTS, &of(A, "quiet", "1"), resting(1.0));
    series(&mut history, REQUESTS, &of(A, "half-quiet", "1"), alternating(10.0));
    series(&mut history, REQUESTS, &of(B, "half-quiet", "1"), resting(1.0));
    series(&mut history, REQUESTS, &of(A, "partly", "1"), alternating(10.0));
    series(&mut history, REQUESTS, &of(FREE, "partly", "1"), alternating(7.0));
    series(&mut history, REQUESTS, &of(A, "constant", "1"), |_| 1.0);
    family(&mut history, TOKENS);
    series(&mut history, TOKENS, &of(A, "both", "1"), alternating(500.0));
    family(&mut history, "litellm_deployment_rpm_limit");
    for (deployment, id, limit) in
        [(A, "1", 60.0), (B, "2", 40.0), (r#"litellm_model_name="c",api_base="x""#, "3", 999.0)]
    {
        let labels = format!(r#"{deployment},model_id="{id}""#);
        series(&mut history, "litellm_deployment_rpm_limit", &labels, |_| limit);
    }
    history
}

fn family(history: &mut String, name: &str) {
    writeln!(history, "# TYPE {name} gauge").unwrap();
}

/// Five minutes up to now, a sample each 15 s, by its age in seconds.
fn series(history: &mut String, name: &str, labels: &str, value: impl Fn(u32) -> f64) {
    let now = SystemClock::start().now().as_millis() as f64 / 1_000.0;
    for age in (0..=20).rev().map(|step| step * 15) {
        writeln!(history, "{name}{{{labels}}} {} {:.3}", value(age), now - f64::from(age)).unwrap();
    }
}
