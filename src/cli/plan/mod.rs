//! `agent-scaler plan`: what would be decided now, and what KEDA and the HPA would make of it.
//!
//! It reads and changes nothing: neither a queue nor a cluster.

mod cost;
mod forecast;
mod look;
mod view;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::manifests::{self, Ours};
use super::{Format, WRONG, load_server, say};
use crate::config::server::Server;
use crate::config::trigger::Trigger;
use crate::fields::Problem;
use crate::manifest::Manifests;
use crate::text::Printable;

use cost::Cost;
use look::Look;
use view::Planned;

/// Shows what would be decided now, and what KEDA and the HPA would make of it; changes nothing.
///
/// Reads the queues of the ScaledObjects and ScaledJobs once, through the connections of the server's file, and
/// decides as a server does that has just started: what one look cannot know is unknown. --observe looks for
/// longer, --server asks a running server. Exit codes: 0 everything is known, 1 something failed, 2 the
/// configuration is wrong, 3 a queue could not be read.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    manifests: manifests::Arguments,
    /// The server's file, which names the connections.
    #[arg(long, default_value = "/etc/agent-scaler/agent-scaler.yaml", env = "AGENT_SCALER_CONFIG")]
    config: PathBuf,
    /// Replicas (or unfinished Jobs) that there are now: where KEDA and the HPA would go on from.
    #[arg(long, default_value_t = 0, value_name = "N")]
    current_replicas: u32,
    /// Watches the queues for this time before it speaks, so that the service time can be measured.
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION", conflicts_with = "server")]
    observe: Option<Duration>,
    /// Asks a running server at the address of its admin port instead of the queues.
    #[arg(long, value_name = "URL", value_parser = admin_url)]
    server: Option<String>,
    /// Bearer token for --server.
    #[arg(long, env = "AGENT_SCALER_TOKEN", hide_env_values = true, requires = "server")]
    token: Option<String>,
    /// Goes on until Ctrl-C.
    #[arg(long)]
    watch: bool,
    /// Says which commands were sent to which connection.
    #[arg(short, long, conflicts_with = "server")]
    verbose: bool,
    /// How long to wait for a first answer of a queue.
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration, value_name = "DURATION")]
    timeout: Duration,
    /// How to print.
    #[arg(short, long, default_value = "text")]
    output: Format,
    /// Lets triggers give addresses of their own; see `serve`.
    #[arg(long)]
    allow_inline_connections: bool,
}

fn admin_url(text: &str) -> Result<String, &'static str> {
    let right = url::Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https"));
    right.then(|| text.to_owned()).ok_or("must be a URL, e.g. http://localhost:8080")
}

/// Exit code for a queue that could not be read.
const UNKNOWN: u8 = 3;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let manifests = arguments.manifests.load()?;
    // A running server knows its own connections.
    let server = match arguments.server {
        Some(_) => manifests::server_for(&manifests)?,
        None => load_server(&arguments.config)?,
    };
    let server = Server { allow_inline_connections: arguments.allow_inline_connections, ..server };
    let ours = manifests::ours(&manifests, &server);
    super::install_crypto();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(show(arguments, &manifests, server, &ours))
}

async fn show(
    arguments: &Arguments,
    manifests: &Manifests,
    server: Server,
    ours: &[Ours<'_>],
) -> anyhow::Result<ExitCode> {
    let triggers: Vec<Trigger> = ours.iter().filter_map(|ours| ours.trigger.as_ref().ok().cloned()).collect();
    let tick = server.tick;
    let look = match &arguments.server {
        Some(url) => Look::remote(url, arguments.token.as_deref(), arguments.timeout)?,
        None => Look::begin(&server, triggers, arguments.timeout)?,
    };
    if let Some(time) = arguments.observe {
        super::remark(&format!("observing for {} …", humantime::format_duration(time)));
    }
    let observed = look.after(arguments.observe.unwrap_or_default());
    tokio::select! {
        () = observed => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    loop {
        let planned = plan(arguments, &look, ours, tick).await?;
        print(arguments, manifests, &planned)?;
        if arguments.verbose {
            // Not among the output, which a program may read.
            super::remark(&commands(ours));
        }
        if !arguments.watch {
            return Ok(code(manifests, &planned));
        }
        tokio::select! {
            () = tokio::time::sleep(tick) => {}
            _ = tokio::signal::ctrl_c() => return Ok(code(manifests, &planned)),
        }
    }
}

async fn plan(
    arguments: &Arguments,
    look: &Look,
    ours: &[Ours<'_>],
    tick: Duration,
) -> anyhow::Result<Vec<Planned>> {
    let mut planned = Vec::new();
    for ours in ours {
        let seen = match &ours.trigger {
            Ok(trigger) => look.at(trigger).await?,
            Err(_) => None,
        };
        // Only a server itself knows how often it reads.
        let trigger = ours.trigger.as_ref().ok().filter(|_| arguments.server.is_none());
        let listens = ours.written.kind == "external-push";
        let poll = ours.scaled.poll();
        let cost = trigger.and_then(|trigger| Cost::of(trigger, tick, listens, poll));
        planned.push(Planned::new(ours, seen, cost, arguments.current_replicas));
    }
    Ok(planned)
}

fn print(arguments: &Arguments, manifests: &Manifests, planned: &[Planned]) -> anyhow::Result<()> {
    let problems: Vec<String> = manifests.problems.iter().map(Problem::to_string).collect();
    match arguments.output {
        Format::Json => say(&view::json(&problems, planned)?),
        Format::Text => {
            let terminal = std::io::stdout().is_terminal();
            if arguments.watch && terminal {
                // Back to the top, and everything below it away.
                say("\u{1b}[H\u{1b}[J");
            }
            say(&view::text(&problems, planned, terminal && super::colours()));
        }
    }
    Ok(())
}

fn code(manifests: &Manifests, planned: &[Planned]) -> ExitCode {
    if !manifests.problems.is_empty() || planned.iter().any(Planned::is_wrong) {
        ExitCode::from(WRONG)
    } else if planned.iter().any(Planned::is_unknown) {
        ExitCode::from(UNKNOWN)
    } else {
        ExitCode::SUCCESS
    }
}

/// The commands of one read, by connection.
fn commands(ours: &[Ours<'_>]) -> String {
    let triggers = ours.iter().filter_map(|ours| ours.trigger.as_ref().ok());
    let places = triggers.flat_map(|Trigger { connection, plan, workers, limit, queries, .. }| {
        let workers = workers.as_ref().map(|at| (&at.connection, &at.plan));
        let headroom = limit.as_ref().and_then(|uses| uses.limit.headroom.as_ref());
        let headroom = headroom.map(|at| (&at.connection, &at.plan));
        let limit = limit.as_ref().map(|uses| (&uses.limit.connection, &uses.limit.plan));
        let queries = queries.as_ref().map(|at| (&at.connection, &at.plan));
        [Some((connection, plan)), workers, queries, limit, headroom].into_iter().flatten()
    });
    let lines = places.map(|(connection, plan)| {
        let address = connection.endpoint.address();
        let commands = plan.commands().join("; ");
        Printable(format_args!("sent to {} ({address}): {commands}", connection.name)).to_string()
    });
    lines.collect::<Vec<_>>().join("\n")
}
