//! `agent-scaler demo`: a minute of a cluster's life without a cluster.
//!
//! The server is the real one and so is the gRPC between it and the client that plays KEDA and the HPA; the
//! queue, the workers and the clock's pace are the demo's own. Seconds stand for quarter minutes.

mod cluster;
mod queue;

use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval};

use super::say;
use crate::clock::{Clock, SystemClock};
use crate::config::server::{Connection, Server};
use crate::scaler::Scaler;

use cluster::Cluster;
use queue::{EmbeddedQueue, SOURCES};

/// Shows a minute of scaling on an embedded queue; needs no server and no cluster.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How long the demo runs.
    #[arg(long, default_value = "60s", value_parser = humantime::parse_duration)]
    duration: Duration,
}

/// What the demo's ScaledObject says.
const METADATA: [(&str, &str); 8] = [
    ("scalerAddress", "127.0.0.1"),
    ("source", "embedded"),
    ("connection", "demo"),
    ("queueName", "agent-tasks"),
    ("tasksPerReplica", "4"),
    ("maxQueueWait", "12s"),
    ("podStartupTime", "2s"),
    ("maxReplicaCount", "15"),
];

const MAX_REPLICAS: u32 = 15;
const SLOTS: u32 = 4;

/// Tasks that arrive at a second of the demo: a trickle, a burst that the bound cuts, silence, a second wave.
const fn arrivals(second: u64) -> u32 {
    match second {
        3..=7 => 1,
        10 => 90,
        11..=20 => 2,
        38..=44 => 8,
        _ => 0,
    }
}

/// Seconds that the `number`-th task takes: mostly short, now and then long, as agents are.
const fn length(number: u64) -> Duration {
    let seconds = match number % 7 {
        0 => 9,
        1 | 4 => 3,
        2 => 4,
        _ => 5,
    };
    Duration::from_secs(seconds)
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    tokio::runtime::Runtime::new()?.block_on(show(arguments.duration))?;
    Ok(ExitCode::SUCCESS)
}

async fn show(duration: Duration) -> anyhow::Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock::start());
    let queue = Arc::new(EmbeddedQueue::default());
    let scaler = Scaler::start(server(&queue)?, Arc::clone(&clock)).await?;
    let mut cluster = Cluster::join(scaler.grpc, Arc::clone(&queue), MAX_REPLICAS, SLOTS).await?;
    headline(&scaler);

    let started = Instant::now();
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut number = 0;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = tokio::signal::ctrl_c() => break,
        }
        if started.elapsed() >= duration {
            break;
        }
        let second = started.elapsed().as_secs();
        for _ in 0..arrivals(second) {
            queue.put(length(number), clock.now());
            number += 1;
        }
        let line = cluster.second(clock.now()).await?;
        let why = scaler.reports().first().map(|report| report.decision.to_string()).unwrap_or_default();
        say(&format!("{second:>4}  {line}  {why}"));
    }
    summary(&queue, &cluster);
    scaler.stop().await;
    Ok(())
}

/// The server's configuration, with the embedded queue as its one connection.
fn server(queue: &Arc<EmbeddedQueue>) -> anyhow::Result<Server> {
    let mut server = Server::parse("tick: 500ms", SOURCES)?;
    server.listen = (Ipv4Addr::LOCALHOST, 0).into();
    server.admin = (Ipv4Addr::LOCALHOST, 0).into();
    let endpoint = queue::endpoint(queue);
    let connection = Connection { name: "demo".into(), kind: &queue::KIND, endpoint };
    server.connections.insert("demo".to_owned(), Arc::new(connection));
    Ok(server)
}

fn headline(scaler: &Scaler) {
    say(&format!(
        "A server on {}, a queue in memory, and a client that plays KEDA and the HPA.\n\
         Agents take 3 to 9 s, a replica runs {SLOTS} of them and starts in 2 s; promise: started within 12 s.\n\
         Look at http://{}/decisions?format=text while it runs; Ctrl-C ends it.\n\n\
         {:>4}  {:>7} {:>7} {:>8}  {:<20}  what the scaler says",
        scaler.grpc, scaler.admin, "s", "waiting", "running", "replicas", "KEDA and the HPA"
    ));
}

fn summary(queue: &EmbeddedQueue, cluster: &Cluster) {
    let tally = queue.tally();
    let late = tally.waits.iter().filter(|wait| **wait > Duration::from_secs(12)).count();
    let in_time = 100.0 * (tally.waits.len() - late) as f64 / tally.waits.len().max(1) as f64;
    let left = tally.put - tally.done - tally.killed;
    say(&format!(
        "\n{} tasks put in, {} done, {left} still there, {} killed by a scale-in; {in_time:.0} % started within \
         12 s; {:.1} replica-minutes.",
        tally.put,
        tally.done,
        tally.killed,
        cluster.replica_seconds() / 60.0
    ));
}
