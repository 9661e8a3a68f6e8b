//! The server as a process of its own, so that its memory and its CPU time are nobody else's.

use std::fs::File;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use agent_scaler::scaler::proto::external_scaler_client::ExternalScalerClient;
use tempfile::TempDir;
use tokio::time::sleep;
use tonic::transport::Channel;

/// The core that the server has to itself.
const CORE: &str = "0";

/// Moves this process, and so the servers of queues that it starts, to the other cores. On a machine with one core
/// all share it.
pub(crate) fn leave_its_core() {
    let last = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    if last > 0 {
        let id = std::process::id().to_string();
        let mut taskset = Command::new("taskset");
        let moved = taskset.args(["-apc", &format!("1-{last}"), &id]).stdout(Stdio::null());
        assert!(moved.status().unwrap().success(), "taskset cannot move this process");
    }
}

/// A running `agent-scaler serve` with the default tick, on a core of its own. Ends with its handle.
pub(crate) struct Server {
    process: Child,
    started: Instant,
    grpc: u16,
    admin: u16,
    directory: TempDir,
}

impl Server {
    /// Starts the server of this build; its connection `main` is the Redis on `redis_port`.
    pub(crate) fn start(redis_port: u16) -> Self {
        let [grpc, admin] = free_ports();
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent-scaler.yaml");
        let text = format!(
            "listen: 127.0.0.1:{grpc}\nadmin: 127.0.0.1:{admin}\nmaxTriggers: 120000\n\
             connections:\n  main: {{ type: redis, url: \"redis://127.0.0.1:{redis_port}\" }}\n"
        );
        std::fs::write(&file, text).unwrap();
        let started = Instant::now();
        let process = Command::new("taskset")
            .args(["-c", CORE, env!("CARGO_BIN_EXE_agent-scaler"), "serve", "--config"])
            .arg(file)
            .stdout(Stdio::null())
            .stderr(File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        Self { process, started, grpc, admin, directory }
    }

    /// When it was started.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// A client on one connection, which all its clones share, as all of KEDA's calls do.
    pub(crate) async fn client(&self) -> ExternalScalerClient<Channel> {
        for _ in 0..1_000 {
            let address = format!("http://127.0.0.1:{}", self.grpc);
            if let Ok(client) = ExternalScalerClient::connect(address).await {
                return client;
            }
            sleep(Duration::from_millis(10)).await;
        }
        let log = std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
        panic!("the server does not start: {log}");
    }

    /// The page that Prometheus reads.
    pub(crate) async fn metrics(&self) -> String {
        let address = format!("http://127.0.0.1:{}/metrics", self.admin);
        reqwest::get(address).await.unwrap().text().await.unwrap()
    }

    /// Resident memory, now and at its highest so far, in MB.
    pub(crate) fn memory(&self) -> (f64, f64) {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.id())).unwrap();
        let megabytes = |name: &str| -> f64 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            line.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1024.0
        };
        (megabytes("VmRSS:"), megabytes("VmHWM:"))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// CPU time that a process has used.
pub(crate) fn cpu_time(process: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
    // Behind the name, which may hold anything, in its brackets.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    hundredths(&fields[11..13])
}

/// CPU time that the whole machine has used.
pub(crate) fn machine_cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<&str> = stat.lines().next().unwrap().split_whitespace().collect();
    // user, nice, system, and irq, softirq behind idle and iowait.
    hundredths(&fields[1..4]) + hundredths(&fields[6..8])
}

/// The kernel counts in hundredths of a second.
fn hundredths(fields: &[&str]) -> Duration {
    let sum: u64 = fields.iter().map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(sum * 10)
}

/// Ports that were free a moment ago.
fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}
