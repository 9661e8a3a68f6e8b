//! Kubernetes objects as `plan` and `check` see them: what KEDA is asked to do, and the workers it scales.
//!
//! Only what matters to a decision is read. The rest is the API server's to check.

mod asked;
mod clocks;
mod keda;
mod nodes;
mod pods;
mod queues;
mod shape;
mod template;

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Node;

use crate::fields::Problem;

pub(crate) use keda::SCALER_ADDRESS;
pub use nodes::NodePool;
pub use pods::{Clock, Ends, FromMap, Pods, PreStop};
use shape::Shape;

/// Everything that was found in one or more files.
#[derive(Debug)]
pub struct Manifests {
    /// Namespace of objects that name none.
    namespace: String,
    /// ScaledObjects and ScaledJobs, in the order in which they were found.
    pub scaled: Vec<Scaled>,
    /// Pod templates, by namespace, kind and name of what holds them.
    pub pods: BTreeMap<(String, String, String), Pods>,
    /// Karpenter's pools of nodes.
    pub node_pools: Vec<NodePool>,
    /// The entries of ConfigMaps, by namespace and name.
    config_maps: BTreeMap<(String, String), BTreeMap<String, String>>,
    /// Visibility timeouts of SQS queues, by the queue's name.
    pub visibility_timeouts: BTreeMap<String, Duration>,
    /// The kinds of objects in each file, in the order in which they were found.
    pub kinds: BTreeMap<String, Vec<String>>,
    /// Remarks that are not problems.
    pub notes: Vec<String>,
    /// What is wrong with the shape of a document, with the place of the document in the path.
    pub problems: Vec<Problem>,
}

/// A ScaledObject or a ScaledJob.
#[derive(Clone, Debug, PartialEq)]
pub struct Scaled {
    /// Where it was found: `workers.yaml#2`.
    pub origin: String,
    /// Which of the two.
    pub kind: Kind,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `pollingInterval`, in seconds, if it is given.
    pub polling_interval: Option<u32>,
    /// Seconds that an inactive workload keeps its replicas; KEDA's default is 300.
    pub cooldown_period: u32,
    /// `minReplicaCount`; KEDA's default is 0.
    pub min_replica_count: u32,
    /// `maxReplicaCount`; KEDA's default is 100.
    pub max_replica_count: u32,
    /// `idleReplicaCount`.
    pub idle_replica_count: Option<u32>,
    /// `fallback`.
    pub fallback: Option<Fallback>,
    /// Whether there are `scalingModifiers`.
    pub scaling_modifiers: bool,
    /// `behavior.scaleUp` of the HPA.
    pub scale_up: Scaling,
    /// `behavior.scaleDown` of the HPA.
    pub scale_down: Scaling,
    /// `scalingStrategy` of a ScaledJob.
    pub strategy: Option<Strategy>,
    /// Whether running Jobs survive a change of a ScaledJob: `rollout.strategy: gradual`.
    pub is_gradual: bool,
    /// What is scaled: kind and name.
    pub target: (String, String),
    /// The pods of a ScaledJob.
    pub job: Option<Pods>,
    /// Its triggers.
    pub triggers: Vec<Written>,
}

/// Which custom resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Replicas of a Deployment or the like.
    ScaledObject,
    /// Jobs.
    ScaledJob,
}

/// One trigger, of us or of another scaler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its type: `external`, `redis` …
    pub kind: String,
    /// `metricType`; without it KEDA takes AverageValue.
    pub metric_type: Option<String>,
    /// `useCachedMetrics`.
    pub cached: bool,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
}

/// What KEDA tells the HPA when the scaler fails.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// `behavior`; KEDA's default is `static`.
    pub behavior: String,
    /// Failures before it acts.
    pub failure_threshold: Option<u32>,
    /// Replicas that it names.
    pub replicas: u32,
}

