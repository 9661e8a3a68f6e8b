//! The page that says why.

use std::fs;
use std::time::Duration;

use agent_scaler::clock::Clock;
use agent_scaler::scaler::proto::ScaledObjectRef;
use agent_scaler::text::is_printable;
use reqwest::StatusCode;
use serde_json::{Value, json};

use super::{get, get_as, read};
use crate::support::harness::{Harness, eventually, queue, scripted, trigger};

#[tokio::test]
async fn a_decision_is_told_as_json_with_every_term() {
    let (harness, jobs) = busy("").await;
    let response = get(&harness.scaler, "/decisions/acme/jobs").await;
    assert_eq!(response.headers()["content-type"], "application/json");
    let told: Value = response.json().await.unwrap();
    let trigger = harness.report(&jobs).unwrap().trigger;
    let why = "20 replicas, limited by maxReplicaCount: 120 waiting and 45 running want 42; backlog gone in 2.2 min";
    let expected = json!([{
        "namespace": "acme",
        "name": "jobs",
        "trigger": trigger,
        "source": "scripted",
        "connection": "script",
        "queue": "queue jobs",
        "state": "fresh",
        "replicas": 20,
        "active": true,
        "limitedBy": "maximum",
        "why": why,
        "ageSeconds": 0.0,
        "error": null,
        "seen": [
            { "name": "ready", "value": 120.0, "estimated": false, "from": "queue" },
            { "name": "in_flight", "value": 45.0, "estimated": false, "from": "queue" },
            { "name": "service_seconds", "value": 90.0, "estimated": true, "from": "configuration" },
        ],
        "queries": null,
        "terms": {
            "backlog": 120,
            "dueSoon": 0,
            "inFlight": 45,
            "stuck": 0,
            "poison": 0,
            "promiseSeconds": 120.0,
            "serviceSeconds": 90.0,
            "timeToStartSeconds": 90.0,
            "part": 1.0,
            "promiseMissed": false,
            "slots": 165.0,
        },
        "limit": null,
        "steps": [{ "by": "maximum", "from": 42, "to": 20 }],
        "alternatives": [{ "change": "without maximum", "replicas": 42 }],
        "backlogGoneInSeconds": 135.0,
    }]);
    assert_eq!(told, expected);
    let all: Value = get(&harness.scaler, "/decisions").await.json().await.unwrap();
    assert_eq!(all, told, "the only trigger is all triggers");
}

#[tokio::test]
async fn a_decision_is_told_as_the_text_that_plan_prints() {
    let (harness, jobs) = busy("").await;
    harness.script.shows("more", queue(1, 0));
    harness.value(&scripted("more", &[])).await.unwrap();
    let text = |name: &ScaledObjectRef| harness.report(name).unwrap().shown(harness.clock.now()).to_string();
    let (ours, both) = (text(&jobs), text(&jobs) + &text(&scripted("more", &[])));
    let trigger = harness.report(&jobs).unwrap().trigger;
    let expected = format!(
        "acme/jobs  scripted on script: queue jobs  (trigger {trigger})\n  \
         20 replicas, limited by maxReplicaCount: 120 waiting and 45 running want 42; backlog gone in 2.2 min\n  \
         seen 0.0 s ago: ready 120 in_flight 45 service_seconds 90 (estimated)\n  \
         terms: T 90 s, d 1, want 165 slots\n  \
         42 → 20: maximum\n"
    );
    assert_eq!(ours, expected);
    for (path, expected) in [("/decisions/acme/jobs?format=text", ours), ("/decisions?format=text", both)] {
        assert_eq!(read(get(&harness.scaler, path).await).await, (StatusCode::OK, expected), "{path}");
    }
    let request = reqwest::Client::new().get(format!("http://{}/decisions/acme/jobs", harness.scaler.admin));
    let asked = request.header("accept", "text/plain").send().await.unwrap();
    assert_eq!(asked.text().await.unwrap(), text(&jobs));
}

#[tokio::test]
async fn a_read_that_fails_is_told_beside_the_last_answer() {
    let (harness, jobs) = busy("").await;
    harness.script.breaks("jobs");
    eventually("the failure", async || harness.report(&jobs)?.error).await;
    harness.clock.advance(Duration::from_secs(60));
    let told: Value = get(&harness.scaler, "/decisions/acme/jobs").await.json().await.unwrap();
    let fields = ["state", "replicas", "active", "ageSeconds", "error"].map(|name| told[0][name].clone());
    let error = "script cannot be reached: it is down";
    assert_eq!(fields, [json!("held"), json!(20), json!(true), json!(60.0), json!(error)]);
}

