//! KEDA's `fallback` acts when nothing is known, and only then.

use serde_json::json;

use crate::objects::{self, Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};

pub(super) async fn acts(stage: Stage) {
    let mut scene = Scene::set_without_redis(stage, Setting::on(Queue::List)).await;
    let trigger = Trigger::new(Call::External, Queue::List, &scene.host, 5);
    let mut object = objects::scaled_object(scene.namespace, &trigger);
    object["spec"]["fallback"] = json!({"failureThreshold": 3, "replicas": 2});
    scene.api.apply(&objects::deployment(scene.namespace)).await;
    scene.note("there is no Redis, so nothing is known");
    scene.api.apply(&object).await;
    scene.until("the fallback's replicas", 60, |seen| seen.replicas == 2 && seen.ready == 2).await;
    scene.holds("they stay", 10, |seen| seen.replicas == 2).await;

    scene.redis.start().await;
    scene.note("Redis is there, and empty");
    scene.until("no replicas", 60, |seen| seen.replicas == 0 && seen.ready == 0).await;
}
