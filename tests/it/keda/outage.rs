//! A Redis that dies under load.

use std::time::Duration;

use agent_scaler::engine::decision::LimitedBy;
use tokio::time::timeout;
use tonic::Code;

use super::scaled::ScaledObject;
use super::{add, list, serve, settles};
use crate::support::harness::{Harness, eventually};
use crate::support::keda_client::{Keda, Polled};
use crate::support::proxy::{Mode, Proxy};
use crate::support::servers::Redis;

#[tokio::test]
async fn a_redis_that_dies_at_load_holds_everything_until_it_is_back() {
    let mut redis = Redis::plain();
    let (harness, keda) = serve(&redis).await;
    let (busy, idle) = (list("busy", &[]), list("idle", &[]));
    add(&redis, "busy:tasks", 12);
    add(&redis, "busy:busy", 3);
    settles(&keda, &busy, 15).await;
    settles(&keda, &idle, 0).await;
    let mut push = keda.push(&busy);
    assert!(push.event().await);
    let mut object = ScaledObject { reference: busy.clone(), min: 0, max: 100, replicas: 15 };

    redis.kill();
    harness.clock.advance(Duration::from_secs(80));
    harness.settles(&busy, 15, LimitedBy::Stale).await;
    assert_eq!(keda.poll(&busy).await.unwrap(), Polled::replicas(15));
    assert_eq!(harness.is_active(&idle).await.unwrap_err().code(), Code::Unavailable);
    object.look(&keda).await;
    assert_eq!(object.replicas, 15);

    // What was idle is not known to be so any more; what was active is held, or KEDA would kill it.
    harness.clock.advance(Duration::from_secs(11));
    assert_eq!(harness.value(&idle).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(harness.is_active(&idle).await.unwrap_err().code(), Code::Unavailable);
    // KEDA's fallback counts failures of the value only, and only while there is a spec.
    harness.client().get_metric_spec(idle.clone()).await.unwrap();
    harness.clock.advance(Duration::from_secs(3_600));
    assert_eq!(keda.poll(&busy).await.unwrap(), Polled::replicas(15));
    object.look(&keda).await;
    assert_eq!(object.replicas, 15);

    redis.restart();
    add(&redis, "busy:tasks", 4);
    settles(&keda, &busy, 4).await;
    settles(&keda, &idle, 0).await;
    assert!(push.events().is_empty(), "through all this the trigger was active");
}

/// A Redis that is back before 90 s have passed was never away.
#[tokio::test]
async fn a_restart_of_redis_passes_unseen() {
    let mut redis = Redis::plain();
    let (harness, keda) = serve(&redis).await;
    let busy = list("busy", &[]);
    add(&redis, "busy:tasks", 5);
    settles(&keda, &busy, 5).await;
    redis.kill();
    let failed = async || harness.report(&busy)?.error;
    eventually("a failed read", failed).await;
    harness.clock.advance(Duration::from_secs(60));
    assert_eq!(keda.poll(&busy).await.unwrap(), Polled::replicas(5));
    redis.restart();
    add(&redis, "busy:tasks", 7);
    settles(&keda, &busy, 7).await;
}

/// KEDA sets no deadline: a call that waits for a backend stops its polls, and those of other objects.
#[tokio::test]
async fn a_redis_that_hangs_slows_no_answer() {
    let redis = Redis::plain();
    add(&redis, "busy:tasks", 5);
    let proxy = Proxy::start(redis.port()).await;
    let url = format!("redis://127.0.0.1:{}", proxy.port());
    let harness =
        Harness::with(&format!("connections: {{ main: {{ type: redis, url: \"{url}\" }} }}\n")).await;
    let keda = Keda::dial(&[harness.scaler.grpc]).await;
    let busy = list("busy", &[]);
    assert_eq!(keda.poll(&busy).await.unwrap(), Polled::replicas(5));
    proxy.switch(Mode::Stall);
    eventually("a deadline", async || harness.report(&busy)?.error).await;
    let polls = async {
        for _ in 0..50 {
            assert_eq!(keda.poll(&busy).await.unwrap(), Polled::replicas(5));
        }
    };
    // The bar is 50 ms for each of the three calls of a poll.
    timeout(Duration::from_millis(50 * 3 * 50), polls).await.unwrap();
    proxy.switch(Mode::Pass);
    add(&redis, "busy:tasks", 1);
    settles(&keda, &busy, 6).await;
}
