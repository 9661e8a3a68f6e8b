//! The program itself as a child process: its ports, its log, its memory and its end.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::time::Instant;

/// How long the program may take to say that it serves.
const START: Duration = Duration::from_secs(20);

/// `agent-scaler serve`, killed with its handle.
pub(crate) struct Program {
    pub(crate) grpc: SocketAddr,
    pub(crate) admin: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
    child: Child,
    _directory: TempDir,
}

impl Program {
    /// Starts it on free ports with `file` as further lines of its configuration.
    pub(crate) fn start(file: &str) -> Self {
        Self::with_descriptors(file, None)
    }

    /// The same with a limit on its file descriptors.
    pub(crate) fn with_descriptors(file: &str, limit: Option<u32>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let config = directory.path().join("agent-scaler.yaml");
        fs::write(&config, format!("listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n{file}")).unwrap();
        let limit = limit.map_or_else(String::new, |limit| format!("ulimit -n {limit}; "));
        let mut child = Command::new("sh")
            .args(["-c", &format!("{limit}exec \"$0\" serve --config \"$1\"")])
            .arg(env!("CARGO_BIN_EXE_agent-scaler"))
            .arg(&config)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        let (written, log) = (Arc::clone(&lines), child.stderr.take().unwrap());
        thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                written.lock().unwrap().push(line);
            }
        });
        let (grpc, admin) = addresses(&lines);
        Self { grpc, admin, lines, child, _directory: directory }
    }

    /// The lines of its log so far.
    pub(crate) fn log(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }

    /// The most memory that it has had at a time, in bytes.
    pub(crate) fn peak_memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Processor time that it has used.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let after_name = stat.rsplit(')').next().unwrap();
        let ticks: u64 =
            after_name.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
        Duration::from_millis(ticks * 10)
    }

    /// Sends SIGTERM and waits for the end. Gives how it ended and how long that took.
    pub(crate) fn terminate(mut self) -> (ExitStatus, Duration) {
        let asked = Instant::now();
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return (status, asked.elapsed());
            }
            assert!(asked.elapsed() < Duration::from_secs(30), "it does not end");
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The two addresses that the program names once it serves.
fn addresses(lines: &Mutex<Vec<String>>) -> (SocketAddr, SocketAddr) {
    let asked = Instant::now();
    loop {
        let lines = lines.lock().unwrap().clone();
        let serving = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        if let Some(line) = serving.into_iter().find(|line| line["message"] == "Serving.") {
            let address = |name: &str| line[name].as_str().unwrap().parse().unwrap();
            return (address("grpc"), address("admin"));
        }
        assert!(asked.elapsed() < START, "it does not serve: {lines:?}");
        thread::sleep(Duration::from_millis(20));
    }
}
