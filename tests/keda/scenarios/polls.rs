//! The callers that ask for a number, and how often: KEDA at its polls, the HPA at its syncs, both or neither.
//! docs/keda.md has the table.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::cluster::is_true;
use crate::history::History;
use crate::objects::{self, Call, NAME, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};
use crate::workers::Lifetime;

const MAX: u32 = 9;

/// How long calls are counted: so many polls of KEDA, and half as many syncs of the HPA.
const WINDOW: Duration = Duration::from_secs(15);

/// Calls after which a change is in force, because the HPA asked too.
const SETTLED_AFTER: u64 = 6;

/// Longest time until a change is in force.
const SETTLED_WITHIN: Duration = Duration::from_secs(40);

/// The address of the metrics of KEDA's operator.
const KEDAS_METRICS: &str = "http://127.0.0.1:8080/metrics";

/// The callers that are expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Askers {
    /// KEDA's own, one a poll.
    Keda,
    /// The HPA's, one a sync.
    Hpa,
    /// Those of both.
    Both,
    /// None.
    Nobody,
}

/// A ScaledObject and the callers that ask about it.
struct Case {
    what: &'static str,
    change: fn(&mut Value),
    /// Since KEDA 2.21.
    asked_by: Askers,
    /// Before.
    before: Askers,
}

impl Case {
    fn object(&self, scene: &Scene, trigger: &Trigger) -> Value {
        let mut object = objects::scaled_object(scene.namespace, trigger);
        (self.change)(&mut object["spec"]);
        object
    }

    fn askers(&self, is_since_2_21: bool) -> Askers {
        if is_since_2_21 { self.asked_by } else { self.before }
    }
}

/// Changes of a ScaledObject whose workload has replicas.
const CASES: &[Case] = &[
    Case { what: "minReplicaCount 0", change: |_| {}, asked_by: Askers::Both, before: Askers::Both },
    Case {
        what: "minReplicaCount 1",
        change: |spec| spec["minReplicaCount"] = 1.into(),
        asked_by: Askers::Hpa,
        before: Askers::Both,
    },
    Case {
        what: "minReplicaCount 1, idleReplicaCount 0",
        change: |spec| {
            spec["minReplicaCount"] = 1.into();
            spec["idleReplicaCount"] = 0.into();
        },
        asked_by: Askers::Both,
        before: Askers::Both,
    },
    Case {
        what: "minReplicaCount 1, useCachedMetrics",
        change: |spec| {
            spec["minReplicaCount"] = 1.into();
            spec["triggers"][0]["useCachedMetrics"] = true.into();
        },
        asked_by: Askers::Keda,
        before: Askers::Keda,
    },
    Case {
        what: "minReplicaCount 1, pollingInterval of an hour",
        change: |spec| {
            spec["minReplicaCount"] = 1.into();
            spec["pollingInterval"] = 3_600.into();
        },
        asked_by: Askers::Hpa,
        before: Askers::Hpa,
    },
];

/// This is the last case, because KEDA's schema does not let a patch remove a formula.
const WITH_A_FORMULA: Case = Case {
    what: "minReplicaCount 1, scalingModifiers",
    change: |spec| {
        spec["minReplicaCount"] = 1.into();
        spec["triggers"][0]["name"] = "tasks".into();
        spec["advanced"]["scalingModifiers"] = json!({"formula": "tasks", "target": "1"});
    },
    asked_by: Askers::Both,
    before: Askers::Both,
};

