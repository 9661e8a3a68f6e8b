//! The log: lines that nobody waits for, that never fail, and that nobody can flood.
//!
//! An event passes the rate (`rate.rs`), is formatted with every field escaped and bounded (`lines.rs`), and waits in
//! the queue (`queue.rs`) for the one thread that writes to standard error.

mod lines;
mod queue;
pub mod rate;

use std::io::IsTerminal;
use std::panic::PanicHookInfo;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, registry};

use lines::Shape;
use queue::Queue;
use rate::Rates;

/// How long the end of the process waits for lines that are still to be written: nobody may read them at all.
const LAST_LINES: Duration = Duration::from_millis(500);

/// The queue of this process. Tracing has one subscriber for all threads, and standard error is one.
static QUEUE: OnceLock<Arc<Queue>> = OnceLock::new();

/// Lines of this process that were not written, by reason.
static DROPPED: [(Reason, AtomicU64); 3] = [
    (Reason::Full, AtomicU64::new(0)),
    (Reason::Failed, AtomicU64::new(0)),
    (Reason::Rate, AtomicU64::new(0)),
];

/// Why a line was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Too many wait: whoever reads standard error is slower than what happens.
    Full,
    /// Standard error could not be written to.
    Failed,
    /// One owner had more to say than its share.
    Rate,
}

impl Reason {
    /// A word for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Full => "queue_full",
            Self::Failed => "write_failed",
            Self::Rate => "rate",
        }
    }
}

/// How many lines were not written since the process started, by reason.
pub fn dropped() -> [(Reason, u64); 3] {
    DROPPED.each_ref().map(|(reason, lines)| (*reason, lines.load(Ordering::Relaxed)))
}

/// Counts lines that are not written.
pub fn count_dropped(reason: Reason, lines: u64) {
    if let Some((_, count)) = DROPPED.iter().find(|(known, _)| *known == reason) {
        count.fetch_add(lines, Ordering::Relaxed);
    }
}

/// What must be kept until the process ends: its end waits a moment for the last lines.
#[must_use = "the last lines are lost without it"]
#[derive(Debug)]
pub struct LastLines(());

impl Drop for LastLines {
    fn drop(&mut self) {
        if let Some(queue) = QUEUE.get() {
            queue.wait_until_written(LAST_LINES);
        }
    }
}

/// The end of whoever holds it waits a moment for the last lines.
pub const fn last_lines() -> LastLines {
    LastLines(())
}

/// The AWS SDK logs why it finds no credentials with the whole answer of whoever has them. The reader's own line says
/// why. A directive of the user's for that target counts instead.
const QUIET: &str = "aws_config=error";

/// Sends log lines to standard error: text on a terminal, JSON elsewhere. A panic becomes a line as well.
///
/// `filter` is a tracing directive such as `info` or `agent_scaler=debug`.
///
/// # Errors
/// When `filter` is none.
pub fn start(filter: &str) -> Result<LastLines, ParseError> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}"))?;
    let shape = if std::io::stderr().is_terminal() { Shape::Text } else { Shape::Json };
    let queue = QUEUE.get_or_init(|| Queue::start(shape, Box::new(queue::stderr())));
    registry()
        .with(filter)
        .with(rate::Limit::new(Arc::clone(queue), Rates::default()))
        .with(lines::layer(shape, Arc::clone(queue)))
        .init();
    std::panic::set_hook(Box::new(log_panic));
    Ok(last_lines())
}

/// Writes a line for people to standard error, by the way of the log where there is one. Never fails, never waits.
pub fn say(text: &str) {
    let queue = QUEUE.get_or_init(|| Queue::start(Shape::Text, Box::new(queue::stderr())));
    queue.push(format!("{text}\n").into_bytes());
}

/// The hook of the standard library writes to standard error by itself, and can fail and wait there.
fn log_panic(info: &PanicHookInfo<'_>) {
    let location = info.location().map(ToString::to_string).unwrap_or_default();
    let panic = info.payload_as_str().unwrap_or("no text");
    tracing::error!(location, panic, "A panic, which is a bug.");
}
