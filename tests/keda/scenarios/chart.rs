//! What we ship for an installation is accepted by a real API server, every field of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::api::Api;
use crate::cluster::build::helms;
use crate::cluster::documents;
use crate::objects;
use crate::scene::Stage;

/// The namespace of the chart's release.
const RELEASE: &str = "agent-scaler";

/// The one kind of ours that belongs to another project, which is not installed here.
const FOREIGN: &str = "ServiceMonitor";

pub(super) async fn is_accepted(stage: Stage) {
    let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy");
    let manifests = deploy.join("manifests");
    let mut objects = Vec::new();
    let workers = yaml_in(&deploy.join("node-pools"));
    let workers = workers.into_iter().filter(|file| file.ends_with("worker.yaml"));
    for file in yaml_in(&manifests).into_iter().chain(workers) {
        let text = std::fs::read_to_string(&file).unwrap();
        match file.file_name().and_then(|name| name.to_str()) {
            Some("kustomization.yaml") => {}
            // What kustomization.yaml makes of the server's file.
            Some(name @ "agent-scaler.yaml") => objects.push((
                file.clone(),
                json!({
                    "apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": RELEASE, "namespace": RELEASE}, "data": {name: text},
                }),
            )),
            _ => objects.extend(documents(&text).map(|object| (file.clone(), object))),
        }
    }
    let plain = objects.len();
    assert!(plain > 10, "only {plain} objects in {}", manifests.display());
    let helms = helms();
    for helm in &helms {
        for values in yaml_in(&deploy.join("charts/agent-scaler/ci")) {
            let rendered = rendered(&stage, helm, &deploy.join("charts/agent-scaler"), &values);
            objects.extend(documents(&rendered).map(|object| (values.clone(), object)));
        }
    }
    let skipped = accepted(&stage, &objects).await;
    slips_are_refused(&stage.cluster.api).await;
    let (charts, helms) = (objects.len() - plain, helms.len());
    stage.timeline.note(format!("accepted: {plain} plain objects of deploy/, {charts} of {helms} Helms"));
    if helms == 0 {
        stage.timeline.note("the chart is not rendered: no Helm in the cache (make test-manifests gets it)");
    }
    if skipped > 0 {
        stage.timeline.note(format!("skipped: {skipped} of kind {FOREIGN}, which is not installed"));
    }
}

/// Requires that all of `objects` are accepted, and returns how many are of the foreign kind.
async fn accepted(stage: &Stage, objects: &[(PathBuf, Value)]) -> usize {
    let api = &stage.cluster.api;
    prepare(api, objects.iter().map(|(_, object)| object)).await;
    let (mut skipped, mut refused) = (0, Vec::new());
    for (file, object) in objects {
        let mut answers = vec![api.would_apply(object).await];
        if let Some(pod) = pod(object) {
            answers.push(api.would_apply(&pod).await);
        }
        for error in answers.into_iter().filter_map(Result::err) {
            if error.is_unknown_kind() && object["kind"] == FOREIGN {
                skipped += 1;
            } else {
                refused.push(format!("{}: {error}", file.display()));
            }
        }
    }
    assert!(refused.is_empty(), "the API server refuses:\n{}", refused.join("\n"));
    skipped
}

/// Makes what a dry run looks for: namespaces with their labels, and the service accounts of pods.
async fn prepare(api: &Api, objects: impl Iterator<Item = &Value> + Clone) {
    let mut there = BTreeSet::from(["keda"]);
    for namespace in objects.clone().filter(|object| object["kind"] == "Namespace") {
        api.apply(namespace).await;
        there.extend(namespace["metadata"]["name"].as_str());
    }
    let used: BTreeSet<&str> =
        objects.clone().filter_map(|object| object["metadata"]["namespace"].as_str()).collect();
    for namespace in used.difference(&there) {
        api.apply(&objects::namespace(namespace)).await;
    }
    for pod in objects.filter_map(pod) {
        let name = pod["spec"]["serviceAccountName"].as_str().unwrap_or("default");
        let metadata = json!({"name": name, "namespace": pod["metadata"]["namespace"]});
        api.apply(&json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})).await;
    }
}

/// A pod of a workload: that the namespace's pod-security labels admit it is asked only of pods.
fn pod(workload: &Value) -> Option<Value> {
    let template = match workload["kind"].as_str()? {
        "Deployment" | "StatefulSet" | "DaemonSet" | "ReplicaSet" | "Job" => "/spec/template",
        "CronJob" => "/spec/jobTemplate/spec/template",
        "ScaledJob" => "/spec/jobTargetRef/template",
        _ => return None,
    };
    let mut pod = workload.pointer(template)?.clone();
    pod["apiVersion"] = "v1".into();
    pod["kind"] = "Pod".into();
    for key in ["name", "namespace"] {
        pod["metadata"][key] = workload["metadata"][key].clone();
    }
    Some(pod)
}

/// Requires that a slip is refused, without which an acceptance would mean nothing.
async fn slips_are_refused(api: &Api) {
    let metadata = json!({"name": "slip", "namespace": RELEASE});
    let slip = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "dta": {}});
    let refused = api.would_apply(&slip).await.unwrap_err().to_string();
    assert!(refused.contains("dta"), "{refused}");
    let container = json!({"name": "root", "image": "root"});
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]},
    });
    let refused = api.would_apply(&pod).await.unwrap_err().to_string();
    assert!(refused.contains("restricted"), "{refused}");
}

/// What the chart renders, without the user's settings.
fn rendered(stage: &Stage, helm: &Path, chart: &Path, values: &Path) -> String {
    let mut command = Command::new(helm);
    command.args(["template", RELEASE, "--namespace", RELEASE]).arg(chart).arg("--values").arg(values);
    let output = command.env("HOME", stage.folder()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {}: {errors}", helm.display(), values.display());
    String::from_utf8(output.stdout).unwrap()
}

/// All YAML files in a folder and the folders in it.
fn yaml_in(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for path in folder.read_dir().unwrap().map(|entry| entry.unwrap().path()) {
        if path.is_dir() {
            files.extend(yaml_in(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            files.push(path);
        }
    }
    files.sort();
    files
}
