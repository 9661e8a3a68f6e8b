//! One trigger's last evaluation, as JSON and as the text that the command line prints.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use crate::engine::decision::{Answer, Change, Decision, Outlook, Step};
use crate::engine::policy::Policy;
use crate::engine::signals::{InFlight, Percentile, Quality, Reading, Signal, Signals};
use crate::engine::want::Want;
use crate::timestamp::Timestamp;

/// What is shown of one trigger.
#[derive(Clone, Debug)]
pub struct Report {
    /// Namespace of the ScaledObject.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Tells the triggers of one ScaledObject apart.
    pub trigger: String,
    /// Kind of queue.
    pub source: &'static str,
    /// Named connection.
    pub connection: Arc<str>,
    /// The queue in full.
    pub queue: String,
    /// What was asked for.
    pub policy: Policy,
    /// What was seen.
    pub signals: Signals,
    /// What followed from it.
    pub decision: Decision,
    /// Why the last read failed, if it did.
    pub error: Option<Arc<str>>,
}

impl Report {
    /// The answer that KEDA would get at `now`.
    pub fn answer(&self, now: Timestamp) -> Answer {
        self.decision.answer_at(self.policy.fresh_for, now)
    }

    /// Time since the queue was read.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        self.decision.read_at.map(|at| now.since(at))
    }

    /// The named values that were seen, in a fixed order; what is not known is left out.
    pub fn seen(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        if let Some(reading) = self.signals.queue.seen() {
            reading_values(&mut seen, reading);
        }
        if let Signal::Seen { value, quality, .. } = &self.signals.service {
            seen.push(Seen { name: "service_seconds", value: value.as_secs_f64(), quality: *quality });
        }
        if let Signal::Seen { value, quality, .. } = &self.signals.arrivals {
            seen.push(Seen { name: "arrivals_per_second", value: *value, quality: *quality });
        }
        seen
    }

    /// The report as JSON, as of `now`.
    pub fn json(&self, now: Timestamp) -> impl Serialize + use<> {
        let Self {
            namespace,
            name,
            trigger,
            source,
            connection,
            queue,
            policy: _,
            signals: _,
            decision,
            error,
        } = self;
        let Decision { answer: _, limited_by, steps, want, outlook, alternatives, read_at: _ } = decision;
        let answer = self.answer(now);
        let (state, size) = match &answer {
            Answer::Fresh(size) => ("fresh", Some(*size)),
            Answer::Held(size) => ("held", Some(*size)),
            Answer::Unknown(_) => ("unknown", None),
        };
        Json {
            namespace: namespace.to_string(),
            name: name.to_string(),
            trigger: trigger.clone(),
            source,
            connection: connection.to_string(),
            queue: queue.clone(),
            state,
            replicas: size.map(|size| size.replicas),
            active: size.map(|size| size.active),
            limited_by: limited_by.label(),
            why: self.why(now).to_string(),
            age_seconds: self.age(now).map(|age| age.as_secs_f64()),
            error: error.as_ref().map(ToString::to_string),
            seen: self.seen(),
            terms: want.as_ref().map(Terms::from),
            steps: steps.iter().map(StepJson::from).collect(),
            alternatives: alternatives
                .iter()
                .map(|other| AlternativeJson { change: change(other.change), replicas: other.replicas })
                .collect(),
            backlog_gone_in_seconds: match outlook {
                Outlook::GoneIn(time) => Some(time.as_secs_f64()),
                Outlook::Empty | Outlook::Growing | Outlook::NotKnown => None,
            },
        }
    }

    /// The report as text, as of `now`.
    pub fn text(&self, now: Timestamp) -> Text<'_> {
        Text { report: self, now }
    }

    /// Why the answer at `now` is what it is, in one sentence.
    pub fn why(&self, now: Timestamp) -> Why<'_> {
        Why { decision: &self.decision, answer: self.answer(now) }
    }
}

