//! A real Prometheus, with a history that a test wrote, or with something to scrape.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::servers::{Tls, free_ports, write_certificates};

/// The password of the user `scaler`, where there is one.
pub(crate) const PASSWORD: &str = "hunter2";

/// Its bcrypt hash.
const HASH: &str = "$2b$04$iHXaDF5DDj0.dlZEKId17.yRP4EgxifRLtjroS00qsBloilSdIxqe";

/// How a Prometheus is set up.
#[derive(Clone, Default)]
pub(crate) struct Setup {
    /// What it has scraped, as OpenMetrics with times; without its end.
    pub(crate) history: String,
    /// The port of an exporter that it scrapes each second.
    pub(crate) scrapes: Option<u16>,
    /// Whether it asks for the user `scaler` and [`PASSWORD`].
    pub(crate) has_password: bool,
    /// How it encrypts.
    pub(crate) tls: Tls,
}

/// A running `prometheus`. Ends with its handle.
pub(crate) struct Prometheus {
    setup: Setup,
    port: u16,
    directory: TempDir,
    process: Child,
}

impl Prometheus {
    /// Starts one, and waits until it answers.
    pub(crate) async fn start(setup: Setup) -> Self {
        // Another process may take a free port before the server does.
        for _ in 0..5 {
            let directory = tempfile::tempdir().unwrap();
            write_files(&setup, &directory);
            let port = free_ports().port;
            let process = spawn(&directory, port);
            let mut prometheus = Self { setup: setup.clone(), port, directory, process };
            if prometheus.is_ready().await {
                return prometheus;
            }
        }
        panic!("prometheus does not start on any of five ports");
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.setup.tls == Tls::Off { "http" } else { "https" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// A file of its directory: `ca.crt`, `client.crt`, `client.key`, or one to be written.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Kills it and starts it anew on its port.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.process = spawn(&self.directory, self.port);
        assert!(self.is_ready().await, "prometheus does not come back");
    }

    /// Whether it comes up, within a minute: a loaded machine takes a while.
    async fn is_ready(&mut self) -> bool {
        for _ in 0..1_200 {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            let log = std::fs::read_to_string(self.file("log")).unwrap_or_default();
            if log.contains("Server is ready to receive web requests") {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.kill();
    }
}

fn write_files(setup: &Setup, directory: &TempDir) {
    let path = directory.path();
    let mut config = "global: { scrape_interval: 1s }\n".to_owned();
    if let Some(port) = setup.scrapes {
        writeln!(
            config,
            "scrape_configs: [{{ job_name: tasks, metrics_path: /, static_configs: [{{ targets: ['127.0.0.1:{port}'] }}] }}]"
        )
        .unwrap();
    }
    std::fs::write(path.join("prometheus.yml"), config).unwrap();
    let mut web = String::new();
    if setup.has_password {
        writeln!(web, "basic_auth_users: {{ scaler: '{HASH}' }}").unwrap();
    }
    if setup.tls != Tls::Off {
        write_certificates(directory);
        web.push_str("tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n");
        if setup.tls == Tls::Mutual {
            web.push_str("  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n");
        }
    }
    std::fs::write(path.join("web.yml"), web).unwrap();
    if !setup.history.is_empty() {
        let file = path.join("history");
        std::fs::write(&file, format!("{}# EOF\n", setup.history)).unwrap();
        let mut promtool = Command::new("promtool");
        promtool.args(["tsdb", "create-blocks-from", "openmetrics"]).arg(&file).arg(path.join("data"));
        let output = promtool.output().unwrap_or_else(missing);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

fn spawn(directory: &TempDir, port: u16) -> Child {
    let path = directory.path();
    let log = std::fs::File::create(path.join("log")).unwrap();
    Command::new("prometheus")
        .arg(format!("--config.file={}", path.join("prometheus.yml").display()))
        .arg(format!("--web.config.file={}", path.join("web.yml").display()))
        .arg(format!("--storage.tsdb.path={}", path.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg("--log.level=info")
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(missing)
}

fn missing<T>(error: std::io::Error) -> T {
    panic!("cannot start prometheus ({error}): install the package prometheus")
}
