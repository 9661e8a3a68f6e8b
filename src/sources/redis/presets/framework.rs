//! The queues of a framework that a trigger names: what to ask about them, and what the answers add up to.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use redis::{Pipeline, Value};

use super::missed::Missed;
use super::question::{Question, Spans, Times, Told as Answered, When};
use super::tally::{Tally, together};
use super::{Ask, Clock, Role, Span, parameters};
use crate::engine::signals::Reading;
use crate::sources::Counted;
use crate::sources::redis::fault::Fault;
use crate::sources::redis::layout::{Look, OWN_RECORD, quoted};
use crate::sources::redis::memory::Memory;
use crate::sources::redis::peek::{Peek, Wanted};
use crate::timestamp::Timestamp;

/// Queues of a framework.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::sources::redis) struct Framework {
    /// The queues and whatever the trigger says of them, in words.
    text: String,
    queues: Vec<String>,
    questions: Vec<Question>,
    spans: Spans,
}

/// What the read before told, without which the answers cannot be read.
#[derive(Debug, Default, PartialEq)]
pub(in crate::sources::redis) struct Heads {
    /// The ids at the heads of queues whose times were asked for, by queue.
    ids: Vec<Option<String>>,
    /// The lowest scores of which it was asked whether they still are, by question.
    lowest: Vec<Option<f64>>,
    /// Questions that are not asked, and why.
    left_out: BTreeMap<usize, Fault>,
}

impl Framework {
    /// Queues whose replicas take no time to start.
    pub(super) fn new(text: String, queues: Vec<String>, questions: Vec<Question>) -> Self {
        Self { text, queues, questions, spans: Spans::default() }
    }

    /// The same for workers that may keep what they were given for so long.
    pub(super) fn visible_after(self, visibility: Duration) -> Self {
        Self { spans: Spans { visibility, ..self.spans }, ..self }
    }

    /// The same for replicas that take this long to start; `None` where that makes no difference.
    pub(in crate::sources::redis) fn starting_in(&self, start_up: Duration) -> Option<Self> {
        let looks_ahead = |question: &Question| matches!(question.row.ask, Ask::Zcount(Span::Soon, _));
        self.questions
            .iter()
            .any(looks_ahead)
            .then(|| Self { spans: Spans { start_up, ..self.spans }, ..self.clone() })
    }

    /// The queues, as a trigger names them.
    pub(in crate::sources::redis) fn name(&self) -> String {
        self.queues.join(",")
    }

    /// Every key that a read touches, but those of single tasks.
    pub(in crate::sources::redis) fn names(&self) -> Vec<&str> {
        let keys = self.questions.iter().filter(|question| !question.needs_head());
        let keys: BTreeSet<&str> = keys.map(|question| question.key.as_str()).collect();
        keys.into_iter().collect()
    }

    /// The keys in which tasks are counted: all but those that hold times, limits and pauses.
    pub(in crate::sources::redis) fn counts_in(&self) -> Vec<Counted> {
        let mut places: Vec<Counted> = Vec::new();
        for question in self.questions.iter().filter(|question| question.row.role.counts()) {
            let place = quoted(&question.key).into_owned();
            if places.iter().all(|counted| counted.place != place) {
                let runs = matches!(question.row.role, Role::InFlight | Role::Unfinished | Role::Lost);
                let own = runs.then_some(OWN_RECORD);
                let switch = parameters::switch(question.row.key);
                places.push(Counted { switch, own, ..Counted::at(place) });
            }
        }
        places
    }

    /// Most commands of one read.
    pub(in crate::sources::redis) fn commands(&self) -> usize {
        self.questions.iter().map(|question| if question.is_lowest() { 2 } else { 1 }).sum()
    }

    /// Whether a command follows the names in a set, which others' keys have.
    pub(in crate::sources::redis) fn follows_names(&self) -> bool {
        self.questions.iter().any(Question::follows_names)
    }

    /// Whether any answer tells what runs.
    pub(in crate::sources::redis) fn shows_running(&self) -> bool {
        let roles = self.questions.iter().map(|question| question.row.role);
        roles.into_iter().any(|role| matches!(role, Role::InFlight | Role::Unfinished))
    }

