//! The real scaler, and the triggers that KEDA would send it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use agent_scaler::clock::SystemClock;
use agent_scaler::config::server::Server;
use agent_scaler::scaler::Scaler;
use agent_scaler::scaler::proto::ScaledObjectRef;
use agent_scaler::scaler::proto::external_scaler_client::ExternalScalerClient;
use agent_scaler::sources;

use crate::Failure;
use crate::autoscaler::{Trigger, faster};
use crate::deployment::{GRACE, Kind, LIMIT_SCOPE, MAX_REPLICAS, SLOTS};
use crate::story::{STEPS, TASK};
use crate::world::{MINUTE, REQUESTS};

/// Starts it on free ports.
pub(crate) async fn start(redis: &str) -> Result<Scaler, Failure> {
    let file = format!(
        r#"
listen: 127.0.0.1:0
admin: 127.0.0.1:0
tick: 500ms
protocolMinute: {minute}ms
connections:
  redis: {{ type: redis, url: "{redis}" }}
llmLimits:
  shared-key:
    workersConnection: redis
    scope: {LIMIT_SCOPE}
    requestsPerMinute: {REQUESTS}
    usePerTask: {{ requests: {STEPS} }}
    publishShares: true
"#,
        minute = MINUTE.as_millis()
    );
    Ok(Scaler::start(Server::parse(&file, sources::ALL)?, Arc::new(SystemClock::start())).await?)
}

/// Connects to it as KEDA does, for one Deployment.
pub(crate) async fn trigger(server: SocketAddr, kind: Kind) -> Result<Trigger, Failure> {
    let client = ExternalScalerClient::connect(format!("http://{server}")).await?;
    let millis = |duration: std::time::Duration| format!("{}ms", duration.as_millis());
    let metadata = [
        ("scalerAddress", server.to_string()),
        ("source", "redis".to_owned()),
        ("connection", "redis".to_owned()),
        ("listName", kind.name().to_owned()),
        ("processingListName", format!("{}:processing", kind.name())),
        ("tasksPerReplica", SLOTS.to_string()),
        ("maxQueueWait", millis(faster(120))),
        ("podStartupTime", millis(faster(30))),
        ("expectedTaskDuration", millis(TASK)),
        ("drainTime", millis(GRACE)),
        ("maxReplicaCount", MAX_REPLICAS.to_string()),
        ("llmLimit", "shared-key".to_owned()),
        ("llmWeight", kind.weight().to_string()),
    ];
    let scaler_metadata: BTreeMap<String, String> =
        metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    let of = ScaledObjectRef { name: kind.name().into(), namespace: "demo".into(), scaler_metadata };
    Ok(Trigger::External(Box::new(client), of))
}
