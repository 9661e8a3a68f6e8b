//! KEDA and the HPA of one Deployment, thirty times faster than their defaults.

use std::time::Duration;

use agent_scaler::engine::hpa::keda::{self, Activity, Edges};
use agent_scaler::engine::hpa::{Behavior, Bounds, Hpa, Metric, MetricType, Milli, Replicas, SYNC_EVERY};
use agent_scaler::scaler::proto::external_scaler_client::ExternalScalerClient;
use agent_scaler::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use agent_scaler::timestamp::Timestamp;
use tonic::transport::Channel;

use crate::deployment::{MAX_REPLICAS, SLOTS};

/// How much faster time passes than in production.
pub(crate) const FASTER: u32 = 30;

/// Whom KEDA asks.
pub(crate) enum Trigger {
    /// agent-scaler, as an external scaler.
    External(Box<ExternalScalerClient<Channel>>, ScaledObjectRef),
    /// KEDA's own `redis` scaler: the length of the list, with `listLength` = slots of a replica.
    ListLength,
}

/// Decides the size of a Deployment.
pub(crate) struct Autoscaler {
    trigger: Trigger,
    edges: Edges,
    hpa: Hpa,
    last_active: Option<Timestamp>,
}

impl Autoscaler {
    pub(crate) fn new(trigger: Trigger) -> Self {
        let mut behavior = Behavior::default();
        for rules in [&mut behavior.up, &mut behavior.down] {
            rules.window /= FASTER;
            rules.paces.iter_mut().for_each(|pace| pace.period = SYNC_EVERY / FASTER);
        }
        let edges = Edges { cooldown: Edges::COOLDOWN / FASTER, ..Edges::default() };
        let hpa = Hpa::new(Bounds::of(edges.min, MAX_REPLICAS), Some(behavior));
        Self { trigger, edges, hpa, last_active: None }
    }

    /// The next size, where `waiting` tasks are in the list: KEDA wakes it and puts it to rest; between, the HPA
    /// decides.
    pub(crate) async fn next(&mut self, current: u32, waiting: u32, now: Timestamp) -> u32 {
        let (activity, metric) = self.trigger.ask(waiting).await;
        if activity == Activity::Active {
            self.last_active = Some(now);
        }
        match keda::next(&self.edges, current, activity, self.last_active, now).replicas {
            unchanged if unchanged == current => {
                self.hpa.sync(Replicas::settled(current), &[metric], now).replicas
            }
            changed => changed,
        }
    }
}

impl Trigger {
    async fn ask(&mut self, waiting: u32) -> (Activity, Metric) {
        let metric = |target, value| Metric { kind: MetricType::AverageValue, target, value };
        match self {
            Self::External(client, of) => match answer(client, of).await {
                Ok((active, value)) => (activity(active), metric(Milli::whole(1), Some(Milli::sent(value)))),
                Err(_) => (Activity::Failed, metric(Milli::whole(1), None)),
            },
            Self::ListLength => {
                (activity(waiting > 0), metric(Milli::whole(SLOTS), Some(Milli::whole(waiting))))
            }
        }
    }
}

/// Asks both of KEDA's questions.
async fn answer(
    client: &mut ExternalScalerClient<Channel>,
    of: &ScaledObjectRef,
) -> Result<(bool, f64), tonic::Status> {
    let request =
        GetMetricsRequest { scaled_object_ref: Some(of.clone()), metric_name: "agent-replicas".into() };
    let metrics = client.get_metrics(request).await?.into_inner().metric_values;
    let active = client.is_active(of.clone()).await?.into_inner().result;
    let value = metrics.first().ok_or_else(|| tonic::Status::internal("no value"))?.metric_value_float;
    Ok((active, value))
}

const fn activity(active: bool) -> Activity {
    if active { Activity::Active } else { Activity::Inactive }
}

/// A time of production, as the demo has it.
pub(crate) const fn faster(seconds: u64) -> Duration {
    Duration::from_millis(seconds * 1_000 / FASTER as u64)
}
