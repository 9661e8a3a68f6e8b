//! The whole loop on a real Kubernetes control plane with a real KEDA: `make test-keda`.
//!
//! etcd, kube-apiserver, kube-controller-manager and KEDA are built from their Go modules, once, and started
//! in a network namespace that holds nothing else. There is no kubelet and there are no containers: pods are
//! rows in the API server, and what would run in them is simulated against a real Redis, or is the reference worker as a
//! process. Scenarios run side by side, each with a Kubernetes namespace, a Redis and servers of its own, and print what
//! happened.
//!
//! Words after `--` choose scenarios by parts of their names. `KEDA=v2.20.2` chooses another KEDA.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test that cannot go on says so and ends"
)]

mod api;
mod cluster;
mod examples;
mod history;
mod kubelet;
mod ledger;
mod objects;
mod scenarios;
mod scene;
mod servers;
mod shift;
mod timeline;
mod workers;

/// Servers that the tests of the sources have as well.
#[path = "../it/support"]
#[expect(dead_code, unused_imports, reason = "those need more of it")]
mod support {
    pub(crate) mod kafka;
    pub(crate) mod moto;
    pub(crate) mod prometheus;
    pub(crate) mod servers;
    pub(crate) mod tree;
}

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use cluster::Cluster;
use cluster::build::Binaries;
use scene::Stage;
use timeline::Timeline;

/// Longest time a scenario may take: the longest waits out an outage of two minutes.
const LONGEST_SCENARIO: Duration = Duration::from_secs(400);

/// Scenarios that are played at a time. All at once leave two cores too busy for anything to come in time, and take as
/// long: as long as the longest.
const AT_A_TIME: usize = 10;

fn main() -> ExitCode {
    let chosen = scenarios::chosen(std::env::args().skip(1));
    let binaries = Binaries::built();
    if !cluster::isolation::is_inside() {
        examples::build();
        // They cannot be fetched from inside.
        support::kafka::installed();
        support::moto::installed("moto").unwrap_or_else(|missing| panic!("{missing}"));
        return cluster::isolation::enter(&scenarios::hosts());
    }
    // Without a provider `reqwest` makes no client, although nothing here is asked over TLS.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let code = runtime.block_on(async {
        tokio::select! {
            code = run(binaries, chosen) => code,
            _ = tokio::signal::ctrl_c() => ExitCode::from(130),
        }
    });
    // A blocking task may still wait for a server that nobody needs any more.
    runtime.shutdown_background();
    code
}

async fn run(binaries: Binaries, chosen: Vec<scenarios::Scenario>) -> ExitCode {
    let started = Instant::now();
    let cluster = Cluster::start(binaries).await;
    println!(
        "KEDA {} on Kubernetes {} up after {:.1} s; {} scenarios",
        cluster.keda,
        cluster::build::KUBERNETES,
        started.elapsed().as_secs_f64(),
        chosen.len()
    );
    // The scenarios' own panics are told with their timelines.
    std::panic::set_hook(Box::new(|_| {}));

    let cluster = Arc::new(cluster);
    let places = Arc::new(Semaphore::new(AT_A_TIME));
    let mut running = JoinSet::new();
    for scenario in chosen {
        let (cluster, places) = (Arc::clone(&cluster), Arc::clone(&places));
        running.spawn(async move {
            let _place = places.acquire().await.unwrap();
            play(cluster, scenario).await
        });
    }
    let (mut passed, mut failed) = (0, Vec::new());
    while let Some(outcome) = running.join_next().await {
        match outcome.unwrap() {
            (_, true) => passed += 1,
            (name, false) => failed.push(name),
        }
    }
    for name in &failed {
        println!("FAILED: {name}");
    }
    println!("{passed} passed, {} failed, {:.0} s", failed.len(), started.elapsed().as_secs_f64());
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    println!("logs: {}", cluster.keep_logs().display());
    ExitCode::FAILURE
}

/// Plays one scenario to its end, prints its timeline, and says whether it went well.
async fn play(cluster: Arc<Cluster>, scenario: scenarios::Scenario) -> (&'static str, bool) {
    let timeline = Timeline::default();
    let stage = Stage { name: scenario.name, number: scenario.number, cluster, timeline: timeline.clone() };
    // A task of its own catches what it panics with.
    let task = tokio::spawn((scenario.play)(stage));
    let abort = task.abort_handle();
    let failure = match timeout(LONGEST_SCENARIO, task).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(message(error)),
        Err(_) => {
            abort.abort();
            Some(format!("not done after {} s", LONGEST_SCENARIO.as_secs()))
        }
    };
    println!("{}", timeline.printed(scenario.name, failure.as_deref()));
    (scenario.name, failure.is_none())
}

fn message(error: tokio::task::JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "cancelled".to_owned() };
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}
