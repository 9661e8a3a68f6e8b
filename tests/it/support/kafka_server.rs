//! The server as a process of its own, which nothing in it may end, with the clients that it starts.

use std::fs::{self, File};
use std::net::TcpListener;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use agent_scaler::scaler::proto::ScaledObjectRef;
use agent_scaler::scaler::proto::external_scaler_client::ExternalScalerClient;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::Status;
use tonic::transport::Channel;

use crate::support::harness::{eventually, metrics_request};

/// A running `agent-scaler serve`. Ends with its handle.
pub(crate) struct Server {
    process: Child,
    client: ExternalScalerClient<Channel>,
    directory: TempDir,
}

impl Server {
    /// Starts a server that reads every `tick` through `connections`, which are lines of its file.
    pub(crate) async fn start(tick: &str, connections: &str) -> Self {
        let [grpc, admin] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap());
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("agent-scaler.yaml");
        let text = format!("listen: {grpc}\nadmin: {admin}\ntick: {tick}\nconnections:\n{connections}");
        fs::write(&file, text).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_agent-scaler"))
            .args(["serve", "--config"])
            .arg(file)
            // A secret for some other backend.
            .env("OTHER_SECRET", "hunter2")
            .stdout(Stdio::null())
            .stderr(File::create(directory.path().join("log")).unwrap())
            .spawn()
            .unwrap();
        let address = format!("http://{grpc}");
        let client = eventually("that the server listens", async || {
            ExternalScalerClient::connect(address.clone()).await.ok()
        });
        Self { client: client.await, process, directory }
    }

    /// The value of a trigger.
    pub(crate) async fn value(&self, trigger: &ScaledObjectRef) -> Result<f64, Status> {
        let request = metrics_request(trigger, "agent-replicas");
        let values = self.client.clone().get_metrics(request).await?.into_inner().metric_values;
        Ok(values[0].metric_value_float)
    }

    /// A client of its gRPC, on the one connection that all calls share.
    pub(crate) fn client(&self) -> ExternalScalerClient<Channel> {
        self.client.clone()
    }

    /// Its process.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }

    /// The processes that it has started and that are not gone, also dead ones that nobody has buried.
    pub(crate) fn readers(&self) -> Vec<u32> {
        let processes = fs::read_dir("/proc").unwrap().flatten();
        let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        ids.filter(|id| parent(*id) == Some(self.id())).collect()
    }

    /// Whether it has ended by itself.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.process.try_wait().unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, with: Signal) {
        signal(self.id(), with);
    }

    /// Waits until it has ended.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        for _ in 0..2_000 {
            if let Some(status) = self.has_ended() {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("the server does not end: {}", self.log())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Sends a process a signal.
pub(crate) fn signal(id: u32, signal: Signal) {
    kill_process(Pid::from_raw(i32::try_from(id).unwrap()).unwrap(), signal).unwrap();
}

/// Whether there is a process of that number that has not ended.
pub(crate) fn is_alive(id: u32) -> bool {
    state(id).is_some_and(|(state, _)| state != 'Z')
}

/// Resident memory of a process at its highest so far, in MB, and now.
pub(crate) fn megabytes(id: u32, which: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(which))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

fn parent(id: u32) -> Option<u32> {
    Some(state(id)?.1)
}

fn state(id: u32) -> Option<(char, u32)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The name before it may hold anything.
    let mut rest = stat.rsplit_once(')')?.1.split_whitespace();
    Some((rest.next()?.chars().next()?, rest.next()?.parse().ok()?))
}
