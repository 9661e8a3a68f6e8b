//! Fleets of real worker processes under a provider's limit: `cargo test --test fleet -- [ONLY…]`.
//!
//! Each scenario has a Redis, a provider (`examples/llm-stub`), workers (`examples/worker`, one process a
//! replica) and a scaler of its own, on free ports of the loopback, and prints its figures beside their bars.
//! The protocol's minute is a few seconds, so that a quarter of an hour lasts one. What the provider counts is
//! the truth. Scenarios run one after another; words after `--` choose them by parts of their names.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that cannot go on says so and ends"
)]

mod deployment;
mod figures;
mod gateway;
mod minutes;
mod plant;
mod process;
mod redis_server;
mod scaler;
mod scenarios;
mod stub;
mod tasks;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use futures_util::future::ready;
use futures_util::stream::{self, StreamExt};
use tokio::task::{LocalSet, spawn_local};
use tokio::time::{Instant, timeout};

use figures::Figures;
use scenarios::Scenario;

/// Longest time that a scenario may take.
const LONGEST_SCENARIO: Duration = Duration::from_secs(240);

/// Scenarios that are played at a time: they wait for most of theirs, and two cores are enough for two.
const AT_A_TIME: usize = 2;

fn main() -> ExitCode {
    let chosen = scenarios::chosen(std::env::args().skip(1));
    process::build_examples();
    // Without a provider `reqwest` makes no client, although nothing here is asked over TLS.
    drop(rustls::crypto::ring::default_provider().install_default());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    // A scenario stays on one thread, so that what it does need not be `Send`.
    let code = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            code = run(chosen) => code,
            _ = tokio::signal::ctrl_c() => ExitCode::from(130),
        }
    });
    runtime.shutdown_background();
    code
}

async fn run(chosen: Vec<Scenario>) -> ExitCode {
    let (started, count) = (Instant::now(), chosen.len());
    let logs = tempfile::Builder::new().prefix("agent-scaler-fleet-").tempdir().unwrap();
    let played = stream::iter(chosen).map(async |scenario| {
        let began = Instant::now();
        let figures = play(&scenario, logs.path().join(scenario.name)).await;
        println!("{}", figures.printed(scenario.name, began.elapsed().as_secs_f64()));
        figures.are_good()
    });
    let failed = played.buffer_unordered(AT_A_TIME).filter(|good| ready(!good)).count().await;
    println!("{} passed, {failed} failed, {:.0} s", count - failed, started.elapsed().as_secs_f64());
    if failed == 0 {
        return ExitCode::SUCCESS;
    }
    println!("logs: {}", kept(logs).display());
    ExitCode::FAILURE
}

/// Plays one scenario to its end, or to its panic.
async fn play(scenario: &Scenario, folder: PathBuf) -> Figures {
    // A task of its own catches what it panics with, and takes its processes along.
    let task = spawn_local((scenario.play)(folder));
    let abort = task.abort_handle();
    match timeout(LONGEST_SCENARIO, task).await {
        Ok(Ok(figures)) => figures,
        Ok(Err(error)) => failure(message(error)),
        Err(_) => {
            abort.abort();
            failure(format!("not done after {} s", LONGEST_SCENARIO.as_secs()))
        }
    }
}

fn failure(what: String) -> Figures {
    let mut figures = Figures::default();
    figures.holds(what, false);
    figures
}

fn message(error: tokio::task::JoinError) -> String {
    let Ok(payload) = error.try_into_panic() else { return "cancelled".to_owned() };
    payload
        .downcast_ref::<String>()
        .cloned()
        .or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .unwrap_or_else(|| "a panic without words".to_owned())
}

fn kept(logs: tempfile::TempDir) -> PathBuf {
    let path = logs.keep();
    Path::new(&path).to_owned()
}
