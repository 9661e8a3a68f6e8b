//! Queries about a queue's tasks, for every source: what runs, how fast tasks come, how long they take and wait.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::presets::{PRESETS, Parameter, Preset};
use super::promql::{LabelValue, PromQl};
use crate::engine::queries::{Queried, Tail, Told};
use crate::engine::signals::{Cause, Percentile};
use crate::fields::{Fields, Key, Need, nearest};
use crate::sources::{Counted, Plan};

/// The name, for the tenants' patterns, of what a query may read that a trigger wrote.
pub(super) const EVERYTHING: &str = "*";

/// The keys that every source has, beside `prometheusConnection`.
pub const KEYS: &[Key] = &[
    QUERY_PRESET,
    QUERY_QUEUE,
    QUERY_MODEL,
    QUERY_AGENT,
    IN_FLIGHT_QUERY,
    ARRIVALS_QUERY,
    SERVICE_TIME_QUERY,
    SERVICE_TIME_P95_QUERY,
    SERVICE_TIME_TOP_QUERY,
    SERVICE_TIME_SAMPLES_QUERY,
    SERVICE_TIME_QUERY_UNIT,
    QUEUE_WAIT_P95_QUERY,
    QUEUE_WAIT_TOP_QUERY,
    QUEUE_WAIT_SAMPLES_QUERY,
    QUEUE_WAIT_QUERY_UNIT,
];

const fn key(name: &'static str, unit: &'static str, help: &'static str, example: &'static str) -> Key {
    Key { name, need: Need::Optional, unit, help, example }
}

pub(super) const QUERY_PRESET: Key = key(
    "queryPreset",
    "name",
    "queries for a known exporter: celery-exporter, bullmq, dramatiq, vllm, otel-genai, otel-messaging",
    "celery-exporter",
);
pub(super) const QUERY_QUEUE: Key =
    key("queryQueue", "name", "queue that the preset's queries are about", "acme:tasks");
pub(super) const QUERY_MODEL: Key =
    key("queryModel", "name", "model that the preset's queries are about", "llama-3-70b");
pub(super) const QUERY_AGENT: Key =
    key("queryAgent", "name", "agent that the preset's queries are about", "researcher");
const IN_FLIGHT_QUERY: Key =
    key("inFlightQuery", "PromQL", "tasks taken and not finished", "sum(acme_tasks_running)");
const ARRIVALS_QUERY: Key =
    key("arrivalsQuery", "PromQL", "new tasks per second", "sum(rate(acme_tasks_created_total[5m]))");
const SERVICE_TIME_QUERY: Key = key(
    "serviceTimeQuery",
    "PromQL",
    "mean time that a task runs",
    "sum(rate(acme_task_seconds_sum[10m])) / sum(rate(acme_task_seconds_count[10m]))",
);
const SERVICE_TIME_P95_QUERY: Key = key(
    "serviceTimeP95Query",
    "PromQL",
    "95th percentile of the time that tasks run; needs `serviceTimeSamplesQuery`",
    "histogram_quantile(0.95, sum by (le) (rate(acme_task_seconds_bucket[10m])))",
);
const SERVICE_TIME_TOP_QUERY: Key = key(
    "serviceTimeTopQuery",
    "PromQL",
    "the same with quantile 1: a percentile that equals it lies beyond the highest bucket",
    "histogram_quantile(1, sum by (le) (rate(acme_task_seconds_bucket[10m])))",
);
const SERVICE_TIME_SAMPLES_QUERY: Key = key(
    "serviceTimeSamplesQuery",
    "PromQL",
    "tasks behind these numbers; they count from 20 on",
    "sum(increase(acme_task_seconds_count[10m]))",
);
const SERVICE_TIME_QUERY_UNIT: Key = Key {
    name: "serviceTimeQueryUnit",
    need: Need::Default("s"),
    unit: "s | ms",
    help: "unit of the service times",
    example: "ms",
};
const QUEUE_WAIT_P95_QUERY: Key = key(
    "queueWaitP95Query",
    "PromQL",
    "95th percentile of the time that tasks wait to be taken; needs `queueWaitSamplesQuery`",
    "histogram_quantile(0.95, sum by (le) (rate(acme_wait_seconds_bucket[10m])))",
);
const QUEUE_WAIT_TOP_QUERY: Key = key(
    "queueWaitTopQuery",
    "PromQL",
    "the same with quantile 1: a percentile that equals it lies beyond the highest bucket",
    "histogram_quantile(1, sum by (le) (rate(acme_wait_seconds_bucket[10m])))",
);
const QUEUE_WAIT_SAMPLES_QUERY: Key = key(
    "queueWaitSamplesQuery",
    "PromQL",
    "tasks behind that percentile; it counts from 20 on",
    "sum(increase(acme_wait_seconds_count[10m]))",
);
const QUEUE_WAIT_QUERY_UNIT: Key = Key {
    name: "queueWaitQueryUnit",
    need: Need::Default("s"),
    unit: "s | ms",
    help: "unit of the waits",
    example: "ms",
};

