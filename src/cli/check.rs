//! `agent-scaler check`: what is wrong with a ScaledObject, without a network.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use comfy_table::Table;
use serde::Serialize;

use super::manifests::{self, Ours};
use super::wrap::wrapped;
use super::{Format, WRONG, load_server, say};
use crate::config::server::{Limit, Server};
use crate::fields::Problem;
use crate::manifest::{Manifests, SCALER_ADDRESS, Scaled};
use crate::text::{Printable, PrintableLines, printable_json};

/// Finds what is wrong with ScaledObjects and ScaledJobs, without a network.
///
/// Errors are what the server would refuse; warnings are what it would accept and what still goes wrong, each
/// with a fix (docs/checks.md). Exit codes: 0 no error, 1 something failed, 2 errors, 4 warnings with
/// --deny-warnings.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    manifests: manifests::Arguments,
    /// The server's file, for the connections and tenants that it names; without it any connection will do.
    #[arg(long)]
    config: Option<PathBuf>,
    /// Fails on warnings too.
    #[arg(long)]
    deny_warnings: bool,
    /// How to print.
    #[arg(short, long, default_value = "text")]
    output: Format,
}

/// Exit code for warnings that were denied.
const WARNED: u8 = 4;

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let manifests = arguments.manifests.load()?;
    let server = match &arguments.config {
        Some(path) => load_server(path)?,
        None => manifests::server_for(&manifests)?,
    };
    let ours = manifests::ours(&manifests, &server);
    let of_server = arguments.config.as_ref().map_or_else(Vec::new, |_| notes(&server));
    let notes = manifests.notes.iter().cloned().chain(without_address(&ours)).chain(of_server).collect();
    let checked = Checked::new(&manifests, &ours, notes);
    match arguments.output {
        Format::Json => say(&printable_json(serde_json::to_string_pretty(&checked)?)),
        Format::Text => {
            let terminal = std::io::stdout().is_terminal().then(|| Table::new().width()).flatten();
            let text = checked.text();
            say(&terminal.map_or_else(|| text.clone(), |width| wrapped(&text, width.into())));
        }
    }
    Ok(match (checked.errors, checked.warnings) {
        (0, warnings) if warnings > 0 && arguments.deny_warnings => ExitCode::from(WARNED),
        (0, _) => ExitCode::SUCCESS,
        (_, _) => ExitCode::from(WRONG),
    })
}

/// A note for each trigger that is written without an address: it may be part of one that a template completes.
fn without_address(ours: &[Ours<'_>]) -> Vec<String> {
    let lacks = |ours: &&Ours<'_>| ours.written.metadata.get(SCALER_ADDRESS).is_none_or(String::is_empty);
    let named = |ours: &Ours<'_>| {
        let Scaled { namespace, name, .. } = ours.scaled;
        format!("{namespace}/{name}: a trigger names no {SCALER_ADDRESS}, without which KEDA refuses it")
    };
    ours.iter().filter(lacks).map(named).collect()
}

/// What the server's file leaves open: neither wrong nor without consequence.
fn notes(server: &Server) -> Vec<String> {
    let unknown = server.limits.values().filter(|limit| limit.policy.amounts.is_empty());
    let unknown = unknown.map(|limit| format!("llmLimits.{}: {}", limit.name, Limit::NO_AMOUNT));
    let cautions = server.connections.values().filter_map(|connection| {
        Some(format!("connections.{}: {}", connection.name, connection.endpoint.caution()?))
    });
    unknown.chain(cautions).collect()
}

/// Everything that was found.
#[derive(Serialize)]
struct Checked {
    errors: usize,
    warnings: usize,
    /// Files without a trigger of ours, and what the server's file leaves open.
    notes: Vec<String>,
    /// Problems with the shape of a document.
    documents: Vec<String>,
    triggers: Vec<Verdict>,
}

/// What was found in one trigger.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    namespace: String,
    name: String,
    origin: String,
    error: Option<String>,
    warnings: Vec<Warning>,
}

/// One finding of one rule.
#[derive(Debug, Serialize)]
pub(super) struct Warning {
    id: &'static str,
    what: String,
    fix: String,
}

impl Checked {
    fn new(manifests: &Manifests, ours: &[Ours<'_>], notes: Vec<String>) -> Self {
        let documents: Vec<String> = manifests.problems.iter().map(Problem::to_string).collect();
        let triggers: Vec<Verdict> = ours.iter().map(Verdict::of).collect();
        let errors = documents.len() + triggers.iter().filter(|verdict| verdict.error.is_some()).count();
        let warnings = triggers.iter().map(|verdict| verdict.warnings.len()).sum();
        Self { errors, warnings, notes, documents, triggers }
    }

    fn text(&self) -> String {
        let mut lines: Vec<String> =
            self.documents.iter().map(|problem| format!("error    {}", PrintableLines(problem))).collect();
        lines.extend(self.notes.iter().map(|note| format!("note     {}", Printable(note))));
        for Verdict { namespace, name, origin, error, warnings } in &self.triggers {
            let verdict = if error.is_none() && warnings.is_empty() { "  ok" } else { "" };
            lines.push(Printable(format_args!("{namespace}/{name}  ({origin}){verdict}")).to_string());
            lines.extend(error.as_deref().map(error_lines));
            lines.extend(warnings.iter().map(Warning::text));
        }
        let Self { errors, warnings, triggers, .. } = self;
        lines.push(format!(
            "{}, {}, {}",
            count(triggers.len(), "trigger"),
            count(*errors, "error"),
            count(*warnings, "warning")
        ));
        lines.join("\n")
    }
}

impl Verdict {
    fn of(ours: &Ours<'_>) -> Self {
        Self {
            namespace: ours.scaled.namespace.clone(),
            name: ours.scaled.name.clone(),
            origin: ours.scaled.origin.clone(),
            error: ours.trigger.as_ref().err().map(ToString::to_string),
            warnings: warnings(ours),
        }
    }
}

/// The findings of one trigger, to be printed.
pub(super) fn warnings(ours: &Ours<'_>) -> Vec<Warning> {
    let warning = |(id, finding): &(&'static str, crate::checks::Finding)| Warning {
        id,
        what: finding.what.clone(),
        fix: finding.fix.clone(),
    };
    ours.findings.iter().map(warning).collect()
}

impl Warning {
    /// Two lines: what is wrong, and the fix.
    pub(super) fn text(&self) -> String {
        let Self { id, what, fix } = self;
        format!("  warning  [{id}] {}\n           fix: {}", Printable(what), Printable(fix))
    }
}

/// An error of several lines, indented. What users wrote has no newline in it by now.
pub(super) fn error_lines(error: &str) -> String {
    format!("  error    {}", PrintableLines(error.replace('\n', "\n         ")))
}

fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}
