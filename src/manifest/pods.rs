//! Pod templates, with every timeout in them that can end a task.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Node;

use super::clocks;
use super::shape::Shape;

/// Kubernetes' `terminationGracePeriodSeconds`.
const GRACE_PERIOD: u32 = 30;

/// Kubernetes' `progressDeadlineSeconds`.
const PROGRESS_DEADLINE: Duration = Duration::from_secs(600);

/// Pods of one template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Seconds from SIGTERM to SIGKILL; Kubernetes' default is 30.
    pub grace_period: u32,
    /// Whether the template sits in an object that names a number of replicas itself.
    pub has_replicas: bool,
    /// The `preStop` hooks that sleep, by container; the first is that of the worker.
    pub pre_stops: Vec<PreStop>,
    /// All other timeouts.
    pub clocks: Vec<Clock>,
    /// The variables and files from ConfigMaps.
    pub from_maps: Vec<FromMap>,
    /// Annotations of the template.
    pub annotations: BTreeMap<String, String>,
    /// Labels of the nodes that the pods may run on.
    pub node_selector: BTreeMap<String, String>,
}

/// A variable or file of a container that comes from a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FromMap {
    /// Name of the ConfigMap.
    pub map: String,
    /// The variable and the entry that it holds; without them all entries are variables or files.
    pub entry: Option<(String, String)>,
}

/// A `preStop` hook that sleeps before SIGTERM. The grace period includes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreStop {
    /// Name of the container.
    pub container: String,
    /// Whether this container is the worker: the first one.
    pub is_worker: bool,
    /// For how long.
    pub sleep: Duration,
}

/// A timeout in a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clock {
    /// The key, variable or argument that sets it, as a text shows it.
    pub name: String,
    /// The time.
    pub after: Duration,
    /// The effect.
    pub ends: Ends,
}

/// The effect of a timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends {
    /// The Job with all of its pods, counted from its start: later pods have what is left.
    Job,
    /// The pod, counted from its start on a node.
    Pod,
    /// The task, counted from its own start.
    Task,
    /// A worker's hold of a task, which is then given to another.
    Hold,
    /// A container that has failed a probe, counted from SIGTERM.
    Probed,
    /// A proxy beside the worker, counted from SIGTERM.
    Proxy,
    /// The worker itself, counted from SIGTERM.
    Stop,
    /// Nothing by itself, but a rollout counts as failed.
    Rollout,
}

/// The pods of an object that holds a template of them, if it does.
pub(super) fn of_object(root: &mut Shape<'_, '_>, kind: &str) -> Option<Pods> {
    let mut spec = root.map("spec");
    if kind == "CronJob" {
        return Some(of_job(&mut spec.map("jobTemplate").map("spec")));
    }
    if kind == "Job" {
        return Some(of_job(&mut spec));
    }
    if !spec.has("template") {
        return None;
    }
    let has_replicas = spec.has("replicas");
    let rollout = rollout(&mut spec);
    let mut pods = of_template(&mut spec.map("template"));
    pods.has_replicas = has_replicas;
    pods.clocks.extend(rollout);
    Some(pods)
}

/// The pods of a Job's spec.
pub(super) fn of_job(spec: &mut Shape<'_, '_>) -> Pods {
    let deadline = spec.number("activeDeadlineSeconds");
    let mut pods = of_template(&mut spec.map("template"));
    let name = "activeDeadlineSeconds of the Job";
    pods.clocks.splice(0..0, deadline.map(|deadline| clock(name, deadline, Ends::Job)));
    pods
}

/// The time after which a rollout counts as failed, if the key is set, or if the rollout waits for the old pods
/// to end.
fn rollout(spec: &mut Shape<'_, '_>) -> Option<Clock> {
    let recreates = spec.map("strategy").text("type").as_deref() == Some("Recreate");
    match spec.number("progressDeadlineSeconds") {
        Some(seconds) => Some(clock("progressDeadlineSeconds", seconds, Ends::Rollout)),
        None if recreates => {
            let name = "progressDeadlineSeconds (default)".to_owned();
            Some(Clock { name, after: PROGRESS_DEADLINE, ends: Ends::Rollout })
        }
        None => None,
    }
}

