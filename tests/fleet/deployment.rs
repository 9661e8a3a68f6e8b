//! A Deployment with its HPA: worker processes as replicas, the surplus told to end.

use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use agent_scaler::engine::hpa::{Behavior, Bounds, Hpa, Metric, MetricType, Milli, Replicas, Tolerance};
use agent_scaler::scaler::proto::ScaledObjectRef;
use agent_scaler::timestamp::Timestamp;
use tokio::time::Instant;

use crate::process::{Process, example, free_port};

/// What says how many replicas there are.
#[derive(Clone, Debug)]
pub(crate) enum Law {
    /// The scaler, asked about this trigger.
    Scaler(ScaledObjectRef),
    /// The length of the list, so many tasks a replica, as KEDA's own trigger has it.
    ListLength(u32),
    /// Nobody: there are always so many.
    Fixed(u32),
}

/// What every worker of a Deployment is started with.
#[derive(Clone, Debug)]
pub(crate) struct Template {
    /// Flags.
    pub(crate) flags: Vec<String>,
    /// Folder of the logs.
    pub(crate) logs: PathBuf,
}

/// A replica.
#[derive(Debug)]
pub(crate) struct Worker {
    /// Its name, which begins with the Deployment's.
    pub(crate) name: String,
    /// Port of its `/metrics`.
    pub(crate) port: u16,
    process: Process,
    started: Instant,
}

/// How a worker was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself.
    Own,
    /// It was told to, as Kubernetes does.
    Told,
    /// It was killed, as a node's crash does.
    Killed,
}

/// A worker that is gone.
#[derive(Clone, Debug)]
pub(crate) struct Gone {
    /// Its name.
    pub(crate) name: String,
    /// How it was ended.
    pub(crate) end: End,
    /// Its exit code.
    pub(crate) status: ExitStatus,
}

/// A Deployment.
pub(crate) struct Deployment {
    /// Its name, and that of its namespace; its queue is `NAME:tasks`.
    pub(crate) name: &'static str,
    /// What says how many replicas there are.
    pub(crate) law: Law,
    /// The replicas, the oldest first.
    pub(crate) workers: Vec<Worker>,
    /// Those that were told to end and still run.
    pub(crate) leaving: Vec<Worker>,
    /// Those that have ended.
    pub(crate) gone: Vec<Gone>,
    /// Time that workers ran which have ended.
    ran: Duration,
    replicas: u32,
    started: u32,
    template: Template,
    hpa: Hpa,
    inactive_since: Option<Timestamp>,
}

/// KEDA's `cooldownPeriod`.
const COOLDOWN: Duration = Duration::from_secs(300);

impl Deployment {
    /// One without replicas.
    pub(crate) fn new(name: &'static str, law: Law, most: u32, template: Template) -> Self {
        // As our examples have it: the HPA's tenth would hide a replica of ten.
        let mut behavior = Behavior::default();
        behavior.up.tolerance = Tolerance::ZERO;
        behavior.down.tolerance = Tolerance::ZERO;
        Self {
            name,
            law,
            workers: Vec::new(),
            leaving: Vec::new(),
            gone: Vec::new(),
            ran: Duration::ZERO,
            replicas: 0,
            started: 0,
            template,
            hpa: Hpa::new(Bounds::of(0, most), Some(behavior)),
            inactive_since: None,
        }
    }

    /// Its queue.
    pub(crate) fn queue(&self) -> String {
        queue(self.name)
    }

    /// Replicas that there should be.
    pub(crate) const fn replicas(&self) -> u32 {
        self.replicas
    }

    /// Follows a value as the HPA and KEDA do at `now`, which runs as fast as the protocol's minute.
    pub(crate) fn follow(&mut self, value: Option<f64>, active: Option<bool>, target: u32, now: Timestamp) {
        match (active, self.replicas) {
            (Some(true), 0) => self.replicas = 1,
            (Some(false), _) => {
                let since = *self.inactive_since.get_or_insert(now);
                if now.since(since) >= COOLDOWN {
                    self.replicas = 0;
                }
            }
            (_, _) => {
                let value = value.map(Milli::sent);
                let metric = Metric { kind: MetricType::AverageValue, target: Milli::whole(target), value };
                self.replicas = self.hpa.sync(Replicas::settled(self.replicas), &[metric], now).replicas;
            }
        }
        if active != Some(false) {
            self.inactive_since = None;
        }
        self.reconcile();
    }

    /// Has so many replicas from now on.
    pub(crate) fn scale(&mut self, replicas: u32) {
        self.replicas = replicas;
        self.reconcile();
    }

    /// Starts what is missing, and tells the youngest of those to end that are too many.
    pub(crate) fn reconcile(&mut self) {
        self.bury();
        while self.workers.len() < self.replicas as usize {
            let worker = self.start();
            self.workers.push(worker);
        }
        while self.workers.len() > self.replicas as usize {
            self.tell(self.workers.len() - 1);
        }
    }

    /// Tells a worker to end; another takes its place at the next look.
    pub(crate) fn tell(&mut self, at: usize) {
        let worker = self.workers.remove(at);
        worker.process.terminate();
        self.leaving.push(worker);
    }

    /// Kills a worker: its name.
    pub(crate) fn kill(&mut self, at: usize) -> String {
        let mut worker = self.workers.remove(at);
        worker.process.kill();
        let name = worker.name.clone();
        let status = worker.process.ended().unwrap();
        self.end(&worker, End::Killed, status);
        name
    }

    /// Time that all its workers ran.
    pub(crate) fn worker_time(&self) -> Duration {
        let running = self.workers.iter().chain(&self.leaving).map(|worker| worker.started.elapsed());
        self.ran + running.sum::<Duration>()
    }

    /// Notices which workers have ended.
    pub(crate) fn bury(&mut self) {
        let mut ended = Vec::new();
        for (list, end) in [(&mut self.workers, End::Own), (&mut self.leaving, End::Told)] {
            let dead = list.extract_if(.., |worker| worker.process.ended().is_some());
            ended.extend(dead.map(|worker| (worker, end)));
        }
        for (mut worker, end) in ended {
            let status = worker.process.ended().unwrap();
            self.end(&worker, end, status);
        }
    }

    fn end(&mut self, worker: &Worker, end: End, status: ExitStatus) {
        self.ran += worker.started.elapsed();
        self.gone.push(Gone { name: worker.name.clone(), end, status });
    }

    fn start(&mut self) -> Worker {
        self.started += 1;
        let name = format!("{}-{}", self.name, self.started);
        let port = free_port();
        let mut command = Command::new(example("worker"));
        command.args(&self.template.flags);
        command.args(["--queue", &self.queue(), "--worker", &name, "--listen", &format!("127.0.0.1:{port}")]);
        let process = Process::start(&mut command, &self.template.logs.join(format!("{name}.log")));
        Worker { name, port, process, started: Instant::now() }
    }
}

/// The queue of the Deployment `name`.
pub(crate) fn queue(name: &str) -> String {
    format!("{name}:tasks")
}
