//! `make demo`: agent-scaler beside KEDA's list length, under the same load and on equal API keys.
//!
//! Two worlds run side by side. Each has a Redis, a stand-in for an LLM provider with one key, the agent API in front
//! of two queues, and two Deployments whose replicas are real worker processes. KEDA and the HPA are played by the
//! code that `plan` uses. In one world KEDA asks the real scaler over gRPC, in the other it goes by the length of the
//! list. Everything is thirty times faster than its default in production, and nothing else differs.
//!
//! All processes listen on free ports of the loopback, write into a temporary folder, and end with this one.

mod autoscaler;
mod deployment;
mod ledger;
mod process;
mod scaler;
mod screen;
mod story;
mod summary;
mod world;

use std::error::Error;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use agent_scaler::clock::{Clock as _, SystemClock};
use agent_scaler::telemetry::Chain;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{MissedTickBehavior, interval};

use crate::process::{Folder, Programs};
use crate::screen::say;
use crate::story::{BadTime, Story};
use crate::world::{Law, World};

/// What ends the demo early.
type Failure = Box<dyn Error>;

/// How often KEDA and the HPA look: the HPA's 15 s, thirty times faster.
const SYNC_EVERY: Duration = Duration::from_millis(500);

/// Syncs from one look at a world to the next, and from one line of it to the next.
const SYNCS_A_LOOK: u64 = 2;
const SYNCS_A_LINE: u64 = 4;

/// How long the last tasks and the way to zero may take once the story is told.
const PATIENCE: Duration = Duration::from_secs(150);

/// Exit code of a program that a signal has ended, as shells have it for Ctrl-C.
const INTERRUPTED: u8 = 130;

/// agent-scaler and KEDA's list length side by side, with real processes and a story of two minutes.
#[derive(Debug, Parser)]
#[command(name = "demo")]
struct Arguments {
    /// Tasks of the burst; the rest of the load follows from it.
    #[arg(long, default_value_t = 120)]
    tasks: u32,
    /// How long the story takes until the provider is back; what is left to do comes on top of it.
    #[arg(long, default_value = "48s", value_parser = humantime::parse_duration)]
    length: Duration,
    /// What is wrong with the provider for the last sixth of it.
    #[arg(long, value_enum, default_value_t = BadTime::Out)]
    provider: BadTime,
    /// Folder for the logs of all processes, which stays; without it they go with the demo.
    #[arg(long)]
    logs: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> ExitCode {
    // The HTTP client takes the process's provider of cryptography; if there is one already, it is the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    let arguments = Arguments::parse();
    // Whichever comes first, the other is dropped, and with it every process that it has started.
    let ended = tokio::select! {
        ended = run(&arguments) => ended,
        told = told() => told.map(|()| ExitCode::from(INTERRUPTED)).map_err(Into::into),
    };
    ended.unwrap_or_else(|error| {
        say(&format!("\ndemo: {}", Chain(&*error)));
        ExitCode::FAILURE
    })
}

/// Waits for Ctrl-C, SIGTERM or the end of the terminal.
async fn told() -> std::io::Result<()> {
    let (mut terminate, mut hang_up) = (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?);
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted?,
        _ = terminate.recv() => {}
        _ = hang_up.recv() => {}
    }
    say("\nEnding all processes.");
    Ok(())
}

async fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let programs = Programs::find()?;
    let folder = Folder::new(arguments.logs.as_deref())?;
    let clock = SystemClock::start();
    let mut worlds = [
        World::start(Law::AgentScaler, &programs, &folder).await?,
        World::start(Law::ListLength, &programs, &folder).await?,
    ];
    let mut story = Story::new(arguments.tasks, arguments.length, arguments.provider);
    screen::headline(&worlds);

    let started = clock.now();
    let mut ticks = interval(SYNC_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for sync in 0_u64.. {
        ticks.tick().await;
        let now = clock.now();
        let elapsed = now.since(started);
        story.go_on(elapsed, &mut worlds).await?;
        for world in &mut worlds {
            world.sync(now).await?;
        }
        if sync % SYNCS_A_LOOK == 0 {
            for world in &mut worlds {
                world.look(elapsed, story.capacity()).await?;
            }
            story.notice(elapsed, &worlds);
        }
        if sync % SYNCS_A_LINE == 0 {
            screen::lines(elapsed, &mut worlds, now);
        }
        let over = story.is_told() && worlds.iter().all(World::is_at_rest);
        if over || elapsed > arguments.length + PATIENCE {
            break;
        }
    }
    let [ours, theirs] = &mut worlds;
    let now = clock.now();
    let (ours, theirs) = (ours.outcome(started, now).await?, theirs.outcome(started, now).await?);
    summary::show(&ours, &theirs);
    for world in worlds {
        world.stop().await;
    }
    let all_done = [&ours, &theirs].into_iter().all(|outcome| outcome.done == outcome.put);
    Ok(if all_done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
