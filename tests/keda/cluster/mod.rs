//! A control plane and KEDA: started in order, ended with their handle.

pub(crate) mod build;
pub(crate) mod certificates;
pub(crate) mod isolation;
mod launcher;
pub(crate) mod process;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::api::{Api, PROXY};
use crate::kubelet::{self, Pods};
use build::Binaries;
use certificates::Certificates;
use launcher::{Launcher, OPERATOR_HEALTH};
use process::Process;

/// A running cluster.
pub(crate) struct Cluster {
    /// Its API.
    pub(crate) api: Api,
    /// Its pods.
    pub(crate) pods: Arc<Pods>,
    /// KEDA's version.
    pub(crate) keda: String,
    /// Prints KEDA's protocol, or ours.
    pub(crate) describe: PathBuf,
    directory: TempDir,
    _processes: Vec<Process>,
}

impl Cluster {
    /// Starts everything and waits until KEDA can scale.
    pub(crate) async fn start(binaries: Binaries) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let certificates = Certificates::write(directory.path().join("certificates"));
        let launcher =
            Launcher { binaries: &binaries, certificates: &certificates, folder: directory.path() };
        let api = Api::new();
        let mut processes = vec![launcher.etcd(), launcher.api_server(), launcher.proxy()];
        until("the API server", async || api.is_ready(&format!("http://{PROXY}/readyz")).await).await;
        processes.push(launcher.controllers());
        install_keda(&api, &binaries.manifests).await;
        processes.extend([launcher.operator(), launcher.adapter()]);
        until("KEDA's operator", async || api.is_ready(&format!("http://{OPERATOR_HEALTH}/readyz")).await)
            .await;
        until("KEDA's metrics", async || {
            let service =
                api.get("/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.external.metrics.k8s.io").await;
            service.is_some_and(|service| is_true(&service, "Available"))
        })
        .await;
        let pods = kubelet::start(api.clone()).await;
        let Binaries { keda, describe, .. } = binaries;
        Self { api, pods, keda, describe, directory, _processes: processes }
    }

    /// A folder of its own for a scenario.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        let folder = self.directory.path().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// What one of the cluster's programs prints.
    pub(crate) fn log(&self, program: &str) -> PathBuf {
        self.directory.path().join(program).with_extension("log")
    }

    /// Where all logs are, which then outlive the cluster.
    pub(crate) fn keep_logs(&self) -> PathBuf {
        let kept = tempfile::Builder::new().prefix("agent-scaler-keda-").tempdir().unwrap().keep();
        let logs = self.directory.path().join(".");
        assert!(Command::new("cp").arg("-r").arg(logs).arg(&kept).status().unwrap().success());
        kept
    }
}

/// Whether a condition of an object holds.
pub(crate) fn is_true(object: &Value, condition: &str) -> bool {
    self::condition(object, condition).is_some_and(|found| found["status"] == "True")
}

/// A condition of an object's status.
pub(crate) fn condition<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    object.pointer("/status/conditions")?.as_array()?.iter().find(|condition| condition["type"] == name)
}

async fn until(what: &str, done: impl AsyncFn() -> bool) {
    let started = Instant::now();
    while !done().await {
        assert!(started.elapsed() < Duration::from_secs(90), "{what} did not come up within 90 s");
        sleep(Duration::from_millis(50)).await;
    }
}

/// The objects in a YAML file.
pub(crate) fn documents(text: &str) -> impl Iterator<Item = Value> {
    let documents =
        text.split("\n---").filter(|document| document.lines().any(|line| line.starts_with("kind:")));
    documents.map(|document| {
        serde_saphyr::from_str(document).unwrap_or_else(|error| panic!("{error}: {document}"))
    })
}

/// Applies what KEDA's own installation applies, except for its Deployments.
async fn install_keda(api: &Api, manifests: &Path) {
    for folder in [manifests.to_owned(), manifests.join("crd"), manifests.join("metrics-server")] {
        let mut files: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        // The namespace sorts before what lies in it.
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "yaml"))
        {
            let text = std::fs::read_to_string(file).unwrap();
            for object in documents(&text) {
                api.apply(&object).await;
            }
        }
    }
    // An operator that finds a kind missing looks again only after ten seconds.
    until("KEDA's kinds", async || {
        let definitions = api.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions").await;
        let definitions = definitions.and_then(|list| list["items"].as_array().cloned()).unwrap_or_default();
        definitions.iter().all(|definition| is_true(definition, "Established"))
    })
    .await;
    // Without kube-proxy a Service leads nowhere, but the API server resolves external names itself.
    api.apply(&json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "keda-metrics-apiserver", "namespace": "keda"},
        "spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": 6444}]},
    }))
    .await;
    api.apply(&json!({
        "apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
        "spec": {
            "service": {"name": "keda-metrics-apiserver", "namespace": "keda", "port": 6444},
            "group": "external.metrics.k8s.io", "version": "v1beta1",
            "groupPriorityMinimum": 100, "versionPriority": 100,
            // Who answers on the other end of a loopback is not in question here.
            "insecureSkipTLSVerify": true,
        },
    }))
    .await;
}
