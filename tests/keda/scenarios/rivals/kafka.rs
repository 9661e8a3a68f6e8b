//! Kafka: the lag of a consumer group.

use serde_json::json;

use super::{IDLE, MAX, OURS, Rival, busy, compete, expect};
use crate::objects::{Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};
use crate::support::kafka::{Kafka, Listener};
use crate::workers::Lifetime;

const TOPIC: &str = "tasks";
const PARTITIONS: i32 = 4;

pub(in super::super) async fn on_kafka(stage: Stage) {
    let kafka = tokio::task::block_in_place(|| Kafka::start(1));
    let brokers = kafka.bootstrap(Listener::Plain);
    kafka.create_topic(TOPIC, PARTITIONS, 1).await;
    let connections = format!("  kafka: {{ type: kafka, bootstrapServers: [\"{brokers}\"] }}");
    let setting = Setting { lifetime: Lifetime::Idle, connections, ..Setting::on(Queue::List) };
    let mut scene = Scene::set(stage, setting).await;
    let ours = |policy: &str| {
        let ours = Trigger::on(Call::External, &scene.host, "kafka", "kafka", MAX).key("topic", TOPIC);
        ours.key("consumerGroup", "workers").key("offsetResetPolicy", policy)
    };
    let keda = |policy: &str| {
        let metadata = json!({
            "bootstrapServers": brokers, "topic": TOPIC, "consumerGroup": "workers", "lagThreshold": "1",
            "offsetResetPolicy": policy,
        });
        json!({"type": "kafka", "metadata": metadata})
    };
    let object = crate::objects::scaled_object(scene.namespace, &ours("latest"));
    let rivals = [
        Rival { name: "keda", trigger: keda("earliest") },
        Rival { name: "keda-latest", trigger: keda("latest") },
        Rival { name: "ours-latest", trigger: object["spec"]["triggers"][0].clone() },
    ];
    let ours = ours("earliest");
    compete(&mut scene, &ours, &rivals).await;
    let table = |ours, keda, ours_latest, keda_latest| {
        [(OURS, ours), ("keda", keda), ("ours-latest", ours_latest), ("keda-latest", keda_latest)]
    };

    let send = |partitions: std::ops::Range<i32>, count| {
        tokio::task::block_in_place(|| kafka.send(TOPIC, partitions, count));
    };
    let commit = |offsets: [i64; 4]| {
        tokio::task::block_in_place(|| kafka.commit("workers", TOPIC, (0..).zip(offsets)));
    };
    expect(&scene, "an empty topic, and no commit", &table(IDLE, IDLE, busy(1), busy(4))).await;
    send(0..1, 3);
    expect(&scene, "3 in one partition, and no commit", &table(busy(3), busy(3), busy(1), busy(4))).await;
    commit([0, 0, 0, 0]);
    expect(&scene, "3 in one partition", &table(busy(3), busy(3), busy(3), busy(3))).await;
    send(1..4, 1);
    expect(&scene, "3, 1, 1, 1", &table(busy(4), busy(4), busy(4), busy(4))).await;
    commit([3, 1, 1, 0]);
    expect(&scene, "one is left", &table(busy(1), busy(1), busy(1), busy(1))).await;
    commit([3, 1, 1, 1]);
    expect(&scene, "all are done", &table(IDLE, IDLE, IDLE, IDLE)).await;
}
