//! The triggers' metrics in pieces, one family after the other, made when they are asked for: a forgotten trigger
//! leaves no series.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::{PIECE, TRIGGERS, Triggers};
use crate::engine::decision::{Answer, Size};
use crate::engine::limit::share::{Bound, LimitState};
use crate::telemetry::metrics::{PREFIX, limits};
use crate::telemetry::report::Report;
use crate::timestamp::Timestamp;

/// A metric of every trigger.
struct Family {
    name: &'static str,
    help: &'static str,
    /// Writes the samples of one trigger: those that are not known are absent.
    samples: fn(&Report, Timestamp, &mut Samples<'_>) -> fmt::Result,
}

const FAMILIES: [Family; 9] = [
    Family {
        name: "trigger_replicas",
        help: "Useful replicas; absent while not known",
        samples: |report, now, out| out.write(size(report, now).map(|size| f64::from(size.replicas))),
    },
    Family {
        name: "trigger_active",
        help: "Whether KEDA may not go to zero; absent while not known",
        samples: |report, now, out| out.write(size(report, now).map(|size| flag(size.active))),
    },
    Family {
        name: "trigger_known",
        help: "Whether there is an answer",
        samples: |report, now, out| out.write(Some(flag(size(report, now).is_some()))),
    },
    Family {
        name: "trigger_reading_age_seconds",
        help: "Time since the queue was read",
        samples: |report, now, out| out.write(report.age(now).map(|age| age.as_secs_f64())),
    },
    Family {
        name: "trigger_want_slots",
        help: "Demand before any rule, F + d(Q + D(L))",
        samples: |report, _, out| out.write(report.decision.want.map(|want| want.slots)),
    },
    Family {
        name: "trigger_limit_cap",
        help: "Most replicas that the rate limit feeds",
        samples: |report, _, out| out.write(cap(report)),
    },
    Family {
        name: "trigger_backlog_part",
        help: "Part d of the backlog that needs a slot of its own",
        samples: |report, _, out| out.write(report.decision.want.map(|want| want.part)),
    },
    Family {
        name: "trigger_signal",
        help: "What was seen of the queue, by signal; absent while not known",
        samples: |report, _, out| {
            report.seen().iter().try_for_each(|seen| out.write_with("signal", &seen.name, seen.value))
        },
    },
    Family {
        name: "trigger_limited_by",
        help: "1 for the rule that set the number",
        samples: |report, _, out| out.write_with("reason", report.decision.limited_by.label(), 1.0),
    },
];

fn size(report: &Report, now: Timestamp) -> Option<Size> {
    match report.answer(now) {
        Answer::Fresh(size) | Answer::Held(size) => Some(size),
        Answer::Unknown(_) => None,
    }
}

const fn flag(flag: bool) -> f64 {
    if flag { 1.0 } else { 0.0 }
}

fn cap(report: &Report) -> Option<f64> {
    match &report.decision.share.as_ref()?.bound {
        Bound::At(cap) => Some(f64::from(cap.replicas)),
        Bound::Open(_) => None,
    }
}

/// Writes samples of one family and one trigger.
struct Samples<'a> {
    page: &'a mut String,
    family: &'static str,
    report: &'a Report,
}

impl Samples<'_> {
    fn write(&mut self, value: Option<f64>) -> fmt::Result {
        value.map_or(Ok(()), |value| self.sample(None, value))
    }

    fn write_with(&mut self, label: &'static str, text: &str, value: f64) -> fmt::Result {
        self.sample(Some((label, text)), value)
    }

    fn sample(&mut self, more: Option<(&'static str, &str)>, value: f64) -> fmt::Result {
        let Report { namespace, name, trigger, .. } = self.report;
        let page = &mut *self.page;
        write!(
            page,
            "{PREFIX}_{}{{namespace=\"{}\",name=\"{}\",trigger=\"{}\"",
            self.family,
            Quoted(namespace),
            Quoted(name),
            Quoted(trigger)
        )?;
        if let Some((label, text)) = more {
            write!(page, ",{label}=\"{}\"", Quoted(text))?;
        }
        writeln!(page, "}} {value:?}")
    }
}

