//! Two servers behind one name: one goes, the other serves.

use std::time::Duration;

use agent_scaler::scaler::proto::ScaledObjectRef;
use tonic::Code;

use super::scaled::ScaledObject;
use super::{add, file, list, settles};
use crate::support::harness::{Harness, eventually};
use crate::support::keda_client::{Keda, Pause, Polled, Push};
use crate::support::proxy::{Mode, Proxy};
use crate::support::servers::Redis;

const CLEAN: Pause = Pause { end: Code::Ok, wait: Duration::from_secs(2) };

#[tokio::test]
async fn calls_are_spread_over_both_servers_and_both_say_the_same() {
    let two = Two::start().await;
    let before = two.keda.answered();
    for _ in 0..20 {
        assert_eq!(two.keda.poll(&two.support).await.unwrap(), Polled::replicas(6));
    }
    let after = two.keda.answered();
    let calls: Vec<usize> = after.iter().zip(before).map(|(after, before)| after - before).collect();
    assert_eq!(calls, [30, 30]);
}

/// Upstream: `TestWaitForState`, whose stream ends with the server.
#[tokio::test]
async fn a_server_that_stops_ends_its_streams_cleanly_and_the_other_answers_every_call() {
    let Two { redis, first, second: _second, proxy: _proxy, keda, support, mut pushes } = Two::start().await;
    let stopping = tokio::spawn(first.scaler.stop());
    let mut handover = Vec::new();
    while !stopping.is_finished() {
        handover.extend(keda.poll(&support).await.ok());
        tokio::task::yield_now().await;
    }
    handover.dedup();
    assert_eq!(handover, [Polled::replicas(6)], "whatever was answered in between is true");
    for _ in 0..20 {
        assert_eq!(keda.poll(&support).await.unwrap(), Polled::replicas(6));
    }
    // A clean end each time: the wait stays short.
    assert_eq!(pushes[0].paused().await, CLEAN);
    pushes[0].resume();
    assert!(pushes[0].event().await, "the state at once, from the other server");
    // The stream on the other server has noticed nothing.
    redis.command(&["DEL", "support:tasks"]);
    settles(&keda, &support, 0).await;
    add(&redis, "support:tasks", 1);
    for push in &mut pushes {
        assert!(push.event().await);
    }
}

#[tokio::test]
async fn a_server_that_is_killed_costs_errors_and_never_a_zero() {
    let mut two = Two::start().await;
    let Two { keda, support, proxy, pushes, .. } = &mut two;
    let mut object = ScaledObject { reference: support.clone(), min: 0, max: 10, replicas: 6 };
    proxy.switch(Mode::Cut);
    let mut answers = Vec::new();
    for _ in 0..40 {
        answers.extend(keda.poll(support).await.ok());
        object.look(keda).await;
        assert_eq!(object.replicas, 6);
    }
    answers.dedup();
    assert_eq!(answers, [Polled::replicas(6)]);
    // An unclean end: the wait grows with the next one.
    let pause = pushes[0].paused().await;
    assert_ne!(pause.end, Code::Ok);
    pushes[0].resume();
    assert!(pushes[0].event().await, "the state at once, from the other server");

    proxy.switch(Mode::Pass);
    let before = keda.answered();
    eventually("an answer of the first server", async || {
        keda.reconnect().await;
        assert_eq!(keda.poll(support).await.ok()?, Polled::replicas(6));
        (keda.answered()[0] > before[0]).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_a_clean_end_makes_kedas_next_wait_short() {
    let redis = Redis::plain();
    let harness = Harness::with(&file(&redis)).await;
    let proxy = Proxy::start(harness.scaler.grpc.port()).await;
    let keda = Keda::dial(&[([127, 0, 0, 1], proxy.port()).into()]).await;
    let mut push = keda.push(&list("support", &[]));
    assert!(!push.event().await);
    proxy.switch(Mode::Cut);
    let mut waits = Vec::new();
    for _ in 0..7 {
        let pause = push.paused().await;
        assert_ne!(pause.end, Code::Ok);
        waits.push(pause.wait.as_secs());
        push.resume();
    }
    assert_eq!(waits, [2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(push.paused().await.wait.as_secs(), 60);

    proxy.switch(Mode::Pass);
    keda.reconnect().await;
    push.resume();
    assert!(!push.event().await, "the state on connect");
    harness.scaler.stop().await;
    assert_eq!(push.paused().await, CLEAN);
}

/// Two servers on one queue with six tasks, the first behind a proxy, and a stream to each.
struct Two {
    redis: Redis,
    first: Harness,
    second: Harness,
    proxy: Proxy,
    keda: Keda,
    support: ScaledObjectRef,
    pushes: [Push; 2],
}

impl Two {
    async fn start() -> Self {
        let redis = Redis::plain();
        add(&redis, "support:tasks", 6);
        let (first, second) = (Harness::with(&file(&redis)).await, Harness::with(&file(&redis)).await);
        let proxy = Proxy::start(first.scaler.grpc.port()).await;
        let keda = Keda::dial(&[([127, 0, 0, 1], proxy.port()).into(), second.scaler.grpc]).await;
        let support = list("support", &[]);
        // One after the other, so that each server has one.
        let mut pushes = Vec::new();
        for _ in 0..2 {
            let mut push = keda.push(&support);
            assert!(push.event().await);
            pushes.push(push);
        }
        assert_eq!(keda.answered(), [1, 1]);
        let Ok(pushes) = pushes.try_into() else { unreachable!("two were made") };
        Self { redis, first, second, proxy, keda, support, pushes }
    }
}
