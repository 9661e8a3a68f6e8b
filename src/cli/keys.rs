//! `agent-scaler keys`: the tables of configuration keys, which are also the README's.

use std::fmt::Write;
use std::process::ExitCode;

use comfy_table::{ContentArrangement, Table, presets};

use super::say;
use crate::config::{keys, server, trigger};
use crate::fields::{Key, Need};
use crate::sources;
use crate::sources::prometheus::QUERY_KEYS;

/// Prints the keys of triggers, or of the server's file.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only the keys of this source.
    source: Option<String>,
    /// The keys of the server's file.
    #[arg(long, conflicts_with = "source")]
    server: bool,
    /// As Markdown.
    #[arg(long)]
    markdown: bool,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { source, server, markdown } = arguments;
    let tables = if *server { server_tables() } else { trigger_tables(source.as_deref())? };
    say(render(&tables, *markdown)?.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// There is no such source.
#[derive(Debug, thiserror::Error)]
#[error("no source named `{name}` (hint: {hint})")]
pub(super) struct UnknownSource {
    name: String,
    hint: String,
}

/// A heading, and the keys under it.
type Section = (String, Vec<&'static Key>);

fn trigger_tables(source: Option<&str>) -> anyhow::Result<Vec<Section>> {
    let known: Vec<_> =
        sources::ALL.iter().filter(|spec| source.is_none_or(|name| name == spec.name)).collect();
    if known.is_empty() {
        let name = source.unwrap_or_default().to_owned();
        let hint = trigger::meant(&name, sources::ALL);
        return Err(UnknownSource { name, hint }.into());
    }
    let every = [
        ("Keys of every trigger".to_owned(), keys::ALL.iter().collect()),
        (
            "Queries of Prometheus about a trigger's tasks, for every source".to_owned(),
            QUERY_KEYS.iter().collect(),
        ),
    ];
    let of_sources = known.iter().map(|spec| {
        let types: Vec<&str> = spec.connections.iter().map(|kind| kind.name).collect();
        let (name, summary, types) = (spec.name, spec.summary, types.join(", "));
        let mut wakes: Vec<String> = spec.connections.iter().map(|kind| kind.wake.to_string()).collect();
        wakes.dedup();
        let wakes = wakes.join(" or ");
        let heading =
            format!("`source: {name}`: {summary}. Connection of type {types}. A first task is {wakes}.");
        (heading, spec.keys.iter().collect())
    });
    Ok(every.into_iter().filter(|_| source.is_none()).chain(of_sources).collect())
}

fn server_tables() -> Vec<Section> {
    let mut kinds: Vec<_> = sources::ALL.iter().flat_map(|spec| spec.connections.iter().copied()).collect();
    kinds.sort_by_key(|kind| kind.name);
    kinds.dedup_by_key(|kind| kind.name);
    let table = |heading: &str, keys: &'static [Key]| (heading.to_owned(), keys.iter().collect());
    let mut tables =
        vec![table("Top of the server's file", server::KEYS), table("Under `tls`", server::TLS_KEYS)];
    tables.extend(kinds.iter().map(|kind| {
        (format!("`connections.NAME` of `type: {}`: {}", kind.name, kind.summary), kind.keys.iter().collect())
    }));
    tables.push(("Under `llmLimits.NAME`: a limit that workers share".to_owned(), server::limit_keys()));
    tables.extend([
        table("Under `llmLimits.NAME.usePerTask`", server::USE_KEYS),
        table("Under `tenants.NAMESPACE`: what it may use", server::TENANT_KEYS),
        table("Under `defaults`: for triggers that do not say", keys::DEFAULTABLE),
    ]);
    tables
}

fn render(sections: &[Section], markdown: bool) -> Result<String, std::fmt::Error> {
    let mut text = String::new();
    for (heading, keys) in sections {
        let mut table = Table::new();
        table.load_style(if markdown { presets::ASCII_MARKDOWN } else { presets::NOTHING });
        table.set_content_arrangement(if markdown {
            ContentArrangement::Disabled
        } else {
            ContentArrangement::Dynamic
        });
        table.set_header(["key", "meaning", "unit", "default"]);
        for key in keys {
            let default = match key.need {
                Need::Required => "required",
                Need::Optional => "none",
                Need::Default(text) => text,
            };
            let name = if markdown { format!("`{}`", key.name) } else { key.name.to_owned() };
            table.add_row([name.as_str(), key.help, &key.unit.replace('|', "or"), default]);
        }
        let heading = if markdown { format!("**{heading}**\n") } else { heading.clone() };
        writeln!(text, "{heading}\n{}\n", table.trim_fmt())?;
    }
    Ok(text)
}
