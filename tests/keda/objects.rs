//! The Kubernetes objects of a scenario.

use serde_json::{Map, Value, json};

/// Name of the one scaled object of a namespace, and of what it scales.
pub(crate) const NAME: &str = "worker";

/// KEDA's poll. Shorter than anybody would have it: every scenario waits for it.
const POLL_SECONDS: u32 = 1;

/// KEDA's cool-down. Every outage and every long task of a scenario lasts longer.
pub(crate) const COOLDOWN_SECONDS: u32 = 6;

/// How long a pod may drain.
pub(crate) const GRACE_SECONDS: u32 = 60;

/// Where the tasks are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Queue {
    /// A list, from which workers move tasks to another one.
    List,
    /// A stream with a consumer group.
    Stream,
}

impl Queue {
    /// The waiting tasks.
    pub(crate) const TASKS: &'static str = "tasks";
    /// The running ones, of a list.
    pub(crate) const PROCESSING: &'static str = "processing";
    /// The consumer group of a stream.
    pub(crate) const GROUP: &'static str = "workers";
}

/// How KEDA asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Call {
    /// It polls.
    External,
    /// It polls, and keeps a stream open.
    ExternalPush,
}

/// One of our triggers.
#[derive(Clone, Debug)]
pub(crate) struct Trigger {
    call: Call,
    metadata: Map<String, Value>,
    authentication: Option<&'static str>,
}

impl Trigger {
    /// A trigger on `queue` for at most `max` replicas, answered by the server at `host`.
    pub(crate) fn new(call: Call, queue: Queue, host: &str, max: u32) -> Self {
        match queue {
            Queue::List => Self::on(call, host, "redis-main", "redis", max)
                .key("listName", Queue::TASKS)
                .key("processingListName", Queue::PROCESSING),
            Queue::Stream => Self::on(call, host, "redis-main", "redis-streams", max)
                .key("stream", Queue::TASKS)
                .key("consumerGroup", Queue::GROUP),
        }
    }

    /// A trigger on a source of any kind, whose own keys are still to be given.
    pub(crate) fn on(call: Call, host: &str, connection: &str, source: &str, max: u32) -> Self {
        let trigger = Self { call, metadata: Map::new(), authentication: None };
        trigger
            .key("scalerAddress", &format!("{host}:{}", crate::servers::GRPC))
            .key("source", source)
            .key("connection", connection)
            .key("maxReplicaCount", &max.to_string())
            .key("maxQueueWait", "20s")
            .key("podStartupTime", "1s")
    }

    /// With another key.
    pub(crate) fn key(mut self, name: &str, value: &str) -> Self {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }

    /// Without a key.
    pub(crate) fn without_key(mut self, name: &str) -> Self {
        self.metadata.remove(name);
        self
    }

    /// With a TriggerAuthentication.
    pub(crate) fn authentication(mut self, name: &'static str) -> Self {
        self.authentication = Some(name);
        self
    }

    fn json(&self) -> Value {
        let call = match self.call {
            Call::External => "external",
            Call::ExternalPush => "external-push",
        };
        let mut trigger = json!({"type": call, "metadata": self.metadata});
        if let Some(name) = self.authentication {
            trigger["authenticationRef"] = json!({"name": name});
        }
        trigger
    }

    fn max(&self) -> u32 {
        self.metadata["maxReplicaCount"].as_str().unwrap().parse().unwrap()
    }
}

/// A ScaledObject as our examples have it, with everything that takes time made short.
pub(crate) fn scaled_object(namespace: &str, trigger: &Trigger) -> Value {
    let mut json_of_trigger = trigger.json();
    // KEDA refuses it in a ScaledJob.
    json_of_trigger["metricType"] = "AverageValue".into();
    let policy = json!([{"type": "Pods", "value": 100, "periodSeconds": 1}]);
    let rules = json!({"stabilizationWindowSeconds": 0, "tolerance": "0", "policies": policy});
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "scaleTargetRef": {"name": NAME},
            "pollingInterval": POLL_SECONDS, "cooldownPeriod": COOLDOWN_SECONDS,
            "minReplicaCount": 0, "maxReplicaCount": trigger.max(),
            "advanced": {"horizontalPodAutoscalerConfig": {"behavior": {"scaleUp": rules, "scaleDown": rules}}},
            "triggers": [json_of_trigger],
        },
    })
}

/// A ScaledJob.
pub(crate) fn scaled_job(namespace: &str, trigger: &Trigger) -> Value {
    let mut pod_of_a_job = pod();
    pod_of_a_job["spec"]["restartPolicy"] = "Never".into();
    json!({
        "apiVersion": "keda.sh/v1alpha1", "kind": "ScaledJob",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {
            "jobTargetRef": {"template": pod_of_a_job, "backoffLimit": 0},
            "pollingInterval": POLL_SECONDS, "maxReplicaCount": trigger.max(),
            "successfulJobsHistoryLimit": 100,
            "triggers": [trigger.json()],
        },
    })
}

/// The Deployment that is scaled.
pub(crate) fn deployment(namespace: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "metadata": {"name": NAME, "namespace": namespace},
        "spec": {"replicas": 0, "selector": {"matchLabels": {"app": NAME}}, "template": pod()},
    })
}

fn pod() -> Value {
    json!({
        "metadata": {"labels": {"app": NAME}},
        "spec": {
            "terminationGracePeriodSeconds": GRACE_SECONDS,
            "containers": [{"name": "worker", "image": "worker"}],
        },
    })
}

/// A namespace.
pub(crate) fn namespace(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
}
