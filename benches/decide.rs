//! What one decision costs: the bar is 5 µs, so that 10,000 triggers take a hundredth of a tick.

#![expect(clippy::unwrap_used, reason = "a benchmark may fail")]

use std::hint::black_box;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::decision::{Decision, LimitedBy};
use agent_scaler::engine::estimate::Throughput;
use agent_scaler::engine::limit::Dimension;
use agent_scaler::engine::limit::policy::LimitPolicy;
use agent_scaler::engine::limit::share::{Claim, LimitSignals};
use agent_scaler::engine::minutes::{Minute, Used};
use agent_scaler::engine::policy::{Policy, ReplicaRange, Workload};
use agent_scaler::engine::signals::{
    Cause, Counters, InFlight, Origins, Percentile, Quality, Reading, Signal, Signals, Workers,
};
use agent_scaler::engine::{Memory, decide, share, want};
use agent_scaler::timestamp::Timestamp;
use criterion::{Criterion, criterion_group, criterion_main};

const TICK: Duration = Duration::from_secs(5);

const SCOPES: [&str; 4] = ["a", "b", "c", "d"];

criterion_group!(benches, decisions, estimates, shares);
criterion_main!(benches);

fn decisions(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("want and decide, bar 5 us");
    for (name, case) in [("plain", plain()), ("all rules speak", all_rules()), ("unseen tasks", unseen())] {
        let speaking: Vec<LimitedBy> = case.decide().0.steps.iter().map(|step| step.by).collect();
        assert_eq!(speaking, case.speaking, "{name}");
        group.bench_function(name, |bencher| bencher.iter(|| black_box(&case).decide()));
    }
    group.finish();
}

fn estimates(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("estimate, bar 5 us");
    let mut throughput = Throughput::default();
    let mut now = Timestamp::default();
    let mut completed = 0;
    let mut observe = |throughput: &mut Throughput| {
        completed += 3;
        now = now + TICK;
        let counters = Counters { added: Some(completed + 40), completed: Some(completed) };
        throughput.observe(now, black_box(&Reading { counters, ..queue(40, 12) }));
    };
    // Ten minutes, so that all that is ever remembered is there.
    (0..120).for_each(|_| observe(&mut throughput));
    assert!(throughput.service().is_some());

    group.bench_function("observe", |bencher| bencher.iter(|| observe(&mut throughput)));
    let (policy, queue) = (policy(ReplicaRange::CEILING), seen(queue(40, 12), now));
    group.bench_function("signals", |bencher| {
        bencher.iter(|| throughput.signals(&policy, queue.clone(), None, None, now))
    });
    group.finish();
}

/// One limit in three dimensions, divided among triggers with half an hour of minutes each.
fn shares(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("share, bar 5 ms for 100 triggers");
    group.sample_size(20);
    let dimensions =
        [Dimension::RequestsPerMinute, Dimension::InputTokensPerMinute, Dimension::OutputTokensPerMinute];
    let amounts = dimensions.into_iter().zip([4_000.0, 2_000_000.0, 400_000.0]).collect();
    let policy = LimitPolicy { amounts, ..LimitPolicy::default() };
    let seen = Signal::Missing(Cause::new("nothing was said"));
    let signals = LimitSignals { seen, minute: Duration::from_secs(60) };
    let workers: Vec<Workers> = (0..1_000).map(reported).collect();
    for triggers in [10, 100, 1_000] {
        let claims: Vec<Claim<'_>> = workers[..triggers].iter().zip(1_u32..).map(claim).collect();
        group.bench_function(format!("{triggers} triggers"), |bencher| {
            bencher
                .iter(|| share(&"prod".into(), &policy, &signals, black_box(&claims), Timestamp::default()));
        });
    }
    group.finish();
}

fn reported(seed: u64) -> Workers {
    let minute = |number| {
        let used =
            Used { requests: 50 + seed % 37, input_tokens: 9_000 + 10 * seed, output_tokens: 1_000 + seed };
        let (busy, throttled) = (Duration::from_secs(600), Some(Duration::from_secs(seed % 60)));
        Arc::new(Minute { number, done: 20, used, busy, throttled, ..Minute::default() })
    };
    Workers { minutes: (70..100).map(minute).collect(), minute: 100, ..Workers::default() }
}

