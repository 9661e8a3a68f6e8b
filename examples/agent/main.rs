//! The API in front of the queue: takes tasks, and says what became of them.
//!
//! # What it answers
//!
//! | request | answer |
//! |---|---|
//! | `POST /tasks` `{"prompt": "…"}` | 202 with `Location` and `{id, status, statusUrl}`; 400, 408, 413 or 415 where the request is wrong; 422 where its idempotency key belongs to another prompt; 429 where callers should wait outside |
//! | `GET /tasks/{id}` | 200 with status, attempts, times and queue wait; 404 |
//! | `GET /tasks/{id}/result` | 200 with the result; 202 while there is none yet; 410 where there never will be one, because the task failed; 404 |
//!
//! A failed task is 410 and not 500: the API did its work, a repetition of the request changes nothing, and no
//! proxy should retry it. Every error is a JSON problem (RFC 9457). Where Redis is away every answer is 503 with
//! `Retry-After`, within `--redis-timeout`; more than 256 requests at a time get 503 at once. Nobody is asked who
//! they are: put it behind a gateway that does.
//!
//! # What is safe
//!
//! A task, its record and its idempotency key are put in by one script, `enqueue.lua`, which Redis runs whole or
//! not at all: there is no instruction between two steps at which this process could die, no record without a
//! message that would wait for ever, and no way for two requests with one key to make two tasks. What is left
//! open is the answer: a caller that got none, or 503, cannot know whether its task is in. It sends the request
//! again with the same `Idempotency-Key`, and gets the task that is there; without a key it may make a second one.
//! Redis keeps what it has said yes to as well as it is configured to: with `appendfsync everysec` a power cut may
//! cost the last second, and an eviction policy other than `noeviction` may cost anything.
//!
//! The same key with another prompt is 422, as the IETF's draft of that header has it. 409 stands there for a
//! first request that is still under way, and there is no such state here. A key is forgotten after
//! `--idempotency-ttl`, or with the record of its task.
//!
//! # When callers have to wait outside
//!
//! A queue evens out bursts. When the model's provider admits no more, a longer queue only makes promises that
//! nobody can keep, so `POST /tasks` answers 429 with `Retry-After`:
//!
//! - `blocked`: workers wrote into the limit's hash that the provider refuses everything until some time ahead
//!   (the quota or the money is used up, it is overloaded, or a 429 said so);
//! - `saturated`: the limit is used up to 95 % and the oldest task has waited longer than `--max-wait`. Both,
//!   because full use of a limit is what it is bought for while tasks start in time, and an old backlog under
//!   a limit with room is a matter of more workers, which the scaler sees to. Use is that of this queue's workers
//!   in the fuller of the last two whole minutes (a worker adds its use every sixth of a minute, so one may
//!   hold a part of its neighbour), against their share of the limit if the scaler publishes one, else against
//!   what the provider's headers say; a header of the last minute that leaves 5 % or less counts as well,
//!   which is how the use of others is seen;
//! - `backlog`: `--max-backlog` tasks wait. The script counts, so this bound is exact whatever arrives at once.
//!
//! All of it is read from Redis, once a second. The scaler's `/metrics` would say it too, but then the API could
//! not judge without the scaler, and would have to be let in there. What is not known refuses nobody: without
//! reports of workers only the backlog counts. A repetition with a known key is never refused, for its task is
//! in already.
//!
//! # Redis
//!
//! Its user needs these rights, and for each queue the keys `QUEUE` and `QUEUE:*`; reading what workers report
//! takes `%R~agent-scaler:*` as well:
//!
//! ```text
//! -@all +select +time +eval +get +set +hget +hmget +hset +xadd +lpush +llen +xlen +xinfo|groups +xrange +lindex +zcount +hscan
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program says where it listens and why it ends"
)]

mod admin;
mod api;
mod link;
mod metrics;
mod pressure;
mod problem;
mod random;
mod request;
mod settings;
mod store;
#[path = "../task/mod.rs"]
#[expect(dead_code, reason = "dead letters are the worker's")]
mod task;
mod tasks;
mod watch;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use agent_scaler::clock::SystemClock;
use agent_scaler::telemetry::{self, Chain};
use clap::Parser as _;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use self::admin::Admin;
use self::api::Api;
use self::metrics::{Looks, Metrics};
use self::settings::{Arguments, Settings};
use self::store::Store;

/// Exit code for settings that cannot be used.
const WRONG: u8 = 2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let _last_lines = match telemetry::log(&arguments.log) {
        Ok(last_lines) => last_lines,
        Err(error) => {
            eprintln!("error: --log: {error}");
            return ExitCode::from(WRONG);
        }
    };
    let settings = match Settings::try_from(arguments) {
        Ok(settings) => settings,
        Err(invalid) => {
            eprintln!("error: {invalid}");
            return ExitCode::from(WRONG);
        }
    };
    // The one provider of cryptography, before one of several crates makes a choice of its own.
    drop(rustls::crypto::ring::default_provider().install_default());
    match run(settings) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", Chain(&*error));
            ExitCode::FAILURE
        }
    }
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn run(settings: Settings) -> Result<(), Failure> {
    let mut signals = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (listener, admin_listener) = (listen(settings.listen).await?, listen(settings.admin).await?);
    let (address, admin_address) = (listener.local_addr()?, admin_listener.local_addr()?);
    let settings = Arc::new(settings);

    let store = Arc::new(Store::new(&settings));
    let clock = Arc::new(SystemClock::start());
    let watched = watch::start(&settings, Arc::clone(&store), Arc::clone(&clock));
    let mut registry = Registry::with_prefix("agent_api");
    let looks = Looks { watched: watched.clone(), bounds: settings.bounds, clock: Arc::clone(&clock) };
    let metrics = Metrics::register(&mut registry, looks);
    let stopping = CancellationToken::new();
    let admin = Admin { registry, watched: watched.clone(), stopping: stopping.clone() };
    let api = Api::new(Arc::clone(&settings), store, watched, clock, metrics);

    // Until the last request is answered, so that the kubelet and Prometheus see the end too.
    tokio::spawn(async move { axum::serve(admin_listener, admin::routes(Arc::new(admin))).await });
    println!("admin on http://{admin_address}");
    println!("listening on http://{address}");
    tracing::info!(%address, admin = %admin_address, "Serving.");

    let end = stopping.clone().cancelled_owned();
    let api = axum::serve(listener, api::routes(Arc::new(api))).with_graceful_shutdown(end);
    let mut served = tokio::spawn(api.into_future());
    tokio::select! {
        ended = &mut served => return Ok(ended??),
        () = told(&mut signals) => tracing::info!("Shutting down: no new connections."),
    }
    stopping.cancel();
    tokio::select! {
        ended = &mut served => ended??,
        () = sleep(settings.drain) => tracing::warn!("Some requests did not end in time; they are dropped."),
        () = told(&mut signals) => tracing::warn!("Told to stop a second time; requests are dropped."),
    }
    Ok(())
}

async fn listen(address: SocketAddr) -> Result<TcpListener, CannotListen> {
    TcpListener::bind(address).await.map_err(|source| CannotListen { address, source })
}

/// Waits for SIGTERM or SIGINT.
async fn told((terminate, interrupt): &mut (Signal, Signal)) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// A port cannot be had.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
struct CannotListen {
    address: SocketAddr,
    source: std::io::Error,
}
