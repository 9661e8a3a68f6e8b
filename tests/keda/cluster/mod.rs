//! A control plane and KEDA: started in order, ended with their handle.

pub(crate) mod build;
pub(crate) mod certificates;
pub(crate) mod isolation;
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
use process::Process;

/// How often the HPA looks: fast, because every scenario waits for it, and not a multiple of KEDA's poll.
const HPA_SYNC: &str = "1900ms";

/// Where KEDA's operator says that it is ready.
const OPERATOR_HEALTH: &str = "127.0.0.1:8081";

/// The controllers that are needed between a ScaledObject and its pods.
const CONTROLLERS: &[&str] = &[
    "deployment",
    "replicaset",
    "job",
    "horizontal-pod-autoscaler",
    "namespace",
    "serviceaccount",
    "garbage-collector",
    "root-ca-certificate-publisher",
];

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
        install_keda(&api, &binaries.manifests, &certificates).await;
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

/// Applies what KEDA's own installation applies, except for its Deployments.
async fn install_keda(api: &Api, manifests: &Path, certificates: &Certificates) {
    for folder in [manifests.to_owned(), manifests.join("crd"), manifests.join("metrics-server")] {
        let mut files: Vec<PathBuf> = folder.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect();
        // The namespace sorts before what lies in it.
        files.sort();
        for file in files.iter().filter(|file| file.extension().is_some_and(|extension| extension == "yaml"))
        {
            let text = std::fs::read_to_string(file).unwrap();
            for document in text.split("\n---").filter(|document| document.contains("kind:")) {
                let object: Value = serde_saphyr::from_str(document).unwrap();
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
            "caBundle": base64(certificates.read("keda/ca.crt").as_bytes()),
        },
    }))
    .await;
}

/// What the API wants bytes to be.
pub(crate) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let [a, b, c] = [0, 1, 2].map(|at| u32::from(chunk.get(at).copied().unwrap_or(0)));
        let bits = (a << 16) | (b << 8) | c;
        for at in 0..4 {
            let sextet = (bits >> (18 - 6 * at)) & 63;
            let padding = at > chunk.len();
            text.push(if padding { '=' } else { char::from(ALPHABET[sextet as usize]) });
        }
    }
    text
}

/// Knows how each process is called.
struct Launcher<'a> {
    binaries: &'a Binaries,
    certificates: &'a Certificates,
    folder: &'a Path,
}

impl Launcher<'_> {
    fn etcd(&self) -> Process {
        let mut command = self.control_plane("etcd");
        command.arg("--data-dir").arg(self.folder.join("etcd"));
        // Nothing is to outlive the run.
        command.args(["--unsafe-no-fsync", "--log-level=warn"]);
        self.start("etcd", &mut command)
    }

    fn api_server(&self) -> Process {
        let mut command = self.control_plane("kube-apiserver");
        command.args([
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=127.0.0.1",
            "--advertise-address=127.0.0.1",
            "--endpoint-reconciler-type=none",
            "--service-cluster-ip-range=10.96.0.0/16",
            "--authorization-mode=RBAC",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            // Our nodes have no kubelet that could lift the taint.
            "--disable-admission-plugins=TaintNodesByCondition",
        ]);
        for (flag, file) in [
            ("tls-cert-file", "apiserver.crt"),
            ("tls-private-key-file", "apiserver.key"),
            ("client-ca-file", "ca.crt"),
            ("service-account-key-file", "accounts.pub"),
            ("service-account-signing-key-file", "accounts.key"),
            ("proxy-client-cert-file", "front-proxy.crt"),
            ("proxy-client-key-file", "front-proxy.key"),
            ("requestheader-client-ca-file", "front-ca.crt"),
        ] {
            command.arg(self.flag(flag, file));
        }
        self.start("kube-apiserver", &mut command)
    }

    fn proxy(&self) -> Process {
        let mut command = self.control_plane("api-proxy");
        command.arg(self.certificates.path("admin.kubeconfig")).arg(PROXY);
        self.start("api-proxy", &mut command)
    }

    fn controllers(&self) -> Process {
        let mut command = self.control_plane("kube-controller-manager");
        let controllers: Vec<String> = CONTROLLERS.iter().map(|name| format!("{name}-controller")).collect();
        command.args([
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
        ]);
        command.arg(format!("--horizontal-pod-autoscaler-sync-period={HPA_SYNC}"));
        command.arg(format!("--controllers={}", controllers.join(",")));
        for (flag, file) in [
            ("kubeconfig", "controllers.kubeconfig"),
            ("authentication-kubeconfig", "controllers.kubeconfig"),
            ("authorization-kubeconfig", "controllers.kubeconfig"),
            ("service-account-private-key-file", "accounts.key"),
            ("root-ca-file", "ca.crt"),
            ("tls-cert-file", "controllers.crt"),
            ("tls-private-key-file", "controllers.key"),
        ] {
            command.arg(self.flag(flag, file));
        }
        self.start("kube-controller-manager", &mut command)
    }

    fn operator(&self) -> Process {
        let mut command = self.keda(&self.binaries.operator);
        command.arg(self.flag("cert-dir", "keda"));
        command.args([
            "--enable-cert-rotation=false",
            "--leader-elect=false",
            "--metrics-service-bind-address=127.0.0.1:9666",
            "--metrics-bind-address=127.0.0.1:8080",
            "--kube-api-qps=200",
            "--kube-api-burst=400",
            "--zap-log-level=debug",
            "--zap-time-encoding=rfc3339nano",
        ]);
        command.arg(format!("--health-probe-bind-address={OPERATOR_HEALTH}"));
        self.start("keda-operator", &mut command)
    }

    fn adapter(&self) -> Process {
        let mut command = self.keda(&self.binaries.adapter);
        command.args(["--bind-address=127.0.0.1", "--secure-port=6444", "--port=8085"]);
        command.arg("--metrics-service-address=127.0.0.1:9666");
        for (flag, file) in [
            ("lister-kubeconfig", "keda.kubeconfig"),
            ("authentication-kubeconfig", "keda.kubeconfig"),
            ("authorization-kubeconfig", "keda.kubeconfig"),
            ("client-ca-file", "keda/ca.crt"),
            ("tls-cert-file", "keda/tls.crt"),
            ("tls-private-key-file", "keda/tls.key"),
            ("cert-dir", "keda"),
        ] {
            command.arg(self.flag(flag, file));
        }
        self.start("keda-adapter", &mut command)
    }

    fn control_plane(&self, program: &str) -> Command {
        let mut command = Command::new(&self.binaries.control_plane);
        command.arg(program);
        command
    }

    fn keda(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env("KUBECONFIG", self.certificates.path("keda.kubeconfig"));
        command
            .env("POD_NAMESPACE", "keda")
            .env("KEDA_CLUSTER_OBJECT_NAMESPACE", "keda")
            .env("WATCH_NAMESPACE", "");
        // As in KEDA's image, which is linked without the machine's resolver.
        command.env("GODEBUG", "netdns=go");
        command
    }

    fn flag(&self, name: &str, file: &str) -> String {
        format!("--{name}={}", self.certificates.path(file).display())
    }

    fn start(&self, name: &str, command: &mut Command) -> Process {
        Process::start(command, &self.folder.join(format!("{name}.log")))
    }
}
