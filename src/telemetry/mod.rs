//! What happened, for people and machines: logs, metrics, and the pages of the admin port.

pub mod admin;
pub mod metrics;
pub mod report;
pub mod shown;

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

/// Sends log lines to standard error: text on a terminal, JSON elsewhere.
///
/// `filter` is a tracing directive such as `info` or `agent_scaler=debug`; a bad one falls back to `info`.
pub fn log(filter: &str) {
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        lines.with_target(false).init();
    } else {
        lines.json().flatten_event(true).init();
    }
}
