//! ScaledJobs on every source: KEDA starts as many Jobs as there were tasks, through bursts that end together and
//! through outages.

mod backlogs;

use std::time::Duration;

use agent_scaler::engine::hpa::Milli;
use agent_scaler::engine::hpa::jobs::{
    Bounds, Calculation, Strategy, Trigger, Unfinished, demand, to_create,
};
use agent_scaler::scaler::proto::ScaledObjectRef;
use agent_scaler::sources::ALL;
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::support::harness::{Harness, queue, scripted, trigger};
use crate::support::keda_client::Keda;
use backlogs::{Backlog, Outage};

/// The server's tick, within which several polls lie.
const TICK: &str = "tick: 1s\n";

/// Between two polls, and as many as are more than a tick.
const PAUSE: Duration = Duration::from_millis(100);
const POLLS: usize = 15;

/// Every source and variant, with the keys of its trigger.
const SOURCES: &[(&str, &[(&str, &str)])] = &[
    ("redis", &[("listName", "q:tasks"), ("processingListName", "q:busy")]),
    // Shows nothing of what runs.
    ("redis", &[("listName", "q:tasks")]),
    ("redis-streams", &[("stream", "q"), ("consumerGroup", "workers")]),
    ("redis-sorted-set", &[("sortedSetName", "q"), ("scoreUnit", "seconds")]),
    ("celery", &[("queue", "q")]),
    ("bullmq", &[("queue", "q")]),
    ("rq", &[("queue", "q")]),
    ("sidekiq", &[("queue", "q"), ("busy", "false")]),
    ("dramatiq", &[("queue", "q")]),
    ("taskiq", &[("queue", "q")]),
    ("aws-sqs-queue", &[("queueURL", "QUEUE")]),
    #[cfg(feature = "kafka")]
    ("kafka", &[("topic", "q"), ("consumerGroup", "workers")]),
    ("prometheus", &[("query", "waiting"), ("prometheusConnection", "main"), ("inFlightQuery", "running")]),
    ("http", &[("path", "/queue"), ("readyPath", "$.waiting"), ("runningPath", "$.running")]),
];

