//! `agent-scaler plan` says what the real KEDA and the real HPA then do, and our model of the HPA agrees at each sync.

use std::path::PathBuf;
use std::time::Duration;

use agent_scaler::engine::hpa::{
    Amount, Behavior, Bounds, Hpa, Metric, MetricType, Milli, Pace, Replicas, ScalingRules, Select, Tolerance,
};
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::history::History;
use crate::objects::{self, Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};
use crate::servers;
use crate::workers::Lifetime;

const MAX: u32 = 30;
const MAX_JOBS: u32 = 6;

/// Longest time in which the last count of a step comes: a window and three periods lie in it.
const STEP_WITHIN: Duration = Duration::from_secs(60);

/// How long a count that is to stay is watched: two syncs of the HPA, and a few polls of KEDA.
const STAYS: Duration = Duration::from_secs(5);

/// What a queue is made to hold, and what becomes of the replicas then.
struct Step {
    what: &'static str,
    waiting: u32,
    running: u32,
    /// The counts, one after another, that replace the one before.
    counts: &'static [u32],
    knows: Knows,
}

/// How much of a step one look can know.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Knows {
    /// All counts.
    All,
    /// The next one; the others depend on what was before the look, or come later than we wait.
    Next,
}

const fn step(what: &'static str, (waiting, running): (u32, u32), counts: &'static [u32]) -> Step {
    Step { what, waiting, running, counts, knows: Knows::All }
}

pub(super) async fn with_a_behavior(stage: Stage) {
    let pods = |value| json!({"type": "Pods", "value": value, "periodSeconds": 3});
    let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 3});
    let behavior = json!({
        "scaleUp": {"stabilizationWindowSeconds": 0, "tolerance": "0", "policies": [pods(4), percent]},
        "scaleDown": {"stabilizationWindowSeconds": 10, "policies": [pods(6)]},
    });
    let pace = |amount| Pace { amount, period: Duration::from_secs(3) };
    let rules = |tolerance, window, paces| {
        let window = Duration::from_secs(window);
        ScalingRules { tolerance, window, select: Select::Max, paces }
    };
    let up = vec![pace(Amount::Pods(4)), pace(Amount::Percent(100))];
    let model = Behavior {
        up: rules(Tolerance::ZERO, 0, up),
        down: rules(Tolerance::DEFAULT, 10, vec![pace(Amount::Pods(6))]),
    };
    let steps = [
        step("nothing to do", (0, 0), &[]),
        step("KEDA wakes it, and the HPA climbs a ladder", (20, 0), &[1, 5, 10, 20]),
        step("one more, which a tolerance of 0 lets pass", (0, 21), &[21]),
        step("one fewer, which is tolerated", (0, 20), &[]),
        step("fewer, after the window, as fast as the policy allows", (0, 8), &[15, 9, 8]),
        step("nothing, before the window is over", (0, 0), &[0]),
        step("a few, which the policies of before do not slow down", (0, 3), &[1, 3]),
    ];
    play(stage, Some(behavior), Some(model), &steps).await;
}

pub(super) async fn without_a_behavior(stage: Stage) {
    let steps = [
        step("KEDA wakes it, and the HPA doubles", (20, 0), &[1, 4, 8, 16, 20]),
        step("one more, which is tolerated", (0, 21), &[]),
        step("three more", (0, 23), &[23]),
        // A window of five minutes.
        Step { knows: Knows::Next, ..step("fewer, and the peak still counts", (0, 10), &[]) },
        step("nothing, before the window is over", (0, 0), &[0]),
        // One look does not know of the peak.
        Step {
            knows: Knows::Next,
            ..step("two, and the peak of before comes back", (0, 2), &[1, 4, 8, 16, 23])
        },
    ];
    play(stage, None, None, &steps).await;
}

async fn play(stage: Stage, behavior: Option<Value>, model: Option<Behavior>, steps: &[Step]) {
    let folder = stage.folder();
    let mut scene = Scene::set(stage, Setting { lifetime: Lifetime::Idle, ..Setting::on(Queue::List) }).await;
    let trigger = Trigger::new(Call::External, Queue::List, &scene.host, MAX);
    let mut object = objects::scaled_object(scene.namespace, &trigger);
    object["spec"]["advanced"] = behavior.map_or_else(
        || json!({}),
        |behavior| json!({"horizontalPodAutoscalerConfig": {"behavior": behavior}}),
    );
    let file = written(folder.join("object.yaml"), &object);
    let mut history = History::of(&scene.cluster, scene.namespace);
    scene.api.apply(&objects::deployment(scene.namespace)).await;
    scene.apply(&object).await;

    let mut current = 0;
    for step in steps {
        current = done(&mut scene, &mut history, &file, step, current).await;
    }
    replay(&scene, &history, Hpa::new(Bounds::of(0, MAX), model));
}

