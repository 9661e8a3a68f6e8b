//! KEDA's own tests of external scalers, with a queue of ours in the place of its mock.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_scaler::scaler::proto::{MetricSpec, ScaledObjectRef};
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use super::scaled::{ScaledObject, jobs_to_create};
use super::{add, list, serve, settles};
use crate::support::harness::{Harness, PATIENCE, metrics_request, queue, scripted};
use crate::support::keda_client::{Keda, Polled, target_milli};
use crate::support::servers::Redis;

/// Upstream: `tests/scalers/external_scaler_so`: 0 → 10 → 20 → 0 at a threshold of 10 and at most 2 replicas.
#[tokio::test]
async fn a_scaled_object_follows_its_queue_from_zero_to_its_maximum_and_back() {
    let redis = Redis::plain();
    let (_harness, keda) = serve(&redis).await;
    let support = list("support", &[("tasksPerReplica", "10")]);
    let mut object = ScaledObject::at_zero(support.clone(), 2);
    object.look(&keda).await;
    let mut replicas = vec![object.replicas];
    for (tasks, wanted) in [(10, 1), (10, 2), (10, 3)] {
        add(&redis, "support:tasks", tasks);
        settles(&keda, &support, wanted).await;
        object.look(&keda).await;
        replicas.push(object.replicas);
    }
    redis.command(&["DEL", "support:tasks"]);
    settles(&keda, &support, 0).await;
    object.look(&keda).await;
    replicas.push(object.replicas);
    assert_eq!(replicas, [0, 1, 2, 2, 0]);
}

/// Upstream: `tests/scalers/external_scaler_sj`: 0 → 30 → 0 at a threshold of 10 and at most 3 jobs.
#[tokio::test]
async fn a_scaled_job_gets_one_job_for_each_threshold_and_none_for_an_empty_queue() {
    let redis = Redis::plain();
    let (_harness, keda) = serve(&redis).await;
    let support = list("support", &[("tasksPerReplica", "10"), ("workload", "job")]);
    assert_eq!(jobs_to_create(keda.poll(&support).await.unwrap(), 0, 3), 0);
    add(&redis, "support:tasks", 30);
    settles(&keda, &support, 3).await;
    assert_eq!(jobs_to_create(Polled::replicas(3), 0, 3), 3);
    // What the jobs have taken still counts, and so do the jobs.
    for _ in 0..30 {
        redis.command(&["LMOVE", "support:tasks", "support:busy", "LEFT", "RIGHT"]);
    }
    settles(&keda, &support, 3).await;
    assert_eq!(jobs_to_create(keda.poll(&support).await.unwrap(), 3, 3), 0);
    redis.command(&["DEL", "support:busy"]);
    settles(&keda, &support, 0).await;
    assert_eq!(jobs_to_create(keda.poll(&support).await.unwrap(), 0, 3), 0);
}

/// Upstream: `tests/scalers/external_push_scaler`: 10 → 20, then 22.222 at a threshold of 6.111, then 0.
#[tokio::test]
async fn a_push_wakes_a_scaled_object_and_only_a_poll_lets_it_sleep() {
    let redis = Redis::plain();
    let (_harness, keda) = serve(&redis).await;
    let support = list("support", &[("tasksPerReplica", "10")]);
    let mut object = ScaledObject::at_zero(support.clone(), 3);
    let mut push = keda.push(&support);
    object.pushed(push.event().await);
    let mut replicas = vec![object.replicas];
    add(&redis, "support:tasks", 10);
    object.pushed(push.event().await);
    replicas.push(object.replicas);
    add(&redis, "support:tasks", 10);
    settles(&keda, &support, 2).await;
    object.look(&keda).await;
    replicas.push(object.replicas);

    // Another threshold is another trigger to us, and the same ScaledObject to KEDA.
    add(&redis, "support:tasks", 2);
    object.reference = list("support", &[("tasksPerReplica", "6")]);
    settles(&keda, &object.reference, 4).await;
    object.look(&keda).await;
    replicas.push(object.replicas);

    redis.command(&["DEL", "support:tasks"]);
    settles(&keda, &object.reference, 0).await;
    object.pushed(false);
    replicas.push(object.replicas);
    object.look(&keda).await;
    replicas.push(object.replicas);
    assert_eq!(replicas, [0, 1, 2, 3, 3, 0]);
    assert!(push.events().is_empty(), "more of the same is no event");
}

/// Upstream: `tests/scalers/external_push_scaler_old_proto`: a KEDA before 2.17 knows the integers only.
#[tokio::test]
async fn a_keda_that_knows_only_the_integers_reads_the_same() {
    let harness = Harness::start().await;
    let jobs = scripted("jobs", &[("tasksPerReplica", "10")]);
    for (tasks, value) in [(10, 1), (20, 2), (22, 3), (0, 0)] {
        harness.script.shows("jobs", queue(tasks, 0));
        harness.settles(&jobs, value, agent_scaler::engine::decision::LimitedBy::Demand).await;
        let answer: old::GetMetricsResponse =
            unary(&harness, "GetMetrics", metrics_request(&jobs, "agent-replicas")).await.unwrap();
        let metric = old::MetricValue { metric_name: "agent-replicas".into(), metric_value: value.into() };
        assert_eq!(answer, old::GetMetricsResponse { metric_values: vec![metric] });
    }
    let answer: old::GetMetricSpecResponse = unary(&harness, "GetMetricSpec", jobs).await.unwrap();
    let spec = old::MetricSpec { metric_name: "agent-replicas".into(), target_size: 1 };
    assert_eq!(answer, old::GetMetricSpecResponse { metric_specs: vec![spec] });
}

