//! Task frameworks on Redis: what is read, beside what the framework itself says of the same queue.
//!
//! Each framework's driver in `tests/frameworks` puts tasks in and counts them by the framework's own API, and its
//! workers are killed as a node that is gone kills them.

mod bullmq;
mod celery;
mod dramatiq;
mod every;
mod exporters;
mod rq;
mod sidekiq;
mod sorted_set;
mod taskiq;

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::signals::{InFlight, Reading};
use agent_scaler::sources::{Client, Plan};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::redis::{client_of, read_one};
use crate::support::servers::Redis;
use crate::support::tree::root;

/// How long an installation may take, or a worker of a framework to start on a machine that is busy.
const SETUP: Duration = Duration::from_secs(300);

/// How long a worker may take to show what it does.
const PATIENCE: Duration = Duration::from_secs(60);

/// A Redis, and one framework on it.
struct Stage {
    redis: Redis,
    folder: PathBuf,
    environment: Vec<(&'static str, String)>,
}

impl Stage {
    /// A stage for what `setup.sh` installs under the name of that language.
    async fn of(language: &str) -> Self {
        let mut setup = Command::new("bash");
        setup.arg(root().join("tests/frameworks/setup.sh")).arg(language).kill_on_drop(true);
        let output = tokio::time::timeout(SETUP, setup.output()).await.unwrap().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success(), "{}", said.trim_end());
        let redis = Redis::plain();
        let broker = format!("{}/0", redis.url());
        let folder = PathBuf::from(said.trim_end());
        let environment = vec![
            ("BROKER", broker),
            ("PYTHONDONTWRITEBYTECODE", "1".to_owned()),
            ("RUBYOPT", "-W0".to_owned()),
            ("NODE_PATH", folder.join("node_modules").display().to_string()),
        ];
        Self { redis, folder, environment }
    }

    /// The same with another variable in the drivers' and workers' environment.
    fn with(mut self, name: &'static str, value: &str) -> Self {
        self.environment.push((name, value.to_owned()));
        self
    }

    /// The interpreter of the language, in the folder of the framework's driver.
    fn command(&self, program: &str, framework: &str, arguments: &[&str]) -> Command {
        let installed = self.folder.join("bin").join(program);
        let mut command = Command::new(if installed.exists() { installed } else { PathBuf::from(program) });
        command.current_dir(root().join("tests/frameworks").join(framework)).args(arguments);
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        // Of its own, so that a kill takes the workers' children too.
        command.process_group(0).kill_on_drop(true);
        command
    }

    fn driver(&self, program: &str, framework: &str, arguments: &[&str]) -> Driver {
        let mut command = self.command(program, framework, arguments);
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (commands, answers) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
        Driver { _process: process, commands, answers: BufReader::new(answers).lines() }
    }

    fn worker(&self, program: &str, framework: &str, arguments: &[&str]) -> Worker {
        let log = std::fs::File::create(self.redis.file("worker.log")).unwrap();
        let mut command = self.command(program, framework, arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        Worker(command.spawn().unwrap())
    }

    async fn client(&self) -> Box<dyn Client> {
        client_of(&self.redis).await
    }

    /// Reads until the reading is this one. Ages are left to tests of their own.
    async fn shows(&self, client: &mut Box<dyn Client>, plan: &Arc<dyn Plan>, expected: &Reading) {
        let mut last = None;
        let reading = async {
            loop {
                let seen = Reading { oldest: None, ..read_one(client, plan).await.unwrap() };
                if seen == *expected {
                    return;
                }
                last = Some(seen);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        if tokio::time::timeout(PATIENCE, reading).await.is_err() {
            let log = std::fs::read_to_string(self.redis.file("worker.log")).unwrap_or_default();
            panic!("never seen: {expected:?}\nbut: {last:?}\n{log}");
        }
    }

    /// Waits until a list is empty.
    async fn empties(&self, list: &str) {
        let emptying = async {
            while self.list_length(list) > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, emptying).await.is_ok(), "{list} is never empty");
    }

    /// What `redis` with the queue's list, as KEDA's trigger of that name, would see.
    fn list_length(&self, list: &str) -> u64 {
        redis::from_redis_value(self.redis.command(&["LLEN", list])).unwrap()
    }
}

/// A framework's own API, that does one thing for each line that it is told.
struct Driver {
    _process: Child,
    commands: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Driver {
    async fn ask(&mut self, command: &str) -> Value {
        self.commands.write_all(format!("{command}\n").as_bytes()).await.unwrap();
        let answer = tokio::time::timeout(SETUP, self.answers.next_line()).await.unwrap().unwrap();
        serde_json::from_str(&answer.unwrap_or_else(|| panic!("`{command}` ended the driver"))).unwrap()
    }
}

impl Driver {
    /// Asks until the framework says so.
    async fn says(&mut self, command: &str, expected: &Value) {
        let mut last = Value::Null;
        let saying = async {
            while last != *expected {
                tokio::time::sleep(Duration::from_millis(20)).await;
                last = self.ask(command).await;
            }
        };
        let said = tokio::time::timeout(PATIENCE, saying).await;
        assert!(said.is_ok(), "`{command}` says {last}, and never {expected}");
    }
}

/// A framework's worker.
struct Worker(Child);

impl Worker {
    /// Ends it and its children at once, as a node that is gone does.
    async fn kill(mut self) {
        self.kill_group();
        self.0.wait().await.unwrap();
    }

    fn kill_group(&self) {
        if let Some(id) = self.0.id() {
            let group = format!("-{id}");
            std::process::Command::new("kill").args(["-KILL", "--", &group]).status().unwrap();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.kill_group();
    }
}

/// A reading of what waits and what runs.
fn tasks(ready: u64, in_flight: u64) -> Reading {
    Reading { ready: Some(ready), in_flight: Some(InFlight::Known(in_flight)), ..Reading::default() }
}