/// Does a step that starts at `current` replicas, and returns how many there are after it.
async fn done(scene: &mut Scene, history: &mut History, file: &PathBuf, step: &Step, current: u32) -> u32 {
    let Step { what, waiting, running, counts, knows } = step;
    history.read();
    let before = history.counts().len();
    fill(scene, *waiting, *running).await;
    scene.note(format!("{what}: {waiting} wait and {running} run"));
    let planned = plan(scene, file, current).await;
    assert_eq!(planned["decision"]["replicas"], waiting + running, "the plan decides otherwise: {planned}");
    let next = count(&planned["next"]["next"]);
    let then = planned["next"]["then"].as_array().unwrap().iter().map(|step| count(&step["replicas"]));
    let mut ladder: Vec<u32> = [current, next].into_iter().chain(then).collect();
    ladder.dedup();
    scene.note(format!("the plan: {current} → {next} ({}), in all {ladder:?}", planned["next"]["why"]));
    match knows {
        Knows::All => assert_eq!(ladder[1..], **counts, "what the plan says of the step: {what}"),
        Knows::Next => assert_eq!(next, *counts.first().unwrap_or(&current), "{what}"),
    }
    let since = Instant::now();
    let mut complete = None;
    while complete.is_none_or(|complete: Instant| complete.elapsed() < STAYS) {
        sleep(Duration::from_millis(100)).await;
        history.read();
        let seen = history.counts().split_off(before);
        assert!(counts.starts_with(&seen), "{what}: {seen:?} came instead of {counts:?}");
        if seen.len() == counts.len() {
            complete.get_or_insert_with(Instant::now);
        }
        assert!(complete.is_some() || since.elapsed() < STEP_WITHIN, "{what}: {seen:?} and not {counts:?}");
    }
    scene.note(format!("the cluster did: {counts:?}"));
    let replicas = *counts.last().unwrap_or(&current);
    assert_eq!(scene.sample().replicas, u64::from(replicas), "the logs and the API differ");
    replicas
}

/// Requires of the model what the real HPA did at each of its syncs.
fn replay(scene: &Scene, history: &History, mut hpa: Hpa) {
    for (place, sync) in history.syncs.iter().enumerate() {
        let metric = Metric { kind: MetricType::AverageValue, target: Milli::whole(1), value: sync.value };
        let next = hpa.sync(Replicas::settled(sync.current), &[metric], sync.at);
        let before = &history.syncs[place.saturating_sub(8)..=place];
        assert_eq!(next.replicas, sync.next, "sync {place}: the model says {next:?}; the HPA: {before:#?}");
    }
    let changes = history.syncs.iter().filter(|sync| sync.current != sync.next).count();
    scene.note(format!("the model agrees at {} syncs, {changes} of them changes", history.syncs.len()));
    assert!(changes > 4, "the HPA did nothing: {history:?}");
}

pub(super) async fn on_jobs(stage: Stage) {
    let folder = stage.folder();
    let mut scene = Scene::set(stage, Setting { lifetime: Lifetime::Idle, ..Setting::on(Queue::List) }).await;
    let trigger = Trigger::new(Call::External, Queue::List, &scene.host, MAX_JOBS).key("workload", "job");
    let object = objects::scaled_job(scene.namespace, &trigger);
    let file = written(folder.join("object.yaml"), &object);
    scene.apply(&object).await;
    let mut unfinished = 0;
    for (waiting, created) in [(0, 0), (3, 3), (5, 2), (4, 0), (9, 1)] {
        fill(&scene, waiting, 0).await;
        let planned = plan(&scene, &file, unfinished).await;
        let next = count(&planned["next"]["next"]);
        scene.note(format!("{waiting} wait beside {unfinished} Jobs; the plan: {next} more"));
        assert_eq!(next, created, "{planned}");
        unfinished += created;
        let wanted = u64::from(unfinished);
        scene.until("as many Jobs are created", 20, |seen| seen.jobs == wanted).await;
        scene.holds("no more are", STAYS.as_secs(), |seen| seen.jobs == wanted).await;
    }
}

/// Makes the queue hold so many tasks that wait and run, at once.
async fn fill(scene: &Scene, waiting: u32, running: u32) {
    let mut connection = servers::connect(&scene.redis.url()).await.unwrap();
    let mut batch = redis::pipe();
    batch.atomic();
    for (list, tasks) in [(Queue::TASKS, waiting), (Queue::PROCESSING, running)] {
        batch.cmd("DEL").arg(list);
        for task in 0..tasks {
            batch.cmd("LPUSH").arg(list).arg(task);
        }
    }
    batch.exec_async(&mut connection).await.unwrap();
}

/// What the real program plans for the one trigger of `file`.
async fn plan(scene: &Scene, file: &PathBuf, current: u32) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-scaler"));
    command.arg("plan").arg("-f").arg(file).arg("--config").arg(scene.scalers[0].configuration());
    command.args(["--output", "json", "--current-replicas", &current.to_string()]);
    let output = command.output().await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "plan failed: {text}{}", String::from_utf8_lossy(&output.stderr));
    let mut plan: Value = serde_json::from_str(&text).unwrap();
    plan["triggers"][0].take()
}

fn written(file: PathBuf, object: &Value) -> PathBuf {
    // JSON is YAML.
    std::fs::write(&file, object.to_string()).unwrap();
    file
}

fn count(value: &Value) -> u32 {
    u32::try_from(value.as_u64().unwrap()).unwrap()
}
