//! Masters that die under the whole server: what it says to KEDA meanwhile, and afterwards.

use std::time::Duration;

use super::list;
use crate::support::harness::{Harness, eventually, trigger};
use crate::support::keda_client::{Keda, Polled};
use crate::support::redis_cluster::{RedisCluster, info};
use crate::support::sentinels::{MASTER, Watched};
use crate::support::servers::Tls;

/// Until servers have agreed on a new master, and we have found it.
const LONG: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_of_a_cluster_that_dies_lowers_nothing_and_its_queues_come_back() {
    let mut cluster = RedisCluster::start(Tls::Off);
    let [mine, other] = [cluster.queue_on(1), cluster.queue_on(2)];
    let file = format!(
        "connections: {{ main: {{ type: redis-cluster, urls: \"{}\" }} }}\ntick: 500ms\n",
        cluster.urls()
    );
    let harness = Harness::with(&file).await;
    let keda = Keda::dial(&[harness.scaler.grpc]).await;
    let on = |queue: &str| {
        trigger(&queue.replace(":", "-"), &[("source", "redis"), ("connection", "main"), ("listName", queue)])
    };
    for queue in [&mine, &other] {
        cluster.command(&["RPUSH", queue, "a", "b"]);
    }
    for queue in [&mine, &other] {
        eventually("two replicas", async || {
            (keda.poll(&on(queue)).await.ok()? == Polled::replicas(2)).then_some(())
        })
        .await;
    }
    cluster.nodes[1].kill();
    cluster.command(&["RPUSH", &other, "c"]);
    // The others are read on, and the number of those that cannot be read stands.
    eventually("three replicas elsewhere", async || {
        (keda.poll(&on(&other)).await.ok()? == Polled::replicas(3)).then_some(())
    })
    .await;
    assert_eq!(keda.poll(&on(&mine)).await.unwrap(), Polled::replicas(2));
    tokio::time::timeout(LONG, async {
        loop {
            assert_eq!(keda.poll(&on(&mine)).await.unwrap(), Polled::replicas(2));
            let report = harness.report(&on(&mine)).unwrap();
            if report.error.is_none() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await
    .unwrap();
    cluster.command(&["RPUSH", &mine, "c"]);
    eventually("three replicas here too", async || {
        (keda.poll(&on(&mine)).await.ok()? == Polled::replicas(3)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_tasks_are_pushed_by_the_new_master_as_by_the_old_one() {
    let mut watched = Watched::start(Tls::Off);
    let file = format!(
        "connections: {{ main: {{ type: redis-sentinel, urls: \"{}\", master: {MASTER} }} }}\ntick: 500ms\n",
        watched.urls()
    );
    let harness = Harness::with(&file).await;
    let keda = Keda::dial(&[harness.scaler.grpc]).await;
    let [mut first, mut second] = ["first", "second"].map(|name| keda.push(&list(name, &[])));
    for push in [&mut first, &mut second] {
        assert!(!push.event().await, "nothing waits yet");
    }
    watched.master.command(&["LPUSH", "first:tasks", "a"]);
    assert!(first.event().await);
    watched.master.kill();
    watched.wait_for("the replica is promoted", |watched| {
        info(&watched.replica, "replication", "role") == "master"
    });
    watched.replica.command(&["LPUSH", "second:tasks", "a"]);
    assert!(tokio::time::timeout(LONG, second.event()).await.unwrap());
}
