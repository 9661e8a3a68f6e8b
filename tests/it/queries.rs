//! Queries about a trigger's tasks, from the trigger to the answer that KEDA gets.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_scaler::engine::decision::LimitedBy;
use agent_scaler::engine::signals::{Origin, Reading};
use tonic::Code;

use crate::support::answerer::{Answerer, Said};
use crate::support::harness::{Harness, eventually, scripted, trigger};

/// What a Prometheus says to every query, until it says something else.
type Says = Arc<Mutex<Said>>;

async fn says(number: &str) -> (Answerer, Says) {
    let says = Arc::new(Mutex::new(Said::number(number)));
    let told = Arc::clone(&says);
    (Answerer::start(move |_| told.lock().unwrap().clone()).await, says)
}

async fn harness(web: &Answerer) -> Harness {
    Harness::with(&format!("connections: {{ prom: {{ type: prometheus, url: \"{}\" }} }}\n", web.url())).await
}

fn plain_list(ready: u64) -> Reading {
    Reading { ready: Some(ready), ..Reading::default() }
}

#[tokio::test]
async fn a_query_tells_what_runs_where_the_queue_cannot_and_its_silence_is_not_idleness() {
    let (web, said) = says("3").await;
    let harness = harness(&web).await;
    let jobs = scripted("jobs", &[("prometheusConnection", "prom"), ("inFlightQuery", "sum(running)")]);
    harness.script.shows("jobs", plain_list(5));
    harness.settles(&jobs, 8, LimitedBy::Demand).await;
    let report = harness.report(&jobs).unwrap();
    assert_eq!(report.signals.origins.in_flight, Origin::Queries);

    harness.script.shows("jobs", plain_list(0));
    harness.settles(&jobs, 3, LimitedBy::Demand).await;

    // Nobody tells any more: what is known stands for three ticks, and then nothing is taken away.
    *said.lock().unwrap() =
        Said::new(200, r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#);
    let note = eventually("a cause", async || {
        let shown = harness.report(&jobs)?.shown(harness.clock_now());
        shown.queries?.answers.into_iter().find_map(|answer| answer.note)
    });
    assert!(note.await.starts_with("no result: "));
    harness.clock.advance(Duration::from_secs(100));
    eventually("silence", async || harness.report(&jobs)?.signals.silent.then_some(())).await;
    assert_eq!(harness.value(&jobs).await.unwrap(), 3.0);
    assert!(harness.is_active(&jobs).await.unwrap());
    let why = harness.report(&jobs).unwrap().why(harness.clock_now()).to_string();
    assert!(why.ends_with("; nobody tells any more what runs, so nothing is taken away"), "{why}");

    *said.lock().unwrap() = Said::number("0");
    harness.settles(&jobs, 0, LimitedBy::Demand).await;
    assert!(!harness.is_active(&jobs).await.unwrap());
}

#[tokio::test]
async fn a_prometheus_that_fails_costs_its_signals_and_not_the_queue() {
    let (web, said) = says("4").await;
    let harness = harness(&web).await;
    let keys = [("prometheusConnection", "prom"), ("serviceTimeQuery", "mean"), ("tasksPerReplica", "1")];
    let jobs = scripted("jobs", &keys);
    let queue = |ready| crate::support::harness::queue(ready, 1);
    harness.script.shows("jobs", queue(45));
    // 45 tasks of 4 s within 90 s: two slots, and the one that runs.
    harness.settles(&jobs, 3, LimitedBy::Demand).await;

    *said.lock().unwrap() = Said::new(503, "down");
    harness.script.shows("jobs", queue(90));
    harness.settles(&jobs, 5, LimitedBy::Demand).await;
    let shown = harness.report(&jobs).unwrap().shown(harness.clock_now());
    let seen = shown.seen.iter().find(|seen| seen.name == "service_seconds").unwrap();
    assert_eq!((seen.value, &*seen.from, shown.error), (4.0, "queries", None));

    // What is measured over ten minutes stands for as long; then every task has a slot.
    harness.clock.advance(Duration::from_secs(601));
    harness.settles(&jobs, 91, LimitedBy::Demand).await;
}

#[tokio::test]
async fn a_prometheus_that_denies_is_named_in_the_explanation() {
    let (web, said) = says("4").await;
    *said.lock().unwrap() = Said::new(401, "");
    let harness = harness(&web).await;
    let jobs = scripted("jobs", &[("prometheusConnection", "prom"), ("arrivalsQuery", "rate")]);
    harness.script.shows("jobs", crate::support::harness::queue(2, 1));
    harness.settles(&jobs, 3, LimitedBy::Demand).await;
    let why = harness.report(&jobs).unwrap().why(harness.clock_now()).to_string();
    let denied = format!(
        "; prom answers no queries: {} refuses: 401: it wants credentials: give the connection `bearerToken`, \
         `username` and `password`, or `customAuthHeader`",
        web.url()
    );
    assert!(why.ends_with(&denied), "{why}");
}

#[tokio::test]
async fn a_preset_is_a_queue_and_its_signals_on_one_connection() {
    let web = Answerer::start(|asked| {
        let is_backlog = asked.uri.query().unwrap().contains("waiting");
        Said::number(if is_backlog { "5" } else { "3" })
    })
    .await;
    let harness = harness(&web).await;
    let keys =
        [("source", "prometheus"), ("connection", "prom"), ("queryPreset", "bullmq"), ("queryQueue", "acme")];
    let jobs = trigger("jobs", &keys);
    harness.settles(&jobs, 8, LimitedBy::Demand).await;
    let report = harness.report(&jobs).unwrap();
    assert_eq!((&*report.queue, report.queries.as_deref()), ("bullmq acme", Some("prom")));
}

#[tokio::test]
async fn only_tenants_that_may_write_promql() {
    let (web, _said) = says("4").await;
    for (acme, refusal) in [
        (
            "connections: { prom: [\"*\"] }",
            Some(
                "namespace `acme` may not write PromQL of its own, only name a `queryPreset` \
                 (hint: `tenants.acme.promql: true` in the server's file)",
            ),
        ),
        (
            "promql: true, connections: { prom: [\"acme:*\"] }",
            Some("namespace `acme` may not read `*` on the connection `prom`"),
        ),
        ("promql: true, connections: { prom: [\"*\"] }", None),
    ] {
        let file = format!(
            "connections: {{ prom: {{ type: prometheus, url: \"{}\" }} }}\ntenants: {{ acme: {{ {acme} }} }}\n",
            web.url()
        );
        let harness = Harness::with(&file).await;
        let raw = trigger("jobs", &[("source", "prometheus"), ("connection", "prom"), ("query", "up")]);
        match refusal {
            None => harness.settles(&raw, 4, LimitedBy::Demand).await,
            Some(refusal) => {
                let status = harness.is_active(&raw).await.unwrap_err();
                assert_eq!((status.code(), status.message()), (Code::PermissionDenied, refusal));
            }
        }
    }
}

#[tokio::test]
async fn a_preset_needs_the_pattern_of_its_queue_and_no_more() {
    let (web, _said) = says("4").await;
    let file = format!(
        "connections: {{ prom: {{ type: prometheus, url: \"{}\" }} }}\n\
         tenants: {{ acme: {{ connections: {{ prom: [\"acme:*\"] }} }} }}\n",
        web.url()
    );
    let harness = Harness::with(&file).await;
    let of = |queue, more: &[(&str, &str)]| {
        let keys = [
            ("source", "prometheus"),
            ("connection", "prom"),
            ("queryPreset", "bullmq"),
            ("queryQueue", queue),
        ];
        trigger("jobs", &[&keys[..], more].concat())
    };
    harness.settles(&of("acme:tasks", &[]), 8, LimitedBy::Demand).await;
    let status = harness.is_active(&of("zeta:tasks", &[])).await.unwrap_err();
    let refusal = "namespace `acme` may not read `zeta:tasks` on the connection `prom`";
    assert_eq!((status.code(), status.message()), (Code::PermissionDenied, refusal));
    let status = harness.is_active(&of("acme:tasks", &[("inFlightQuery", "sum(up)")])).await.unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    assert!(status.message().contains("may not write PromQL"), "{}", status.message());
}
