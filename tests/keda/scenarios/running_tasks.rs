//! Running tasks hold their replicas, although nothing waits.

use crate::objects::{COOLDOWN_SECONDS, Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};

pub(super) async fn outlive_the_cool_down(stage: Stage) {
    let mut scene = Scene::set(stage, Setting::on(Queue::List)).await;
    scene.scale(&Trigger::new(Call::External, Queue::List, &scene.host, 5)).await;
    scene.put(3, 30).await;
    scene.until("every task runs", 30, |seen| seen.tasks.running == 3).await;
    let long = u64::from(4 * COOLDOWN_SECONDS);
    scene.holds("all replicas stay, far beyond the cool-down", long, |seen| seen.replicas == 3).await;
    scene.until("every task is done", 40, |seen| seen.tasks.done == 3).await;
    scene.until("no replicas", 40, |seen| seen.replicas == 0 && seen.ready == 0).await;
    scene.nothing_was_lost();
}

/// A list without a processing list shows no running task, so the number is held for as long as one may run.
pub(super) async fn that_nobody_sees(stage: Stage) {
    let mut scene = Scene::set(stage, Setting::on(Queue::List)).await;
    let trigger = Trigger::new(Call::External, Queue::List, &scene.host, 5)
        .without_key("processingListName")
        .key("expectedTaskDuration", "30s");
    // Put in first: whether an empty list is idle is not known until it was watched for a task.
    scene.put(3, 20).await;
    scene.scale(&trigger).await;
    scene.until("every task runs", 30, |seen| seen.tasks.running == 3).await;
    scene.until("every task is done", 30, |seen| seen.tasks.done == 3).await;
    scene.until("no replicas", 60, |seen| seen.replicas == 0 && seen.ready == 0).await;
    scene.nothing_was_lost();
}
