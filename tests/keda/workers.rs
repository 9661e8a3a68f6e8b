//! What would run in the pods: each ready pod takes one task at a time from the real queue.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::streams::StreamReadReply;
use redis::{RedisResult, cmd, pipe};
use serde_json::json;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::kubelet::{Exit, Phase, Pods};
use crate::ledger::{Ledger, Run, Task};
use crate::objects::Queue;
use crate::servers;
use crate::shift::{self, Shift};

/// How often the workers look at their tasks.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// How long a Job's pod waits for a task before it ends.
const PATIENCE: Duration = Duration::from_secs(3);

/// What kind of pods the workers live in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lifetime {
    /// Those of a Deployment: they work until they are told to end, and finish what they have begun.
    Endless,
    /// Those of Jobs: they end after one task.
    OneTask,
    /// Those of Jobs, in which the reference worker runs as a process.
    Processes,
    /// They take nothing, so that the queue is as long as the scenario makes it.
    Idle,
}

/// All workers of a scenario; they stop when this is dropped.
pub(crate) struct Workers {
    ledger: Arc<Mutex<Ledger>>,
    url: String,
    queue: Queue,
    lifetime: Lifetime,
    doomed: Arc<Mutex<BTreeSet<String>>>,
    task: JoinHandle<()>,
}

/// Where workers find what they need.
pub(crate) struct Place {
    /// The pods they live in.
    pub(crate) pods: Arc<Pods>,
    /// The pods' namespace.
    pub(crate) namespace: &'static str,
    /// What is written goes here.
    pub(crate) folder: PathBuf,
    /// An address of the scenario's own.
    pub(crate) address: Ipv4Addr,
    /// The Redis with their queue.
    pub(crate) url: String,
}

impl Workers {
    /// Lets the pods of a place work on its queue.
    pub(crate) fn start(place: Place, queue: Queue, lifetime: Lifetime) -> Self {
        let Place { pods, namespace, folder, address, url } = place;
        let namespace = namespace.to_owned();
        let (ledger, doomed) = (Arc::new(Mutex::new(Ledger::default())), Arc::default());
        let books = Arc::clone(&ledger);
        let task = if lifetime == Lifetime::Processes {
            let (redis, ledger, doomed) = (url.clone(), books, Arc::clone(&doomed));
            tokio::spawn(Shift { pods, namespace, folder, address, redis, queue, ledger, doomed }.work())
        } else {
            let (url, ledger, idle_since) = (url.clone(), books, BTreeMap::new());
            tokio::spawn(Crew { pods, namespace, url, queue, lifetime, ledger, idle_since }.work())
        };
        Self { ledger, url, queue, lifetime, doomed, task }
    }

    /// What lies in the queue for a task.
    fn text(&self, task: Task) -> String {
        if self.lifetime != Lifetime::Processes {
            return task.text();
        }
        let steps = task.runs.div_duration_f64(shift::STEP).round();
        let prompt = format!("[steps={steps} think={} tool=0] go", shift::STEP.as_secs_f64());
        json!({"id": task.id.to_string(), "prompt": prompt, "enqueued_ms": 0}).to_string()
    }

    /// Kills the process in a pod that works on a task, as a node that dies would.
    pub(crate) fn kill_one(&self) {
        let pod = self.ledger().running().first().expect("nobody works").pod.clone();
        self.doomed.lock().unwrap_or_else(PoisonError::into_inner).insert(pod);
    }

    /// Puts tasks into the queue that take `runs` each.
    pub(crate) async fn put(&self, count: u64, runs: Duration) {
        let tasks = self.ledger().put(count, runs);
        let mut connection = servers::connect(&self.url).await.unwrap();
        let mut batch = pipe();
        for task in tasks {
            match self.queue {
                Queue::List => batch.cmd("LPUSH").arg(Queue::TASKS).arg(self.text(task)),
                Queue::Stream => {
                    batch.cmd("XADD").arg(Queue::TASKS).arg("*").arg("task").arg(self.text(task))
                }
            };
        }
        batch.exec_async(&mut connection).await.unwrap();
    }

