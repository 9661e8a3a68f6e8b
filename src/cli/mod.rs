//! The command line.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod demo;
mod keys;
mod serve;

/// KEDA external scaler for AI-agent workers.
#[derive(Debug, Parser)]
#[command(version, about, max_term_width = 100)]
struct Arguments {
    /// What to log: a level, or tracing directives such as `agent_scaler=debug` [default: info; demo: warn].
    #[arg(long, global = true, env = "AGENT_SCALER_LOG")]
    log: Option<String>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Arguments),
    Demo(demo::Arguments),
    Keys(keys::Arguments),
}

/// Runs the command that the process was given, and says how it went.
///
/// 0: done; 1: something failed; 2: the configuration or the arguments are wrong.
pub fn run() -> ExitCode {
    let Arguments { log, command } = Arguments::parse();
    let quiet = matches!(command, Command::Demo(_));
    crate::telemetry::log(log.as_deref().unwrap_or(if quiet { "warn" } else { "info" }));
    let result = match command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Keys(arguments) => keys::run(&arguments),
    };
    match result {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes, one a line.
#[expect(clippy::print_stderr, reason = "the command line talks to people")]
fn complain(error: &anyhow::Error) {
    eprintln!("error: {error}");
    error.chain().skip(1).for_each(|cause| eprintln!("  because: {cause}"));
}
