//! A ScaledJob gets a Job for each task, and no more at a time than its bound.

use crate::objects::{self, Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};
use crate::workers::Lifetime;

pub(super) async fn one_for_each_task(stage: Stage) {
    let setting = Setting { lifetime: Lifetime::OneTask, ..Setting::on(Queue::List) };
    let mut scene = Scene::set(stage, setting).await;
    let trigger = Trigger::new(Call::External, Queue::List, &scene.host, 4).key("workload", "job");
    scene.apply(&objects::scaled_job(scene.namespace, &trigger)).await;
    scene.holds("no Jobs without tasks", 5, |seen| seen.jobs == 0).await;
    scene.put(10, 6).await;
    scene.until("as many Jobs as the bound allows", 20, |seen| seen.replicas == 4).await;
    scene.until("every task is done", 90, |seen| seen.replicas <= 4 && seen.tasks.done == 10).await;
    scene.until("no Job is left at work", 30, |seen| seen.replicas == 0).await;
    scene.nothing_was_lost();
    // Between a reading and KEDA's count of running Jobs lies a moment, in which a task may be counted twice.
    let jobs = scene.sample().jobs;
    scene.note(format!("{jobs} Jobs for 10 tasks"));
    assert!((10..=12).contains(&jobs), "{jobs} Jobs for 10 tasks");
}
