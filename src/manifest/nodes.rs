//! Karpenter's node pools: how long their nodes live, and how long they wait for pods.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Node;

use super::pods::{Pods, texts};

/// The label of a node that names its pool.
const POOL: &str = "karpenter.sh/nodepool";

/// A pool of nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePool {
    /// Its name.
    pub name: String,
    /// How long a node lives.
    pub expire_after: Option<Duration>,
    /// Longest wait for the pods of a node that is being removed, whatever their grace period; without it there
    /// is no bound.
    pub termination_grace_period: Option<Duration>,
    /// Whether nodes on which pods run are emptied to save money.
    pub consolidates_busy: bool,
    labels: BTreeMap<String, String>,
    is_tainted: bool,
}

impl NodePool {
    /// The pool in a document, if it is one.
    pub(super) fn of(node: &Node, name: &str) -> Option<Self> {
        if node["kind"] != "NodePool" || !node["apiVersion"].as_str()?.starts_with("karpenter.sh/") {
            return None;
        }
        let (spec, template) = (&node["spec"], &node["spec"]["template"]);
        let time = |node: &Node| humantime::parse_duration(node.as_str()?).ok();
        // Version 1 has it in the template, the versions before in `disruption`.
        let expiries = [&template["spec"]["expireAfter"], &spec["disruption"]["expireAfter"]];
        Some(Self {
            name: name.to_owned(),
            expire_after: expiries.into_iter().find_map(time),
            termination_grace_period: time(&template["spec"]["terminationGracePeriod"]),
            consolidates_busy: spec["disruption"]["consolidationPolicy"]
                .as_str()
                .is_some_and(|policy| policy != "WhenEmpty"),
            labels: texts(&template["metadata"]["labels"]),
            is_tainted: template["spec"]["taints"].as_array().is_some_and(|taints| !taints.is_empty()),
        })
    }

    /// Whether `pods` may run on its nodes, as far as their selector tells.
    pub fn takes(&self, pods: &Pods) -> bool {
        match pods.node_selector.get(POOL) {
            Some(name) => *name == self.name,
            None if pods.node_selector.is_empty() => !self.is_tainted,
            None => pods.node_selector.iter().all(|(key, value)| {
                // Labels that a cloud adds to its machines are in no manifest.
                key.contains("kubernetes.io/")
                    || key.contains("karpenter")
                    || self.labels.get(key) == Some(value)
            }),
        }
    }
}
