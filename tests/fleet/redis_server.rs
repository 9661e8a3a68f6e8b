//! A real Redis on a free port, which may be killed and started again.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, sleep};

use crate::process::{PATIENCE, Process, free_port};

/// What a Redis writes to disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disk {
    /// Nothing.
    Off,
    /// Every write, before it is answered, so that nothing is lost when it is killed.
    Always,
}

/// A running `redis-server`.
pub(crate) struct Redis {
    port: u16,
    disk: Disk,
    folder: PathBuf,
    process: Option<Process>,
}

impl Redis {
    /// Starts one and waits until it answers.
    pub(crate) async fn start(folder: &Path, disk: Disk) -> Self {
        let mut redis = Self { port: free_port(), disk, folder: folder.to_owned(), process: None };
        redis.run().await;
        redis
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Starts it, with what it has on disk, and waits until it answers.
    pub(crate) async fn run(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]);
        command.arg(&self.folder);
        if self.disk == Disk::Always {
            command.args(["--appendonly", "yes", "--appendfsync", "always"]);
        }
        self.process = Some(Process::start(&mut command, &self.folder.join("redis.log")));
        let started = Instant::now();
        while !self.answers().await {
            assert!(started.elapsed() < PATIENCE, "redis-server does not start");
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What to connect to.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own.
    pub(crate) async fn connection(&self) -> MultiplexedConnection {
        self.connect().await.unwrap()
    }

    async fn connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }

    async fn answers(&self) -> bool {
        let Ok(mut connection) = self.connect().await else { return false };
        // While it reads its log it accepts connections, and refuses every command.
        redis::cmd("PING").exec_async(&mut connection).await.is_ok()
    }
}
