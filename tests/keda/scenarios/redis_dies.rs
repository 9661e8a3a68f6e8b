//! A dead backend changes no replica count and becomes no error of ours, however long it is dead.

use crate::objects::{Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};

/// Longer than any answer of ours stands, and many cool-downs.
const OUTAGE_SECONDS: u64 = 130;

pub(super) async fn at_the_peak(stage: Stage) {
    let mut scene = Scene::set(stage, Setting::on(Queue::List)).await;
    scene.scale(&Trigger::new(Call::ExternalPush, Queue::List, &scene.host, 4)).await;
    scene.put(16, 15).await;
    scene.until("as many as the bound allows", 30, |seen| seen.replicas == 4 && seen.ready == 4).await;

    scene.redis.kill();
    scene.note("Redis is killed");
    let before = scene.sample();
    let refused = scene.scalers[0].refused_calls().await;
    let same = |seen: u64| seen == before.generation;
    scene.holds("no replica count changes", OUTAGE_SECONDS, |seen| same(seen.generation)).await;
    assert_eq!(scene.scalers[0].refused_calls().await, refused, "KEDA was answered with errors");
    assert_eq!(scene.sample().blind, before.blind, "the HPA was without a value");

    scene.redis.start().await;
    scene.note("Redis is back");
    scene.until("we see the queue again", 30, |seen| seen.said == "4 maximum").await;
    assert!(same(scene.sample().generation), "the replica count changed when Redis came back");
    scene.until("every task is done", 120, |seen| seen.tasks.done == 16).await;
    scene.until("no replicas", 40, |seen| seen.replicas == 0 && seen.ready == 0).await;
    scene.nothing_was_lost();
}

pub(super) async fn while_idle(stage: Stage) {
    let mut scene = Scene::set(stage, Setting::on(Queue::Stream)).await;
    scene.scale(&Trigger::new(Call::ExternalPush, Queue::Stream, &scene.host, 4)).await;
    scene.until("we see an empty queue", 10, |seen| seen.said == "0 demand").await;

    scene.redis.kill();
    scene.note("Redis is killed");
    let before = scene.sample();
    let refused = scene.scalers[0].refused_calls().await;
    let same = |seen: u64| seen == before.generation;
    scene.holds("no replica count changes", OUTAGE_SECONDS, |seen| same(seen.generation)).await;
    assert_eq!(scene.scalers[0].refused_calls().await, refused, "KEDA was answered with errors");

    scene.redis.start().await;
    scene.note("Redis is back");
    scene.put(3, 5).await;
    scene.until("the stream wakes the workload", 60, |seen| seen.replicas > 0).await;
    scene.until("every task is done", 60, |seen| seen.tasks.done == 3).await;
    scene.until("no replicas", 40, |seen| seen.replicas == 0 && seen.ready == 0).await;
    scene.nothing_was_lost();
}
