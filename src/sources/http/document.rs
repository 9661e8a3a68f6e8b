//! A document, and where its numbers are.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::json::Node;
use super::path::{Budget, Found, Path, Sum, Term};
use super::place::Place;
use crate::engine::signals::{Cause, InFlight, Reading};
use crate::fields::{Fields, Key, Need};
use crate::sources::{Counted, Plan};
use crate::timestamp::Timestamp;

/// The trigger keys of a document.
pub(super) const KEYS: &[Key] = &[PATH, READY_PATH, RUNNING_PATH, OLDEST_PATH, OLDEST_UNIT];

/// Keys of KEDA's `metrics-api` scaler.
pub(super) const MOVED: &[(&str, &str)] = &[
    ("valueLocation", "`readyPath`, as JSONPath: `$.queue.waiting`"),
    ("targetValue", "`tasksPerReplica`: tasks that one replica runs at a time"),
    ("activationTargetValue", "`activationBacklog`"),
    ("format", "nothing: the answer must be JSON"),
    ("method", "nothing: the document is fetched by GET"),
];

const PATH: Key = Key {
    name: "path",
    need: Need::Required,
    unit: "path",
    help: "what follows the connection's address, a query included; begins with `/`",
    example: "/queues/acme",
};

const READY_PATH: Key = Key {
    name: "readyPath",
    need: Need::Required,
    unit: "JSONPath",
    help: "tasks that wait; several numbers are summed, and so are paths: `$.a + length($.b)`",
    example: "$.queues[*].waiting",
};

const RUNNING_PATH: Key = Key {
    name: "runningPath",
    need: Need::Optional,
    unit: "JSONPath",
    help: "tasks that run; several numbers are summed, and so are paths",
    example: "$.queues[*].running",
};

const OLDEST_PATH: Key = Key {
    name: "oldestPath",
    need: Need::Optional,
    unit: "JSONPath",
    help: "how long the oldest task has waited, or since when; of several the oldest, none where nothing waits",
    example: "$.oldest.enqueuedAt",
};

const OLDEST_UNIT: Key = Key {
    name: "oldestUnit",
    need: Need::Default("s"),
    unit: "s | ms | unix | unix-ms | rfc3339",
    help: "what `oldestPath` finds: an age in seconds or milliseconds, or a time",
    example: "rfc3339",
};

/// A document, and where its numbers are.
#[derive(Debug)]
pub(super) struct Document {
    pub(super) place: Place,
    ready: Sum,
    running: Option<Sum>,
    oldest: Option<Path>,
    unit: Unit,
}

/// Parses the trigger keys of a document.
pub(super) fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Plan>> {
    parse_document(fields).map(|document| Arc::new(document) as Arc<dyn Plan>)
}

fn parse_document(fields: &mut Fields<'_>) -> Option<Document> {
    let place: Option<Place> = fields.read(&PATH);
    let ready: Option<Sum> = fields.read(&READY_PATH);
    let running: Option<Sum> = fields.read(&RUNNING_PATH);
    let oldest: Option<Path> = fields.read(&OLDEST_PATH);
    let unit: Option<Unit> = fields.read(&OLDEST_UNIT);
    if fields.has(&OLDEST_UNIT) && !fields.has(&OLDEST_PATH) {
        fields.problem(&OLDEST_UNIT, "says nothing without `oldestPath`");
    }
    let (place, ready, unit) = (place?, ready?, unit?);
    Some(Document { place, ready, running, oldest, unit })
}

impl Document {
    /// The numbers in `tree`, which was sent at `now` by the server's clock.
    ///
    /// # Errors
    /// The error for a number of waiting tasks that is missing or not a number. It repeats nothing of the
    /// document.
    pub(super) fn read(
        &self,
        tree: &Node<'_>,
        now: Option<Timestamp>,
        budget: &mut Budget,
    ) -> Result<Reading, String> {
        let ready = total(READY_PATH.name, &self.ready, tree, budget)?;
        let mut reading = Reading { ready: Some(ready), ..Reading::default() };
        // The waiting tasks are known, so an error in the rest of the document costs only the other figures.
        match self.running.as_ref().map(|sum| total(RUNNING_PATH.name, sum, tree, budget)) {
            Some(Ok(running)) => reading.in_flight = Some(InFlight::Known(running)),
            Some(Err(why)) => {
                reading.unknown.push(Cause::new(format!("the number of running tasks is not known: {why}")))
            }
            None => {}
        }
        match self.oldest.as_ref().map(|path| self.oldest(path, tree, now, budget)) {
            Some(Ok(oldest)) => reading.oldest = oldest,
            Some(Err(why)) => {
                let text = format!("the age of the oldest task is not known: {why}");
                reading.unknown.push(Cause::new(text));
            }
            None => {}
        }
        Ok(reading)
    }

    fn oldest(
        &self,
        path: &Path,
        tree: &Node<'_>,
        now: Option<Timestamp>,
        budget: &mut Budget,
    ) -> Result<Option<Duration>, String> {
        let (mut oldest, mut wrong) = (None, None);
        let visited = path.visit(tree, budget, &mut |found| {
            let age = match found {
                Found::Value(Node::Null) => return,
                Found::Value(node) => self.unit.age(node, now),
                Found::Length(_) => None,
            };
            match age {
                Some(age) => oldest = oldest.max(Some(age)),
                None => wrong = wrong.or(Some(shape(&found))),
            }
        });
        visited.map_err(|exhausted| format!("`{}`: {exhausted}", OLDEST_PATH.name))?;
        match wrong {
            None => Ok(oldest),
            Some(shape) => Err(format!(
                "`{}`: {shape} is no age in {}, or the server does not say what time it has",
                OLDEST_PATH.name,
                self.unit.name()
            )),
        }
    }
}