    /// How long a worker may keep a task before another is given it too, where that is counted.
    pub(in crate::sources::redis) fn given_again_after(&self) -> Option<Duration> {
        let counts = self.questions.iter().any(|question| question.row.role == Role::Lost);
        counts.then_some(self.spans.visibility)
    }

    /// Adds the commands of one read, whose answers hold no tasks. The time of a task at the head of its queue needs its
    /// id, which the read before told: so a wait that grows is seen without a second round trip. Where answers are
    /// `too_long`, only numbers are asked for.
    pub(in crate::sources::redis) fn ask(
        &self,
        memory: &Memory,
        too_long: Option<&Fault>,
        pipeline: &mut Pipeline,
    ) -> Heads {
        let why = |question: &Question| {
            let too_many = || question.too_many(memory.members(&question.key));
            too_long.filter(|_| question.may_be_long()).cloned().or_else(too_many)
        };
        let left_out = self.questions.iter().enumerate();
        let lowest =
            |question: &Question| question.is_lowest().then(|| memory.lowest(&question.key)).flatten();
        let heads = Heads {
            ids: (0..self.queues.len()).map(|queue| memory.head(self.place(queue)?)).collect(),
            lowest: self.questions.iter().map(lowest).collect(),
            left_out: left_out.filter_map(|(index, question)| Some((index, why(question)?))).collect(),
        };
        for (question, head, lowest) in self.asked(&heads) {
            if !question.is_lowest() {
                question.ask(&Told(memory.now()), self.spans, head, pipeline);
            } else if let Some(score) = lowest {
                pipeline.cmd("ZCOUNT").arg(&question.key).arg("-inf").arg(format!("({score}"));
                pipeline.cmd("ZCOUNT").arg(&question.key).arg(score).arg(score);
            }
        }
        heads
    }

    /// Adds all commands with words where numbers depend on the time, and ids on the answers.
    pub(in crate::sources::redis) fn ask_in_words(&self, pipeline: &mut Pipeline) {
        let ids = vec![Some("ID".to_owned()); self.queues.len()];
        let heads = Heads { ids, ..Heads::default() };
        for (question, head, _) in self.asked(&heads) {
            question.ask(&InWords, self.spans, head, pipeline);
        }
    }

