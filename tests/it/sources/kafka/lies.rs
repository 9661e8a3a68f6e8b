//! Brokers that answer what no client survives, beside backends that do not lie.

use std::fmt::Write as _;

use agent_scaler::scaler::proto::ScaledObjectRef;

use crate::support::harness::{eventually, trigger};
use crate::support::kafka::{Liar, Lie};
use crate::support::kafka_server::{Server, is_alive, megabytes};
use crate::support::servers::Redis;

/// Most resident memory of the server, in MB: what it takes at rest in a build without optimisation, and some.
const SERVER: u64 = 90;

/// Most resident memory of the client of a lying broker, in MB: its limit of 96 MiB, and what it takes until it is weighed again.
const CLIENT: u64 = 128;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_of_a_broker_ends_the_server_or_costs_another_connection_a_reading() {
    let redis = Redis::plain();
    redis.command(&["RPUSH", "tasks", "a"]);
    let mut connections = format!("  main: {{ type: redis, url: \"{}\" }}\n", redis.url());
    for lie in Lie::ALL {
        let address = Liar::start(lie).address();
        writeln!(connections, "  {}: {{ type: kafka, bootstrapServers: [\"{address}\"] }}", name(lie))
            .unwrap();
    }
    let mut server = Server::start("3s", &connections).await;
    let neighbour =
        trigger("neighbour", &[("source", "redis"), ("connection", "main"), ("listName", "tasks")]);
    let mut highest = 0;
    // Lies at once and over and over, for as long as the neighbour gets this many tasks.
    for tasks in 1..=6_u32 {
        for lie in Lie::ALL {
            // Its error is looked at below.
            let _ = server.value(&lied_to(lie)).await;
        }
        redis.command(&["RPUSH", "tasks", "another"]);
        eventually(format!("the neighbour's task {tasks}"), async || {
            (server.value(&neighbour).await.ok()? == f64::from(tasks + 1)).then_some(())
        })
        .await;
        let heaviest = server.readers().into_iter().filter_map(|id| megabytes(id, "VmHWM")).max();
        highest = highest.max(heaviest.unwrap_or(0));
    }
    for lie in Lie::ALL {
        let expected = error(lie);
        eventually(format!("{lie:?}: {expected}"), async || {
            let error = server.value(&lied_to(lie)).await.err()?;
            error.message().contains(expected).then_some(())
        })
        .await;
    }
    assert_eq!(server.has_ended(), None, "{}", server.log());
    assert!(is_alive(server.id()));
    let own = megabytes(server.id(), "VmHWM").unwrap();
    assert!(own < SERVER, "the server took {own} MB");
    assert!(highest < CLIENT, "a client took {highest} MB");
}

/// What is said of a broker that lies so.
fn error(lie: Lie) -> &'static str {
    match lie {
        Lie::NullVersions => {
            "the Kafka client ended (signal 6 after an answer of a broker); it is started again"
        }
        Lie::NullBrokers => {
            "the Kafka client ended (signal 11 after an answer of a broker); it is started again"
        }
        Lie::ManyBrokers => {
            "the Kafka client ended (signal 6 after an answer of a broker); it is started again"
        }
        Lie::NegativeVersions | Lie::HugeVersions | Lie::CutVersions => "no broker can be reached",
        Lie::AnotherNumber => "did not answer in time",
        Lie::HugeAnswer => "Receive failed: Invalid response size 2147483647 (0..4194304)",
        Lie::NegativeAnswer => "Receive failed: Invalid response size -5 (0..4194304)",
        Lie::HugeBrokers | Lie::HugeTopics => "Bad message format",
        Lie::ManyTopics => "more than 100000 topics and partitions: name those that matter in `topic`",
    }
}

fn name(lie: Lie) -> String {
    format!("{lie:?}").to_lowercase()
}

/// A trigger on the connection of a lying broker.
fn lied_to(lie: Lie) -> ScaledObjectRef {
    let name = name(lie);
    let keys = [("source", "kafka"), ("connection", &*name), ("consumerGroup", "tasks")];
    // All topics are of interest where there are too many.
    let topic: &[_] = if lie == Lie::ManyTopics { &[] } else { &[("topic", "tasks")] };
    trigger(&name, &[&keys[..], topic].concat())
}