/// The sum of the numbers that the paths of `sum` find.
fn total(key: &str, sum: &Sum, tree: &Node<'_>, budget: &mut Budget) -> Result<u64, String> {
    let mut total = 0.0;
    for Term { path, counts } in &sum.terms {
        let (mut found, mut wrong) = (0_usize, None);
        let visited = path.visit(tree, budget, &mut |node| {
            found += 1;
            match tasks(&node, *counts) {
                Some(tasks) => total += tasks,
                None => wrong = wrong.or(Some(shape(&node))),
            }
        });
        visited.map_err(|exhausted| format!("`{key}`: {exhausted}"))?;
        if let Some(shape) = wrong {
            let wanted = if *counts { "has no length" } else { "is no number of tasks" };
            return Err(format!("`{key}`: {shape} at {path} {wanted}"));
        }
        if found == 0 {
            return Err(format!("`{key}`: there is nothing at {path}"));
        }
    }
    // A part of a task is one: what is not nothing must not become it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "finite and not negative; too large ones stop at the largest number"
    )]
    let whole = total.ceil() as u64;
    Ok(whole)
}

/// Tasks that were found: a number of them, or what is counted.
fn tasks(found: &Found<'_>, counts: bool) -> Option<f64> {
    #[expect(clippy::cast_precision_loss, reason = "a document has fewer values than that")]
    let length = |length: usize| Some(length as f64);
    match found {
        Found::Value(node @ (Node::List(_) | Node::Object(_))) if counts => length(node.children().count()),
        Found::Value(node) if !counts => number(node).filter(|number| *number >= 0.0),
        Found::Length(elements) if !counts => length(*elements),
        Found::Value(_) | Found::Length(_) => None,
    }
}

/// A number, also one that is written as a text.
fn number(node: &Node<'_>) -> Option<f64> {
    let number = match node {
        Node::Number(number) => Some(*number),
        Node::Text(text) => text.trim().parse().ok(),
        Node::Null | Node::Bool(_) | Node::List(_) | Node::Object(_) => None,
    };
    number.filter(|number: &f64| number.is_finite())
}

/// What a value is, without repeating it: a document may hold anything.
fn shape(found: &Found<'_>) -> &'static str {
    match found {
        Found::Value(Node::Null) => "null",
        Found::Value(Node::Bool(_)) => "a boolean",
        Found::Value(Node::Number(_)) | Found::Length(_) => "this number",
        Found::Value(Node::Text(_)) => "this text",
        Found::Value(Node::List(_)) => "a list",
        Found::Value(Node::Object(_)) => "an object",
    }
}

/// What the oldest task is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
    Unix,
    UnixMillis,
    Rfc3339,
}

impl Unit {
    const ALL: [Self; 5] = [Self::Seconds, Self::Milliseconds, Self::Unix, Self::UnixMillis, Self::Rfc3339];

    const fn name(self) -> &'static str {
        match self {
            Self::Seconds => "s",
            Self::Milliseconds => "ms",
            Self::Unix => "unix",
            Self::UnixMillis => "unix-ms",
            Self::Rfc3339 => "rfc3339",
        }
    }

    fn age(self, node: &Node<'_>, now: Option<Timestamp>) -> Option<Duration> {
        let time = |seconds: f64| Duration::try_from_secs_f64(seconds).ok();
        let since = |from: Timestamp| Some(now?.since(from));
        match self {
            Self::Seconds => time(number(node)?),
            Self::Milliseconds => time(number(node)? / 1_000.0),
            Self::Unix => since(Timestamp::default() + time(number(node)?)?),
            Self::UnixMillis => since(Timestamp::default() + time(number(node)? / 1_000.0)?),
            Self::Rfc3339 => since(Timestamp::of_rfc3339(node.text()?)?),
        }
    }
}

impl FromStr for Unit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|unit| unit.name() == text)
            .ok_or("not `s`, `ms`, `unix`, `unix-ms` or `rfc3339`")
    }
}

impl Plan for Document {
    fn queue(&self) -> String {
        let Self { place, ready, running, oldest, unit } = self;
        let mut text = format!("GET {place} ready {ready}");
        if let Some(running) = running {
            text.push_str(" running ");
            text.push_str(&running.to_string());
        }
        if let Some(oldest) = oldest {
            text.push_str(" oldest ");
            text.push_str(&oldest.to_string());
            text.push_str(" in ");
            text.push_str(unit.name());
        }
        text
    }

    fn name(&self) -> String {
        self.place.to_string()
    }

    fn names(&self) -> Vec<&str> {
        // Its query chooses what the path shows, and is no part of what a pattern lets in.
        vec![self.place.path()]
    }

    fn counts_in(&self) -> Vec<Counted> {
        let own = "`runningPath`: in each of them what its own workers run";
        let paths = [Some((&self.ready, None)), self.running.as_ref().map(|sum| (sum, Some(own)))];
        let of = |(sum, own): (&Sum, _)| Counted { own, ..Counted::at(format!("{sum} of {}", self.place)) };
        paths.into_iter().flatten().map(of).collect()
    }

    fn shows_running(&self) -> bool {
        self.running.is_some()
    }

    fn commands(&self) -> Vec<String> {
        vec![format!("GET {}", self.place)]
    }
}

#[cfg(test)]
mod tests;