/// What a query asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wanted {
    InFlight,
    Arrivals,
    Service,
    ServiceP95,
    ServiceTop,
    ServiceSamples,
    WaitP95,
    WaitTop,
    WaitSamples,
}

/// The key of each query.
static ASKED: [(Wanted, Key); 9] = [
    (Wanted::InFlight, IN_FLIGHT_QUERY),
    (Wanted::Arrivals, ARRIVALS_QUERY),
    (Wanted::Service, SERVICE_TIME_QUERY),
    (Wanted::ServiceP95, SERVICE_TIME_P95_QUERY),
    (Wanted::ServiceTop, SERVICE_TIME_TOP_QUERY),
    (Wanted::ServiceSamples, SERVICE_TIME_SAMPLES_QUERY),
    (Wanted::WaitP95, QUEUE_WAIT_P95_QUERY),
    (Wanted::WaitTop, QUEUE_WAIT_TOP_QUERY),
    (Wanted::WaitSamples, QUEUE_WAIT_SAMPLES_QUERY),
];

/// The unit of a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    Seconds,
    Milliseconds,
}

impl Unit {
    fn time(self, number: f64) -> Option<Duration> {
        let seconds = match self {
            Self::Seconds => number,
            Self::Milliseconds => number / 1_000.0,
        };
        Duration::try_from_secs_f64(seconds).ok().filter(|time| !time.is_zero())
    }
}

impl FromStr for Unit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "s" => Ok(Self::Seconds),
            "ms" => Ok(Self::Milliseconds),
            _ => Err("neither `s` nor `ms`"),
        }
    }
}

/// The queries about one queue's tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct QueryPlan {
    /// In the order of [`ASKED`], each at most once.
    pub(super) questions: Vec<(Wanted, String)>,
    /// For the tenants' patterns.
    names: Vec<String>,
    /// Whether any of them is the trigger's own.
    is_free: bool,
    service_unit: Unit,
    wait_unit: Unit,
}

/// Reads the keys that every source has: `Some(None)` if they ask for nothing, `None` if one is bad.
pub fn parse(fields: &mut Fields<'_>) -> Option<Option<Arc<dyn Plan>>> {
    let preset = parse_preset(fields);
    let service_unit: Option<Unit> = fields.read(&SERVICE_TIME_QUERY_UNIT);
    let wait_unit: Option<Unit> = fields.read(&QUEUE_WAIT_QUERY_UNIT);
    let mut is_bad = false;
    let mut own = Vec::new();
    for (wanted, key) in &ASKED {
        let query: Option<PromQl> = fields.read(key);
        is_bad |= query.is_none() && fields.has(key);
        own.extend(query.map(|PromQl(promql)| (*wanted, promql)));
    }
    for (percentile, samples) in [
        (&SERVICE_TIME_P95_QUERY, &SERVICE_TIME_SAMPLES_QUERY),
        (&QUEUE_WAIT_P95_QUERY, &QUEUE_WAIT_SAMPLES_QUERY),
    ] {
        if fields.has(percentile) && !fields.has(samples) {
            fields.problem(
                samples,
                format!("is required by `{}`: fewer than 20 samples have no percentile", percentile.name),
            );
            is_bad = true;
        }
    }
    let (preset, service_unit, wait_unit) = (preset?, service_unit?, wait_unit?);
    if is_bad {
        return None;
    }
    let is_free = !own.is_empty();
    let mut plan = QueryPlan { questions: own, names: Vec::new(), is_free, service_unit, wait_unit };
    if let Some((preset, value)) = preset {
        plan.add(preset, value);
    }
    if is_free {
        plan.names.push(EVERYTHING.to_owned());
    }
    plan.questions.sort_by_key(|(wanted, _)| *wanted);
    Some((!plan.questions.is_empty()).then(|| Arc::new(plan) as Arc<dyn Plan>))
}

