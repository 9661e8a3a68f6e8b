//! A report as `/decisions` and `plan` show it: as JSON for programs, and as text for people.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::decision::{Alternative, Change, Step};
use crate::engine::want::Want;
use crate::telemetry::limits::ShownLimit;
use crate::telemetry::queries::ShownQueries;
use crate::text::Printable;

/// One trigger as `/decisions` shows it. Programs read it: fields are added, and not renamed.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// Namespace of the ScaledObject.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Tells the triggers of one ScaledObject apart.
    pub trigger: String,
    /// Kind of queue.
    pub source: Cow<'static, str>,
    /// Named connection.
    pub connection: String,
    /// The queue in full.
    pub queue: String,
    /// How good the answer is.
    pub state: State,
    /// The number; null while it is not known.
    pub replicas: Option<u32>,
    /// Whether KEDA may not go to zero; null while it is not known.
    pub active: Option<bool>,
    /// The rule that set the number.
    pub limited_by: Cow<'static, str>,
    /// The decision in one sentence.
    pub why: String,
    /// Time since the queue was read; null if it never was.
    pub age_seconds: Option<f64>,
    /// Why the last read failed, if it did.
    pub error: Option<String>,
    /// What was seen; what is not known is absent.
    pub seen: Vec<Seen>,
    /// The queries about its tasks; null if none are asked.
    pub queries: Option<ShownQueries>,
    /// What the demand was made of.
    pub terms: Option<Terms>,
    /// What its rate limit leaves to it; null if it uses none.
    pub limit: Option<ShownLimit>,
    /// The rules that changed the number, in order.
    pub steps: Vec<ShownStep>,
    /// What another configuration would have given.
    pub alternatives: Vec<ShownAlternative>,
    /// Time until the backlog is gone; null if it is empty, grows, or nobody can tell.
    pub backlog_gone_in_seconds: Option<f64>,
}

/// How good an answer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Decided from a fresh reading.
    Fresh,
    /// The last one, because the queue could not be read since.
    Held,
    /// There is none.
    Unknown,
}

/// One value that was seen.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// Its name, with its unit.
    pub name: Cow<'static, str>,
    /// The value.
    pub value: f64,
    /// Whether it was not measured, but taken from the configuration or derived.
    pub estimated: bool,
    /// Who told it: the queue, the workers, queries, or the configuration.
    pub from: Cow<'static, str>,
}

/// What the demand was made of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Terms {
    /// Q, tasks.
    pub backlog: u64,
    /// D(L), tasks.
    pub due_soon: u64,
    /// F, tasks; null where the queue cannot show them.
    pub in_flight: Option<u64>,
    /// Running tasks that are stuck.
    pub stuck: u64,
    /// Running tasks that were given out three times or more.
    pub poison: u64,
    /// W.
    pub promise_seconds: f64,
    /// S.
    pub service_seconds: Option<f64>,
    /// T.
    pub time_to_start_seconds: f64,
    /// d.
    pub part: f64,
    /// Whether the whole backlog counts.
    pub promise_missed: bool,
    /// F + d·(Q + D(L)).
    pub slots: f64,
}

impl From<&Want> for Terms {
    fn from(want: &Want) -> Self {
        let Want {
            backlog,
            soon,
            in_flight,
            odd,
            promise,
            out_of_reach: _,
            time_to_start,
            service,
            part,
            promise_missed,
            slots,
        } = *want;
        Self {
            backlog,
            due_soon: soon,
            in_flight,
            stuck: odd.stuck,
            poison: odd.poison,
            promise_seconds: promise.as_secs_f64(),
            service_seconds: service.map(|service| service.as_secs_f64()),
            time_to_start_seconds: time_to_start.as_secs_f64(),
            part,
            promise_missed,
            slots,
        }
    }
}

/// One rule that changed the number.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownStep {
    /// The rule.
    pub by: Cow<'static, str>,
    /// Replicas before it.
    pub from: u32,
    /// Replicas after it.
    pub to: u32,
}

impl From<&Step> for ShownStep {
    fn from(step: &Step) -> Self {
        let Step { by, from, to } = *step;
        Self { by: by.label().into(), from, to }
    }
}

/// What another configuration would have given.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ShownAlternative {
    /// What would be different.
    pub change: String,
    /// The replicas it would give.
    pub replicas: u32,
}

impl From<&Alternative> for ShownAlternative {
    fn from(alternative: &Alternative) -> Self {
        let Alternative { change, replicas } = *alternative;
        let change = match change {
            Change::Without(by) => format!("without {}", by.label()),
            Change::TwiceTheLimit(dimension) => format!("twice the {dimension}"),
            Change::MaxQueueWait(promise) => format!("maxQueueWait {}", humantime::format_duration(promise)),
        };
        Self { change, replicas }
    }
}

/// The text of a trigger, wherever people read one.
impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, trigger, source, connection, queue, why, error, .. } = self;
        let head = format_args!("{namespace}/{name}  {source} on {connection}: {queue}  (trigger {trigger})");
        writeln!(f, "{}\n  {}", Printable(head), Printable(why))?;
        if let Some(age) = self.age_seconds {
            write!(f, "  seen {age:.1} s ago:")?;
            for Seen { name, value, estimated, from } in &self.seen {
                // The queue is named above, and what only workers tell says so by its name.
                let told_by_workers = from == "workers" && !name.starts_with("workers_") && name != "leases";
                let note = match (*estimated, from.as_ref()) {
                    (true, "queries") => " (estimated, by queries)",
                    (false, "queries") => " (by queries)",
                    (true, "workers") => " (estimated, by workers)",
                    (false, _) if told_by_workers => " (by workers)",
                    (true, _) => " (estimated)",
                    (false, _) => "",
                };
                write!(f, " {} {}{note}", Printable(name), short(*value))?;
            }
            writeln!(f)?;
        }
        self.queries.iter().try_for_each(|queries| write!(f, "{queries}"))?;
        if let Some(Terms { time_to_start_seconds, part, slots, .. }) = &self.terms {
            let (time, part, slots) = (short(*time_to_start_seconds), short(*part), short(*slots));
            writeln!(f, "  terms: T {time} s, d {part}, want {slots} slots")?;
        }
        self.limit.iter().try_for_each(|limit| write!(f, "{limit}"))?;
        for ShownStep { by, from, to } in &self.steps {
            writeln!(f, "  {from} → {to}: {}", Printable(by))?;
        }
        error.iter().try_for_each(|error| writeln!(f, "  the last read failed: {}", Printable(error)))
    }
}

/// Two decimals, and none where they are zeros.
pub fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_after_the_point_are_left_out() {
        assert_eq!([12.0, 0.5, 0.0, 100.0, 1.239].map(short), ["12", "0.5", "0", "100", "1.24"]);
    }
}
