//! The life of tasks in real queues, as KEDA sees it.

use redis::streams::StreamReadReply;
use tonic::Code;

use super::{add, file, list, serve, settles, stream};
use crate::support::harness::{Harness, eventually, trigger};
use crate::support::keda_client::{Keda, Polled};
use crate::support::proxy::Proxy;
use crate::support::servers::Redis;

#[tokio::test]
async fn tasks_of_a_list_wake_their_workers_and_running_ones_keep_them_until_the_last_is_done() {
    let redis = Redis::plain();
    let (_harness, keda) = serve(&redis).await;
    let support = list("support", &[("tasksPerReplica", "4")]);
    assert_eq!(keda.poll(&support).await.unwrap(), Polled::replicas(0));
    add(&redis, "support:tasks", 8);
    settles(&keda, &support, 2).await;
    for _ in 0..8 {
        redis.command(&["LMOVE", "support:tasks", "support:busy", "LEFT", "RIGHT"]);
    }
    // One more, so that the move itself is seen to have happened.
    add(&redis, "support:tasks", 1);
    settles(&keda, &support, 3).await;
    redis.command(&["LPOP", "support:tasks"]);
    redis.command(&["LPOP", "support:busy", "7"]);
    settles(&keda, &support, 1).await;
    redis.command(&["LPOP", "support:busy"]);
    settles(&keda, &support, 0).await;
}

#[tokio::test]
async fn entries_of_a_stream_wake_their_workers_and_pending_ones_keep_them_until_the_last_is_done() {
    let redis = Redis::plain();
    let (harness, keda) = serve(&redis).await;
    let support = stream("support", &[("tasksPerReplica", "4")]);
    assert_eq!(keda.poll(&support).await.unwrap(), Polled::replicas(0));
    redis.command(&["XGROUP", "CREATE", "support:tasks", "workers", "0", "MKSTREAM"]);
    for _ in 0..8 {
        redis.command(&["XADD", "support:tasks", "*", "task", "x"]);
    }
    settles(&keda, &support, 2).await;
    let taken = take(&redis, 8);
    redis.command(&["XADD", "support:tasks", "*", "task", "x"]);
    settles(&keda, &support, 3).await;
    let last = take(&redis, 1);
    acknowledge(&redis, &taken);
    settles(&keda, &support, 1).await;
    // Nine completions make no service time yet: each task has a slot of its own.
    let report = harness.report(&support).unwrap();
    assert_eq!((report.signals.service.seen(), report.decision.want.unwrap().part), (None, 1.0));
    acknowledge(&redis, &last);
    settles(&keda, &support, 0).await;
}

#[tokio::test]
async fn a_key_of_another_type_costs_its_own_trigger_only_and_says_so() {
    let redis = Redis::plain();
    redis.command(&["SET", "text", "x"]);
    add(&redis, "support:tasks", 3);
    let (harness, keda) = serve(&redis).await;
    let wrong = trigger("wrong", &[("source", "redis"), ("connection", "main"), ("listName", "text")]);
    let support = list("support", &[]);
    settles(&keda, &support, 3).await;
    let text = format!(
        "not known: the queue was never read: redis://127.0.0.1:{}/0: \
         `text` is a string, and must be a list: `listName` takes the list from which workers take their tasks",
        redis.port()
    );
    for status in [harness.value(&wrong).await.unwrap_err(), harness.is_active(&wrong).await.unwrap_err()] {
        assert_eq!((status.code(), status.message()), (Code::Unavailable, &*text));
    }
    // The neighbour goes on, and so does the bad one when it is cured.
    add(&redis, "support:tasks", 2);
    settles(&keda, &support, 5).await;
    redis.command(&["DEL", "text"]);
    add(&redis, "text", 4);
    settles(&keda, &wrong, 4).await;
}

#[tokio::test]
async fn redis_is_asked_once_a_tick_however_often_keda_asks() {
    let redis = Redis::plain();
    add(&redis, "support:tasks", 3);
    let proxy = Proxy::start(redis.port()).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let file = format!("tick: 30s\nconnections: {{ main: {{ type: redis, url: \"{url}\" }} }}\n");
    let harness = Harness::with(&file).await;
    let keda = Keda::dial(&[harness.scaler.grpc]).await;
    let support = list("support", &[]);
    assert_eq!(keda.poll(&support).await.unwrap(), Polled::replicas(3));
    // A new trigger is read at once, and the first tick reads it again.
    eventually("fifty polls that cost Redis nothing", async || {
        proxy.round_trips();
        for _ in 0..50 {
            assert_eq!(keda.poll(&support).await.unwrap(), Polled::replicas(3));
        }
        (proxy.round_trips() == 0).then_some(())
    })
    .await;
}

/// Delivers up to `count` entries of `support:tasks` to a worker; their ids.
fn take(redis: &Redis, count: usize) -> Vec<String> {
    let count = count.to_string();
    let words = ["GROUP", "workers", "one", "COUNT", &count, "STREAMS", "support:tasks", ">"];
    let reply: StreamReadReply = redis::cmd("XREADGROUP").arg(&words).query(&mut redis.connection()).unwrap();
    reply.keys.into_iter().flat_map(|key| key.ids).map(|entry| entry.id).collect()
}

fn acknowledge(redis: &Redis, ids: &[String]) {
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    redis.command(&[&["XACK", "support:tasks", "workers"], &ids[..]].concat());
}

/// KEDA subtracts its Jobs of now: a value as old as a tick would give each task that has ended since another Job.
#[tokio::test]
async fn what_jobs_are_counted_against_is_no_tick_old() {
    let redis = Redis::plain();
    // Longer than the test waits for anything.
    let harness = Harness::with(&format!("{}tick: 30s\n", file(&redis))).await;
    let keda = Keda::dial(&[harness.scaler.grpc]).await;
    let (jobs, pods) = (list("jobs", &[("workload", "job")]), list("pods", &[]));
    for queue in ["jobs", "pods"] {
        add(&redis, &format!("{queue}:tasks"), 2);
        add(&redis, &format!("{queue}:busy"), 1);
    }
    settles(&keda, &jobs, 3).await;
    settles(&keda, &pods, 3).await;
    for queue in ["jobs", "pods"] {
        redis.command(&["DEL", &format!("{queue}:busy")]);
    }
    settles(&keda, &jobs, 2).await;
    // Pods are read once a tick.
    assert_eq!(keda.poll(&pods).await.unwrap(), Polled::replicas(3));
}
