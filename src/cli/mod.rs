//! The command line.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};

use crate::config::server::Server;
use crate::sources;
use crate::telemetry;
use crate::text::PrintableLines;

mod check;
mod demo;
#[cfg(feature = "kafka")]
mod kafka_reader;
mod keys;
mod manifests;
mod nothing;
mod plan;
mod serve;
mod wrap;

/// KEDA external scaler for AI-agent workers.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    /// What to log: a level, or tracing directives such as `agent_scaler=debug` [default: info for serve, else warn].
    #[arg(long, global = true, env = "AGENT_SCALER_LOG")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Demo(demo::Arguments),
    #[command(visible_alias = "dry-run")]
    Plan(plan::Arguments),
    Check(check::Arguments),
    Keys(keys::Arguments),
    #[cfg(feature = "kafka")]
    #[command(name = sources::kafka::COMMAND, hide = true)]
    KafkaReader(kafka_reader::Arguments),
}

/// Runs the command that the process was given, and says how it went.
///
/// 0: done; 1: something failed; 2: the configuration or the arguments are wrong.
pub fn run() -> ExitCode {
    let Arguments { log, command } = Arguments::parse();
    let _last_lines = telemetry::log::last_lines();
    let level = match command {
        Command::Serve(_) => Some("info"),
        Command::Demo(_) | Command::Plan(_) | Command::Check(_) | Command::Keys(_) => Some("warn"),
        // Its lines are its parent's to write.
        #[cfg(feature = "kafka")]
        Command::KafkaReader(_) => None,
    };
    if let Some(level) = level
        && let Err(error) = telemetry::log(log.as_deref().unwrap_or(level))
    {
        complain(&anyhow::Error::new(error).context("--log"));
        return ExitCode::from(WRONG);
    }
    let result = match command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Plan(arguments) => plan::run(&arguments),
        Command::Check(arguments) => check::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments),
        #[cfg(feature = "kafka")]
        Command::KafkaReader(arguments) => Ok(kafka_reader::run(&arguments)),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            let wrong = error.is::<BadConfiguration>() || error.is::<keys::UnknownSource>();
            if wrong { ExitCode::from(WRONG) } else { ExitCode::FAILURE }
        }
    }
}

/// Exit code for a configuration that is wrong.
const WRONG: u8 = 2;

/// The server's file cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
struct BadConfiguration {
    path: PathBuf,
    reason: String,
}

/// How to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Reads the server's file.
fn load_server(path: &Path) -> Result<Server, BadConfiguration> {
    let bad = |reason: String| BadConfiguration { path: path.to_owned(), reason };
    let unreadable = |error| bad(format!("{error} (hint: --config or AGENT_SCALER_CONFIG)"));
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    Server::parse(&text, sources::ALL).map_err(|error| bad(error.to_string()))
}

/// Chooses the one provider of cryptography, before one of several crates makes a choice of its own.
fn install_crypto() {
    drop(rustls::crypto::ring::default_provider().install_default());
}

/// Whether colours are wanted at all: <https://no-color.org>.
fn colours() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

/// Prints a line. A reader that has seen enough, as `head` has, ends the program and is no error.
fn say(text: &str) {
    if writeln!(std::io::stdout().lock(), "{text}").is_err() {
        std::process::exit(0);
    }
}

/// Says something beside the output.
fn remark(text: &str) {
    telemetry::log::say(&PrintableLines(text).to_string());
}

/// An error and its causes, one a line.
fn complain(error: &anyhow::Error) {
    let causes = error.chain().skip(1).map(|cause| format!("\n  because: {cause}"));
    remark(&format!("error: {error}{}", causes.collect::<String>()));
}