pub(super) async fn are_counted(stage: Stage, call: Call) {
    let setting = Setting { lifetime: Lifetime::Idle, ..Setting::on(Queue::List) };
    let mut scene = Scene::set(stage, setting).await;
    let trigger = Trigger::new(call, Queue::List, &scene.host, MAX);
    let (is_since_2_21, streams) =
        (leaves_it_to_the_hpa(&scene.cluster.keda), matches!(call, Call::ExternalPush));
    // A spec that was streamed is not asked for.
    let spec_is_known = is_since_2_21 && streams;
    let mut count = Count { history: History::of(&scene.cluster, scene.namespace), spec_is_known };

    scene.scale(&trigger).await;
    count.expect(&scene, "no replicas", Askers::Keda).await;
    scene.put(3, 1).await;
    scene.until("a replica for each task", 30, |seen| seen.replicas == 3 && seen.ready == 3).await;
    for case in CASES {
        scene.apply(&case.object(&scene, &trigger)).await;
        count.expect(&scene, case.what, case.askers(is_since_2_21)).await;
    }
    scene.put(2, 1).await;
    scene.until("two replicas more, long before the next poll", 20, |seen| seen.replicas == 5).await;

    let mut object = WITH_A_FORMULA.object(&scene, &trigger);
    scene.apply(&object).await;
    count.expect(&scene, WITH_A_FORMULA.what, WITH_A_FORMULA.askers(is_since_2_21)).await;
    object["metadata"]["annotations"] = json!({"autoscaling.keda.sh/paused": "true"});
    scene.api.apply(&object).await;
    until_paused(&scene).await;
    count.expect(&scene, "paused", Askers::Nobody).await;
    kedas_metrics(&scene, streams, is_since_2_21).await;
}

pub(super) async fn of_a_scaled_job_are_counted(stage: Stage) {
    let setting = Setting { lifetime: Lifetime::Idle, ..Setting::on(Queue::List) };
    let mut scene = Scene::set(stage, setting).await;
    let trigger = Trigger::new(Call::External, Queue::List, &scene.host, MAX).key("workload", "job");
    let mut count = Count { history: History::of(&scene.cluster, scene.namespace), spec_is_known: false };
    let mut object = objects::scaled_job(scene.namespace, &trigger);
    object["spec"]["minReplicaCount"] = 1.into();
    scene.apply(&object).await;
    count.expect(&scene, "a ScaledJob, minReplicaCount 1", Askers::Keda).await;
}

/// If the HPA gets no value, KEDA's polls ask as well, for any `minReplicaCount`.
pub(super) async fn go_on_while_the_hpa_gets_nothing(stage: Stage) {
    let setting = Setting { lifetime: Lifetime::Idle, ..Setting::on(Queue::List) };
    let mut scene = Scene::set(stage, setting).await;
    let wrong = Trigger::new(Call::External, Queue::List, &scene.host, MAX).without_key("listName");
    let mut object = objects::scaled_object(scene.namespace, &wrong);
    object["spec"]["minReplicaCount"] = 1.into();
    // At zero, where a trigger that fails leaves it, the HPA would ask for nothing.
    let mut deployment = objects::deployment(scene.namespace);
    deployment["spec"]["replicas"] = 2.into();
    scene.api.apply(&deployment).await;
    scene.api.apply(&object).await;
    scene.until("the HPA gets no value", 30, |seen| seen.hpa == crate::scene::NO_METRIC).await;
    let before = scene.scalers[0].calls("GetMetrics").await;
    sleep(WINDOW).await;
    let asks = scene.scalers[0].calls("GetMetrics").await - before;
    let told = format!("a wrong trigger, minReplicaCount 1: {asks} GetMetrics");
    scene.note(told.clone());
    // Each question is repeated once, with a scaler built anew.
    let polls = WINDOW.as_secs();
    assert!(asks >= 2 * polls, "{told}");
}

/// Whether this KEDA stops polling where the HPA asks anyway.
fn leaves_it_to_the_hpa(keda: &str) -> bool {
    let minor = keda.split('.').nth(1).and_then(|minor| minor.parse::<u32>().ok());
    minor.unwrap_or_else(|| panic!("no version: {keda}")) >= 21
}

/// Calls of one scenario.
struct Count {
    history: History,
    spec_is_known: bool,
}