fn claim((workers, number): (&Workers, u32)) -> Claim<'_> {
    Claim {
        slots: Some(f64::from(number % 90 + 1)),
        tasks_per_replica: NonZeroU32::new(4).unwrap(),
        namespace: "acme",
        namespace_weight: 1.0,
        weight: f64::from(number % 5 + 1),
        scope: SCOPES[number as usize % SCOPES.len()],
        workers: Some(workers),
        service: Some(Duration::from_secs(90)),
    }
}

/// Everything that one decision is made from.
struct Case {
    policy: Policy,
    signals: Signals,
    memory: Memory,
    now: Timestamp,
    /// The rules that change its number.
    speaking: Vec<LimitedBy>,
}

impl Case {
    fn decide(&self) -> (Decision, Memory) {
        let want = want(&self.policy, &self.signals, &self.memory, self.now);
        decide(&self.policy, &self.signals, want, None, &self.memory, self.now)
    }
}

/// A backlog that is worked off in time.
fn plain() -> Case {
    Case {
        policy: policy(ReplicaRange::CEILING),
        signals: signals(queue(120, 45)),
        memory: Memory::default(),
        now: Timestamp::default(),
        speaking: vec![],
    }
}

/// Late tasks, more of them than the queue's concurrency, and more running ones than the budget allows for.
fn all_rules() -> Case {
    // The running tasks were taken when there was no budget.
    let before = signals(queue(0, 2_400));
    let unbounded = policy(ReplicaRange::CEILING);
    let wanted = want(&unbounded, &before, &Memory::default(), Timestamp::default());
    let (_, memory) = decide(&unbounded, &before, wanted, None, &Memory::default(), Timestamp::default());
    let late = Percentile { p95: Duration::from_secs(300), samples: 50 };
    let reading = Reading { waits: Some(late), ceiling: Some(1_000), ..queue(10_000, 600) };
    Case {
        policy: policy(400),
        signals: signals(reading),
        memory,
        now: Timestamp::default(),
        speaking: vec![LimitedBy::Promise, LimitedBy::Ceiling, LimitedBy::RunningTasks, LimitedBy::Maximum],
    }
}

/// A list that hides its running tasks, and a demand that fell for ten minutes: the most there is to remember.
fn unseen() -> Case {
    let policy = policy(ReplicaRange::CEILING);
    let hidden = |ready| Reading { in_flight: None, ..queue(ready, 0) };
    let mut memory = Memory::default();
    let mut now = Timestamp::default();
    for tick in 0..120 {
        now = now + TICK;
        let signals = signals_at(hidden(12_000 - 100 * tick), now);
        let wanted = want(&policy, &signals, &memory, now);
        memory = decide(&policy, &signals, wanted, None, &memory, now).1;
    }
    let signals = signals_at(hidden(10), now);
    Case { policy, signals, memory, now, speaking: vec![LimitedBy::UnseenTasks] }
}

fn policy(most: u32) -> Policy {
    Policy {
        workload: Workload::Deployment,
        replicas: ReplicaRange::try_new(0, most).unwrap(),
        tasks_per_replica: NonZeroU32::new(4).unwrap(),
        max_queue_wait: Duration::from_secs(120),
        latency_target: None,
        expected_task_duration: None,
        stuck_after: Duration::from_secs(3_600),
        start_up: Duration::from_secs(30),
        drain_time: Duration::ZERO,
        activation_backlog: 0,
        fresh_for: TICK * 3,
    }
}

fn queue(ready: u64, running: u64) -> Reading {
    Reading { ready: Some(ready), in_flight: Some(InFlight::Known(running)), ..Reading::default() }
}

fn signals(queue: Reading) -> Signals {
    signals_at(queue, Timestamp::default())
}

fn signals_at(queue: Reading, at: Timestamp) -> Signals {
    let service = seen(Duration::from_secs(10), at);
    let arrivals = seen(2.0, at);
    Signals {
        failed: None,
        queue: seen(queue, at),
        service,
        arrivals,
        workers: None,
        silent: false,
        last_ended: None,
        queries: None,
        origins: Origins::default(),
    }
}

fn seen<T>(value: T, at: Timestamp) -> Signal<T> {
    Signal::Seen { value, at, quality: Quality::Measured }
}
