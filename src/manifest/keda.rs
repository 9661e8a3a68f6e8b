//! KEDA's API version, kinds and types of triggers; KEDA ignores or refuses all others.

use super::shape::Shape;
use super::{Kind, Written};
use crate::fields::nearest;

/// The one API version of KEDA 2.
const API_VERSION: &str = "keda.sh/v1alpha1";

/// API groups of KEDA, of version 2 and of version 1.
const GROUPS: &[&str] = &["keda.sh", "keda.k8s.io"];

/// The kinds of that API.
const KINDS: &[&str] =
    &["ScaledObject", "ScaledJob", "TriggerAuthentication", "ClusterTriggerAuthentication"];

/// Types of triggers that ask an external scaler.
const EXTERNAL: &[&str] = &["external", "external-push"];

/// Every type of trigger of KEDA 2.21: `pkg/scaling/scalers_builder.go`.
#[rustfmt::skip]
const TYPES: &[&str] = &[
    "activemq", "apache-kafka", "arangodb", "artemis-queue", "aws-cloudwatch", "aws-dynamodb", "aws-dynamodb-streams",
    "aws-kinesis-stream", "aws-sqs-queue", "azure-app-insights", "azure-blob", "azure-data-explorer", "azure-eventhub",
    "azure-log-analytics", "azure-monitor", "azure-pipelines", "azure-queue", "azure-servicebus", "beanstalkd",
    "cassandra", "couchdb", "cpu", "cron", "datadog", "dynatrace", "elasticsearch", "etcd", "external",
    "external-mock", "external-push", "forgejo-runner", "gcp-cloudtasks", "gcp-pubsub", "gcp-stackdriver",
    "gcp-storage", "github-runner", "gitlab-runner", "graphite", "huawei-cloudeye", "ibmmq", "influxdb", "kafka",
    "kubernetes-resource", "kubernetes-workload", "liiklus", "loki", "memory", "metrics-api", "mongodb", "mssql",
    "mysql", "nats-jetstream", "new-relic", "nsq", "openstack-metric", "openstack-swift", "postgresql",
    "predictkube", "prometheus", "pulsar", "rabbitmq", "redis", "redis-cluster", "redis-cluster-streams",
    "redis-sentinel", "redis-sentinel-streams", "redis-streams", "selenium-grid", "solace-direct-messaging",
    "solace-event-queue", "solarwinds", "solr", "splunk", "splunk-observability", "stan", "sumologic", "temporal",
];

/// The key of the address at which KEDA calls the scaler.
pub(crate) const SCALER_ADDRESS: &str = "scalerAddress";

/// Keys that every trigger of agent-scaler has, and no other trigger has both of them.
const OURS: &[&str] = &["source", "connection"];

/// Adds a problem for an object that is meant for KEDA and that KEDA does not watch.
pub(super) fn see(root: &mut Shape<'_, '_>, kind: &str) {
    let version = root.text("apiVersion").unwrap_or_default();
    let group = version.split('/').next().unwrap_or_default();
    let is_keda = GROUPS.contains(&group);
    if KINDS.contains(&kind) {
        if version != API_VERSION {
            let message = if version.is_empty() {
                "is required".to_owned()
            } else {
                format!("`{version}` is not served by KEDA 2, which ignores this object")
            };
            root.problem_with("apiVersion", message, format!("`apiVersion: {API_VERSION}`"));
        }
        return;
    }
    let lower = kind.to_lowercase();
    let lower = lower.trim_end_matches('s');
    let same = KINDS.iter().find(|known| known.eq_ignore_ascii_case(lower));
    let near = if group.is_empty() || is_keda { nearest(kind, KINDS.iter().copied()) } else { None };
    let hint = same.map(|known| format!("did you mean `{known}`?")).or(near);
    if !kind.is_empty() && (is_keda || hint.is_some()) {
        let hint = hint.unwrap_or_else(|| format!("one of {}", KINDS.join(", ")));
        root.problem_with("kind", format!("KEDA has no kind `{kind}`"), hint);
    }
}

/// Adds a problem for a ScaledObject with keys of KEDA 1, and a hint with the right kind.
pub(super) fn see_shape(spec: &mut Shape<'_, '_>) -> Kind {
    let job = "`kind: ScaledJob`, with `workload: job` in the metadata of the trigger";
    let is_job = spec.raw("scaleType").is_some_and(|kind| kind == "job");
    if spec.has("scaleType") {
        let hint = if is_job { job } else { "leave it out: `scaleTargetRef` says what is scaled" };
        spec.problem_with("scaleType", "is a key of KEDA 1, which KEDA 2 does not read", hint);
    }
    if spec.has("jobTargetRef") && !is_job {
        spec.problem_with("jobTargetRef", "belongs to a ScaledJob", job);
    }
    let mut target = spec.map("scaleTargetRef");
    if target.has("deploymentName") {
        target.problem_with("deploymentName", "is a key of KEDA 1, which KEDA 2 does not read", "`name`");
    }
    if is_job || spec.has("jobTargetRef") { Kind::ScaledJob } else { Kind::ScaledObject }
}

/// Why gRPC cannot dial the address; `None` if it can, or if the address holds a variable of a template.
fn undiallable(written: &Written) -> Option<String> {
    let address = written.metadata.get(SCALER_ADDRESS).filter(|address| !address.is_empty())?;
    let is_template = address.contains(['$', '{']) || address.starts_with("unix:");
    let is_web =
        ["http://", "https://", "grpc://", "tcp://"].iter().any(|scheme| address.starts_with(scheme));
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    match (is_template, is_web, has_port) {
        (true, _, _) | (false, false, true) => None,
        (false, true, _) => Some("is no address of gRPC, which has no such scheme".to_owned()),
        (false, false, false) => Some("names no port, and KEDA takes 443".to_owned()),
    }
}

/// Adds a problem for a trigger with a type that KEDA does not have, or with a type that does not read
/// agent-scaler's keys.
pub(super) fn see_type(trigger: &mut Shape<'_, '_>, written: &Written) {
    let kind = written.kind.as_str();
    let is_ours = OURS.iter().all(|key| written.metadata.contains_key(*key));
    let external = "`external` or `external-push` for agent-scaler";
    if trigger.is_empty() {
        return;
    }
    if !trigger.has("metadata") {
        let hint = "a `scalerAddress`, a `source` and a `connection` for agent-scaler";
        trigger.problem_with("metadata", "is required", hint);
    }
    if EXTERNAL.contains(&kind) {
        if is_ours && let Some(message) = undiallable(written) {
            let hint = "HOST:PORT of the Service, e.g. `agent-scaler.agent-scaler.svc.cluster.local:9090`";
            trigger.map("metadata").problem_with(SCALER_ADDRESS, message, hint);
        }
        return;
    }
    if kind.is_empty() {
        if !trigger.has("type") {
            trigger.problem_with("type", "is required", external);
        }
    } else if !TYPES.contains(&kind) {
        let near = nearest(kind, TYPES.iter().copied()).filter(|_| !is_ours);
        let hint = near.unwrap_or_else(|| {
            let others = if is_ours { "" } else { "; a trigger of another kind belongs in a type of KEDA's" };
            format!("{external}{others}")
        });
        let message = format!("KEDA has no trigger of type `{kind}`, and refuses the whole object");
        trigger.problem_with("type", message, hint);
    } else if is_ours {
        let message = format!("`{kind}` is KEDA's own scaler, which reads no `source` and no `connection`");
        trigger.problem_with("type", message, external);
    }
}
