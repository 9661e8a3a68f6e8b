//! The process that holds Kafka's client library: it may end, stand still or be orphaned.

use rustix::process::Signal;

use super::*;
use crate::support::harness::{eventually, trigger};
use crate::support::kafka_server::{Server, is_alive, signal};
use crate::support::servers::Redis;

/// A server with one Kafka connection for a topic with so many tasks, and what it was last seen to hold.
async fn served(topic: &str) -> (Server, agent_scaler::scaler::proto::ScaledObjectRef) {
    let kafka = Kafka::shared();
    kafka.create_topic(topic, 4, 1).await;
    kafka.send(topic, 0..3, 1);
    kafka.commit(topic, topic, (0..4).map(|partition| (partition, 0)));
    let servers = kafka.bootstrap(Listener::Plain);
    let server =
        Server::start("500ms", &format!("  k: {{ type: kafka, bootstrapServers: [\"{servers}\"] }}\n")).await;
    let tasks = trigger(
        topic,
        &[("source", "kafka"), ("connection", "k"), ("topic", topic), ("consumerGroup", topic)],
    );
    shows(&server, &tasks, 3.0).await;
    assert!(server.log().contains("brokers are asked in plaintext"), "{}", server.log());
    (server, tasks)
}

async fn shows(server: &Server, trigger: &agent_scaler::scaler::proto::ScaledObjectRef, replicas: f64) {
    eventually(format!("{replicas} replicas"), async || {
        (server.value(trigger).await.ok()? == replicas).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_is_killed_is_started_again_and_buried() {
    let (server, tasks) = served("killed-client").await;
    for round in 0..3 {
        let [client] = server.readers()[..] else { panic!("{:?}", server.readers()) };
        signal(client, Signal::KILL);
        Kafka::shared().send("killed-client", [3], 1);
        shows(&server, &tasks, 4.0).await;
        Kafka::shared().commit("killed-client", "killed-client", [(3, round + 1)]);
        shows(&server, &tasks, 3.0).await;
        assert_eq!(server.readers().len(), 1, "one is at work, and no dead one is left");
    }
    let ended = "the Kafka client ended (signal 9); it is started again";
    assert!(server.log().contains(ended), "{}", server.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_task_is_seen_between_ticks() {
    let kafka = Kafka::shared();
    let servers = kafka.bootstrap(Listener::Plain);
    let server =
        Server::start("5s", &format!("  k: {{ type: kafka, bootstrapServers: [\"{servers}\"] }}\n")).await;
    let topics = ["first-a", "first-b", "first-c", "first-d", "first-e"];
    let mut streams = Vec::new();
    for topic in topics {
        kafka.create_topic(topic, 1, 1).await;
        kafka.send(topic, [0], 1);
        kafka.commit(topic, topic, [(0, 1)]);
        let keys = [("source", "kafka"), ("connection", "k"), ("topic", topic), ("consumerGroup", topic)];
        let tasks = trigger(topic, &keys);
        shows(&server, &tasks, 0.0).await;
        let mut states = server.client().stream_is_active(tasks).await.unwrap().into_inner();
        assert!(!states.message().await.unwrap().unwrap().result, "the state on connect");
        streams.push((topic, states));
    }
    let mut times = Vec::new();
    for (topic, states) in &mut streams {
        kafka.send(topic, [0], 1);
        let sent = tokio::time::Instant::now();
        assert!(states.message().await.unwrap().unwrap().result, "the activation");
        times.push(sent.elapsed());
    }
    times.sort_unstable();
    // Every half second, and a read; generous, because the machine is busy with others.
    assert!(times[2] < Duration::from_secs(1), "{times:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_client_outlives_its_server_however_that_ends() {
    for (topic, end) in [("orphan-killed", Signal::KILL), ("orphan-ended", Signal::TERM)] {
        let (mut server, _) = served(topic).await;
        let clients = server.readers();
        assert_eq!(clients.len(), 1);
        let started = tokio::time::Instant::now();
        server.signal(end);
        let status = server.ends().await;
        assert!(end == Signal::KILL || status.success(), "{status}");
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        eventually("that the client is gone", async || (!is_alive(clients[0])).then_some(())).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_stands_still_is_a_deadline_of_its_own_connection_and_holds_up_no_end() {
    let redis = Redis::plain();
    let kafka = Kafka::shared();
    kafka.create_topic("standstill", 4, 1).await;
    kafka.send("standstill", [0], 1);
    let servers = kafka.bootstrap(Listener::Plain);
    redis.command(&["RPUSH", "tasks", "a"]);
    let file = format!(
        "  r: {{ type: redis, url: \"{}\" }}\n  k: {{ type: kafka, bootstrapServers: [\"{servers}\"] }}\n",
        redis.url()
    );
    let mut server = Server::start("1s", &file).await;
    let keys =
        [("source", "kafka"), ("connection", "k"), ("topic", "standstill"), ("consumerGroup", "standstill")];
    let tasks = trigger("standstill", &[&keys[..], &[("offsetResetPolicy", "earliest")]].concat());
    shows(&server, &tasks, 1.0).await;
    let neighbour = trigger("neighbour", &[("source", "redis"), ("connection", "r"), ("listName", "tasks")]);
    shows(&server, &neighbour, 1.0).await;

    let [client] = server.readers()[..] else { panic!("{:?}", server.readers()) };
    signal(client, Signal::STOP);
    kafka.send("standstill", [1], 1);
    redis.command(&["RPUSH", "tasks", "b"]);
    shows(&server, &neighbour, 2.0).await;
    // It is replaced, and never asked again.
    shows(&server, &tasks, 2.0).await;
    assert!(!is_alive(client));
    assert!(server.log().contains("did not answer in time"), "{}", server.log());

    let [client] = server.readers()[..] else { panic!("{:?}", server.readers()) };
    signal(client, Signal::STOP);
    let started = tokio::time::Instant::now();
    server.signal(Signal::TERM);
    assert!(server.ends().await.success());
    assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
    eventually("that the client is gone", async || (!is_alive(client)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_knows_no_secret_of_the_environment_and_shows_none_of_its_own() {
    let kafka = Kafka::shared();
    let path = kafka.file("bob.password");
    std::fs::write(&path, "bob-secret").unwrap();
    let file = format!(
        "  k: {{ type: kafka, bootstrapServers: [\"{}\"], tls: true, ca: {}, mechanism: PLAIN, username: bob, \
         password: {{ file: {} }} }}\n",
        kafka.bootstrap(Listener::SaslSsl),
        kafka.file("ca.crt").display(),
        path.display()
    );
    let server = Server::start("5s", &file).await;
    let keys = [("source", "kafka"), ("connection", "k"), ("topic", "not-allowed"), ("consumerGroup", "x")];
    let refused = trigger("refused", &keys);
    eventually("that the broker has let us in", async || {
        let error = server.value(&refused).await.err()?;
        error.message().contains("topic `not-allowed`").then_some(())
    })
    .await;
    let [client] = server.readers()[..] else { panic!("{:?}", server.readers()) };
    for file in ["cmdline", "environ"] {
        let text = std::fs::read(format!("/proc/{client}/{file}")).unwrap();
        let text = String::from_utf8_lossy(&text);
        assert!(!text.contains("bob-secret") && !text.contains("hunter2"), "{file}: {text}");
    }
    assert!(!server.log().contains("bob-secret"), "{}", server.log());
}
