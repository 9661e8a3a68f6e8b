//! What KEDA makes of us: real queues, its own order of calls, and the cases of its own tests.

mod askers;
mod failover;
mod outage;
mod push;
mod queues;
mod scaled;
mod several;
mod upstream;

use agent_scaler::scaler::proto::ScaledObjectRef;

use crate::support::harness::{Harness, eventually, trigger};
use crate::support::keda_client::{Keda, Polled};
use crate::support::servers::Redis;

/// The server's file that names one Redis `main`.
fn file(redis: &Redis) -> String {
    format!("connections: {{ main: {{ type: redis, url: \"{}\" }} }}\n", redis.url())
}

/// A server of ours that reads `redis`, and KEDA connected to it.
async fn serve(redis: &Redis) -> (Harness, Keda) {
    let harness = Harness::with(&file(redis)).await;
    let keda = Keda::dial(&[harness.scaler.grpc]).await;
    (harness, keda)
}

/// A trigger of ScaledObject `name` on the list `name:tasks`, from which workers move tasks to `name:busy`.
fn list(name: &str, keys: &[(&str, &str)]) -> ScaledObjectRef {
    let (tasks, busy) = (format!("{name}:tasks"), format!("{name}:busy"));
    let base =
        [("source", "redis"), ("connection", "main"), ("listName", &*tasks), ("processingListName", &*busy)];
    trigger(name, &[&base, keys].concat())
}

/// A trigger of ScaledObject `name` on the stream `name:tasks` and its group `workers`.
fn stream(name: &str, keys: &[(&str, &str)]) -> ScaledObjectRef {
    let tasks = format!("{name}:tasks");
    let base = [
        ("source", "redis-streams"),
        ("connection", "main"),
        ("stream", &*tasks),
        ("consumerGroup", "workers"),
    ];
    trigger(name, &[&base, keys].concat())
}

/// Adds `count` tasks to a list.
fn add(redis: &Redis, list: &str, count: usize) {
    redis.command(&[&["RPUSH", list], &vec!["task"; count][..]].concat());
}

/// Polls until KEDA would want so many replicas.
#[track_caller]
fn settles(keda: &Keda, object: &ScaledObjectRef, replicas: i64) -> impl Future<Output = ()> {
    eventually(format!("{replicas} replicas"), async move || {
        let polled = keda.poll(object).await.ok()?;
        (polled == Polled::replicas(replicas)).then_some(())
    })
}
