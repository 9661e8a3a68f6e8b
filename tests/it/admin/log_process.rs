//! The whole program while its log cannot be written.

use std::fs::{self, File};
use std::io::Read as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use agent_scaler::scaler::proto::external_scaler_client::ExternalScalerClient;
use tempfile::TempDir;
use tokio::time::{Instant, timeout};
use tonic::Code;
use tonic::transport::{Channel, Endpoint};

use crate::support::harness::{eventually, trigger};
use crate::support::servers::free_ports;

/// Refusals that are asked for, each for a reason of its own.
const REFUSALS: usize = 300;

/// At `trace` the calls alone say more than a pipe and the queue hold.
#[tokio::test]
async fn a_log_that_nobody_reads_holds_up_neither_calls_nor_the_end() {
    let (mut served, mut client) = Served::start("trace", Stdio::piped()).await;
    served.refuse(&mut client).await;
    assert!(served.metric("queue_full").await > 0.0, "what was dropped is counted");
    let status = served.end().await;
    assert!(status.success(), "{status}");
}

#[tokio::test]
async fn refusals_that_differ_are_logged_at_a_rate_and_as_short_lines() {
    let started = Instant::now();
    let (mut served, mut client) = Served::start("info", Stdio::piped()).await;
    served.refuse(&mut client).await;
    let most = 11 + usize::try_from(started.elapsed().as_secs()).unwrap();
    let status = served.end().await;
    assert!(status.success(), "{status}");
    let mut log = String::new();
    served.process.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    let refused: Vec<&str> = log.lines().filter(|line| line.contains("Trigger refused.")).collect();
    assert!((10..=most).contains(&refused.len()), "{} lines for {REFUSALS} refusals", refused.len());
    for line in refused {
        assert!(line.len() < 700, "{line}");
        serde_json::from_str::<serde_json::Value>(line).unwrap();
    }
    assert_eq!(log.lines().filter(|line| line.contains("Shutting down.")).count(), 1, "the end is said");
}

#[tokio::test]
async fn a_log_on_a_full_disk_or_with_its_reader_gone_costs_its_lines_only() {
    let full = File::options().write(true).open("/dev/full").unwrap();
    for (name, stderr) in [("a full disk", Stdio::from(full)), ("a reader that is gone", Stdio::piped())] {
        let (mut served, mut client) = Served::start("info", stderr).await;
        drop(served.process.stderr.take());
        served.refuse(&mut client).await;
        assert!(served.metric("write_failed").await > 0.0, "{name}: what was dropped is counted");
        assert_eq!(served.page("/livez").await, "ok\n", "{name}");
        let status = served.end().await;
        assert!(status.success(), "{name}: {status}");
    }
}

/// The program, and the address of its admin port.
struct Served {
    process: Child,
    admin: String,
    _directory: TempDir,
}

impl Served {
    async fn start(level: &str, stderr: Stdio) -> (Self, ExternalScalerClient<Channel>) {
        drop(rustls::crypto::ring::default_provider().install_default());
        let directory = TempDir::new().unwrap();
        let ports = free_ports();
        let (grpc, admin) = (format!("127.0.0.1:{}", ports.port), format!("127.0.0.1:{}", ports.tls_port));
        let file = directory.path().join("agent-scaler.yaml");
        fs::write(&file, format!("listen: {grpc}\nadmin: {admin}\n")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-scaler"));
        command.args(["serve", "--log", level, "--config"]).arg(&file).stderr(stderr);
        let process = command.spawn().unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{grpc}")).unwrap();
        let channel = eventually("a server", async || endpoint.connect().await.ok()).await;
        (Self { process, admin, _directory: directory }, ExternalScalerClient::new(channel))
    }

    /// Has many triggers refused, each for a reason of its own, each answered in time.
    async fn refuse(&mut self, client: &mut ExternalScalerClient<Channel>) {
        for number in 0..REFUSALS {
            let unknown = format!("unknown{number}{}", "x".repeat(200));
            let wrong = trigger("wrong", &[("source", "redis"), (&unknown, "1")]);
            let refused = timeout(Duration::from_secs(5), client.is_active(wrong)).await.unwrap();
            assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
        }
    }

    async fn page(&self, path: &str) -> String {
        reqwest::get(format!("http://{}{path}", self.admin)).await.unwrap().text().await.unwrap()
    }

    /// Lines that were dropped for `reason`.
    async fn metric(&self, reason: &str) -> f64 {
        let page = self.page("/metrics").await;
        let series = format!("agent_scaler_log_lines_dropped_total{{reason=\"{reason}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&series)).unwrap().parse().unwrap()
    }

    /// Tells the process to end, and waits for it.
    async fn end(&mut self) -> ExitStatus {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let process = std::sync::Mutex::new(&mut self.process);
        eventually("the end of the process", async || process.lock().unwrap().try_wait().unwrap()).await
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
