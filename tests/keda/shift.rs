//! The reference worker in the pods of Jobs: each runs `worker --once` as a real process, and ends as the process does.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{RedisResult, cmd};
use tokio::time::{Instant, sleep};

use crate::cluster::process::Process;
use crate::examples;
use crate::kubelet::{Exit, Phase, Pods};
use crate::ledger::{Ledger, Run};
use crate::objects::Queue;
use crate::servers;

/// How often pods and records are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Port of the model and the tools.
const MODEL: u16 = 8400;

/// What a step of a task takes.
pub(crate) const STEP: Duration = Duration::from_millis(500);

/// What all workers of a scenario need.
pub(crate) struct Shift {
    pub(crate) pods: Arc<Pods>,
    pub(crate) namespace: String,
    pub(crate) folder: PathBuf,
    /// Where the scenario's Redis is, and its model.
    pub(crate) address: Ipv4Addr,
    pub(crate) redis: String,
    pub(crate) queue: Queue,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    /// Pods whose process is to be killed.
    pub(crate) doomed: Arc<Mutex<BTreeSet<String>>>,
}

impl Shift {
    /// Runs a worker in every pod that is ready, for as long as this is polled.
    pub(crate) async fn work(self) {
        let mut model = Command::new(examples::path("llm-stub"));
        model.args(["--listen", &format!("{}:{MODEL}", self.address)]);
        let _model = Process::start(&mut model, &self.folder.join("llm-stub.log"));
        std::fs::write(self.folder.join("key"), "any").unwrap();
        let mut running = BTreeMap::new();
        loop {
            self.tend(&mut running);
            // Whatever goes wrong, the next look is a new start.
            let _ = self.note().await;
            sleep(LOOK_EVERY).await;
        }
    }

    /// Starts what is to run, and ends the pods whose process has ended.
    fn tend(&self, running: &mut BTreeMap<String, Process>) {
        for (pod, phase) in self.pods.of(&self.namespace) {
            if phase == Phase::Ready {
                running.entry(pod.clone()).or_insert_with(|| self.start(&pod));
            }
        }
        for pod in std::mem::take(&mut *self.doomed.lock().unwrap_or_else(PoisonError::into_inner)) {
            running.get_mut(&pod).unwrap().kill();
        }
        for (pod, process) in running {
            if let Some(status) = process.ended() {
                let exit = if status.success() { Exit::Succeeded } else { Exit::Failed };
                self.pods.end(&self.namespace, pod, exit);
            }
        }
    }

    fn start(&self, pod: &str) -> Process {
        let model = format!("http://{}:{MODEL}", self.address);
        let kind = match self.queue {
            Queue::List => "list",
            Queue::Stream => "stream",
        };
        let mut worker = Command::new(examples::path("worker"));
        worker.args([
            "--once",
            "--listen",
            "127.0.0.1:0",
            "--worker",
            pod,
            "--lease",
            "2s",
            "--minute",
            "6s",
        ]);
        worker.args(["--redis-url", &self.redis, "--queue", Queue::TASKS, "--queue-kind", kind]);
        worker.args(["--group", Queue::GROUP, "--processing-list", Queue::PROCESSING]);
        worker.args(["--model", "any", "--base-url", &model, "--tools-url", &format!("{model}/tools")]);
        worker.arg("--api-key-file").arg(self.folder.join("key"));
        Process::start(&mut worker, &self.folder.join(format!("{pod}.log")))
    }

    /// Copies what the records say into the books.
    async fn note(&self) -> RedisResult<()> {
        let mut redis = servers::connect(&self.redis).await?;
        let open = self.ledger().open();
        for task in open {
            let [status, worker] = self.record(&mut redis, task.id).await?;
            match status.as_deref() {
                Some("running") => {
                    let pod = worker.unwrap_or_default();
                    self.ledger().took(Run { task, entry: None, pod, until: Instant::now() });
                }
                Some("done") => self.ledger().finished(task.id),
                _ => {}
            }
        }
        Ok(())
    }

    async fn record(&self, redis: &mut MultiplexedConnection, id: u64) -> RedisResult<[Option<String>; 2]> {
        let mut ask = cmd("HMGET");
        ask.arg(format!("{}:task:{id}", Queue::TASKS)).arg("status").arg("worker");
        ask.query_async(redis).await
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