    /// The books.
    pub(crate) fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The books, without holding on to the workers.
    pub(crate) fn books(&self) -> Arc<Mutex<Ledger>> {
        Arc::clone(&self.ledger)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The workers of all pods of a namespace, which share a connection for the sake of the test's speed.
struct Crew {
    pods: Arc<Pods>,
    namespace: String,
    url: String,
    queue: Queue,
    lifetime: Lifetime,
    ledger: Arc<Mutex<Ledger>>,
    /// When a pod was first seen ready and without a task.
    idle_since: BTreeMap<String, Instant>,
}

impl Crew {
    async fn work(mut self) {
        while self.lifetime != Lifetime::Idle {
            // Whatever goes wrong, a new connection is a new start.
            let _ = self.work_on_one_connection().await;
            sleep(LOOK_EVERY).await;
        }
    }

    async fn work_on_one_connection(&mut self) -> RedisResult<()> {
        let mut redis = servers::connect(&self.url).await?;
        self.recover(&mut redis).await?;
        loop {
            let pods = self.pods.of(&self.namespace);
            let runs = self.ledger().running();
            for run in runs {
                if !pods.contains_key(&run.pod) {
                    self.give_back(&mut redis, &run).await?;
                } else if run.until <= Instant::now() {
                    self.finish(&mut redis, &run).await?;
                }
            }
            // Once more, because a Job's pod ends with its task.
            let pods = self.pods.of(&self.namespace);
            let busy: BTreeSet<String> = self.ledger().running().into_iter().map(|run| run.pod).collect();
            for (pod, phase) in pods.iter().filter(|(pod, _)| !busy.contains(*pod)) {
                match phase {
                    Phase::Starting => {}
                    Phase::Draining => self.pods.end(&self.namespace, pod, Exit::Succeeded),
                    Phase::Ready => self.begin(&mut redis, pod).await?,
                }
            }
            self.idle_since.retain(|pod, _| pods.contains_key(pod));
            sleep(LOOK_EVERY).await;
        }
    }

    /// Takes a task for an idle pod, if there is one.
    async fn begin(&mut self, redis: &mut MultiplexedConnection, pod: &str) -> RedisResult<()> {
        if let Some((task, entry)) = self.take(redis, pod).await? {
            let until = Instant::now() + task.runs;
            self.ledger().took(Run { task, entry, pod: pod.to_owned(), until });
            return Ok(());
        }
        let since = *self.idle_since.entry(pod.to_owned()).or_insert_with(Instant::now);
        if self.lifetime == Lifetime::OneTask && PATIENCE <= since.elapsed() {
            self.pods.end(&self.namespace, pod, Exit::Succeeded);
        }
        Ok(())
    }

    async fn take(
        &self,
        redis: &mut MultiplexedConnection,
        pod: &str,
    ) -> RedisResult<Option<(Task, Option<String>)>> {
        match self.queue {
            Queue::List => {
                let mut command = cmd("LMOVE");
                command.arg(Queue::TASKS).arg(Queue::PROCESSING).arg("RIGHT").arg("LEFT");
                let text: Option<String> = command.query_async(redis).await?;
                Ok(text.map(|text| (Task::parse(&text), None)))
            }
            Queue::Stream => {
                let mut command = cmd("XREADGROUP");
                command.arg("GROUP").arg(Queue::GROUP).arg(pod).arg("COUNT").arg(1);
                command.arg("STREAMS").arg(Queue::TASKS).arg(">");
                let reply: Option<StreamReadReply> = command.query_async(redis).await?;
                let entry = reply.and_then(|reply| reply.keys.into_iter().next()?.ids.into_iter().next());
                Ok(entry.map(|entry| {
                    let text: String = entry.get("task").unwrap();
                    (Task::parse(&text), Some(entry.id))
                }))
            }
        }
    }

    async fn finish(&self, redis: &mut MultiplexedConnection, run: &Run) -> RedisResult<()> {
        match &run.entry {
            None => cmd("LREM").arg(Queue::PROCESSING).arg(1).arg(run.task.text()).exec_async(redis).await?,
            Some(entry) => {
                cmd("XACK").arg(Queue::TASKS).arg(Queue::GROUP).arg(entry).exec_async(redis).await?;
            }
        }
        self.ledger().finished(run.task.id);
        if self.lifetime == Lifetime::OneTask {
            self.pods.end(&self.namespace, &run.pod, Exit::Succeeded);
        }
        Ok(())
    }

    /// The pod is gone: its task waits again.
    async fn give_back(&self, redis: &mut MultiplexedConnection, run: &Run) -> RedisResult<()> {
        let text = run.task.text();
        let mut batch = pipe();
        batch.atomic();
        match &run.entry {
            None => {
                batch.cmd("LREM").arg(Queue::PROCESSING).arg(1).arg(&text);
                batch.cmd("RPUSH").arg(Queue::TASKS).arg(&text);
            }
            Some(entry) => {
                batch.cmd("XACK").arg(Queue::TASKS).arg(Queue::GROUP).arg(entry);
                batch.cmd("XADD").arg(Queue::TASKS).arg("*").arg("task").arg(&text);
            }
        }
        batch.exec_async(redis).await?;
        self.ledger().interrupted(run.task.id);
        Ok(())
    }

    /// Prepares the queue, and finds the tasks whose taking was not confirmed because Redis died.
    async fn recover(&self, redis: &mut MultiplexedConnection) -> RedisResult<()> {
        match self.queue {
            Queue::List => {
                let texts: Vec<String> =
                    cmd("LRANGE").arg(Queue::PROCESSING).arg(0).arg(-1).query_async(redis).await?;
                for text in texts.iter().filter(|text| !self.ledger().runs(Task::parse(text).id)) {
                    let mut batch = pipe();
                    batch.atomic().cmd("LREM").arg(Queue::PROCESSING).arg(1).arg(text);
                    batch.cmd("RPUSH").arg(Queue::TASKS).arg(text).exec_async(redis).await?;
                }
            }
            Queue::Stream => {
                let mut create = cmd("XGROUP");
                create.arg("CREATE").arg(Queue::TASKS).arg(Queue::GROUP).arg(0).arg("MKSTREAM");
                // It is there already, but for the first time.
                let _ = create.exec_async(redis).await;
            }
        }
        Ok(())
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