fn reading_values(seen: &mut Vec<Seen>, reading: &Reading) {
    let Reading { ready, due, soon, in_flight, oldest, counters: _, ceiling, waits, services } = reading;
    let quality = Quality::Measured;
    let mut count = |name, value: Option<u64>| {
        seen.extend(value.map(|value| Seen { name, value: value as f64, quality }));
    };
    count("ready", *ready);
    count("due", *due);
    count("due_soon", *soon);
    count("ceiling", ceiling.map(u64::from));
    match in_flight {
        Some(InFlight::Known(tasks)) => {
            seen.push(Seen { name: "in_flight", value: *tasks as f64, quality: Quality::Measured });
        }
        Some(InFlight::Estimated(tasks)) => {
            seen.push(Seen { name: "in_flight", value: *tasks as f64, quality: Quality::Estimated });
        }
        None => {}
    }
    let mut time = |name, value: Option<Duration>| {
        seen.extend(value.map(|value| Seen { name, value: value.as_secs_f64(), quality }));
    };
    time("oldest_seconds", *oldest);
    time("wait_p95_seconds", waits.and_then(Percentile::known));
    time("service_p95_seconds", services.and_then(Percentile::known));
}

/// The sentence about a decision.
#[derive(Debug)]
pub struct Why<'a> {
    decision: &'a Decision,
    answer: Answer,
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.decision.explain(&self.answer, f)
    }
}

/// One value that was seen.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Seen {
    /// Its name, with its unit.
    pub name: &'static str,
    /// The value.
    pub value: f64,
    /// How well it is known.
    #[serde(serialize_with = "quality")]
    pub quality: Quality,
}

fn quality<S: serde::Serializer>(quality: &Quality, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(word(*quality))
}

const fn word(quality: Quality) -> &'static str {
    match quality {
        Quality::Measured => "measured",
        Quality::Estimated => "estimated",
    }
}

fn change(change: Change) -> String {
    match change {
        Change::Without(by) => format!("without {}", by.label()),
        Change::MaxQueueWait(promise) => format!("maxQueueWait {}", humantime::format_duration(promise)),
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Json {
    namespace: String,
    name: String,
    trigger: String,
    source: &'static str,
    connection: String,
    queue: String,
    state: &'static str,
    replicas: Option<u32>,
    active: Option<bool>,
    limited_by: &'static str,
    why: String,
    age_seconds: Option<f64>,
    error: Option<String>,
    seen: Vec<Seen>,
    terms: Option<Terms>,
    steps: Vec<StepJson>,
    alternatives: Vec<AlternativeJson>,
    backlog_gone_in_seconds: Option<f64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Terms {
    backlog: u64,
    due_soon: u64,
    in_flight: u64,
    service_seconds: Option<f64>,
    time_to_start_seconds: f64,
    part: f64,
    promise_missed: bool,
    slots: f64,
}

impl From<&Want> for Terms {
    fn from(want: &Want) -> Self {
        let Want { backlog, soon, in_flight, time_to_start, service, part, promise_missed, slots } = *want;
        Self {
            backlog,
            due_soon: soon,
            in_flight,
            service_seconds: service.map(|service| service.as_secs_f64()),
            time_to_start_seconds: time_to_start.as_secs_f64(),
            part,
            promise_missed,
            slots,
        }
    }
}

#[derive(Serialize)]
struct StepJson {
    by: &'static str,
    from: u32,
    to: u32,
}

impl From<&Step> for StepJson {
    fn from(step: &Step) -> Self {
        let Step { by, from, to } = *step;
        Self { by: by.label(), from, to }
    }
}

#[derive(Serialize)]
struct AlternativeJson {
    change: String,
    replicas: u32,
}

/// A report as people read it.
#[derive(Debug)]
pub struct Text<'a> {
    report: &'a Report,
    now: Timestamp,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { report, now } = self;
        let Report { namespace, name, trigger, source, connection, queue, decision, error, .. } = report;
        writeln!(f, "{namespace}/{name}  {source} on {connection}: {queue}  (trigger {trigger})")?;
        writeln!(f, "  {}", report.why(*now))?;
        if let Some(age) = report.age(*now) {
            write!(f, "  seen {:.1} s ago:", age.as_secs_f64())?;
            for Seen { name, value, quality } in report.seen() {
                write!(f, " {name} {}", short(value))?;
                if quality == Quality::Estimated {
                    f.write_str(" (estimated)")?;
                }
            }
            writeln!(f)?;
        }
        if let Some(want) = &decision.want {
            let Want { time_to_start, part, slots, .. } = want;
            let time = time_to_start.as_secs_f64();
            writeln!(f, "  terms: T {} s, d {}, want {} slots", short(time), short(*part), short(*slots))?;
        }
        for Step { by, from, to } in &decision.steps {
            writeln!(f, "  {from} → {to}: {by}")?;
        }
        if let Some(error) = error {
            writeln!(f, "  the last read failed: {error}")?;
        }
        Ok(())
    }
}

/// Two decimals, and none where they are zeros.
fn short(value: f64) -> String {
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
