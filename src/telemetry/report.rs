//! One trigger's last evaluation, and the text that the log, the page and the command line print of it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::decision::{Answer, Decision, Outlook};
use crate::engine::limit::share::LimitState;
use crate::engine::policy::Policy;
use crate::engine::queries::Queries;
use crate::engine::signals::{
    Cause, InFlight, Origin, Origins, Percentile, Quality, Reading, Signal, Signals, WorkerState, Workers,
};
use crate::telemetry::limits::ShownLimit;
use crate::telemetry::queries::ShownQueries;
use crate::telemetry::shown::{Seen, Shown, ShownAlternative, ShownStep, State, Terms};
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
    /// Named connection that answers queries about its tasks, if any are asked.
    pub queries: Option<Arc<str>>,
    /// The queue in full.
    pub queue: Arc<str>,
    /// What was asked for.
    pub policy: Policy,
    /// What was seen.
    pub signals: Arc<Signals>,
    /// What followed from it.
    pub decision: Arc<Decision>,
    /// The rate limit that it shares, if it shares one.
    pub limit: Option<Arc<LimitState>>,
    /// What to write into the trigger so that running tasks are seen.
    pub to_show_running: String,
    /// Why the last read failed, if it did.
    pub error: Option<Arc<str>>,
}

impl Report {
    /// The answer that KEDA would get at `now`.
    pub fn answer(&self, now: Timestamp) -> Answer {
        self.decision.answer_at(&self.policy, now)
    }

    /// Time since the queue was read.
    pub fn age(&self, now: Timestamp) -> Option<Duration> {
        self.decision.read_at.map(|at| now.since(at))
    }

    /// The named values that were seen, in a fixed order; what is not known is left out.
    pub fn seen(&self) -> Vec<Seen> {
        let mut seen = Vec::new();
        let origins = self.signals.origins;
        if let Some(reading) = self.signals.queue.seen() {
            reading_values(&mut seen, reading, origins);
        }
        if let Some(workers) = &self.signals.workers {
            worker_values(&mut seen, workers);
        }
        if let Signal::Seen { value, quality, .. } = &self.signals.service {
            seen.push(Seen::new("service_seconds", value.as_secs_f64(), *quality, origins.service));
        }
        if let Signal::Seen { value, quality, .. } = &self.signals.arrivals {
            seen.push(Seen::new("arrivals_per_second", *value, *quality, origins.arrivals));
        }
        seen
    }

    /// The report as JSON shows it, as of `now`.
    pub fn shown(&self, now: Timestamp) -> Shown {
        let Self {
            namespace,
            name,
            trigger,
            source,
            connection,
            queries,
            queue,
            policy: _,
            signals: _,
            decision,
            limit,
            to_show_running: _,
            error,
        } = self;
        let Decision { answer: _, limited_by, steps, want, share, outlook, alternatives, read_at: _ } =
            &**decision;
        let (state, size) = match self.answer(now) {
            Answer::Fresh(size) => (State::Fresh, Some(size)),
            Answer::Held(size) => (State::Held, Some(size)),
            Answer::Unknown(_) => (State::Unknown, None),
        };
        Shown {
            namespace: namespace.to_string(),
            name: name.to_string(),
            trigger: trigger.clone(),
            source: (*source).into(),
            connection: connection.to_string(),
            queue: queue.to_string(),
            state,
            replicas: size.map(|size| size.replicas),
            active: size.map(|size| size.active),
            limited_by: limited_by.label().into(),
            why: self.why(now).to_string(),
            age_seconds: self.age(now).map(|age| age.as_secs_f64()),
            error: error.as_ref().map(ToString::to_string),
            seen: self.seen(),
            queries: queries
                .as_ref()
                .zip(self.signals.queries.as_ref())
                .map(|(connection, queries)| ShownQueries::of(connection, queries, now)),
            terms: want.as_ref().map(Terms::from),
            limit: share.as_ref().zip(limit.as_ref()).map(|(share, state)| ShownLimit::of(share, state, now)),
            steps: steps.iter().map(ShownStep::from).collect(),
            alternatives: alternatives.iter().map(ShownAlternative::from).collect(),
            backlog_gone_in_seconds: match outlook {
                Outlook::GoneIn(time) => Some(time.as_secs_f64()),
                Outlook::Empty | Outlook::Growing | Outlook::NotKnown => None,
            },
        }
    }

