//! Limits through gRPC: caps, shares, what holds while workers are silent, and what a fresh process knows.

mod headroom;
mod neighbours;

use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::decision::LimitedBy;
use agent_scaler::engine::limit::{Block, Dimension, LimitSeen, Why};
use agent_scaler::engine::minutes::{Minute, Used};
use agent_scaler::engine::signals::{Reading, Worker, WorkerState, Workers};
use agent_scaler::scaler::proto::ScaledObjectRef;
use agent_scaler::telemetry::limits::ShownLimit;
use agent_scaler::workers::writer::{Beat, Reporter, Settings, Tally};
use redis::aio::ConnectionManager;
use serde_json::Value;

use crate::support::harness::{Harness, eventually, queue, scripted, trigger};
use crate::support::servers::Redis;

const FILE: &str = "
connections: { script: { type: scripted } }
llmLimits:
  prod: { workersConnection: script, scope: prod, requestsPerMinute: 60, weights: { acme: 1, calm: 3 }, publishShares: true }
";

#[tokio::test]
async fn two_deployments_share_a_key_by_weight_and_workers_are_told() {
    let harness = Harness::with(FILE).await;
    let (flood, calm) = two(&harness).await;
    harness.settles(&flood, 3, LimitedBy::LlmLimit).await;
    harness.settles(&calm, 9, LimitedBy::LlmLimit).await;
    let rates = eventually("the published shares", async || {
        let published = harness.script.published("prod")?;
        let rate = |scope: &str| {
            let (_, allowance) = published.allowances.iter().find(|(name, _)| name == scope)?;
            allowance.rates.get(&Dimension::RequestsPerMinute).copied()
        };
        Some((rate("flood")?, rate("calm")?))
    });
    assert_eq!(rates.await, (15.0, 45.0));

    // What the neighbour does not want is not lost.
    harness.script.shows("calm", queue(0, 2));
    harness.settles(&flood, 10, LimitedBy::LlmLimit).await;
}