    /// The questions that can be asked while these heads are known.
    fn asked<'a>(&'a self, heads: &'a Heads) -> impl Iterator<Item = (&'a Question, &'a str, Option<f64>)> {
        let is_asked = |(index, _): &(usize, &Question)| !heads.left_out.contains_key(index);
        self.questions.iter().enumerate().filter(is_asked).filter_map(|(index, question)| {
            let lowest = heads.lowest.get(index).copied().flatten();
            if !question.needs_head() {
                return Some((question, "", lowest));
            }
            Some((question, heads.ids.get(question.queue?)?.as_deref()?, lowest))
        })
    }

    /// Reads the answers to those commands, which Redis gave at `now`.
    ///
    /// # Errors
    /// When Redis refuses, or an answer makes no sense.
    pub(in crate::sources::redis) fn read(
        &self,
        heads: &Heads,
        answers: &[Value],
        memory: &mut Memory,
        now: Timestamp,
    ) -> Result<Look, Fault> {
        let mut queues: Vec<Tally> = self.queues.iter().map(|_| Tally::default()).collect();
        let (mut all, mut missed) = (Tally::default(), Missed::default());
        for (index, fault) in &heads.left_out {
            self.questions
                .get(*index)
                .iter()
                .for_each(|question| missed.add(question.row.role, fault.clone()));
        }
        let mut answers = answers.iter();
        let (mut unknown, mut not_bounded) = (Vec::new(), None);
        for (question, _, lowest) in self.asked(heads) {
            let mut next = || answers.next().ok_or_else(|| Fault::nonsense(question.row.ask.name()));
            let rights = || self.rights();
            let told = match (question.score_clock(), lowest) {
                (None, _) => question.read(next()?, &rights),
                (Some(clock), Some(score)) => match question.still_lowest(next()?, next()?, &rights) {
                    Ok(true) => Ok(clock.at(score).map_or(Answered::Nothing, Answered::At)),
                    Ok(false) => {
                        unknown.push((question.key.clone(), clock));
                        Ok(Answered::Nothing)
                    }
                    Err(fault) => Err(fault),
                },
                (Some(clock), None) => {
                    unknown.push((question.key.clone(), clock));
                    Ok(Answered::Nothing)
                }
            };
            let about = question.queue.and_then(|queue| queues.get_mut(queue)).unwrap_or(&mut all);
            match told {
                Ok(told) => about.add(question.row.role, told),
                // A fault about the queue's own waiting tasks is a fault of the whole reading.
                Err(fault) if self.is_the_queue(question) => return Err(fault),
                // It bounds another question, which itself shows a missing right, and takes other types for none.
                Err(fault) if question.row.role == Role::Members => {
                    not_bounded = Some(fault).filter(|fault| matches!(fault, Fault::Unexpected(_)));
                }
                Err(fault) => missed.add(question.row.role, fault),
            }
            if question.row.role == Role::Members {
                memory.set_members(&question.key, about.members);
            }
        }
        if answers.next().is_some() {
            return Err(Fault::nonsense("a question about a queue"));
        }
        if let Some(fault) = not_bounded {
            missed.add(Role::Members, fault);
        }
        let waiting = queues.iter().chain([&all]).map(Tally::waiting).fold(0, u64::saturating_add);
        let everywhere = all.is_paused();
        let mut readings = Vec::with_capacity(queues.len());
        for (index, tally) in queues.into_iter().enumerate() {
            if let Some(place) = self.place(index) {
                memory.set_head(place, tally.head.clone());
            }
            let asked = heads.ids.get(index).and_then(Option::as_deref);
            let paused = everywhere || tally.is_paused();
            readings.push(tally.reading(paused, asked, now));
        }
        let queues = readings.into_iter().reduce(together).unwrap_or_default();
        let ceiling = queues.ceiling;
        let reading = Reading { ceiling, ..together(queues, all.reading(everywhere, None, now)) };
        let reading = missed.taken_from(reading, waiting)?;
        let is_empty =
            [reading.ready, reading.soon, reading.delayed].into_iter().flatten().all(|tasks| tasks == 0);
        if unknown.is_empty() || is_empty {
            return Ok(Look::complete(reading));
        }
        Ok(Look::Unfinished(Peek { reading, wanted: Wanted::Lowest(unknown), now }))
    }

    /// Whether a question is the first about waiting tasks in its queue.
    fn is_the_queue(&self, question: &Question) -> bool {
        let waits = |other: &&Question| other.row.role == Role::Ready && other.queue == question.queue;
        self.questions.iter().find(waits).is_some_and(|first| std::ptr::eq(first, question))
    }

    /// Under what the head of a queue is remembered: the key of the first list that has one.
    fn place(&self, queue: usize) -> Option<&str> {
        let has_head = |question: &&Question| {
            question.queue == Some(queue) && matches!(question.row.role, Role::Head(_))
        };
        self.questions.iter().find(has_head).map(|question| question.key.as_str())
    }

    /// The least rights with which a user can read these queues; their keys come on top.
    fn rights(&self) -> String {
        let commands: BTreeSet<&str> =
            self.questions.iter().map(|question| question.row.ask.name()).collect();
        let commands = commands.iter().map(|command| format!(" +{}", command.to_lowercase()));
        format!("-@all +select +time{}", commands.collect::<String>())
    }
}

/// Redis's time, as far as it is known before it is asked.
struct Told(Timestamp);

impl Times for Told {
    fn last(&self, clock: Clock, when: When) -> String {
        clock.last(match when {
            When::Now => self.0,
            When::In(time) => self.0 + time,
            When::Ago(time) => self.0 - time,
        })
    }
}

/// Words for the same.
struct InWords;

impl Times for InWords {
    fn last(&self, _: Clock, when: When) -> String {
        match when {
            When::Now | When::In(Duration::ZERO) => "NOW".to_owned(),
            When::In(time) => format!("NOW+{}", humantime::format_duration(time)),
            When::Ago(time) => format!("NOW-{}", humantime::format_duration(time)),
        }
    }
}

impl fmt::Display for Framework {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, queues: _, questions: _, spans: Spans { start_up, visibility: _ } } = self;
        f.write_str(text)?;
        if start_up.is_zero() {
            return Ok(());
        }
        write!(f, " starting in {}", humantime::format_duration(*start_up))
    }
}

#[cfg(test)]
mod tests;
