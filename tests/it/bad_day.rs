//! Every backend of one server dies at once: no answer falls, turns to zero or hangs.

use std::time::Duration;

use agent_scaler::scaler::proto::ScaledObjectRef;
use tokio::time::Instant;

use crate::support::harness::{Harness, eventually, trigger};
use crate::support::kafka::{Kafka, Listener};
use crate::support::moto::{ACCOUNT, Moto, REGION};
use crate::support::prometheus::{Prometheus, Setup};
use crate::support::servers::Redis;

/// Within it every answer comes, whatever the backends do; generous, because the machine is busy with others.
const SOON: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_dies_no_answer_falls_or_turns_to_zero_or_hangs() {
    let (mut redis, mut moto, mut kafka) = (Redis::plain(), Moto::start(), Kafka::start(1));
    let mut prometheus = Prometheus::start(Setup::default()).await;
    let url = moto.create_queue("tasks").await;
    let secret = redis.file("secret");
    std::fs::write(&secret, "test").unwrap();
    let secret = format!("{{ file: {} }}", secret.display());
    let key = format!("accessKeyId: {secret}, secretAccessKey: {secret}, accounts: \"{ACCOUNT}\"");
    let harness = Harness::with(&format!(
        "connections:\n\
         \x20 r: {{ type: redis, url: \"{}\" }}\n\
         \x20 s: {{ type: aws, region: {REGION}, endpoint: \"{}\", {key} }}\n\
         \x20 k: {{ type: kafka, bootstrapServers: [\"{}\"] }}\n\
         \x20 p: {{ type: prometheus, url: \"{}\" }}\n\
         tick: 500ms\n",
        redis.url(),
        moto.url(),
        kafka.bootstrap(Listener::Plain),
        prometheus.url(),
    ))
    .await;
    redis.command(&["RPUSH", "tasks", "a", "b", "c"]);
    for _ in 0..3 {
        moto.client().send_message().queue_url(&url).message_body("task").send().await.unwrap();
    }
    kafka.create_topic("tasks", 4, 1).await;
    kafka.send("tasks", [0, 1, 2], 1);
    kafka.commit("workers", "tasks", [(0, 0), (1, 0), (2, 0), (3, 0)]);
    let triggers = [
        trigger("redis", &[("source", "redis"), ("connection", "r"), ("listName", "tasks")]),
        trigger("sqs", &[("source", "aws-sqs-queue"), ("connection", "s"), ("queueURL", &url)]),
        trigger(
            "kafka",
            &[("source", "kafka"), ("connection", "k"), ("topic", "tasks"), ("consumerGroup", "workers")],
        ),
        trigger("prometheus", &[("source", "prometheus"), ("connection", "p"), ("query", "vector(3)")]),
    ];
    for one in &triggers {
        eventually(format!("three replicas for {}", one.name), async || {
            (harness.value(one).await.ok()? == 3.0).then_some(())
        })
        .await;
    }
    redis.kill();
    moto.kill();
    kafka.kill(0);
    prometheus.kill();
    for one in &triggers {
        eventually(format!("that {} is known to be gone", one.name), async || {
            all_stand(&harness, &triggers).await;
            harness.report(one)?.error.is_some().then_some(())
        })
        .await;
    }
    harness.clock.advance(Duration::from_secs(600));
    all_stand(&harness, &triggers).await;
}

/// Every trigger says three, and active, at once.
async fn all_stand(harness: &Harness, triggers: &[ScaledObjectRef]) {
    for one in triggers {
        let asked = Instant::now();
        assert_eq!(harness.value(one).await.unwrap(), 3.0, "{}", one.name);
        assert!(harness.is_active(one).await.unwrap(), "{}", one.name);
        assert!(asked.elapsed() < SOON, "{} took {:?}", one.name, asked.elapsed());
    }
}