/// The preset and what it is about: `Some(None)` if there is none, `None` if it is bad.
fn parse_preset(fields: &mut Fields<'_>) -> Option<Option<(&'static Preset, LabelValue)>> {
    let name: Option<String> = fields.read(&QUERY_PRESET);
    let values = Parameter::ALL.map(|parameter| (parameter, fields.read::<LabelValue>(parameter.key())));
    let preset = name.as_deref().and_then(Preset::named);
    if let Some(name) = name.as_deref().filter(|_| preset.is_none()) {
        let names = || PRESETS.iter().map(|preset| preset.name);
        let hint = nearest(name, names())
            .unwrap_or_else(|| format!("one of {}", names().collect::<Vec<_>>().join(", ")));
        fields.problem_at(QUERY_PRESET.name, format!("no preset named `{name}`"), Some(hint));
        return None;
    }
    let mut found = None;
    let mut is_bad = false;
    for (parameter, value) in values {
        let key = parameter.key();
        let is_wanted = preset.is_some_and(|preset| preset.parameter == parameter);
        match (is_wanted, value, fields.has(key)) {
            (true, Some(value), _) => found = Some(value),
            (true, None, false) => {
                fields.problem(key, "is required by the preset");
                is_bad = true;
            }
            (false, _, true) => {
                fields.problem(key, "says nothing to this preset, or without one");
                is_bad = true;
            }
            // Its problem is kept already.
            (true, None, true) => is_bad = true,
            (false, _, false) => {}
        }
    }
    if is_bad { None } else { Some(preset.zip(found)) }
}

impl QueryPlan {
    /// Adds what a preset asks for; a query of the trigger's own takes the place of the preset's, and one of its own
    /// times that of all its times, because they have one unit.
    fn add(&mut self, preset: &'static Preset, value: LabelValue) {
        let own: Vec<Wanted> = self.questions.iter().map(|(wanted, _)| *wanted).collect();
        let services = own.iter().any(|wanted| wanted.is_of_service());
        let waits = own.iter().any(|wanted| wanted.is_of_wait());
        for (wanted, query) in preset.questions(&value) {
            let is_taken = own.contains(&wanted)
                || (services && wanted.is_of_service())
                || (waits && wanted.is_of_wait());
            if !is_taken {
                self.questions.push((wanted, query));
            }
        }
        if let Some(histogram) = preset.services.as_ref().filter(|_| !services) {
            self.service_unit = histogram.unit;
        }
        if let Some(histogram) = preset.waits.as_ref().filter(|_| !waits) {
            self.wait_unit = histogram.unit;
        }
        self.names.push(value.0);
    }

