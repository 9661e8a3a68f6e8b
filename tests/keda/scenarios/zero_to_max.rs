//! From nothing to the bound and back to nothing, and every task is done once.

use crate::objects::{Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};

const MAX: u32 = 5;

pub(super) async fn play(stage: Stage, queue: Queue, call: Call) {
    let mut scene = Scene::set(stage, Setting::on(queue)).await;
    scene.scale(&Trigger::new(call, queue, &scene.host, MAX)).await;
    scene.holds("nothing is asked for, and nothing is scaled", 5, |seen| seen.replicas == 0).await;
    scene.put(25, 4).await;
    scene.until("a first replica", 20, |seen| seen.replicas > 0).await;
    scene.until("as many as the bound allows", 30, |seen| seen.replicas == 5 && seen.ready == 5).await;
    scene.until("every task is done", 90, |seen| seen.tasks.done == 25).await;
    scene.until("no replicas", 40, |seen| seen.replicas == 0 && seen.ready == 0).await;
    scene.nothing_was_lost();
}