#[tokio::test]
async fn what_is_not_known_has_no_number() {
    let harness = Harness::start().await;
    harness.script.shows("idle", queue(0, 0));
    let idle = scripted("idle", &[]);
    assert_eq!(harness.value(&idle).await.unwrap(), 0.0);
    let read_at = harness.clock.now();
    harness.script.breaks("idle");
    harness.clock.advance(Duration::from_secs(91));
    eventually("the failure", async || harness.report(&idle)?.error).await;
    let told: Value = get(&harness.scaler, "/decisions/acme/idle").await.json().await.unwrap();
    let fields = ["state", "replicas", "active", "why"].map(|name| told[0][name].clone());
    let why = format!("not known: the queue was last read at {read_at}");
    assert_eq!(fields, [json!("unknown"), Value::Null, Value::Null, json!(why)]);
}

#[tokio::test]
async fn a_scaled_object_that_keda_has_not_asked_for_is_not_found() {
    let (harness, _jobs) = busy("").await;
    for path in ["/decisions/acme/support", "/decisions/zeta/jobs"] {
        let text = format!(
            "no trigger of {} is watched: KEDA has not asked for one yet\n",
            path.trim_start_matches("/decisions/")
        );
        assert_eq!(read(get(&harness.scaler, path).await).await, (StatusCode::NOT_FOUND, text));
    }
}

#[tokio::test]
async fn decisions_ask_for_the_token_of_the_day_and_the_other_pages_for_none() {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), "monday\n").unwrap();
    let (harness, _jobs) = busy(&format!("adminToken: {{ file: {} }}\n", file.path().display())).await;
    let scaler = &harness.scaler;
    let refused = get(scaler, "/decisions").await;
    assert_eq!(refused.headers()["www-authenticate"], "Bearer");
    assert_eq!(read(refused).await, (StatusCode::UNAUTHORIZED, "a bearer token is needed\n".to_owned()));
    let open = |authorization: &'static str| async move {
        get_as(scaler, "/decisions/acme/jobs", authorization).await.0 == StatusCode::OK
    };
    for wrong in ["Bearer tuesday", "Bearer mondays", "Bearer ", "Basic monday", "monday"] {
        assert!(!open(wrong).await, "{wrong}");
    }
    for right in ["Bearer monday", "bearer monday", "BEARER  monday"] {
        assert!(open(right).await, "{right}");
    }
    fs::write(file.path(), "tuesday").unwrap();
    assert!(!open("Bearer monday").await);
    assert!(open("Bearer tuesday").await);
    fs::remove_file(file.path()).unwrap();
    assert!(!open("Bearer tuesday").await, "nobody, when nobody knows the token");
    for path in ["/livez", "/readyz", "/metrics"] {
        assert_eq!(get(scaler, path).await.status(), StatusCode::OK, "{path}");
    }
}

/// Whatever a queue is named, a terminal shows it and obeys nothing.
#[tokio::test]
async fn a_page_on_a_terminal_shows_names_and_obeys_none() {
    let harness = Harness::start().await;
    let name = "a\u{202e}b\u{2028}c\u{200b}d";
    harness.script.shows(name, queue(1, 0));
    let odd = trigger("odd", &[("source", "scripted"), ("connection", "script"), ("queueName", name)]);
    harness.value(&odd).await.unwrap();
    let (_, text) = read(get(&harness.scaler, "/decisions?format=text").await).await;
    assert!(text.contains("queue a\\u{202e}b\\u{2028}c\\u{200b}d  (trigger"), "{text:?}");
    let (_, json) = read(get(&harness.scaler, "/decisions").await).await;
    assert!(json.chars().all(is_printable), "{json:?}");
    let told: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(told[0]["queue"], format!("queue {name}"), "programs read what it is");
}

/// A server whose only trigger wants 42 replicas and may have 20.
async fn busy(file: &str) -> (Harness, ScaledObjectRef) {
    let harness = Harness::with(file).await;
    harness.script.shows("jobs", queue(120, 45));
    let keys = [("tasksPerReplica", "4"), ("maxReplicaCount", "20"), ("expectedTaskDuration", "90s")];
    let jobs = scripted("jobs", &keys);
    assert_eq!(harness.value(&jobs).await.unwrap(), 20.0);
    (harness, jobs)
}
