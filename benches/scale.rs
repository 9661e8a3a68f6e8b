//! The server at its size: cold starts of 10,000 and of 100,000 triggers, and KEDA's calls through ticks, scrapes and
//! streams.
//!
//! The server has one core and everything else has the others. Prints each figure beside its bar, and never fails on
//! one: figures depend on the machine. With `cargo bench --bench scale -- --streams` the queues are streams instead of
//! lists.

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

/// Triggers of the small server, and of the large one.
const TRIGGERS: usize = 10_000;
const MANY_TRIGGERS: usize = 100_000;

const RATE: u32 = 2_000;
const FIRST_TASKS: usize = 100;
const TICKS_COUNTED: u32 = 2;

/// How often Prometheus scrapes, at its quickest usual.
const SCRAPE_EVERY: Duration = Duration::from_secs(5);

/// A first task comes at any time between two reads for waking, which are 200 ms apart.
const LONGEST_IDLE: Duration = Duration::from_millis(200);

fn main() {
    // `cargo test --all-targets` starts benchmarks without it, and wants no figures.
    let asked = |option: &str| std::env::args().any(|argument| argument == option);
    if asked("--bench") {
        // The HTTP client takes the process's.
        drop(rustls::crypto::ring::default_provider().install_default());
        server::leave_its_core();
        let kind = if asked("--streams") { Kind::Streams } else { Kind::Lists };
        println!("One Redis, {}; load average {}", kind.name(), load_average());
        let queues = Queues::start(kind, MANY_TRIGGERS);
        tokio::runtime::Runtime::new().unwrap().block_on(measure(kind, queues));
    }
}

async fn measure(kind: Kind, queues: Queues) {
    let started = Instant::now();
    let mut table = Table::default();
    let mut bench = Bench::start(kind, queues, TRIGGERS).await;
    bench.cold_start(&mut table, Duration::from_secs(1)).await;
    bench.memory(&mut table, 64.0).await;
    bench.idle(&mut table).await;
    bench.calls(&mut table, Duration::from_secs(20)).await;
    bench.count(&mut table).await;
    let mut streams = bench.open_streams(&mut table).await;
    bench.memory(&mut table, 80.0).await;
    bench.calls(&mut table, Duration::from_secs(20)).await;
    bench.first_tasks(&mut table, &mut streams, "by Redis's word", Duration::from_millis(50)).await;
    bench.queues.silence();
    tokio::time::sleep(TICK * 2).await;
    bench.first_tasks(&mut table, &mut streams, "by reads", Duration::from_millis(300)).await;
    bench.end(&mut table);
    let queues = bench.queues;

    let mut bench = Bench::start(kind, queues, MANY_TRIGGERS).await;
    bench.cold_start(&mut table, Duration::from_secs(10)).await;
    bench.memory(&mut table, 400.0).await;
    bench.end(&mut table);
    table.part("The whole");
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
    triggers: usize,
}

impl Bench {
    async fn start(kind: Kind, queues: Queues, triggers: usize) -> Self {
        let server = Server::start(queues.port());
        let client = server.client().await;
        Self { queues, server, client, kind, triggers }
    }

    async fn cold_start(&mut self, table: &mut Table, bar: Duration) {
        table.part(&format!("Cold start: the first call for each of {} triggers", self.triggers));
        let processor = Processor::of(&self.server);
        let started = self.server.started();
        let triggers = keda::triggers(self.kind, self.triggers);
        let round = keda::first_round(&self.client, &triggers, started).await;
        table.row("from the start of the process to its first answer", millis(round.first));
        let within = format!("< {} s", bar.as_secs());
        table.bar(
            "from the start of the process until all are answered",
            millis(round.all),
            &within,
            round.all < bar,
        );
        table.row("errors in the first 500 ms", round.early_errors);
        table.bar("errors after the first 500 ms", round.late_errors, "0", round.late_errors == 0);
        processor.print(table);
    }

