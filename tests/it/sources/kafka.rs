//! Kafka's consumer groups.

use crate::support::kafka::Kafka;

#[tokio::test]
async fn it_starts() {
    let kafka = Kafka::shared();
    kafka.create_topic("it-starts", 3, 1).await;
    kafka.send("it-starts", 0..3, 4);
    kafka.commit("it-starts", "it-starts", [(0, 1), (1, 2)]);
}

#[tokio::test]
async fn three() {
    let mut kafka = Kafka::start(3);
    kafka.create_topic("t", 3, 3).await;
    kafka.send("t", 0..3, 4);
    kafka.commit("g", "t", [(0, 1), (1, 2)]);
    kafka.kill(1);
    kafka.restart(1);
}
