//! A plan as a table for people, and as JSON for programs.

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table, presets};
use serde::Serialize;

use super::cost::Cost;
use super::forecast::{Forecast, forecast};
use crate::cli::check::{Warning, error_lines, warnings};
use crate::cli::manifests::Ours;
use crate::telemetry::shown::{Shown, State, short};
use crate::text::{Printable, PrintableLines, printable_json};

/// Width where there is no terminal to ask.
const WIDTH: u16 = 100;

/// Later steps that a table has room for.
const STEPS_SHOWN: usize = 5;

/// One trigger, decided.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Planned {
    namespace: String,
    name: String,
    kind: String,
    origin: String,
    /// Why the trigger would not be served.
    error: Option<String>,
    /// What was seen and decided; null if there was no answer in time.
    decision: Option<Shown>,
    next: Forecast,
    /// What its reads cost in a month; null where they cost nothing, or a server was asked.
    cost_per_month: Option<Cost>,
    warnings: Vec<Warning>,
}

#[derive(Serialize)]
struct Json<'a> {
    /// Problems with the shape of a document.
    documents: &'a [String],
    triggers: &'a [Planned],
}

impl Planned {
    pub(super) fn new(ours: &Ours<'_>, decision: Option<Shown>, cost: Option<Cost>, current: u32) -> Self {
        let answer = decision.as_ref().and_then(|shown| shown.replicas.zip(shown.active));
        Self {
            namespace: ours.scaled.namespace.clone(),
            name: ours.scaled.name.clone(),
            kind: format!("{:?}", ours.scaled.kind),
            origin: ours.scaled.origin.clone(),
            error: ours.trigger.as_ref().err().map(ToString::to_string),
            next: forecast(ours.scaled, ours.written.metric_type.as_deref(), answer, current),
            decision,
            cost_per_month: cost,
            warnings: warnings(ours),
        }
    }

    /// Whether the trigger would not be served.
    pub(super) fn is_wrong(&self) -> bool {
        self.error.is_some()
    }

    /// Whether there is no answer.
    pub(super) fn is_unknown(&self) -> bool {
        self.decision.as_ref().is_none_or(|shown| shown.state == State::Unknown)
    }

    fn wants(&self) -> String {
        match self.decision.as_ref().and_then(|shown| shown.replicas) {
            Some(replicas) if self.kind == "ScaledJob" => format!("{replicas} Jobs"),
            Some(1) => "1 replica".to_owned(),
            Some(replicas) => format!("{replicas} replicas"),
            None => "unknown".to_owned(),
        }
    }

    fn limited_by(&self) -> &str {
        match &self.decision {
            Some(shown) if shown.state != State::Unknown => &shown.limited_by,
            Some(_) | None => "",
        }
    }

    /// What was seen, in the words of the tables: `40 waiting, 8 running, S 32 s`.
    fn seen(&self) -> String {
        let Some(shown) = &self.decision else { return "unknown".to_owned() };
        let value = |name: &str| shown.seen.iter().find(|seen| seen.name == name);
        let mut parts = Vec::new();
        if let Some(ready) = value("ready") {
            let due = value("due").map_or(0.0, |due| due.value);
            parts.push(format!("{} waiting", ready.value + due));
        }
        match (value("in_flight"), parts.is_empty()) {
            (Some(running), _) => parts.push(format!("{} running", running.value)),
            (None, false) => parts.push("running unknown".to_owned()),
            (None, true) => return "unknown".to_owned(),
        }
        parts.push(match value("service_seconds") {
            Some(service) if service.estimated => format!("S {} s expected", short(service.value)),
            Some(service) => format!("S {} s", short(service.value)),
            None => "S unknown".to_owned(),
        });
        parts.join(", ")
    }

    /// The next step and those after it: `0 → 1, then 5, 10, 12 in 45 s`.
    fn next(&self) -> String {
        let Forecast { current, next, reason: _, why, then } = &self.next;
        if self.is_wrong() {
            return String::new();
        }
        if self.kind == "ScaledJob" {
            return format!("{next} new Jobs beside {current} ({why})");
        }
        let step = format!("{current} → {next} ({why})");
        let Some(last) = then.last() else { return step };
        let shown: Vec<String> =
            then.iter().take(STEPS_SHOWN).map(|step| step.replicas.to_string()).collect();
        let more = if then.len() > STEPS_SHOWN { format!(" … {}", last.replicas) } else { String::new() };
        format!("{step}, then {}{more} in {} s", shown.join(", "), last.after_seconds)
    }

    /// What the table has no room for.
    fn details(&self) -> Vec<String> {
        let Self { namespace, name, origin, error, decision, cost_per_month, .. } = self;
        let mut lines: Vec<String> = match decision {
            Some(shown) => shown.to_string().lines().map(str::to_owned).collect(),
            None => vec![Printable(format_args!("{namespace}/{name}  ({origin})")).to_string()],
        };
        lines.extend(error.as_deref().map(error_lines));
        if decision.is_none() && error.is_none() {
            lines.push("  no answer in time, or KEDA has not asked for it yet".to_owned());
        }
        lines.extend(cost_per_month.iter().map(|cost| format!("  a month: {cost}")));
        lines.extend(self.warnings.iter().map(Warning::text));
        lines
    }
}

/// Everything as JSON; `docs/plan.md` describes it.
pub(super) fn json(documents: &[String], planned: &[Planned]) -> serde_json::Result<String> {
    serde_json::to_string_pretty(&Json { documents, triggers: planned }).map(printable_json)
}

/// A table, and below it what it has no room for.
pub(super) fn text(documents: &[String], planned: &[Planned], coloured: bool) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    if coloured {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    if table.width().is_none() {
        table.set_width(WIDTH);
    }
    let heading = |text| Cell::new(text).add_attribute(Attribute::Bold);
    table.set_header(["trigger of", "seen", "wants", "limited by", "next"].map(heading));
    for planned in planned {
        let wants = match (planned.is_wrong(), planned.is_unknown()) {
            (true, _) => Cell::new("refused").fg(Color::Red),
            (false, true) => Cell::new(planned.wants()).fg(Color::Yellow),
            (false, false) => Cell::new(planned.wants()).add_attribute(Attribute::Bold),
        };
        table.add_row([
            Cell::new(Printable(format_args!("{}/{}", planned.namespace, planned.name))),
            Cell::new(Printable(planned.seen())),
            wants,
            Cell::new(Printable(planned.limited_by())),
            Cell::new(Printable(planned.next())),
        ]);
    }
    let mut lines: Vec<String> =
        documents.iter().map(|problem| format!("error    {}", PrintableLines(problem))).collect();
    lines.push(table.trim_fmt());
    for planned in planned {
        lines.push(String::new());
        lines.extend(planned.details());
    }
    lines.join("\n")
}
