//! KEDA, an HPA and workers, a second at a time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tonic::transport::Channel;

use crate::engine::hpa::keda::{self, Activity, Edges};
use crate::engine::hpa::{Behavior, Bounds, Hpa, Metric, Replicas};
use crate::scaler::proto::external_scaler_client::ExternalScalerClient;
use crate::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use crate::timestamp::Timestamp;

use super::METADATA;
use super::queue::EmbeddedQueue;

/// Kubernetes' and KEDA's defaults, fifteen times faster and the waits before a scale-down more.
const STARTUP: Duration = Duration::from_secs(2);
/// Over in the second after it.
const COOLDOWN: Duration = Duration::from_secs(4);
const DOWN_WINDOW: Duration = Duration::from_secs(4);
const PERIOD: Duration = Duration::from_secs(1);

/// The `behavior` of the demo.
fn behavior() -> Behavior {
    let mut behavior = Behavior::default();
    behavior.down.window = DOWN_WINDOW;
    behavior.up.paces.iter_mut().chain(&mut behavior.down.paces).for_each(|pace| pace.period = PERIOD);
    behavior
}

/// A Deployment, and those who scale it.
pub(super) struct Cluster {
    keda: ExternalScalerClient<Channel>,
    trigger: ScaledObjectRef,
    queue: Arc<EmbeddedQueue>,
    edges: Edges,
    hpa: Hpa,
    slots: u32,
    replicas: Vec<Replica>,
    last_active: Option<Timestamp>,
    replica_seconds: f64,
}

/// One pod: ready at a time, and the ends of the tasks that it runs.
struct Replica {
    ready_at: Timestamp,
    tasks: Vec<Timestamp>,
}

impl Cluster {
    /// Connects to the server as KEDA does.
    pub(super) async fn join(
        server: SocketAddr,
        queue: Arc<EmbeddedQueue>,
        max_replicas: u32,
        slots: u32,
    ) -> Result<Self, tonic::transport::Error> {
        let keda = ExternalScalerClient::connect(format!("http://{server}")).await?;
        let metadata: BTreeMap<_, _> =
            METADATA.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect();
        let trigger =
            ScaledObjectRef { name: "agents".into(), namespace: "demo".into(), scaler_metadata: metadata };
        let edges = Edges { cooldown: COOLDOWN, ..Edges::default() };
        let hpa = Hpa::new(Bounds::of(edges.min, max_replicas), Some(behavior()));
        let (replicas, last_active) = (Vec::new(), None);
        Ok(Self { keda, trigger, queue, edges, hpa, slots, replicas, last_active, replica_seconds: 0.0 })
    }

    /// Lets one second pass, and describes it in a line.
    pub(super) async fn second(&mut self, now: Timestamp) -> Result<String, tonic::Status> {
        self.work(now);
        let scaler_metadata = self.trigger.clone();
        let request = GetMetricsRequest {
            scaled_object_ref: Some(scaler_metadata),
            metric_name: "agent-replicas".into(),
        };
        let metrics = self.keda.get_metrics(request).await?.into_inner();
        let active = self.keda.is_active(self.trigger.clone()).await?.into_inner().result;
        let value = metrics.metric_values.first().map_or(0.0, |value| value.metric_value_float);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the server sends a u32")]
        let value = value as u32;

        let before = self.replicas.len();
        let current = u32::try_from(before).unwrap_or(u32::MAX);
        let next = self.scale(current, value, active, now);
        self.resize(next, now);
        self.work(now);
        self.replica_seconds += f64::from(next);
        let (waiting, running) = self.queue.depth();
        let ready = self.replicas.iter().filter(|replica| replica.ready_at <= now).count();
        let what = what(current, value, next, active);
        Ok(format!("{waiting:>7} {running:>7} {:>8}  {what:<20}", format!("{ready}/{next}")))
    }

    /// Replica-seconds that were paid for.
    pub(super) fn replica_seconds(&self) -> f64 {
        self.replica_seconds
    }

    /// KEDA wakes it and puts it to rest; between, the HPA decides.
    fn scale(&mut self, current: u32, value: u32, active: bool, now: Timestamp) -> u32 {
        let activity = if active { Activity::Active } else { Activity::Inactive };
        if active {
            self.last_active = Some(now);
        }
        match keda::next(&self.edges, current, activity, self.last_active, now).replicas {
            unchanged if unchanged == current => {
                self.hpa.sync(Replicas::settled(current), &[Metric::replicas(value)], now).replicas
            }
            changed => changed,
        }
    }

    /// Ends what is done, and fills the free slots of ready replicas.
    fn work(&mut self, now: Timestamp) {
        for replica in &mut self.replicas {
            let running = replica.tasks.len();
            replica.tasks.retain(|end| *end > now);
            (replica.tasks.len()..running).for_each(|_| self.queue.finish());
        }
        for replica in self.replicas.iter_mut().filter(|replica| replica.ready_at <= now) {
            while replica.tasks.len() < self.slots as usize
                && let Some(end) = self.queue.take(now)
            {
                replica.tasks.push(end);
            }
        }
    }

    /// Starts replicas, or takes the idlest away; what they run is killed, as their grace is zero.
    fn resize(&mut self, next: u32, now: Timestamp) {
        let next = next as usize;
        while self.replicas.len() < next {
            self.replicas.push(Replica { ready_at: now + STARTUP, tasks: Vec::new() });
        }
        if self.replicas.len() > next {
            self.replicas.sort_by_key(|replica| std::cmp::Reverse(replica.tasks.len()));
        }
        for replica in self.replicas.drain(next..) {
            replica.tasks.iter().for_each(|_| self.queue.kill());
        }
    }
}

/// What KEDA and the HPA made of the value.
const fn what(current: u32, value: u32, next: u32, active: bool) -> &'static str {
    match (current, next) {
        (0, 0) => "at zero",
        (0, _) => "KEDA wakes it",
        (_, 0) => "cooled down to zero",
        _ if !active => "cooling down",
        _ if next > current && next < value => "climbing",
        _ if next > current => "scaled out",
        _ if next < current => "scaled in",
        _ if value < next => "window holds",
        _ if value > next => "within tolerance",
        _ => "",
    }
}