/// The value of a label, as OpenMetrics has it between quotation marks.
struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '\\' => f.write_str("\\\\")?,
                '"' => f.write_str("\\\"")?,
                '\n' => f.write_str("\\n")?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// The page of the triggers' metrics, after that of the registries.
pub struct TriggerMetrics {
    triggers: Arc<dyn Triggers>,
    now: Timestamp,
    /// What goes before them.
    registries: Option<String>,
    family: usize,
    next: usize,
    /// Found while the first family is written.
    limits: BTreeMap<Arc<str>, Arc<LimitState>>,
    evaluated: usize,
    is_done: bool,
}

impl TriggerMetrics {
    /// The metrics of `triggers` as of `now`, after the text `registries`.
    pub fn new(triggers: Arc<dyn Triggers>, now: Timestamp, registries: String) -> Self {
        Self {
            triggers,
            now,
            registries: Some(registries),
            family: 0,
            next: 0,
            limits: BTreeMap::new(),
            evaluated: 0,
            is_done: false,
        }
    }

    /// Writes what fits into a piece of one family.
    fn write(&mut self, family: &Family, piece: &mut String) -> fmt::Result {
        if self.next == 0 {
            let (name, help) = (family.name, family.help);
            write!(piece, "# HELP {PREFIX}_{name} {help}.\n# TYPE {PREFIX}_{name} gauge\n")?;
        }
        let last = (self.next + TRIGGERS).min(self.triggers.count());
        while self.next < last && piece.len() < PIECE {
            if let Some(report) = self.triggers.report(self.next) {
                let mut samples = Samples { page: piece, family: family.name, report: &report };
                (family.samples)(&report, self.now, &mut samples)?;
                if self.family == 0 {
                    self.evaluated += 1;
                    self.limits.extend(limits::of(&report));
                }
            }
            self.next += 1;
        }
        Ok(())
    }

    /// What there is once, whatever the number of triggers.
    fn rest(&mut self) -> String {
        let (limits, now, count) = (std::mem::take(&mut self.limits), self.now, self.evaluated);
        let mut registry = Registry::with_prefix(PREFIX);
        registry.register_collector(Box::new(Rest { limits, now, count }));
        encoded(&[&registry])
    }
}

impl Iterator for TriggerMetrics {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        if let Some(registries) = self.registries.take() {
            return Some(registries);
        }
        let mut piece = String::new();
        if let Some(family) = FAMILIES.get(self.family) {
            // Writing into a `String` cannot fail.
            let _ = self.write(family, &mut piece);
            if self.next >= self.triggers.count() {
                (self.family, self.next) = (self.family + 1, 0);
            }
            return Some(piece);
        }
        (!std::mem::replace(&mut self.is_done, true)).then(|| self.rest() + END)
    }
}

/// Ends a page of OpenMetrics.
pub const END: &str = "# EOF\n";

/// Registries as text, without an end.
pub fn encoded(registries: &[&Registry]) -> String {
    let mut text = String::new();
    for registry in registries {
        // Writing into a `String` cannot fail.
        let _ = prometheus_client::encoding::text::encode_registry(&mut text, registry);
    }
    text
}

/// The limits that triggers share, and the number of triggers.
#[derive(Debug)]
struct Rest {
    limits: BTreeMap<Arc<str>, Arc<LimitState>>,
    now: Timestamp,
    count: usize,
}

impl Collector for Rest {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        limits::encode(&mut encoder, &self.limits, self.now)?;
        let help = "Triggers that are watched";
        let count = encoder.encode_descriptor("triggers", help, None, MetricType::Gauge)?;
        ConstGauge::new(self.count as f64).encode(count)
    }
}

impl fmt::Debug for TriggerMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TriggerMetrics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_is_quoted_as_openmetrics_has_it() {
        assert_eq!(Quoted("a\"b\\c\nd").to_string(), "a\\\"b\\\\c\\nd");
    }
}
