//! A dead backend changes no replica count, however long it is dead; KEDA hears of it only where nothing runs.

use crate::objects::{Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};

/// Longer than a number of an empty queue stands, and many cool-downs.
const OUTAGE_SECONDS: u64 = 130;

/// So long even such a number stands.
const STANDS_SECONDS: u64 = 60;

pub(super) async fn at_the_peak(stage: Stage) {
    let mut scene = Scene::set(stage, Setting::on(Queue::List)).await;
    scene.scale(&Trigger::new(Call::ExternalPush, Queue::List, &scene.host, 4)).await;
    scene.put(16, 15).await;
    scene.until("as many as the bound allows", 30, |seen| seen.replicas == 4 && seen.ready == 4).await;

    let (before, refused) = (scene.sample(), scene.scalers[0].refused_calls().await);
    scene.redis.kill();
    scene.note("Redis is killed");
    let same = |seen: u64| seen == before.generation;
    scene.holds("no replica count changes", OUTAGE_SECONDS, |seen| same(seen.generation)).await;

    scene.redis.start().await;
    scene.note("Redis is back");
    scene.until("we see the queue again", 30, |seen| seen.said == "4 maximum").await;
    let after = scene.sample();
    assert!(same(after.generation), "the replica count changed when Redis came back");
    assert_eq!(after.blind, before.blind, "the HPA was without a value");
    assert_eq!(scene.scalers[0].refused_calls().await, refused, "KEDA was answered with errors");
    scene.until("every task is done", 120, |seen| seen.tasks.done == 16).await;
    scene.until("no replicas", 40, |seen| seen.replicas == 0 && seen.ready == 0).await;
    scene.nothing_was_lost();
}

pub(super) async fn while_idle(stage: Stage) {
    let mut scene = Scene::set(stage, Setting::on(Queue::Stream)).await;
    scene.scale(&Trigger::new(Call::ExternalPush, Queue::Stream, &scene.host, 4)).await;
    scene.until("we see an empty queue", 10, |seen| seen.said == "0 demand").await;

    let (before, refused) = (scene.sample(), scene.scalers[0].refused_calls().await);
    scene.redis.kill();
    scene.note("Redis is killed");
    let same = |seen: u64| seen == before.generation;
    scene.holds("no replica count changes", STANDS_SECONDS, |seen| same(seen.generation)).await;
    let mut now = scene.scalers[0].refused_calls().await;
    // An empty queue may have filled since: the number stands for a while, that nothing is to do does not.
    now.retain(|calls| !refused.contains(calls) && !calls.contains("\"IsActive\""));
    assert!(now.is_empty(), "KEDA was answered with errors: {now:?}");
    let rest = OUTAGE_SECONDS - STANDS_SECONDS;
    scene.holds("nor when we say that nothing is known", rest, |seen| same(seen.generation)).await;
    assert_eq!(scene.sample().said, "unknown", "a queue that nobody can read is not empty for ever");

    scene.redis.start().await;
    scene.note("Redis is back");
    scene.put(3, 5).await;
    scene.until("the stream wakes the workload", 60, |seen| seen.replicas > 0).await;
    scene.until("every task is done", 60, |seen| seen.tasks.done == 3).await;
    scene.until("no replicas", 40, |seen| seen.replicas == 0 && seen.ready == 0).await;
    scene.nothing_was_lost();
}