/// One direction of the HPA's `behavior`; what is `None` is left to Kubernetes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scaling {
    /// Relative change that is ignored.
    pub tolerance: Option<f64>,
    /// `stabilizationWindowSeconds`.
    pub window: Option<u32>,
    /// `selectPolicy`.
    pub select: Option<String>,
    /// `policies`; empty leaves them to Kubernetes.
    pub policies: Vec<ScalingPolicy>,
}

/// One scaling policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalingPolicy {
    /// `Pods` or `Percent`.
    pub kind: String,
    /// How many a period.
    pub value: u32,
    /// The period, in seconds.
    pub period: u32,
}

/// How many Jobs a ScaledJob starts.
#[derive(Clone, Debug, PartialEq)]
pub struct Strategy {
    /// `default`, `accurate`, `eager` or `custom`.
    pub name: String,
    /// `customScalingQueueLengthDeduction`.
    pub deduction: u32,
    /// `customScalingRunningJobPercentage`.
    pub running_part: f64,
}

impl Manifests {
    /// Nothing found yet; objects that name no namespace will be in `namespace`.
    pub fn new(namespace: impl Into<String>) -> Self {
        Self {
            namespace: namespace.into(),
            scaled: Vec::new(),
            pods: BTreeMap::new(),
            node_pools: Vec::new(),
            config_maps: BTreeMap::new(),
            visibility_timeouts: BTreeMap::new(),
            kinds: BTreeMap::new(),
            notes: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// Adds the documents of one file.
    pub fn add(&mut self, file: &str, text: &str) {
        self.kinds.entry(file.to_owned()).or_default();
        let documents: Vec<Node> = serde_saphyr::from_multiple(text).unwrap_or_else(|error| {
            let problem = template::not_rendered(file, text);
            self.problems.push(problem.unwrap_or_else(|| Problem::no_yaml(file, &error)));
            Vec::new()
        });
        for (number, node) in (1..).zip(documents) {
            self.document(file, format!("{file}#{number}"), &node);
        }
    }

    /// The pods that `scaled` scales, if they were found too.
    pub fn pods_of<'a>(&'a self, scaled: &'a Scaled) -> Option<&'a Pods> {
        let (kind, name) = scaled.target.clone();
        scaled.job.as_ref().or_else(|| self.pods.get(&(scaled.namespace.clone(), kind, name)))
    }

    /// The timeouts of the pods that `scaled` scales, with those in ConfigMaps of the same files.
    pub fn clocks_of(&self, scaled: &Scaled) -> Vec<Clock> {
        let map = |name: &str| self.config_maps.get(&(scaled.namespace.clone(), name.to_owned()));
        self.pods_of(scaled).map(|pods| pods.all_clocks(map)).unwrap_or_default()
    }

    fn document(&mut self, file: &str, origin: String, node: &Node) {
        let kind = node["kind"].as_str().unwrap_or_default();
        if let Some(items) = node["items"].as_array().filter(|_| kind.ends_with("List")) {
            if items.is_empty() {
                self.kinds.entry(file.to_owned()).or_default().push(kind.to_owned());
            }
            for (number, item) in (1..).zip(items) {
                let item = template::of_list(item, node, kind.trim_end_matches("List"));
                self.document(file, format!("{origin}.items[{number}]"), &item);
            }
            return;
        }
        if matches!(kind, "ScaledObject" | "ScaledJob") && template::has_placeholder(node) {
            self.problems.push(template::problem(&origin));
            return;
        }
        let mut root = Shape::new(&origin, node, &mut self.problems);
        let kind = root.text("kind").unwrap_or_default();
        if !node.is_null() {
            self.kinds.entry(file.to_owned()).or_default().push(kind.clone());
        }
        keda::see(&mut root, &kind);
        let (namespace, name) = identity(&mut root);
        if name.is_empty() && matches!(kind.as_str(), "ScaledObject" | "ScaledJob") {
            root.problem("metadata.name", "is required");
        }
        let namespace = namespace.unwrap_or_else(|| self.namespace.clone());
        match kind.as_str() {
            "ScaledObject" => {
                let scaled = scaled(&mut root, origin.clone(), Kind::ScaledObject, namespace, name);
                self.scaled.push(scaled);
            }
            "ScaledJob" => {
                let scaled = scaled(&mut root, origin.clone(), Kind::ScaledJob, namespace, name);
                self.scaled.push(scaled);
            }
            // Other objects are not checked, unless they run or hold the tasks.
            _ => {
                queues::add(&mut self.visibility_timeouts, node, &name);
                if kind == "ConfigMap" {
                    self.config_maps.insert((namespace.clone(), name.clone()), pods::texts(&node["data"]));
                }
                self.node_pools.extend(NodePool::of(node, &name));
                if WORKLOADS.contains(&kind.as_str())
                    && let Some(pods) = pods::of_object(&mut root, &kind)
                {
                    self.pods.insert((namespace, kind, name), pods);
                }
            }
        }
    }
}

/// Kinds of objects that run pods. A Rollout is Argo's.
const WORKLOADS: &[&str] = &["Deployment", "StatefulSet", "ReplicaSet", "Rollout", "Job", "CronJob"];

fn identity(root: &mut Shape<'_, '_>) -> (Option<String>, String) {
    let mut metadata = root.map("metadata");
    let namespace = metadata.text("namespace");
    (namespace, metadata.text("name").unwrap_or_default())
}

fn scaled(root: &mut Shape<'_, '_>, origin: String, kind: Kind, namespace: String, name: String) -> Scaled {
    let mut spec = root.map("spec");
    let triggers = spec.list("triggers", trigger);
    if triggers.is_empty() && spec.raw("triggers").is_none_or(Node::is_array) {
        spec.problem("triggers", "is required, with one trigger at least");
    }
    let kind = if kind == Kind::ScaledObject { keda::see_shape(&mut spec) } else { kind };
    let fallback = spec.has("fallback").then(|| fallback(&mut spec.map("fallback")));
    let strategy = spec.has("scalingStrategy").then(|| strategy(&mut spec.map("scalingStrategy")));
    let job = (kind == Kind::ScaledJob).then(|| pods::of_job(&mut spec.map("jobTargetRef")));
    // KEDA also prefers the deprecated key.
    let rollout = spec.text("rolloutStrategy").or_else(|| spec.map("rollout").text("strategy"));
    let mut target = spec.map("scaleTargetRef");
    let target_kind = target.text("kind").unwrap_or_else(|| "Deployment".to_owned());
    let target = (target_kind, target.text("name").unwrap_or_default());
    let mut advanced = spec.map("advanced");
    let scaling_modifiers = advanced.has("scalingModifiers");
    let mut config = advanced.map("horizontalPodAutoscalerConfig");
    let mut behavior = config.map("behavior");
    let (scale_up, scale_down) =
        (scaling(&mut behavior.map("scaleUp")), scaling(&mut behavior.map("scaleDown")));
    Scaled {
        origin,
        kind,
        namespace,
        name,
        polling_interval: spec.number("pollingInterval"),
        cooldown_period: spec.number("cooldownPeriod").unwrap_or(300),
        min_replica_count: spec.number("minReplicaCount").unwrap_or(0),
        max_replica_count: spec.number("maxReplicaCount").unwrap_or(100),
        idle_replica_count: spec.number("idleReplicaCount"),
        fallback,
        scaling_modifiers,
        scale_up,
        scale_down,
        strategy,
        is_gradual: rollout.as_deref() == Some("gradual"),
        target,
        job,
        triggers,
    }
}

fn trigger(trigger: &mut Shape<'_, '_>) -> Written {
    let written = Written {
        kind: trigger.text("type").unwrap_or_default(),
        metric_type: trigger.text("metricType"),
        cached: trigger.flag("useCachedMetrics").unwrap_or(false),
        metadata: trigger.map("metadata").texts(),
    };
    keda::see_type(trigger, &written);
    written
}

fn fallback(fallback: &mut Shape<'_, '_>) -> Fallback {
    Fallback {
        behavior: fallback.text("behavior").unwrap_or_else(|| "static".to_owned()),
        failure_threshold: fallback.number("failureThreshold"),
        replicas: fallback.number("replicas").unwrap_or(0),
    }
}

fn scaling(scaling: &mut Shape<'_, '_>) -> Scaling {
    Scaling {
        tolerance: scaling.quantity("tolerance"),
        window: scaling.number("stabilizationWindowSeconds"),
        select: scaling.text("selectPolicy"),
        policies: scaling.list("policies", |policy| ScalingPolicy {
            kind: policy.text("type").unwrap_or_default(),
            value: policy.number("value").unwrap_or(0),
            period: policy.number("periodSeconds").unwrap_or(0),
        }),
    }
}

fn strategy(strategy: &mut Shape<'_, '_>) -> Strategy {
    Strategy {
        name: strategy.text("strategy").unwrap_or_else(|| "default".to_owned()),
        deduction: strategy.number("customScalingQueueLengthDeduction").unwrap_or(0),
        running_part: strategy.quantity("customScalingRunningJobPercentage").unwrap_or(1.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matters_is_read_and_what_is_left_out_is_kedas_default() {
        let mut manifests = Manifests::new("default");
        let text = "apiVersion: keda.sh/v1alpha1\n\
                    kind: ScaledObject\n\
                    metadata: { name: a, namespace: acme }\n\
                    spec:\n  \
                      scaleTargetRef: { name: worker }\n  \
                      advanced: { horizontalPodAutoscalerConfig: { behavior: { scaleUp: { tolerance: 20m, \
                        policies: [{ type: Pods, value: 4, periodSeconds: 15 }] } } } }\n  \
                      triggers: [{ type: external, metadata: { source: redis } }]\n\
                    ---\n\
                    kind: Deployment\n\
                    metadata: { name: worker, namespace: acme }\n\
                    spec: { template: { spec: { terminationGracePeriodSeconds: 3600 } } }\n";
        manifests.add("workers.yaml", text);
        assert_eq!(manifests.problems, []);
        let [scaled] = &manifests.scaled[..] else { panic!("{:?}", manifests.scaled) };
        assert_eq!(
            (scaled.origin.as_str(), scaled.cooldown_period, scaled.max_replica_count),
            ("workers.yaml#1", 300, 100)
        );
        assert_eq!(scaled.scale_up.tolerance, Some(0.02));
        let policy = ScalingPolicy { kind: "Pods".into(), value: 4, period: 15 };
        assert_eq!(scaled.scale_up.policies, [policy]);
        let found = Pods { grace_period: 3600, ..Pods::default() };
        assert_eq!(manifests.pods_of(scaled), Some(&found));
    }

    #[test]
    fn a_broken_document_names_every_problem() {
        let mut manifests = Manifests::new("default");
        let text = "apiVersion: keda.sh/v1alpha1\n\
                    kind: ScaledObject\n\
                    metadata: { name: a }\n\
                    spec: { minReplicaCount: some, cooldownPeriod: -1, \
                      triggers: [{ type: external, metadata: { tasksPerReplica: 4, processing: { a: b } } }] }\n";
        manifests.add("a.yaml", text);
        let texts: Vec<String> = manifests.problems.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "a.yaml#1.spec.triggers[0].metadata.processing: must be a text",
                "a.yaml#1.spec.triggers[0].metadata.tasksPerReplica: must be a text, in quotation marks: \"4\"",
                "a.yaml#1.spec.cooldownPeriod: must be a whole number",
                "a.yaml#1.spec.minReplicaCount: must be a whole number",
            ]
        );
    }
}
