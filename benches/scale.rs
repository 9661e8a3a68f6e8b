//! The server at its size: 10,000 triggers on one Redis, KEDA's calls, its streams, and the first task.
//!
//! Prints each figure beside its bar, and never fails on one: figures depend on the machine. With
//! `cargo bench --bench scale -- --streams` the queues are streams instead of lists.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark may fail, prints, and measures time"
)]

mod support;

use std::time::{Duration, Instant};

use support::keda::{self, Client, Streams};
use support::queues::{self, Kind, Queues, TICK};
use support::server::{self, Server};
use support::table::{Sorted, Table, millis};

const TRIGGERS: usize = 10_000;
const FEWER_TRIGGERS: usize = 1_000;
const RATE: u32 = 2_000;
const FIRST_TASKS: usize = 100;
const TICKS_COUNTED: u32 = 2;

/// A first task comes at any time between two reads for waking, which are 200 ms apart.
const LONGEST_IDLE: Duration = Duration::from_millis(200);

fn main() {
    // `cargo test --all-targets` starts benchmarks without it, and wants no figures.
    let asked = |option: &str| std::env::args().any(|argument| argument == option);
    if asked("--bench") {
        // The HTTP client takes the process's.
        drop(rustls::crypto::ring::default_provider().install_default());
        let kind = if asked("--streams") { Kind::Streams } else { Kind::Lists };
        println!("{TRIGGERS} triggers on one Redis, {}; load average {}", kind.name(), load_average());
        let queues = Queues::start(kind, TRIGGERS);
        tokio::runtime::Runtime::new().unwrap().block_on(measure(kind, queues));
    }
}

async fn measure(kind: Kind, queues: Queues) {
    let started = Instant::now();
    let mut table = Table::default();
    let server = Server::start(queues.port());
    let client = server.client().await;
    let mut bench = Bench { queues, server, client, kind };

    table.part("Idle");
    bench.memory(&mut table);
    bench.watch(&mut table, FEWER_TRIGGERS).await;
    bench.count(&mut table, FEWER_TRIGGERS).await;
    bench.watch(&mut table, TRIGGERS).await;
    bench.calls(&mut table, Duration::from_secs(20)).await;
    bench.scrape(&mut table).await;
    bench.count(&mut table, TRIGGERS).await;
    let mut streams = bench.open_streams(&mut table).await;
    bench.calls(&mut table, Duration::from_secs(10)).await;
    bench.first_tasks(&mut table, &mut streams, "by Redis's word", Duration::from_millis(50)).await;
    bench.queues.silence();
    tokio::time::sleep(TICK * 2).await;
    bench.first_tasks(&mut table, &mut streams, "by reads", Duration::from_millis(300)).await;

    table.part("The whole");
    let seconds = server::cpu_time(bench.server.id()).as_secs_f64();
    table.row("CPU time of the server", format!("{seconds:.2} s"));
    table.row("wall time", format!("{:.0} s", started.elapsed().as_secs_f64()));
    table.row("load average", load_average());
    table.end();
}

/// What is measured, and what it is measured with.
struct Bench {
    queues: Queues,
    server: Server,
    client: Client,
    kind: Kind,
}

impl Bench {
    fn memory(&self, table: &mut Table) {
        let (now, highest) = self.server.memory();
        table.bar("resident memory", format!("{now:.1} MB"), "< 100 MB", now < 100.0);
        table.row("resident memory, highest so far", format!("{highest:.1} MB"));
    }

    async fn watch(&mut self, table: &mut Table, triggers: usize) {
        table.part(&format!("The first call for each of {triggers} triggers"));
        let processor = Processor::of(&self.server);
        let took = keda::first_round(&self.client, &keda::triggers(self.kind, triggers)).await;
        table.row("time until all are answered", millis(took));
        processor.print(table);
        tokio::time::sleep(TICK * 3 / 2).await;
        self.memory(table);
    }

    async fn count(&mut self, table: &mut Table, triggers: usize) {
        table.part(&format!("A tick with {triggers} triggers (mean of {TICKS_COUNTED})"));
        let before = self.reads().await;
        let processor = Processor::of(&self.server);
        let load = self.queues.count(TICKS_COUNTED).await;
        processor.print(table);
        let after = self.reads().await;
        let bar = (triggers / FEWER_TRIGGERS) as f64;
        let kept = (load.round_trips - bar).abs() < 0.01;
        table.bar("round trips, by the proxy", load.round_trips, &format!("{bar}"), kept);
        let kept = (load.pipelines - bar).abs() < 0.01;
        table.bar("pipelines, by Redis (calls of TIME)", load.pipelines, &format!("{bar}"), kept);
        table.row("commands, by Redis", load.commands);
        table.row("bytes to Redis, by the proxy", load.bytes[0]);
        table.row("bytes from Redis, by the proxy", load.bytes[1]);
        table.row("bytes to Redis, by Redis", load.redis_bytes[0]);
        table.row("bytes from Redis, by Redis", load.redis_bytes[1]);
        table.row("CPU time of Redis", format!("{:.1} ms", load.redis_cpu * 1e3));
        let read = (after.0 - before.0) / (after.1 - before.1);
        table.row("time for one batch, by the server", format!("{:.2} ms", read * 1e3));
    }

