//! What is wrong with a trigger can be read where its author looks: in the events of the ScaledObject.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::objects::{self, Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};

pub(super) async fn is_explained(stage: Stage) {
    let mut scene = Scene::set(stage, Setting::on(Queue::List)).await;
    let right = Trigger::new(Call::ExternalPush, Queue::List, &scene.host, 5);
    let wrong =
        right.clone().without_key("listName").key("lstName", Queue::TASKS).key("maxQueueWait", "soon");
    scene.api.apply(&objects::deployment(scene.namespace)).await;
    scene.api.apply(&objects::scaled_object(scene.namespace, &wrong)).await;
    let parts = [
        "KEDAScalerFailed: ",
        "metadata.lstName: unknown key (hint: did you mean `listName`?)",
        "metadata.listName: is required",
        "metadata.maxQueueWait: `soon`",
    ];
    let said = event_with(&scene, &parts).await;
    scene.note(format!("an event says: {said}"));
    scene.holds("nothing is scaled", 5, |seen| seen.replicas == 0).await;

    scene.note("the trigger is put right");
    scene.apply(&objects::scaled_object(scene.namespace, &right)).await;
    scene.put(2, 4).await;
    scene.until("every task is done", 60, |seen| seen.tasks.done == 2).await;
    scene.nothing_was_lost();
}

/// The first event of the ScaledObject that contains all of `parts`.
async fn event_with(scene: &Scene, parts: &[&str]) -> String {
    let since = Instant::now();
    loop {
        let events = scene.events("ScaledObject").await;
        if let Some(event) = events.iter().find(|event| parts.iter().all(|part| event.contains(part))) {
            return event.clone();
        }
        assert!(since.elapsed() < Duration::from_secs(30), "no event with {parts:?} among {events:#?}");
        sleep(Duration::from_millis(200)).await;
    }
}
