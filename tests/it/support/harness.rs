//! A server of ours on free ports, a client of its gRPC, and a clock that a test moves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_scaler::clock::Clock;
use agent_scaler::config::server::{Connection, Limit, Server};
use agent_scaler::engine::decision::LimitedBy;
use agent_scaler::engine::signals::{InFlight, Reading};
use agent_scaler::scaler::Scaler;
use agent_scaler::scaler::proto::external_scaler_client::ExternalScalerClient;
use agent_scaler::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use agent_scaler::telemetry::report::Report;
use agent_scaler::timestamp::Timestamp;
use tonic::Status;
use tonic::transport::Channel;

use super::scripted::{KIND, SOURCES, Script, Stage};

/// How long a test waits for what should come at once.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A clock that stands until it is moved.
#[derive(Debug)]
pub(crate) struct ManualClock(AtomicU64);

impl Default for ManualClock {
    fn default() -> Self {
        Self(AtomicU64::new(1_800_000_000_000))
    }
}

impl ManualClock {
    pub(crate) fn advance(&self, time: Duration) {
        self.0.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(self.0.load(Ordering::SeqCst))
    }
}

/// A server with a scripted connection `script`, and whatever else its file names.
pub(crate) struct Harness {
    pub(crate) scaler: Scaler,
    pub(crate) script: Arc<Script>,
    pub(crate) clock: Arc<ManualClock>,
    client: ExternalScalerClient<Channel>,
}

impl Harness {
    /// A server that reads every 100 ms, and knows only the script.
    pub(crate) async fn start() -> Self {
        Self::with("").await
    }

    /// The same with `file` as further lines of the server's file.
    pub(crate) async fn with(file: &str) -> Self {
        // The HTTP client of the tests takes the process's.
        drop(rustls::crypto::ring::default_provider().install_default());
        let clock = Arc::new(ManualClock::default());
        let script = Arc::new(Script::default());
        let server = server(file, &script);
        let scaler = Scaler::start(server, Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
        let client = ExternalScalerClient::connect(format!("http://{}", scaler.grpc)).await.unwrap();
        Self { scaler, script, clock, client }
    }

    /// A client on the one connection of this harness.
    pub(crate) fn client(&self) -> ExternalScalerClient<Channel> {
        self.client.clone()
    }

    /// The present, as the server has it.
    pub(crate) fn clock_now(&self) -> Timestamp {
        self.clock.now()
    }

    pub(crate) async fn value(&self, trigger: &ScaledObjectRef) -> Result<f64, Status> {
        let request = metrics_request(trigger, "agent-replicas");
        let values = self.client().get_metrics(request).await?.into_inner().metric_values;
        assert_eq!(values.len(), 1, "exactly one value");
        Ok(values[0].metric_value_float)
    }

    pub(crate) async fn is_active(&self, trigger: &ScaledObjectRef) -> Result<bool, Status> {
        Ok(self.client().is_active(trigger.clone()).await?.into_inner().result)
    }

    /// The last evaluation of the only trigger of `trigger`'s ScaledObject.
    pub(crate) fn report(&self, trigger: &ScaledObjectRef) -> Option<Report> {
        self.scaler.reports().into_iter().find(|report| *report.name == *trigger.name)
    }

    /// Asks until the value is `wanted`, and checks what limited it.
    #[track_caller]
    pub(crate) fn settles(
        &self,
        trigger: &ScaledObjectRef,
        wanted: u32,
        by: LimitedBy,
    ) -> impl Future<Output = ()> {
        eventually(format!("{wanted} replicas, limited by {by}"), async move || {
            let value = self.value(trigger).await.ok()?;
            let report = self.report(trigger)?;
            (value == f64::from(wanted) && report.decision.limited_by == by).then_some(())
        })
    }
}

/// The configuration of a server of this harness.
pub(crate) fn server(file: &str, script: &Arc<Script>) -> Server {
    let tick = if file.contains("tick:") { "" } else { "tick: 100ms\n" };
    let file = format!("listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n{tick}{file}");
    let mut server = Server::parse(&file, SOURCES).unwrap();
    let endpoint = Arc::new(Stage(Arc::clone(script)));
    let connection = Arc::new(Connection { name: "script".into(), kind: &KIND, endpoint });
    server.connections.insert("script".to_owned(), Arc::clone(&connection));
    // A file that has limits names the connection itself, and they know only that one.
    for limit in server.limits.values_mut().filter(|limit| limit.connection.name == connection.name) {
        *limit = Arc::new(Limit { connection: Arc::clone(&connection), ..Limit::clone(limit) });
    }
    server
}

/// A trigger of ScaledObject `name` on a scripted queue of the same name.
pub(crate) fn scripted(name: &str, keys: &[(&str, &str)]) -> ScaledObjectRef {
    let base = [("source", "scripted"), ("connection", "script"), ("queueName", name)];
    trigger(name, &[&base, keys].concat())
}

/// A trigger of ScaledObject `name` in the namespace `acme`.
pub(crate) fn trigger(name: &str, keys: &[(&str, &str)]) -> ScaledObjectRef {
    let mut scaler_metadata: BTreeMap<String, String> =
        keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    scaler_metadata.insert("scalerAddress".into(), "agent-scaler.keda.svc:9090".into());
    ScaledObjectRef { name: name.into(), namespace: "acme".into(), scaler_metadata }
}

pub(crate) fn metrics_request(trigger: &ScaledObjectRef, metric: &str) -> GetMetricsRequest {
    GetMetricsRequest { scaled_object_ref: Some(trigger.clone()), metric_name: metric.into() }
}

/// A queue that shows everything.
pub(crate) fn queue(ready: u64, running: u64) -> Reading {
    Reading { ready: Some(ready), in_flight: Some(InFlight::Known(running)), ..Reading::default() }
}

/// Asks every 10 ms until there is an answer, and fails with `what` when patience ends.
#[track_caller]
pub(crate) fn eventually<T>(
    what: impl Into<String>,
    ask: impl AsyncFn() -> Option<T>,
) -> impl Future<Output = T> {
    let (what, caller) = (what.into(), std::panic::Location::caller());
    async move {
        let asking = async {
            loop {
                if let Some(answer) = ask().await {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let answer = tokio::time::timeout(PATIENCE, asking).await;
        answer.unwrap_or_else(|_| panic!("{caller}: never seen: {what}"))
    }
}