#[tokio::test]
async fn nobody_is_told_of_a_limit_whose_triggers_are_forgotten() {
    let harness = Harness::with(FILE).await;
    let (flood, _) = two(&harness).await;
    harness.settles(&flood, 3, LimitedBy::LlmLimit).await;
    eventually("shares", async || harness.script.published("prod")).await;
    harness.clock.advance(Duration::from_secs(16 * 60));
    eventually("nobody left", async || harness.scaler.reports().is_empty().then_some(())).await;
    // What was under way when the last trigger went may still arrive; what comes three ticks later is new.
    for _ in 0..2 {
        harness.script.forget_published();
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert_eq!(harness.script.published("prod"), None);
}

#[tokio::test]
async fn decisions_and_metrics_show_the_limit() {
    let harness = Harness::with(FILE).await;
    let (flood, calm) = two(&harness).await;
    harness.settles(&flood, 3, LimitedBy::LlmLimit).await;
    harness.settles(&calm, 9, LimitedBy::LlmLimit).await;
    let shown = limit(&harness, &flood).unwrap();
    let cap = shown.cap.as_ref().unwrap();
    assert_eq!((cap.replicas, cap.dimension.as_str(), cap.per_slot), (3, "requests", 5.0));
    assert_eq!((shown.k, shown.paced, shown.requests, shown.refused), (1.0, true, 1_000, 0));
    let report = harness.report(&flood).unwrap();
    assert_eq!(
        report.decision.to_string(),
        "3 replicas, limited by prod (requests/min): 200 waiting and 0 running want 200, but 15 of 60 requests/min \
         are left to it, 5.0 a slot: 6.0 tasks/min; with twice the requests/min 6; backlog gone in 33.3 min"
    );
    let metrics = reqwest::get(format!("http://{}/metrics", harness.scaler.admin)).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    for line in [
        "agent_scaler_limit_part_admitted{limit=\"prod\"} 1.0",
        "agent_scaler_limit_room{limit=\"prod\",dimension=\"requests\"} 60.0",
        "agent_scaler_limit_saturation{limit=\"prod\",dimension=\"requests\"} 1.66",
        "agent_scaler_limit_admissible_tasks_per_minute{limit=\"prod\"} 24.0",
        "agent_scaler_limit_blocked{limit=\"prod\"} 0.0",
        "agent_scaler_trigger_limit_cap{namespace=\"acme\",name=\"flood\"",
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    let text = reqwest::get(format!("http://{}/decisions?format=text", harness.scaler.admin)).await.unwrap();
    let text = text.text().await.unwrap();
    assert!(
        text.contains("limit prod: k 1, 3 slots = 3 replicas (its part 3), 5 requests a slot\n"),
        "{text}"
    );
}

#[tokio::test]
async fn a_fresh_process_knows_in_its_first_answer_what_the_old_one_knew() {
    let old = Harness::with(FILE).await;
    let (flood, _) = two(&old).await;
    old.settles(&flood, 3, LimitedBy::LlmLimit).await;
    let known = known(&old, &flood).unwrap();

    let fresh = Harness::with(FILE).await;
    let (flood, calm) = two(&fresh).await;
    // Both triggers have to be asked about; after that one tick is enough.
    fresh.value(&calm).await.unwrap();
    fresh.settles(&flood, 3, LimitedBy::LlmLimit).await;
    assert_eq!(self::known(&fresh, &flood).unwrap(), known);
}

#[tokio::test]
async fn the_first_answer_is_capped_even_if_workers_answer_later_than_the_queue() {
    let harness = Harness::with(FILE).await;
    harness.script.never_answers("workers of flood");
    harness.script.shows("flood", queue(200, 0));
    let flood = limited("flood");
    assert_eq!(harness.value(&flood).await.unwrap_err().code(), tonic::Code::Unavailable);
    harness.script.reports("flood", busy(5));
    harness.settles(&flood, 12, LimitedBy::LlmLimit).await;
}

#[tokio::test]
async fn a_used_up_quota_keeps_the_trigger_active_with_its_busy_replicas() {
    let harness = Harness::with(FILE).await;
    let (flood, _) = two(&harness).await;
    harness.settles(&flood, 3, LimitedBy::LlmLimit).await;
    let until = harness.clock_now() + Duration::from_secs(3_600);
    let blocked = Some(Block { until, why: Why::Quota });
    let block_seen = Some(harness.clock_now());
    harness.script.says("prod", LimitSeen { blocked, block_seen, ..LimitSeen::default() });
    harness.settles(&flood, 1, LimitedBy::LlmBlocked).await;
    assert!(harness.is_active(&flood).await.unwrap());
    assert_eq!(limit(&harness, &flood).unwrap().blocked_by.as_deref(), Some("quota"));
    // Nobody was refused for ten minutes: perhaps somebody has paid.
    harness.clock.advance(Duration::from_secs(601));
    harness.settles(&flood, 3, LimitedBy::LlmLimit).await;
}

#[tokio::test]
async fn workers_that_fall_silent_lower_nothing_and_their_return_does() {
    let harness = Harness::start().await;
    let trigger = scripted("list", &[("workersConnection", "script")]);
    let list = |ready| Reading { ready: Some(ready), ..Reading::default() };
    harness.script.shows("list", list(4));
    harness.script.reports(
        "list",
        Workers { leases: 6, alive: busy(5).alive[..6].to_vec(), minutes: vec![], ..busy(5) },
    );
    harness.settles(&trigger, 10, LimitedBy::Demand).await;
    harness.script.breaks_workers("list");
    harness.clock.advance(Duration::from_secs(60));
    harness.script.shows("list", list(0));
    harness.settles(&trigger, 10, LimitedBy::RunningTasks).await;
    assert!(harness.is_active(&trigger).await.unwrap());
    harness.script.reports(
        "list",
        Workers { leases: 2, alive: busy(5).alive[..2].to_vec(), minutes: vec![], ..busy(5) },
    );
    harness.settles(&trigger, 2, LimitedBy::Demand).await;
}

#[tokio::test]
async fn a_latency_target_tightens_the_promise_and_says_when_it_is_out_of_reach() {
    let harness = Harness::start().await;
    let keys = [("workersConnection", "script"), ("maxQueueWait", "10m"), ("podStartupTime", "0")];
    harness.script.shows("jobs", queue(100, 0));
    harness.script.reports("jobs", took(Duration::from_secs(60)));
    harness.settles(&scripted("jobs", &keys), 10, LimitedBy::Demand).await;

    let target = |name: &str, target| {
        harness.script.shows(name, queue(100, 0));
        harness.script.reports(name, took(Duration::from_secs(60)));
        scripted(name, &[&keys[..], &[("latencyTarget", target)]].concat())
    };
    // 60 s of service fall into a bucket that ends at 65.5 s: 2 min are left to wait.
    harness.settles(&target("tight", "186s"), 50, LimitedBy::Demand).await;
    let short = target("short", "30s");
    harness.settles(&short, 100, LimitedBy::Demand).await;
    let why = harness.report(&short).unwrap().decision.to_string();
    assert!(why.contains("latencyTarget is out of reach: 5 % of tasks alone run"), "{why}");
}

#[tokio::test]
async fn a_redis_of_the_workers_that_dies_and_forgets_lowers_nothing() {
    let (queues, mut reports) = (Redis::plain(), Redis::plain());
    let file = format!(
        "connections: {{ queues: {{ type: redis, url: \"{}\" }}, reports: {{ type: redis, url: \"{}\" }} }}\n\
         llmLimits: {{ prod: {{ workersConnection: reports, scope: prod, requestsPerMinute: 60, \
         usePerTask: {{ requests: 12 }}, publishShares: true }} }}",
        queues.url(),
        reports.url()
    );
    let harness = Harness::with(&file).await;
    let keys = [("source", "redis"), ("connection", "queues"), ("listName", "jobs"), ("llmLimit", "prod")];
    let jobs = trigger("jobs", &[&keys[..], &[("expectedTaskDuration", "60s")]].concat());
    queues.command(&["RPUSH", "jobs", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    report(&reports, 4).await;
    // Twelve requests a minute and slot: the limit feeds five.
    harness.settles(&jobs, 5, LimitedBy::LlmLimit).await;

    reports.kill();
    queues.command(&["DEL", "jobs"]);
    harness.clock.advance(Duration::from_secs(60));
    harness.settles(&jobs, 5, LimitedBy::RunningTasks).await;
    harness.clock.advance(Duration::from_secs(3_600));
    harness.settles(&jobs, 5, LimitedBy::RunningTasks).await;
    assert!(harness.is_active(&jobs).await.unwrap());

    // It is back, and has forgotten everything: the workers have not.
    reports.restart();
    harness.settles(&jobs, 5, LimitedBy::UnseenTasks).await;
    assert!(harness.is_active(&jobs).await.unwrap());
    report(&reports, 2).await;
    harness.settles(&jobs, 2, LimitedBy::Demand).await;
}

/// One beat of a worker that runs so many tasks.
async fn report(redis: &Redis, running: u32) {
    let settings = Settings {
        scope: "jobs".to_owned(),
        limit: None,
        worker: "w".to_owned(),
        minute: Duration::from_secs(60),
        lease: Duration::from_secs(600),
    };
    let client = redis::Client::open(redis.url()).unwrap();
    let mut reporter = Reporter::new(ConnectionManager::new(client).await.unwrap(), settings);
    let now = reporter.time().await.unwrap();
    let worker = Worker { slots: 4, running, ..busy(5).alive[0] };
    let running: Vec<String> = (0..running).map(|task| task.to_string()).collect();
    reporter.beat(&Beat { worker, running: &running, tally: &Tally::default() }, now).await.unwrap();
}

/// Two triggers on one limit: what they see is 200 waiting each, and workers that make five requests a slot-minute.
async fn two(harness: &Harness) -> (ScaledObjectRef, ScaledObjectRef) {
    for name in ["flood", "calm"] {
        harness.script.shows(name, queue(200, 0));
        harness.script.reports(
            name,
            Workers { leases: 0, alive: busy(5).alive.into_iter().map(idle).collect(), ..busy(5) },
        );
    }
    let (flood, mut calm) = (limited("flood"), limited("calm"));
    calm.namespace = "calm".into();
    harness.value(&calm).await.unwrap();
    (flood, calm)
}

fn limited(name: &str) -> ScaledObjectRef {
    scripted(
        name,
        &[
            ("llmLimit", "prod"),
            ("expectedTaskDuration", "30s"),
            ("podStartupTime", "0"),
            ("maxQueueWait", "5s"),
        ],
    )
}

fn limit(harness: &Harness, trigger: &ScaledObjectRef) -> Option<ShownLimit> {
    harness.report(trigger)?.shown(harness.clock_now()).limit
}

/// S, u, k and the cap.
fn known(harness: &Harness, trigger: &ScaledObjectRef) -> Option<(Value, f64, f64, u32)> {
    let report = harness.report(trigger)?;
    let service = report.seen().into_iter().find(|seen| seen.name == "service_seconds")?;
    let limit = limit(harness, trigger)?;
    let cap = limit.cap?;
    Some((serde_json::to_value(service).unwrap(), cap.per_slot, limit.k, cap.replicas))
}

/// Ten minutes of ten busy slots, and ten live workers that pace themselves.
fn busy(requests: u64) -> Workers {
    let minute = |number| {
        let used = Used { requests: requests * 10, ..Used::default() };
        let (busy, throttled) = (Duration::from_secs(600), Some(Duration::ZERO));
        Arc::new(Minute { number, done: 20, used, busy, throttled, ..Minute::default() })
    };
    let alive = Worker {
        state: WorkerState::Busy,
        slots: 1,
        running: 1,
        oldest: None,
        progress: None,
        paces: true,
        poison: 0,
    };
    let minutes = (90..100).map(minute).collect();
    Workers { leases: 10, alive: vec![alive; 10], minutes, minute: 100, ..Workers::default() }
}

fn idle(worker: Worker) -> Worker {
    Worker { state: WorkerState::Idle, running: 0, ..worker }
}

/// Workers whose tasks all took so long.
fn took(service: Duration) -> Workers {
    let mut minute = Minute { number: 99, done: 30, busy: service * 30, ..Minute::default() };
    minute.durations.add(agent_scaler::engine::minutes::Histogram::bucket(service), 30);
    Workers { minutes: vec![Arc::new(minute)], minute: 100, ..Workers::default() }
}