    /// Seconds spent with reads, and their number.
    async fn reads(&self) -> (f64, f64) {
        let page = self.server.metrics().await;
        let value = |name: &str| -> f64 {
            let name = format!("agent_scaler_connection_read_duration_seconds_{name}{{");
            let line = page.lines().find(|line| line.starts_with(&name));
            line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or(0.0)
        };
        (value("sum"), value("count"))
    }

    async fn calls(&self, table: &mut Table, time: Duration) {
        let seconds = time.as_secs();
        table.part(&format!("{RATE} calls a second for {seconds} s, load average {}", load_average()));
        let triggers = keda::triggers(self.kind, TRIGGERS);
        let processor = Processor::of(&self.server);
        let load = keda::load(&self.client, &triggers, RATE, time).await;
        processor.print(table);
        let latencies = &load.latencies;
        let p99 = latencies.percentile(99);
        table.row("calls", latencies.len());
        table.row("latency p50", millis(latencies.percentile(50)));
        table.bar("latency p99", millis(p99), "< 5 ms", p99 < Duration::from_millis(5));
        table.row("latency max", millis(latencies.percentile(100)));
        table.row("of it until the call was made, p99", millis(load.delays.percentile(99)));
        table.row("of it until the call was made, max", millis(load.delays.percentile(100)));
        table.errors(&load.errors);
        self.memory(table);
    }

    async fn scrape(&self, table: &mut Table) {
        table.part("A scrape of /metrics");
        let started = Instant::now();
        let page = self.server.metrics().await;
        table.row("time", millis(started.elapsed()));
        table.row("size", format!("{:.1} MB", page.len() as f64 / 1e6));
        self.memory(table);
    }

    async fn open_streams(&self, table: &mut Table) -> Streams {
        table.part(&format!("{TRIGGERS} open StreamIsActive"));
        let streams = Streams::open(&self.client, &keda::triggers(self.kind, TRIGGERS)).await;
        table.row("time until each has told its state", millis(streams.opened_in));
        table.errors(&streams.errors);
        let processor = Processor::of(&self.server);
        tokio::time::sleep(TICK * 2).await;
        processor.print(table);
        self.memory(table);
        streams
    }

    async fn first_tasks(&mut self, table: &mut Table, streams: &mut Streams, how: &str, bar: Duration) {
        let empty: Vec<usize> = (0..TRIGGERS).filter(|queue| queues::is_empty(*queue)).collect();
        let count = empty.len();
        table.part(&format!("{FIRST_TASKS} first tasks {how}, with {count} streams of empty queues open"));
        let processor = Processor::of(&self.server);
        let mut waits = Vec::new();
        for queue in empty.into_iter().step_by(count / FIRST_TASKS) {
            tokio::time::sleep(LONGEST_IDLE.mul_f64(fastrand::f64())).await;
            let added = Instant::now();
            self.queues.add_task(queue);
            let active = tokio::time::timeout(TICK * 3, streams.active(queue)).await;
            waits.push(active.map_or(TICK * 3, |at| at.duration_since(added)));
            self.queues.clear(queue);
        }
        processor.print(table);
        table.errors(&streams.errors);
        let waits = Sorted::from(waits);
        let p95 = waits.percentile(95);
        table.row("from the task to the message, p50", millis(waits.percentile(50)));
        let least = format!("< {} ms", bar.as_millis());
        table.bar("from the task to the message, p95", millis(p95), &least, p95 < bar);
        table.row("from the task to the message, max", millis(waits.percentile(100)));
        self.memory(table);
    }
}

/// CPU time from a moment on: of the server, and of all others that are not this bench.
struct Processor {
    server: u32,
    since: Instant,
    used: [Duration; 3],
}

impl Processor {
    fn of(server: &Server) -> Self {
        let server = server.id();
        Self { server, since: Instant::now(), used: Self::used(server) }
    }

    fn used(server: u32) -> [Duration; 3] {
        [server::machine_cpu_time(), server::cpu_time(server), server::cpu_time(std::process::id())]
    }

    /// Both in CPUs: 1 is one that has no rest.
    fn print(self, table: &Table) {
        let wall = self.since.elapsed().as_secs_f64();
        let now = Self::used(self.server);
        let [machine, server, bench] =
            [0, 1, 2].map(|at| (now[at].saturating_sub(self.used[at])).as_secs_f64() / wall);
        table.row("CPUs used by the server", format!("{server:.3}"));
        table.row("CPUs used by this bench (KEDA, the proxy)", format!("{bench:.3}"));
        table.row(
            "CPUs used by others (Redis, and who else is there)",
            format!("{:.3}", machine - server - bench),
        );
    }
}

fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("unknown").to_owned()
}
