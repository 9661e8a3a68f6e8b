//! A kubelet for all nodes at once: pods are bound, become ready, and go, but nothing runs in them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::api::{Api, Refused};
use crate::cluster::is_true;

/// How often the pods are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// From a pod's creation until it is ready.
const START_UP: Duration = Duration::from_millis(800);

/// The one node.
const NODE: &str = "node";

/// The pods of the cluster, as their workers see them.
#[derive(Debug, Default)]
pub(crate) struct Pods(Mutex<BTreeMap<Id, Pod>>);

/// Namespace and name. A pod's name is never used again.
type Id = (String, String);

#[derive(Debug)]
struct Pod {
    phase: Phase,
    /// When the kubelet first saw it.
    seen: Instant,
    /// When it has to be gone.
    gone_by: Option<Instant>,
    /// How what ran in it has ended.
    ended: Option<Exit>,
}

/// How what ran in a pod has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// With exit code 0.
    Succeeded,
    /// With another one, or it was killed.
    Failed,
}

/// What a pod does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It is being started.
    Starting,
    /// It works.
    Ready,
    /// It was told to end, and may finish what it has begun.
    Draining,
}

impl Pods {
    /// The pods of a namespace.
    pub(crate) fn of(&self, namespace: &str) -> BTreeMap<String, Phase> {
        let pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = pods.iter().filter(|((of, _), pod)| of == namespace && pod.ended.is_none());
        mine.map(|((_, name), pod)| (name.clone(), pod.phase)).collect()
    }

    /// Says that what ran in a pod has ended: a Job's pod has succeeded or failed, another one need not be
    /// waited for.
    pub(crate) fn end(&self, namespace: &str, name: &str, exit: Exit) {
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pod) = pods.get_mut(&(namespace.to_owned(), name.to_owned())) {
            pod.ended = Some(exit);
        }
    }
}

/// Starts the kubelet.
pub(crate) async fn start(api: Api) -> Arc<Pods> {
    api.post("/api/v1/nodes", &json!({"metadata": {"name": NODE}})).await.unwrap();
    let pods = Arc::new(Pods::default());
    tokio::spawn(run(api, Arc::clone(&pods)));
    pods
}

async fn run(api: Api, pods: Arc<Pods>) {
    loop {
        // From the API server's cache, which is cheap.
        if let Some(list) = api.get("/api/v1/pods?resourceVersion=0").await {
            for step in pods.look(list["items"].as_array().unwrap()) {
                // What is refused was overtaken by a change, which the next look shows.
                let _ = step.take(&api).await;
            }
        }
        sleep(LOOK_EVERY).await;
    }
}

/// What is to be done about a pod.
enum Step {
    Bind { path: String, name: String },
    Status { path: String, status: Value },
    Delete { path: String },
}

impl Step {
    async fn take(self, api: &Api) -> Result<Value, Refused> {
        match self {
            Self::Bind { path, name } => {
                let binding = json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": NODE}});
                api.post(&format!("{path}/binding"), &binding).await
            }
            Self::Status { path, status } => {
                api.patch(&format!("{path}/status"), &json!({"status": status})).await
            }
            Self::Delete { path } => api.delete(&path, &json!({"gracePeriodSeconds": 0})).await,
        }
    }
}

impl Pods {
    /// Takes in what the API server shows, and says what is to be done.
    fn look(&self, items: &[Value]) -> Vec<Step> {
        let now = Instant::now();
        let mut pods = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = std::mem::take(&mut *pods);
        let mut steps = Vec::new();
        for item in items {
            let text = |pointer| item.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
            if ["Succeeded", "Failed"].contains(&text("/status/phase").as_str()) {
                continue;
            }
            let id = (text("/metadata/namespace"), text("/metadata/name"));
            let new = || Pod { phase: Phase::Starting, seen: now, gone_by: None, ended: None };
            let mut pod = known.remove(&id).unwrap_or_else(new);
            steps.extend(pod.step(item, &id, now));
            pods.insert(id, pod);
        }
        steps
    }
}

impl Pod {
    fn step(&mut self, item: &Value, (namespace, name): &Id, now: Instant) -> Option<Step> {
        let path = format!("/api/v1/namespaces/{namespace}/pods/{name}");
        let ready = is_true(item, "Ready");
        if item.pointer("/metadata/deletionTimestamp").is_some() {
            let grace =
                item.pointer("/metadata/deletionGracePeriodSeconds").and_then(Value::as_u64).unwrap_or(0);
            let gone_by = *self.gone_by.get_or_insert(now + Duration::from_secs(grace));
            // What has not begun to work has nothing to finish.
            if self.phase == Phase::Starting {
                self.ended = Some(Exit::Failed);
            }
            self.phase = Phase::Draining;
            return (self.ended.is_some() || gone_by <= now).then_some(Step::Delete { path });
        }
        if item.pointer("/spec/nodeName").is_none() {
            return Some(Step::Bind { path, name: name.clone() });
        }
        if !ready {
            return (START_UP <= now - self.seen).then(|| Step::Status { path, status: running() });
        }
        self.phase = Phase::Ready;
        let owner = item.pointer("/metadata/ownerReferences/0/kind").and_then(Value::as_str);
        let exit = self.ended.filter(|_| owner == Some("Job"))?;
        Some(Step::Status { path, status: ended(exit) })
    }
}

fn running() -> Value {
    let conditions: Vec<Value> = ["Initialized", "ContainersReady", "Ready"]
        .map(|name| json!({"type": name, "status": "True"}))
        .into();
    json!({"phase": "Running", "conditions": conditions})
}

/// A Job counts a pod only when it is not ready any more.
fn ended(exit: Exit) -> Value {
    let (phase, reason) = match exit {
        Exit::Succeeded => ("Succeeded", "PodCompleted"),
        Exit::Failed => ("Failed", "PodFailed"),
    };
    json!({"phase": phase, "conditions": [{"type": "Ready", "status": "False", "reason": reason}]})
}