impl Count {
    /// Counts calls for a while, once a change is in force, and returns the callers.
    async fn expect(&mut self, scene: &Scene, what: &str, expected: Askers) {
        let scaler = &scene.scalers[0];
        let (since, before) = (Instant::now(), scaler.calls("GetMetrics").await);
        while expected != Askers::Nobody && scaler.calls("GetMetrics").await < before + SETTLED_AFTER {
            assert!(since.elapsed() < SETTLED_WITHIN, "{what}: nobody asks");
            sleep(Duration::from_millis(200)).await;
        }
        let start = self.calls(scene).await;
        sleep(WINDOW).await;
        let end = self.calls(scene).await;
        let [asks, activity, specs, syncs] = std::array::from_fn(|nth| end[nth] - start[nth]);
        let told = format!(
            "{what}: {asks} GetMetrics, {activity} IsActive, {specs} GetMetricSpec, {syncs} syncs of the HPA"
        );
        scene.note(told.clone());
        assert_eq!(asked_by(asks, syncs), expected, "{told}");
        assert!(asks.abs_diff(activity) <= 1, "one IsActive follows each GetMetrics: {told}");
        // Polls and syncs ask for the spec in each case, also where they ask for nothing else.
        let is_asked = !self.spec_is_known && expected != Askers::Nobody;
        assert_eq!(specs > 0, is_asked, "{told}");
    }

    async fn calls(&mut self, scene: &Scene) -> [u64; 4] {
        let scaler = &scene.scalers[0];
        let asks = scaler.calls("GetMetrics").await;
        self.history.read();
        let syncs = self.history.given();
        [asks, scaler.calls("IsActive").await, scaler.calls("GetMetricSpec").await, syncs]
    }
}

/// The callers of the calls in a window with this many syncs at which the HPA got a value.
fn asked_by(asks: u64, syncs: u64) -> Askers {
    let polls = WINDOW.as_secs();
    match asks {
        0 => Askers::Nobody,
        // The two are not read at quite the same time.
        _ if asks.abs_diff(syncs) <= 2 => Askers::Hpa,
        _ if syncs > 0 && asks >= syncs + polls * 3 / 4 => Askers::Both,
        _ if asks.abs_diff(polls) <= 3 => Askers::Keda,
        _ => panic!("{asks} calls, {syncs} syncs and {polls} polls"),
    }
}

async fn until_paused(scene: &Scene) {
    let path = format!("/apis/keda.sh/v1alpha1/namespaces/{}/scaledobjects/{NAME}", scene.namespace);
    let since = Instant::now();
    while !scene.api.get(&path).await.is_some_and(|object| is_true(&object, "Paused")) {
        assert!(since.elapsed() < SETTLED_WITHIN, "KEDA does not pause");
        sleep(Duration::from_millis(100)).await;
    }
}

/// Checks the statements of docs/keda.md about KEDA's metrics of its calls.
async fn kedas_metrics(scene: &Scene, streams: bool, are_there: bool) {
    let text = reqwest::get(KEDAS_METRICS).await.unwrap().text().await.unwrap();
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE keda_grpc_client_"));
    let types: BTreeSet<&str> = types.collect();
    if !are_there {
        assert!(types.is_empty(), "{types:?}");
        return;
    }
    let expected = [
        "handled_total counter",
        "handling_seconds histogram",
        "msg_received_total counter",
        "msg_sent_total counter",
        "started_total counter",
    ];
    assert_eq!(types, BTreeSet::from(expected));
    let scaler = if streams { "external-push" } else { "external" };
    let labels = |method: &str, kind: &str| {
        let service = "externalscaler.ExternalScaler";
        format!(
            "grpc_method=\"{method}\",grpc_service=\"{service}\",grpc_type=\"{kind}\",scaler=\"{scaler}\"}}"
        )
    };
    let call = labels("GetMetrics", "unary");
    let mut expected = vec![
        format!("handled_total{{grpc_code=\"OK\",{call}"),
        format!("started_total{{{call}"),
        format!("handling_seconds_count{{{call}"),
        format!("msg_received_total{{{call}"),
        format!("msg_sent_total{{{call}"),
    ];
    if streams {
        let stream = labels("StreamIsActive", "server_stream");
        expected.extend([format!("started_total{{{stream}"), format!("msg_received_total{{{stream}")]);
    }
    let all: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("keda_grpc_client_")).collect();
    for series in expected {
        let found = all.iter().find(|line| line.starts_with(&series));
        scene.note(*found.unwrap_or_else(|| panic!("no {series} among {all:#?}")));
    }
}