#[test]
fn no_source_is_left_out() {
    let all: Vec<_> = ALL.iter().map(|spec| spec.name).collect();
    let missing: Vec<_> =
        all.iter().filter(|name| SOURCES.iter().all(|(source, _)| source != *name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn on_every_source_jobs_are_started_for_tasks_and_none_for_nothing() {
    let mut all = JoinSet::new();
    for (source, keys) in SOURCES {
        all.spawn(async move {
            let backlog = backlogs::of(source, keys).await;
            of_one(source, keys, backlog).await;
        });
    }
    let mut failed = 0;
    while let Some(ended) = all.join_next().await {
        failed += usize::from(ended.is_err());
    }
    assert_eq!(failed, 0, "sources that failed");
}

async fn of_one(source: &str, keys: &[(&str, &str)], mut backlog: Box<dyn Backlog>) {
    let name = format!("{source} {}", keys[0].1);
    let file = format!("{TICK}connections: {{ main: {} }}\n", backlog.connection());
    let harness = Harness::with(&file).await;
    let keda = Keda::dial(&[harness.scaler.grpc]).await;
    let queue = backlog.queue();
    let keys: Vec<_> = keys.iter().map(|(key, value)| (*key, value.replace("QUEUE", &queue))).collect();
    let keys: Vec<_> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let own = [("source", source), ("connection", "main"), ("workload", "job")];
    let mut jobs = ScaledJob::of(keda, trigger("jobs", &[&own, &keys[..]].concat()));

    // Ten tasks at once, which end together, and their Jobs with them.
    jobs.start_for(10, &mut *backlog, &name).await;
    jobs.starts_none(&name, "while ten run").await;
    backlog.end().await;
    jobs.unfinished = 0;
    jobs.starts_none(&name, "after ten ended together").await;

    // Running tasks end while the queue cannot be read, and more tasks arrive.
    let mut tasks = 10;
    for outage in [Outage::Refuses, Outage::Hangs] {
        jobs.start_for(3, &mut *backlog, &name).await;
        backlog.fails(outage).await;
        jobs.unfinished = 0;
        for age in [0, 20, 600] {
            harness.clock.advance(Duration::from_secs(age));
            jobs.starts_none(&name, "during an outage").await;
        }
        let error = jobs.poll().await.unwrap_err();
        assert_eq!(error.code(), Code::Unavailable, "{name}: {error}");
        assert_eq!(harness.is_active(&jobs.trigger).await.unwrap_err().code(), Code::Unavailable, "{name}");
        backlog.recovers(2).await;
        jobs.starts(2, &mut *backlog, &name).await;
        backlog.end().await;
        jobs.unfinished = 0;
        jobs.starts_none(&name, "after an outage").await;
        tasks += 5;
    }
    assert_eq!(jobs.started, tasks, "{name}");

    // Another server has nothing to remember.
    let fresh = Harness::with(&file).await;
    jobs.keda = Keda::dial(&[fresh.scaler.grpc]).await;
    jobs.starts_none(&name, "as a fresh server sees it").await;
}

/// A ScaledJob that KEDA polls.
struct ScaledJob {
    keda: Keda,
    trigger: ScaledObjectRef,
    unfinished: u32,
    started: u32,
}

impl ScaledJob {
    fn of(keda: Keda, trigger: ScaledObjectRef) -> Self {
        Self { keda, trigger, unfinished: 0, started: 0 }
    }

    /// One poll: the Jobs that KEDA starts.
    async fn poll(&mut self) -> Result<u32, Status> {
        let polled = self.keda.poll(&self.trigger).await?;
        let milli = |thousandths: i64| Milli::from_thousandths(u64::try_from(thousandths).unwrap());
        let said = Trigger {
            value: milli(polled.value_milli),
            target: Some(milli(polled.target_milli)),
            active: polled.active,
        };
        let bounds = Bounds { min: 0, max: Some(100) };
        let unfinished = Unfinished { running: self.unfinished, pending: 0 };
        let demand = demand(&[said], Calculation::Max, bounds);
        let create = to_create(Strategy::Default, demand, unfinished, bounds).create;
        self.unfinished += create;
        self.started += create;
        Ok(create)
    }

    /// So many tasks come, and each gets a Job, which takes it.
    async fn start_for(&mut self, tasks: u32, backlog: &mut dyn Backlog, name: &str) {
        backlog.put(tasks).await;
        self.starts(tasks, backlog, name).await;
    }

    async fn starts(&mut self, tasks: u32, backlog: &mut dyn Backlog, name: &str) {
        let mut started = 0;
        // As patient as a loaded machine needs.
        for _ in 0..300 {
            let created = self.poll().await.unwrap_or(0);
            backlog.take(created).await;
            started += created;
            if started >= tasks {
                break;
            }
            tokio::time::sleep(PAUSE).await;
        }
        assert_eq!(started, tasks, "{name}: Jobs for {tasks} tasks");
    }

    async fn starts_none(&mut self, name: &str, when: &str) {
        for poll in 0..POLLS {
            let created = self.poll().await.unwrap_or(0);
            assert_eq!(created, 0, "{name}: Jobs {when}, poll {poll}");
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// A read may take its time: KEDA gets no number of before, and at its next poll the one of now.
#[tokio::test]
async fn a_value_for_jobs_is_read_after_it_was_asked_for() {
    // Longer than the test waits for anything.
    let harness = Harness::with("tick: 30s\n").await;
    let keda = Keda::dial(&[harness.scaler.grpc]).await;
    let mut jobs = ScaledJob::of(keda, scripted("jobs", &[("workload", "job")]));
    harness.script.shows("jobs", queue(4, 6));
    assert_eq!(jobs.poll().await.unwrap(), 10);
    for running in (0..10).rev() {
        harness.script.shows("jobs", queue(0, running));
        jobs.unfinished = u32::try_from(running).unwrap();
        assert_eq!(jobs.poll().await.unwrap(), 0, "{running} tasks and as many Jobs");
    }
}

#[tokio::test]
async fn a_value_for_jobs_does_not_wait_for_a_read_that_never_ends() {
    let harness = Harness::with("tick: 30s\n").await;
    let keda = Keda::dial(&[harness.scaler.grpc]).await;
    let mut jobs = ScaledJob::of(keda.clone(), scripted("jobs", &[("workload", "job")]));
    let pods = scripted("pods", &[]);
    harness.script.shows("jobs", queue(4, 6));
    harness.script.shows("pods", queue(4, 6));
    assert_eq!(jobs.poll().await.unwrap(), 10);
    assert!(keda.poll(&pods).await.unwrap().active);
    harness.script.never_answers("queue jobs");
    let asked = tokio::time::Instant::now();
    let error = jobs.poll().await.unwrap_err();
    assert!(error.message().contains("was not read in time"), "{error}");
    // KEDA asks twice.
    assert!(asked.elapsed() < Duration::from_secs(6), "{:?}", asked.elapsed());
    let asked = tokio::time::Instant::now();
    assert!(keda.poll(&pods).await.unwrap().active);
    assert!(asked.elapsed() < Duration::from_secs(1), "{:?}", asked.elapsed());
}