fn of_template(template: &mut Shape<'_, '_>) -> Pods {
    let annotations = template.raw("metadata").map(|metadata| texts(&metadata["annotations"]));
    let annotations = annotations.unwrap_or_default();
    let mut spec = template.map("spec");
    let mut pods = Pods {
        grace_period: spec.number("terminationGracePeriodSeconds").unwrap_or(GRACE_PERIOD),
        node_selector: spec.raw("nodeSelector").map(texts).unwrap_or_default(),
        ..Pods::default()
    };
    let deadline = spec.number("activeDeadlineSeconds");
    pods.clocks
        .extend(deadline.map(|deadline| clock("activeDeadlineSeconds of the pod", deadline, Ends::Pod)));
    pods.clocks.extend(clocks::of_annotations(&annotations));
    pods.annotations = annotations;
    let volumes = list(spec.raw("volumes")).iter().filter_map(|volume| volume["configMap"]["name"].as_str());
    pods.from_maps.extend(volumes.map(|map| FromMap { map: map.to_owned(), entry: None }));
    for (number, container) in list(spec.raw("containers")).iter().enumerate() {
        pods.add(container, number == 0);
    }
    for container in list(spec.raw("initContainers")) {
        // Sidecars run beside the worker; other init containers have ended before a task begins.
        if container["restartPolicy"] == "Always" {
            pods.add(container, false);
        }
    }
    pods
}

impl Pods {
    /// The sleep of the worker's hook before it is told to stop.
    pub fn pre_stop(&self) -> Duration {
        self.pre_stops.iter().find(|hook| hook.is_worker).map(|hook| hook.sleep).unwrap_or_default()
    }

    fn add(&mut self, container: &Node, is_worker: bool) {
        let name = container["name"].as_str().unwrap_or("container");
        if let Some(sleep) = clocks::sleep(&container["lifecycle"]["preStop"]) {
            self.pre_stops.push(PreStop { container: name.to_owned(), is_worker, sleep });
        }
        for probe in ["livenessProbe", "startupProbe"] {
            let seconds = container[probe]["terminationGracePeriodSeconds"].as_u64();
            let name = format!("{probe}.terminationGracePeriodSeconds of container {name}");
            self.clocks.extend(seconds.map(|seconds| Clock {
                name,
                after: Duration::from_secs(seconds),
                ends: Ends::Probed,
            }));
        }
        self.clocks.extend(clocks::of_container(container));
        let whole =
            list(container.get("envFrom")).iter().filter_map(|from| from["configMapRef"]["name"].as_str());
        self.from_maps.extend(whole.map(|map| FromMap { map: map.to_owned(), entry: None }));
        self.from_maps.extend(list(container.get("env")).iter().filter_map(|variable| {
            let from = &variable["valueFrom"]["configMapKeyRef"];
            let entry = (variable["name"].as_str()?.to_owned(), from["key"].as_str()?.to_owned());
            Some(FromMap { map: from["name"].as_str()?.to_owned(), entry: Some(entry) })
        }));
    }

    /// All timeouts, those in ConfigMaps included; `map` returns the entries of a ConfigMap.
    pub(super) fn all_clocks<'a>(
        &self,
        map: impl Fn(&str) -> Option<&'a BTreeMap<String, String>>,
    ) -> Vec<Clock> {
        let mut found = self.clocks.clone();
        for from in &self.from_maps {
            let Some(entries) = map(&from.map) else { continue };
            match &from.entry {
                Some((variable, entry)) => {
                    let value = entries.get(entry);
                    found.extend(value.into_iter().flat_map(|value| clocks::of_variable(variable, value)));
                }
                None => {
                    found.extend(entries.iter().flat_map(|(name, value)| clocks::of_variable(name, value)))
                }
            }
        }
        found
    }
}

fn clock(name: &str, seconds: u32, ends: Ends) -> Clock {
    Clock { name: name.to_owned(), after: Duration::from_secs(seconds.into()), ends }
}

fn list(node: Option<&Node>) -> &[Node] {
    node.and_then(Node::as_array).map_or(&[], Vec::as_slice)
}

/// The entries of a map that are texts.
pub(super) fn texts(node: &Node) -> BTreeMap<String, String> {
    let entries = node.as_object().into_iter().flatten();
    entries.filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned()))).collect()
}