    /// Why the answer at `now` is what it is, in one sentence.
    pub fn why(&self, now: Timestamp) -> Why<'_> {
        let queries = self.queries.as_deref().zip(self.signals.queries.as_deref());
        let reading = self.signals.queue.seen().map_or(&[][..], |reading| &reading.unknown);
        let workers = self.signals.workers.as_deref().map_or(&[][..], |workers| &workers.unknown);
        let unknown = reading.iter().chain(workers).collect();
        Why {
            decision: &self.decision,
            answer: self.answer(now),
            to_show_running: &self.to_show_running,
            queries,
            silent: self.signals.silent,
            unknown,
        }
    }
}

impl Seen {
    fn new(name: &'static str, value: f64, quality: Quality, origin: Origin) -> Self {
        Self {
            name: name.into(),
            value,
            estimated: quality == Quality::Estimated,
            from: origin.label().into(),
        }
    }
}

fn reading_values(seen: &mut Vec<Seen>, reading: &Reading, origins: Origins) {
    let Reading {
        ready,
        due,
        soon,
        delayed,
        in_flight,
        dead,
        oldest,
        counters: _,
        ceiling,
        even_over,
        waits,
        services,
        unknown: _,
        kept: _,
    } = reading;
    let Origins { in_flight: running, waits: of_waits, services: of_services, service: _, arrivals: _ } =
        origins;
    let mut count = |name, value: Option<u64>, quality, origin| {
        seen.extend(value.map(|value| Seen::new(name, value as f64, quality, origin)));
    };
    count("ready", *ready, Quality::Measured, Origin::Queue);
    count("due", *due, Quality::Measured, Origin::Queue);
    count("due_soon", *soon, Quality::Measured, Origin::Queue);
    count("delayed", *delayed, Quality::Measured, Origin::Queue);
    match in_flight {
        Some(InFlight::Known(tasks)) => count("in_flight", Some(*tasks), Quality::Measured, running),
        Some(InFlight::Estimated(tasks)) => count("in_flight", Some(*tasks), Quality::Estimated, running),
        None => {}
    }
    count("dead", *dead, Quality::Measured, Origin::Queue);
    count("ceiling", ceiling.map(u64::from), Quality::Measured, Origin::Queue);
    count("even_over", even_over.map(u64::from), Quality::Measured, Origin::Queue);
    count("wait_samples", waits.map(|waits| waits.samples), Quality::Measured, of_waits);
    count("service_samples", services.map(|services| services.samples), Quality::Measured, of_services);
    let mut time = |name, value: Option<Duration>, origin| {
        seen.extend(value.map(|value| Seen::new(name, value.as_secs_f64(), Quality::Measured, origin)));
    };
    time("oldest_seconds", *oldest, Origin::Queue);
    time("wait_p95_seconds", waits.and_then(Percentile::known), of_waits);
    time("service_p95_seconds", services.and_then(Percentile::known), of_services);
}

fn worker_values(seen: &mut Vec<Seen>, workers: &Workers) {
    let alive = |state| workers.alive.iter().filter(|worker| worker.state == state).count() as f64;
    for (name, value) in [
        ("workers_idle", alive(WorkerState::Idle)),
        ("workers_busy", alive(WorkerState::Busy)),
        ("workers_draining", alive(WorkerState::Draining)),
        ("leases", workers.leases as f64),
    ] {
        seen.push(Seen::new(name, value, Quality::Measured, Origin::Workers));
    }
}

/// The sentence about a decision.
#[derive(Debug)]
pub struct Why<'a> {
    decision: &'a Decision,
    answer: Answer,
    /// What to write into the trigger so that running tasks are seen.
    to_show_running: &'a str,
    /// Who is asked, and what they told.
    queries: Option<(&'a str, &'a Queries)>,
    /// Whether nobody tells any more what runs.
    silent: bool,
    /// Figures of the queue and the workers that are not known, with the reasons.
    unknown: Vec<&'a Cause>,
}

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// Most reasons in one text: a trigger with many queues could have one for each key.
        const MOST: usize = 3;
        self.decision.explain(&self.answer, f)?;
        if self.answer.lacks_running() {
            write!(f, " (hint: {})", self.to_show_running)?;
        }
        self.unknown.iter().take(MOST).try_for_each(|cause| write!(f, "; {cause}"))?;
        if let more @ 1.. = self.unknown.len().saturating_sub(MOST) {
            write!(f, "; and {more} more figures are not known")?;
        }
        if self.silent {
            f.write_str("; nobody tells any more what runs, so nothing is taken away")?;
        }
        let Some((connection, queries)) = self.queries else { return Ok(()) };
        let failure = queries.failure();
        failure.iter().try_for_each(|failure| write!(f, "; {connection} answers no queries: {failure}"))
    }
}