    /// After two ticks and a scrape, which both are part of a server's day.
    async fn memory(&self, table: &mut Table, bar: f64) {
        tokio::time::sleep(TICK * 2).await;
        let page = self.server.metrics().await;
        tokio::time::sleep(TICK).await;
        let (now, highest) = self.server.memory();
        table.row("size of /metrics", format!("{:.1} MB", page.len() as f64 / 1e6));
        table.bar("resident memory", format!("{now:.1} MB"), &format!("< {bar} MB"), now < bar);
        table.row("resident memory, highest so far", format!("{highest:.1} MB"));
    }

    async fn idle(&self, table: &mut Table) {
        table.part(&format!("Idle: ticks of {} triggers, no call", self.triggers));
        let before = server::cpu_time(self.server.id());
        let wall = TICK * 4;
        tokio::time::sleep(wall).await;
        let used = server::cpu_time(self.server.id()).saturating_sub(before);
        let millicores = used.as_secs_f64() / wall.as_secs_f64() * 1e3;
        table.bar("CPU of the server", format!("{millicores:.0} mCPU"), "< 20 mCPU", millicores < 20.0);
    }

    async fn count(&mut self, table: &mut Table) {
        let triggers = self.triggers;
        table.part(&format!("A tick with {triggers} triggers (mean of {TICKS_COUNTED})"));
        let before = self.reads().await;
        let processor = Processor::of(&self.server);
        let load = self.queues.count(TICKS_COUNTED).await;
        processor.print(table);
        let after = self.reads().await;
        let bar = (triggers / 1_000) as f64;
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

    /// `GetMetrics` while the server ticks and is scraped.
    async fn calls(&self, table: &mut Table, time: Duration) {
        let seconds = time.as_secs();
        table.part(&format!(
            "{RATE} GetMetrics a second for {seconds} s, a scrape every {} s, load average {}",
            SCRAPE_EVERY.as_secs(),
            load_average()
        ));
        let triggers = keda::triggers(self.kind, self.triggers);
        let processor = Processor::of(&self.server);
        let scrapes = async {
            loop {
                tokio::time::sleep(SCRAPE_EVERY).await;
                self.server.metrics().await;
            }
        };
        let load = tokio::select! {
            load = keda::load(&self.client, &triggers, RATE, time) => load,
            () = scrapes => return,
        };
        processor.print(table);
        let latencies = &load.latencies;
        table.row("calls", latencies.len());
        table.row("latency p50", millis(latencies.per_mille(500)));
        for (name, per_mille, bar) in [("p99", 990, 3), ("p99.9", 999, 10)] {
            let latency = latencies.per_mille(per_mille);
            let kept = latency <= Duration::from_millis(bar);
            table.bar(&format!("latency {name}"), millis(latency), &format!("<= {bar} ms"), kept);
        }
        table.row("latency max", millis(latencies.per_mille(1_000)));
        table.row("of it until the call was made, p99.9", millis(load.delays.per_mille(999)));
        table.errors(&load.errors);
    }

    async fn open_streams(&self, table: &mut Table) -> Streams {
        table.part(&format!("{} open StreamIsActive", self.triggers));
        let streams = Streams::open(&self.client, &keda::triggers(self.kind, self.triggers)).await;
        table.row("time until each has told its state", millis(streams.opened_in));
        table.errors(&streams.errors);
        let processor = Processor::of(&self.server);
        tokio::time::sleep(TICK * 2).await;
        processor.print(table);
        streams
    }

    async fn first_tasks(&mut self, table: &mut Table, streams: &mut Streams, how: &str, bar: Duration) {
        let empty: Vec<usize> = (0..self.triggers).filter(|queue| queues::is_empty(*queue)).collect();
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
        let p95 = waits.per_mille(950);
        table.row("from the task to the message, p50", millis(waits.per_mille(500)));
        let least = format!("< {} ms", bar.as_millis());
        table.bar("from the task to the message, p95", millis(p95), &least, p95 < bar);
        table.row("from the task to the message, max", millis(waits.per_mille(1_000)));
    }

    fn end(&self, table: &mut Table) {
        table.part(&format!("The server of {} triggers, all told", self.triggers));
        let seconds = server::cpu_time(self.server.id()).as_secs_f64();
        table.row("CPU time", format!("{seconds:.2} s"));
        table.row("resident memory, highest", format!("{:.1} MB", self.server.memory().1));
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
