//! An event as one line, of a bounded length, with nothing in it that a terminal would obey.

use std::fmt;
use std::io;
use std::sync::Arc;

use serde_json::{Map, Value};
use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::Layer;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};
use tracing_subscriber::fmt::{self as format, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

use super::queue::Queue;
use crate::text::{Short, printable_json};

/// Most characters of one field.
const LONGEST_FIELD: usize = 1_000;

/// Most bytes of one line: a few fields of the greatest length.
const LONGEST_LINE: usize = 8 * 1024;

/// How a line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// For people, on a terminal.
    Text,
    /// For programs.
    Json,
}

/// The layer that formats events and puts them into `queue`.
pub(super) fn layer<S>(shape: Shape, queue: Arc<Queue>) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'span> LookupSpan<'span>,
{
    // Its complaints would go to standard error by a way of their own.
    let lines = format::layer().log_internal_errors(false).with_writer(Lines { shape, queue });
    match shape {
        Shape::Text => {
            // The fields are escaped below; the layer's own escapes are its colours.
            let fields = debug_fn(write_field).delimited(" ");
            lines.with_target(false).with_ansi_sanitization(false).fmt_fields(fields).boxed()
        }
        Shape::Json => lines.json().flatten_event(true).boxed(),
    }
}

fn write_field(out: &mut Writer<'_>, field: &Field, value: &dyn fmt::Debug) -> fmt::Result {
    match (field.name(), out.has_ansi_escapes()) {
        ("message", _) => {}
        (name, true) => write!(out, "\u{1b}[3m{name}\u{1b}[0m\u{1b}[2m=\u{1b}[0m")?,
        (name, false) => write!(out, "{name}=")?,
    }
    write!(out, "{}", Short { value: format_args!("{value:?}"), longest: LONGEST_FIELD })
}

impl Shape {
    /// The line that says how many lines were not written.
    pub(super) fn notice(self, dropped: u64) -> Vec<u8> {
        self.line(dropped, "Log lines were dropped: nobody read them, or they could not be written.")
    }

    /// The line that says how many lines like the one that follows it were left out.
    pub(super) fn left_out(self, lines: u64) -> Vec<u8> {
        self.line(lines, "Lines like the next one were left out: they came too often.")
    }

    fn line(self, lines: u64, message: &str) -> Vec<u8> {
        let mut at = String::new();
        // Writing into a `String` cannot fail.
        let _ = SystemTime.format_time(&mut Writer::new(&mut at));
        let text = match self {
            Self::Text => format!("{at}  WARN {message} lines={lines}\n"),
            Self::Json => format!(
                "{{\"timestamp\":\"{at}\",\"level\":\"WARN\",\"message\":\"{message}\",\"lines\":{lines},\"target\":\"{}\"}}\n",
                module_path!()
            ),
        };
        text.into_bytes()
    }

    /// A formatted line, safe to print and not too long.
    fn finish(self, line: &str) -> String {
        match self {
            Self::Text if line.len() <= LONGEST_LINE => line.to_owned(),
            Self::Text => cut(line),
            Self::Json if line.len() <= LONGEST_LINE => printable_json(line.to_owned()),
            Self::Json => printable_json(shortened_json(line)),
        }
    }
}

/// The line up to the greatest length, with a mark where it was cut.
fn cut(line: &str) -> String {
    let end = (0..=LONGEST_LINE).rev().find(|at| line.is_char_boundary(*at)).unwrap_or(0);
    format!("{}…\n", line.get(..end).unwrap_or_default().trim_end())
}

/// The same object with every long text cut; without its fields where they are too many.
fn shortened_json(line: &str) -> String {
    let mut fields: Map<String, Value> = serde_json::from_str(line).unwrap_or_default();
    for value in fields.values_mut() {
        if let Value::String(text) = value {
            *text = Short { value: &*text, longest: LONGEST_FIELD }.to_string();
        }
    }
    let is_too_long =
        |fields: &Map<String, Value>| Value::Object(fields.clone()).to_string().len() >= LONGEST_LINE;
    if is_too_long(&fields) {
        fields.retain(|name, _| ["timestamp", "level", "message", "target"].contains(&name.as_str()));
    }
    let mut text = Value::Object(fields).to_string();
    text.push('\n');
    text
}

/// Puts formatted lines into the queue.
struct Lines {
    shape: Shape,
    queue: Arc<Queue>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> Self::Writer {
        self
    }
}

/// The layer writes each line whole.
impl io::Write for &Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.queue.push(self.shape.finish(&String::from_utf8_lossy(bytes)).into_bytes());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
