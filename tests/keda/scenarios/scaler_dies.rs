//! A dead server of ours changes no replica count; with a second one nobody notices.

use crate::objects::{Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};

/// Many cool-downs, and short enough for work to be left at the end.
const OUTAGE_SECONDS: u64 = 60;

pub(super) async fn and_comes_back(stage: Stage) {
    let mut scene = Scene::set(stage, Setting::on(Queue::Stream)).await;
    scene.scale(&Trigger::new(Call::ExternalPush, Queue::Stream, &scene.host, 4)).await;
    scene.put(24, 15).await;
    scene.until("as many as the bound allows", 30, |seen| seen.replicas == 4 && seen.ready == 4).await;

    scene.scalers[0].kill();
    scene.note("the only server of ours is killed");
    let before = scene.sample();
    let same = |seen: u64| seen == before.generation;
    scene.holds("no replica count changes", OUTAGE_SECONDS, |seen| same(seen.generation)).await;

    scene.scalers[0].start().await;
    scene.note("it is back");
    // gRPC dials a dead server ever more rarely.
    scene.until("the HPA has a value again", 90, |seen| seen.hpa == "4" && seen.said == "4 maximum").await;
    assert!(same(scene.sample().generation), "the replica count changed when the server came back");
    scene.until("every task is done", 120, |seen| seen.tasks.done == 24).await;
    scene.until("no replicas", 40, |seen| seen.replicas == 0 && seen.ready == 0).await;
    scene.nothing_was_lost();
}

pub(super) async fn rolled(stage: Stage) {
    let setting = Setting { scalers: 2, ..Setting::on(Queue::List) };
    let mut scene = Scene::set(stage, setting).await;
    scene.scale(&Trigger::new(Call::ExternalPush, Queue::List, &scene.host, 4)).await;
    scene.put(20, 10).await;
    scene.until("as many as the bound allows", 30, |seen| seen.replicas == 4 && seen.ready == 4).await;
    scene.until("the HPA agrees", 10, |seen| seen.hpa == "4").await;

    let before = scene.sample();
    for nth in 0..2 {
        scene.scalers[nth].stop().await;
        scene.note(format!("server {} of 2 is stopped", nth + 1));
        scene.holds("the number stays", 5, |seen| seen.replicas == 4).await;
        scene.scalers[nth].start().await;
        scene.note("it is back");
        scene.holds("the number stays", 5, |seen| seen.replicas == 4).await;
    }
    let after = scene.sample();
    assert_eq!(after.generation, before.generation, "a replica count changed");
    assert_eq!(after.blind, before.blind, "the HPA was without a value");

    scene.until("every task is done", 90, |seen| seen.tasks.done == 20).await;
    scene.until("no replicas", 40, |seen| seen.replicas == 0 && seen.ready == 0).await;
    scene.nothing_was_lost();
}
