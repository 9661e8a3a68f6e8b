//! How each process of the cluster is called.

use std::path::Path;
use std::process::Command;

use super::build::Binaries;
use super::certificates::Certificates;
use super::process::Process;
use crate::api::PROXY;

/// How often the HPA looks: fast, because every scenario waits for it, and not a multiple of KEDA's poll.
const HPA_SYNC: &str = "1900ms";

/// Where KEDA's operator says that it is ready.
pub(super) const OPERATOR_HEALTH: &str = "127.0.0.1:8081";

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

/// Knows how each process is called.
pub(super) struct Launcher<'a> {
    pub(super) binaries: &'a Binaries,
    pub(super) certificates: &'a Certificates,
    pub(super) folder: &'a Path,
}

impl Launcher<'_> {
    pub(super) fn etcd(&self) -> Process {
        let mut command = self.control_plane("etcd");
        command.arg("--data-dir").arg(self.folder.join("etcd"));
        // Nothing is to outlive the run.
        command.args(["--unsafe-no-fsync", "--log-level=warn"]);
        self.start("etcd", &mut command)
    }

    pub(super) fn api_server(&self) -> Process {
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

    pub(super) fn proxy(&self) -> Process {
        let mut command = self.control_plane("api-proxy");
        command.arg(self.certificates.path("admin.kubeconfig")).arg(PROXY);
        self.start("api-proxy", &mut command)
    }

    pub(super) fn controllers(&self) -> Process {
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
        // Every sync of every HPA leaves a line, from which `history` learns what it was.
        command.arg("--vmodule=horizontal=4");
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

    pub(super) fn operator(&self) -> Process {
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

    pub(super) fn adapter(&self) -> Process {
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
