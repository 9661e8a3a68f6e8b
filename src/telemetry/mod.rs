//! What happened, for people and machines: logs, metrics, and the pages of the admin port.

pub mod admin;
pub mod limits;
pub mod metrics;
pub mod queries;
pub mod report;
pub mod shown;

use std::error::Error;
use std::fmt;
use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

/// Sends log lines to standard error: text on a terminal, JSON elsewhere.
///
/// `filter` is a tracing directive such as `info` or `agent_scaler=debug`.
///
/// # Errors
/// When `filter` is none.
pub fn log(filter: &str) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        lines.with_target(false).init();
    } else {
        lines.json().flatten_event(true).init();
    }
    Ok(())
}

/// An error and what caused it, in one line for the log.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
