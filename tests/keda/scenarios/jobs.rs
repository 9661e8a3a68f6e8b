//! A ScaledJob gets a Job for each task, and no more at a time than its bound; with the reference worker in its pods,
//! every task is done, also when one of them dies.

use std::time::Duration;

use crate::objects::{self, Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};
use crate::workers::Lifetime;

/// A server's default, in which several tasks end: what Jobs are counted against is read more often.
const TICK: &str = "5s";

pub(super) async fn one_for_each_task(stage: Stage) {
    let setting = Setting { lifetime: Lifetime::OneTask, tick: TICK, ..Setting::on(Queue::List) };
    let mut scene = Scene::set(stage, setting).await;
    let trigger = Trigger::new(Call::External, Queue::List, &scene.host, 4).key("workload", "job");
    scene.apply(&objects::scaled_job(scene.namespace, &trigger)).await;
    scene.holds("no Jobs without tasks", 5, |seen| seen.jobs == 0).await;
    scene.put(10, 6).await;
    scene.until("as many Jobs as the bound allows", 20, |seen| seen.replicas == 4).await;
    scene.until("every task is done", 90, |seen| seen.replicas <= 4 && seen.tasks.done == 10).await;
    scene.until("no Job is left at work", 30, |seen| seen.replicas == 0).await;
    scene.nothing_was_lost();
    let jobs = scene.sample().jobs;
    scene.note(format!("{jobs} Jobs for 10 tasks"));
    assert_eq!(jobs, 10, "Jobs for 10 tasks");
}

/// What KEDA's strategies make of three tasks while their Jobs run: our value counts these, and only `default` subtracts
/// them. The others make Jobs up to the bound of eight.
pub(super) async fn by_strategy(stage: Stage, strategy: &str, comes_to: u64) {
    let setting = Setting { lifetime: Lifetime::Idle, ..Setting::on(Queue::List) };
    let mut scene = Scene::set(stage, setting).await;
    let trigger = Trigger::new(Call::External, Queue::List, &scene.host, 8).key("workload", "job");
    let mut object = objects::scaled_job(scene.namespace, &trigger);
    object["spec"]["scalingStrategy"] = serde_json::json!({"strategy": strategy});
    scene.apply(&object).await;
    // KEDA begins twice with a new ScaledJob, and breaks off what it was creating the first time.
    scene.holds("no Jobs without tasks", 3, |seen| seen.jobs == 0).await;
    scene.put(3, 1).await;
    scene.until(&format!("{comes_to} Jobs"), 30, |seen| seen.jobs == comes_to).await;
    scene.holds("no more of them", 5, |seen| seen.jobs == comes_to).await;
}

/// Tasks, most Jobs at a time, and how long a task takes.
const TASKS: u64 = 12;
const MAX: u32 = 4;
const SECONDS: u64 = 4;

/// Requests that a task of the reference worker makes.
const STEPS: u64 = SECONDS * 2;

pub(super) async fn of_the_reference_worker(stage: Stage, queue: Queue) {
    let model = format!("http://{}:8400/counts", Stage::address(stage.number, 1));
    let setting = Setting { lifetime: Lifetime::Processes, tick: TICK, ..Setting::on(queue) };
    let mut scene = Scene::set(stage, setting).await;
    let trigger = Trigger::new(Call::External, queue, &scene.host, MAX).key("workload", "job");
    scene.apply(&objects::scaled_job(scene.namespace, &trigger)).await;
    scene.holds("no Jobs without tasks", 3, |seen| seen.jobs == 0).await;
    scene.put(TASKS, SECONDS).await;
    scene.until("as many Jobs as the bound allows", 20, |seen| seen.replicas == u64::from(MAX)).await;
    scene.until("every task is done", 90, |seen| seen.replicas <= 4 && seen.tasks.done == TASKS).await;
    scene.until("no Job is left at work", 30, |seen| seen.replicas == 0).await;
    scene.holds("and no more Jobs come", 3, |seen| seen.replicas == 0).await;
    let (before, paid) = (scene.sample().jobs, requests(&model).await);
    scene.note(format!("{before} Jobs for {TASKS} tasks, {paid} requests of the model"));
    assert_eq!(paid, TASKS * STEPS, "requests for {TASKS} tasks");
    assert_eq!(before, TASKS, "Jobs for {TASKS} tasks");

    scene.put(1, SECONDS).await;
    scene.until("it runs", 20, |seen| seen.tasks.running == 1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    scene.workers.kill_one();
    scene.note("its worker dies");
    scene.until("it is done by another Job", 40, |seen| seen.tasks.done == TASKS + 1).await;
    scene.until("no Job is left at work", 30, |seen| seen.replicas == 0).await;
    let (jobs, paid) = (scene.sample().jobs, requests(&model).await);
    let more = jobs - before;
    scene.note(format!("{more} Jobs more, {} requests", paid - TASKS * STEPS));
    assert_eq!(more, 2, "Jobs: the one that died, and its successor");
    // The step under way when it died, at most.
    let least = (TASKS + 1) * STEPS;
    assert!((least..=least + 1).contains(&paid), "{paid} requests");
}

/// Requests that the model has admitted.
async fn requests(url: &str) -> u64 {
    let counts = reqwest::get(url).await.unwrap().json::<serde_json::Value>().await.unwrap();
    counts["accounts"]["any"]["admitted"].as_u64().unwrap()
}
