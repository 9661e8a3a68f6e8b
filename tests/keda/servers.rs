//! What each scenario has of its own: a Redis and one or two servers of ours.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::cluster::process::Process;
use crate::scene::Setting;

/// Port of every gRPC server: each has an address of its own.
pub(crate) const GRPC: u16 = 9090;
const ADMIN: u16 = 8080;
const REDIS: u16 = 6379;

/// Longest time a server may take to start.
const START: Duration = Duration::from_secs(20);

/// A Redis that remembers every write, so that nothing is lost when it is killed.
pub(crate) struct Redis {
    address: Ipv4Addr,
    folder: PathBuf,
    process: Option<Process>,
}

impl Redis {
    /// One that does not run yet.
    pub(crate) fn new(address: Ipv4Addr, folder: PathBuf) -> Self {
        Self { address, folder, process: None }
    }

    /// Starts it and waits until it answers.
    pub(crate) async fn start(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--port", &REDIS.to_string(), "--bind", &self.address.to_string()]);
        command.args(["--appendonly", "yes", "--appendfsync", "always", "--save", "", "--dir"]);
        command.arg(&self.folder);
        self.process = Some(Process::start(&mut command, &self.folder.join("redis.log")));
        let started = Instant::now();
        while !self.answers().await {
            assert!(started.elapsed() < START, "redis-server does not start");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// What to connect to.
    pub(crate) fn url(&self) -> String {
        format!("redis://{}:{REDIS}", self.address)
    }

    async fn answers(&self) -> bool {
        let Ok(mut connection) = connect(&self.url()).await else { return false };
        // While it reads its log it accepts connections, and refuses every command.
        redis::cmd("PING").exec_async(&mut connection).await.is_ok()
    }
}

/// A connection that gives up soon.
pub(crate) async fn connect(url: &str) -> redis::RedisResult<MultiplexedConnection> {
    redis::Client::open(url)?.get_multiplexed_async_connection().await
}

/// An `agent-scaler serve`.
pub(crate) struct Scaler {
    address: Ipv4Addr,
    configuration: PathBuf,
    log: PathBuf,
    process: Option<Process>,
    client: reqwest::Client,
}

impl Scaler {
    /// One that does not run yet.
    pub(crate) fn new(address: Ipv4Addr, folder: &Path, redis: &Redis, setting: &Setting) -> Self {
        let Setting { tick, tls, connections, .. } = setting;
        let configuration = folder.join(format!("agent-scaler-{address}.yaml"));
        let text = format!(
            "listen: {address}:{GRPC}
admin: {address}:{ADMIN}
tick: {tick}
connections:
  redis-main: {{ type: redis, url: \"{}\" }}
{connections}
{}\n",
            redis.url(),
            tls.as_ref().map(|tls| format!("tls: {tls}")).unwrap_or_default(),
        );
        std::fs::write(&configuration, text).unwrap();
        let log = folder.join(format!("agent-scaler-{address}.log"));
        let client = reqwest::Client::builder().timeout(Duration::from_secs(1)).build().unwrap();
        Self { address, configuration, log, process: None, client }
    }

    /// Starts it and waits until it is ready.
    pub(crate) async fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-scaler"));
        command.arg("serve").arg("--config").arg(&self.configuration);
        // The stand-in for AWS looks at neither.
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        self.process = Some(Process::start(&mut command, &self.log));
        let started = Instant::now();
        let ready = format!("http://{}:{ADMIN}/readyz", self.address);
        while !self.client.get(&ready).send().await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(started.elapsed() < START, "agent-scaler does not start: see {}", self.log.display());
            sleep(Duration::from_millis(50)).await;
        }
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Ends it as Kubernetes would.
    pub(crate) async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate().await;
        }
    }

    /// The file that it was started with.
    pub(crate) fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// How many calls of a method it has answered so far.
    pub(crate) async fn calls(&self, method: &str) -> u64 {
        let method = format!("method=\"{method}\"");
        let text = self.metrics().await;
        let calls = text.lines().filter(|line| line.starts_with("agent_scaler_requests_total{"));
        let calls = calls.filter(|line| line.contains(&method));
        calls.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    }

    /// How many calls it has answered with an error so far, by method and code.
    pub(crate) async fn refused_calls(&self) -> Vec<String> {
        let text = self.metrics().await;
        let calls = text.lines().filter(|line| line.starts_with("agent_scaler_requests_total{"));
        let refused: Vec<String> =
            calls.clone().filter(|line| !line.contains("code=\"ok\"")).map(str::to_owned).collect();
        assert!(calls.count() > refused.len(), "no call was ever answered, or not counted: {text}");
        refused
    }

    async fn metrics(&self) -> String {
        let url = format!("http://{}:{ADMIN}/metrics", self.address);
        self.client.get(url).send().await.unwrap().text().await.unwrap()
    }

    /// Asks for what it says, without holding on to it.
    pub(crate) fn asked(&self) -> Says {
        Says { address: self.address, client: self.client.clone() }
    }
}

/// Asks a server what it says.
pub(crate) struct Says {
    address: Ipv4Addr,
    client: reqwest::Client,
}

impl Says {
    /// The number and its reason, e.g. `6 maximum` or `unknown (stale)`.
    pub(crate) async fn about(&self, namespace: &str) -> String {
        let url = format!("http://{}:{ADMIN}/decisions/{namespace}/{}", self.address, crate::objects::NAME);
        let Ok(answer) = self.client.get(url).send().await else { return "down".to_owned() };
        let Ok(reports) = answer.json::<Value>().await else { return "nothing yet".to_owned() };
        let text = |key: &str| reports[0][key].as_str().unwrap_or_default().to_owned();
        match (text("state").as_str(), &reports[0]["replicas"]) {
            (state @ ("fresh" | "held"), replicas) => {
                let held = if state == "held" { " held" } else { "" };
                format!("{replicas} {}{held}", text("limitedBy"))
            }
            (state, _) => state.to_owned(),
        }
    }
}