    /// What the answers say, one for each question in order.
    pub(super) fn queried(&self, answers: Vec<Result<f64, Cause>>) -> Queried {
        let told: Vec<(Wanted, Result<f64, Cause>)> =
            self.questions.iter().map(|(wanted, _)| *wanted).zip(answers).collect();
        let of = |wanted| told.iter().find(|(asked, _)| *asked == wanted).map(|(_, answer)| answer.clone());
        let service = of(Wanted::Service).map(|mean| {
            enough(of(Wanted::ServiceSamples))?;
            time(self.service_unit, mean?)
        });
        Queried {
            in_flight: of(Wanted::InFlight).map(|tasks| tasks.map(whole)),
            arrivals: of(Wanted::Arrivals),
            service,
            services: tail(
                self.service_unit,
                of(Wanted::ServiceP95),
                of(Wanted::ServiceTop),
                of(Wanted::ServiceSamples),
            ),
            waits: tail(self.wait_unit, of(Wanted::WaitP95), of(Wanted::WaitTop), of(Wanted::WaitSamples)),
        }
    }
}

impl Wanted {
    const fn is_of_service(self) -> bool {
        matches!(self, Self::Service | Self::ServiceP95 | Self::ServiceTop | Self::ServiceSamples)
    }

    const fn is_of_wait(self) -> bool {
        matches!(self, Self::WaitP95 | Self::WaitTop | Self::WaitSamples)
    }
}

/// A number of tasks. A part of a task is one: what is not nothing must not become it.
pub(super) fn whole(tasks: f64) -> u64 {
    // What of a float is a rounding error and not a task.
    const ROUNDING: f64 = 1e-6;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "finite and not negative; too large ones stop at the largest number"
    )]
    let whole = (tasks - ROUNDING).max(0.0).ceil() as u64;
    whole
}

/// Whether a mean has samples enough; one without a query for them has.
fn enough(samples: Told<f64>) -> Result<(), Cause> {
    let Some(samples) = samples.transpose()? else { return Ok(()) };
    let least = Percentile::ENOUGH;
    // Increases are extrapolated, so twenty tasks may be 19.99.
    if samples.round() < least as f64 {
        return Err(Cause::new(format!("of {samples:.0} samples, fewer than {least}")));
    }
    Ok(())
}

fn tail(unit: Unit, p95: Told<f64>, top: Told<f64>, samples: Told<f64>) -> Told<Tail> {
    let p95 = p95?;
    let tail = || {
        let number = p95?;
        let samples = samples.unwrap_or_else(|| Err(Cause::new("nobody counts the samples")))?;
        let samples = whole(samples.round());
        // Within a bucket a percentile lies below the bucket's end, where quantile 1 is; only beyond the highest
        // bucket both are that bucket's end.
        let is_at_least = top.transpose()?.is_some_and(|top| number >= top);
        Ok(Tail { percentile: Percentile { p95: time(unit, number)?, samples }, is_at_least })
    };
    Some(tail())
}

fn time(unit: Unit, number: f64) -> Result<Duration, Cause> {
    unit.time(number).ok_or_else(|| Cause::new(format!("{number} is no time that a task can take")))
}

impl Plan for QueryPlan {
    fn queue(&self) -> String {
        self.to_string()
    }

    fn name(&self) -> String {
        self.names.first().cloned().unwrap_or_default()
    }

    fn names(&self) -> Vec<&str> {
        self.names.iter().map(String::as_str).collect()
    }

    fn counts_in(&self) -> Vec<Counted> {
        let running = self.questions.iter().filter(|(wanted, _)| *wanted == Wanted::InFlight);
        running.map(|(_, promql)| Counted { own: Some(super::OWN_QUERY), ..Counted::at(promql) }).collect()
    }

    fn shows_running(&self) -> bool {
        self.questions.iter().any(|(wanted, _)| *wanted == Wanted::InFlight)
    }

    fn cost(&self) -> usize {
        self.questions.len()
    }

    fn commands(&self) -> Vec<String> {
        self.questions.iter().map(|(_, promql)| promql.clone()).collect()
    }

    fn asks_freely(&self) -> bool {
        self.is_free
    }
}

/// Two plans with one text read the same thing, so the units are part of it.
impl fmt::Display for QueryPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { questions, names: _, is_free: _, service_unit, wait_unit } = self;
        write!(f, "queries in {service_unit:?} and {wait_unit:?}")?;
        questions.iter().try_for_each(|(wanted, promql)| write!(f, "; {wanted:?}: {promql}"))
    }
}
