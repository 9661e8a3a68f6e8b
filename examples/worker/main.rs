//! The reference worker: runs agent tasks from a queue in Redis, SQS or Kafka, keeps to its share of an LLM rate limit, and speaks
//! agent-scaler's worker protocol.

mod admission;
mod agent;
mod asking;
mod books;
mod breaker;
mod check;
mod clock;
mod connections;
mod conversation;
mod desk;
mod flags;
mod http;
mod limiter;
mod metrics;
mod model;
mod pause;
mod probes;
mod queue;
mod reports;
mod settings;
mod shift;
#[path = "../task/mod.rs"]
#[expect(dead_code, reason = "the agent API uses what the worker does not")]
mod task;
mod tools;
mod wire;
mod worker;

use std::error::Error;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use agent_scaler::workers::writer::{self, Reporter};
use clap::Parser as _;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Expected};
use crate::books::Books;
use crate::breaker::Breaker;
use crate::clock::RedisClock;
use crate::connections::Connections;
use crate::desk::Desk;
use crate::flags::Flags;
use crate::limiter::Limiter;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::probes::{Health, Pages};
use crate::reports::Reports;
use crate::settings::Settings;
use crate::tools::Tools;
use crate::worker::Worker;

/// Exit code for settings that make no sense, as the scaler's.
const INVALID: u8 = 2;

fn main() -> ExitCode {
    let flags = Flags::parse();
    let _last_lines = match agent_scaler::telemetry::log(&flags.log) {
        Ok(last_lines) => last_lines,
        Err(error) => return ends(&format!("--log (LOG): {error}"), INVALID.into()),
    };
    let settings = match Settings::try_new(&flags) {
        Ok(settings) => settings,
        Err(invalid) => return ends(&invalid.to_string(), INVALID.into()),
    };
    // One provider of cryptography for Redis and HTTP; if there is one already, it is the same.
    drop(rustls::crypto::ring::default_provider().install_default());
    let ended = tokio::runtime::Runtime::new().map_err(Into::into).and_then(|runtime| {
        let ended = runtime.block_on(run(settings));
        // A request that is still under way keeps nobody waiting.
        runtime.shutdown_background();
        ended
    });
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => ends(&model::chain(error.as_ref()), ExitCode::FAILURE),
    }
}

fn ends(reason: &str, code: ExitCode) -> ExitCode {
    // If this cannot be written, there is nowhere else to say it.
    drop(writeln!(std::io::stderr(), "worker: {reason}"));
    code
}

async fn run(settings: Settings) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(&settings.listen)
        .await
        .map_err(|error| format!("cannot listen on {}: {error}", settings.listen))?;
    writeln!(std::io::stdout(), "listening on http://{}", listener.local_addr()?)?;
    let worker = assemble(settings).await?;
    let pages = Pages { health: Arc::clone(&worker.health), registry: worker.metrics.registry() };
    let serving = axum::serve(listener, probes::routes(Arc::new(pages)));
    tokio::spawn(async move { serving.await });
    shift::run(worker).await
}

/// Puts the parts together. Nothing is asked of anybody yet.
async fn assemble(settings: Settings) -> Result<Arc<Worker>, Box<dyn Error>> {
    let Connections { queue, looking, limiter, reports } = connections::prepare(&settings.redis)?;
    let client = http::client()?;
    let books = Arc::new(Books::new());
    let clock = Arc::new(RedisClock::start());
    let metrics = Arc::new(Metrics::new(&settings.queue, &settings.model.name));
    let reporter = Reporter::new(
        reports,
        writer::Settings {
            scope: settings.scope.clone(),
            limit: settings.limit.clone(),
            worker: settings.worker.clone(),
            minute: settings.minute,
            lease: settings.lease,
        },
    );
    let reports = Reports::new(reporter, Arc::clone(&clock));
    let queue = queue::open(&settings, queue, looking).await?;
    let limiter = settings.limit.as_ref().filter(|_| settings.paced).map(|limit| {
        Arc::new(Limiter::new(
            limiter,
            Arc::clone(&books),
            limit,
            &settings.scope,
            settings.minute,
            settings.model.timeout,
            settings.amounts.clone(),
        ))
    });
    let agent = Agent {
        queue: Arc::clone(&queue),
        model: Model::new(client.clone(), settings.model.clone(), &settings.worker, settings.tools.is_some()),
        tools: Tools::new(client, settings.tools.clone(), settings.model.tool_timeout),
        limiter,
        breaker: Breaker::new("model"),
        books: Arc::clone(&books),
        metrics: Arc::clone(&metrics),
        reports: Arc::clone(&reports),
        clock: Arc::clone(&clock),
        caps: settings.caps.clone(),
        expected: Expected::new(settings.model.answer_tokens),
    };
    Ok(Arc::new(Worker {
        queue,
        agent,
        desk: Arc::new(Desk::default()),
        books,
        reports,
        clock,
        health: Arc::new(Health::new(settings.beat())),
        metrics,
        changed: Notify::new(),
        draining: AtomicBool::new(false),
        ended: CancellationToken::new(),
        used_up: AtomicBool::new(false),
        may_be_used_up: AtomicBool::new(false),
        settings,
    }))
}