/// The other direction: a KEDA that says more than we know.
#[tokio::test]
async fn fields_of_a_newer_keda_are_passed_over() {
    let harness = Harness::start().await;
    harness.script.shows("jobs", queue(3, 0));
    let ScaledObjectRef { name, namespace, scaler_metadata } = scripted("jobs", &[]);
    let newer = new::ScaledObjectRef { name, namespace, scaler_metadata, kind: "ScaledJob".into(), max: 7 };
    let request = new::GetMetricsRequest {
        scaled_object_ref: Some(newer),
        metric_name: "agent-replicas".into(),
        why: "hpa".into(),
    };
    let answer: old::GetMetricsResponse = unary(&harness, "GetMetrics", request).await.unwrap();
    assert_eq!(answer.metric_values.iter().map(|value| value.metric_value).collect::<Vec<_>>(), [3]);
}

/// Upstream: `TestExternalPushScaler_StreamMetricSpec`, and the end of the stream with that of the server.
#[tokio::test]
async fn the_streamed_spec_comes_at_once_and_the_stream_ends_cleanly_with_the_server() {
    let harness = Harness::start().await;
    let keda = Keda::dial(&[harness.scaler.grpc]).await;
    let jobs = scripted("jobs", &[]);
    let mut specs = keda.stream_metric_spec(&jobs).await.unwrap();
    let first = timeout(Duration::from_secs(5), specs.message()).await.unwrap().unwrap().unwrap();
    let targets: Vec<_> =
        first.metric_specs.iter().map(|spec| (&*spec.metric_name, target_milli(spec))).collect();
    assert_eq!(targets, [("agent-replicas", 1_000)]);
    let stopping = tokio::spawn(harness.scaler.stop());
    assert_eq!(timeout(PATIENCE, specs.message()).await.unwrap().unwrap(), None);
    drop(specs);
    stopping.await.unwrap();
}

/// Upstream: `TestExternalPushScaler_StreamMetricSpecUnimplemented`: what we do not have is said by its code,
/// which is the only one that KEDA looks at.
#[tokio::test]
async fn a_call_that_a_later_keda_invents_is_unimplemented() {
    let harness = Harness::start().await;
    let answer = unary::<_, old::GetMetricsResponse>(&harness, "StreamJobSpec", scripted("jobs", &[])).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}

/// Upstream: `TestConvertMetricSpecResponse`. It proves the client of these tests, not the server.
#[test]
fn the_client_takes_a_positive_float_before_the_integer() {
    #[expect(deprecated, reason = "KEDA reads both")]
    let spec = |target_size, target_size_float| MetricSpec {
        metric_name: "metric".into(),
        target_size,
        target_size_float,
    };
    let targets = [spec(50, 0.0), spec(1, 1.5), spec(2, -1.0), spec(3, f64::NAN), spec(4, f64::INFINITY)];
    assert_eq!(targets.map(|spec| target_milli(&spec)), [50_000, 1_500, 2_000, 3_000, 0]);
}

/// One call with messages of our own making.
async fn unary<Q, A>(harness: &Harness, method: &str, question: Q) -> Result<A, Status>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let address = format!("http://{}", harness.scaler.grpc);
    let channel: Channel = Endpoint::from_shared(address).unwrap().connect().await.unwrap();
    let mut client = tonic::client::Grpc::new(channel);
    client.ready().await.unwrap();
    let path = format!("/externalscaler.ExternalScaler/{method}").parse().unwrap();
    let answer = client.unary(Request::new(question), path, ProstCodec::default()).await?;
    Ok(answer.into_inner())
}

/// The messages of KEDA before 2.17, which have no floats.
mod old {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GetMetricSpecResponse {
        #[prost(message, repeated, tag = "1")]
        pub(super) metric_specs: Vec<MetricSpec>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct MetricSpec {
        #[prost(string, tag = "1")]
        pub(super) metric_name: String,
        #[prost(int64, tag = "2")]
        pub(super) target_size: i64,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GetMetricsResponse {
        #[prost(message, repeated, tag = "1")]
        pub(super) metric_values: Vec<MetricValue>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct MetricValue {
        #[prost(string, tag = "1")]
        pub(super) metric_name: String,
        #[prost(int64, tag = "2")]
        pub(super) metric_value: i64,
    }
}

/// Requests with more fields than KEDA has.
mod new {
    use super::BTreeMap;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct GetMetricsRequest {
        #[prost(message, optional, tag = "1")]
        pub(super) scaled_object_ref: Option<ScaledObjectRef>,
        #[prost(string, tag = "2")]
        pub(super) metric_name: String,
        #[prost(string, tag = "9")]
        pub(super) why: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct ScaledObjectRef {
        #[prost(string, tag = "1")]
        pub(super) name: String,
        #[prost(string, tag = "2")]
        pub(super) namespace: String,
        #[prost(btree_map = "string, string", tag = "3")]
        pub(super) scaler_metadata: BTreeMap<String, String>,
        #[prost(string, tag = "4")]
        pub(super) kind: String,
        #[prost(uint32, tag = "5")]
        pub(super) max: u32,
    }
}
