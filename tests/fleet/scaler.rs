//! The scaler, asked by gRPC as KEDA does, and its page.

use std::sync::Arc;

use agent_scaler::clock::SystemClock;
use agent_scaler::config::server::Server;
use agent_scaler::scaler::Scaler as Running;
use agent_scaler::scaler::proto::external_scaler_client::ExternalScalerClient;
use agent_scaler::scaler::proto::{GetMetricsRequest, ScaledObjectRef};
use agent_scaler::sources;
use agent_scaler::telemetry::shown::Shown;
use tonic::transport::Channel;

/// A running scaler.
pub(crate) struct Scaler {
    running: Running,
    keda: ExternalScalerClient<Channel>,
    browser: reqwest::Client,
}

/// What it says of one trigger.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    /// The value; `None` if it was not given, and the HPA holds.
    pub(crate) value: Option<f64>,
    /// Whether the trigger is active; `None` if that was not said.
    pub(crate) active: Option<bool>,
    /// Its part of `/decisions`, if there is one.
    pub(crate) shown: Option<Shown>,
}

impl Scaler {
    /// Starts one with this server file, whose addresses are chosen here.
    pub(crate) async fn start(file: &str) -> Self {
        let file = format!("listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\ntick: 500ms\n{file}");
        let server = Server::parse(&file, sources::ALL).unwrap_or_else(|error| panic!("{error}\n{file}"));
        let running = Running::start(server, Arc::new(SystemClock::start())).await.unwrap();
        let keda = ExternalScalerClient::connect(format!("http://{}", running.grpc)).await.unwrap();
        Self { running, keda, browser: reqwest::Client::new() }
    }

    /// Ends it as Kubernetes does.
    pub(crate) async fn stop(self) {
        self.running.stop().await;
    }

    /// Asks about a trigger, as KEDA and a person do.
    pub(crate) async fn asked(&mut self, trigger: &ScaledObjectRef) -> Said {
        let request = GetMetricsRequest {
            scaled_object_ref: Some(trigger.clone()),
            metric_name: "agent-replicas".into(),
        };
        let values = self.keda.get_metrics(request).await;
        if let Err(status) = &values {
            assert_eq!(status.code(), tonic::Code::Unavailable, "{status}");
        }
        let value = values.ok().map(|values| values.into_inner().metric_values[0].metric_value_float);
        let active = self.keda.is_active(trigger.clone()).await.ok().map(|active| active.into_inner().result);
        Said { value, active, shown: self.shown(trigger).await }
    }

    /// Its part of `/decisions`.
    pub(crate) async fn shown(&self, trigger: &ScaledObjectRef) -> Option<Shown> {
        let url = format!("http://{}/decisions/{}/{}", self.running.admin, trigger.namespace, trigger.name);
        let answer = self.browser.get(url).send().await.ok()?;
        let all: Vec<Shown> = serde_json::from_str(&answer.text().await.ok()?).ok()?;
        all.into_iter().next()
    }
}
