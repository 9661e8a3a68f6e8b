//! The queues of a framework that a trigger names: what to ask about them, and what the answers add up to.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use redis::{Pipeline, Value};

use super::question::{Question, Times};
use super::tally::{Tally, together};
use super::{Ask, Clock, Role, Span};
use crate::engine::signals::Reading;
use crate::sources::redis::fault::Fault;
use crate::sources::redis::memory::Memory;
use crate::timestamp::Timestamp;

/// Queues of a framework.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::sources::redis) struct Framework {
    /// The queues and whatever the trigger says of them, in words.
    text: String,
    queues: Vec<String>,
    questions: Vec<Question>,
    start_up: Duration,
}

/// The ids at the heads of queues whose times were asked for, by queue.
#[derive(Debug, Default, PartialEq)]
pub(in crate::sources::redis) struct Heads(Vec<Option<String>>);

impl Framework {
    /// Queues whose replicas take no time to start.
    pub(super) const fn new(text: String, queues: Vec<String>, questions: Vec<Question>) -> Self {
        Self { text, queues, questions, start_up: Duration::ZERO }
    }

    /// The same for replicas that take this long to start; `None` where that makes no difference.
    pub(in crate::sources::redis) fn starting_in(&self, start_up: Duration) -> Option<Self> {
        let looks_ahead = |question: &Question| matches!(question.row.ask, Ask::Zcount(Span::Soon, _));
        self.questions.iter().any(looks_ahead).then(|| Self { start_up, ..self.clone() })
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

    /// Whether any answer tells what runs.
    pub(in crate::sources::redis) fn shows_running(&self) -> bool {
        let roles = self.questions.iter().map(|question| question.row.role);
        roles.into_iter().any(|role| matches!(role, Role::InFlight | Role::Unfinished))
    }

    /// Adds the commands of one read. The time of a task at the head of its queue needs its id, which the read before
    /// told: so a wait that grows is seen without a second round trip.
    pub(in crate::sources::redis) fn ask(&self, memory: &Memory, pipeline: &mut Pipeline) -> Heads {
        let heads = Heads((0..self.queues.len()).map(|queue| memory.head(&self.place(queue))).collect());
        self.ask_with(&Told(memory.now()), &heads, pipeline);
        heads
    }

    /// Adds them with words where numbers depend on the time, and ids on the answers.
    pub(in crate::sources::redis) fn ask_in_words(&self, pipeline: &mut Pipeline) {
        let heads = Heads(vec![Some("ID".to_owned()); self.queues.len()]);
        self.ask_with(&InWords, &heads, pipeline);
    }

    fn ask_with(&self, times: &dyn Times, heads: &Heads, pipeline: &mut Pipeline) {
        for (question, head) in self.asked(heads) {
            question.ask(times, self.start_up, head, pipeline);
        }
    }

    /// The questions that can be asked while these heads are known.
    fn asked<'a>(&'a self, heads: &'a Heads) -> impl Iterator<Item = (&'a Question, &'a str)> {
        self.questions.iter().filter_map(|question| {
            if !question.needs_head() {
                return Some((question, ""));
            }
            Some((question, heads.0.get(question.queue?)?.as_deref()?))
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
    ) -> Result<Reading, Fault> {
        let mut queues: Vec<Tally> = self.queues.iter().map(|_| Tally::default()).collect();
        let mut all = Tally::default();
        let mut answers = answers.iter();
        for (question, _) in self.asked(heads) {
            let answer = answers.next().ok_or_else(|| Fault::nonsense(question.row.ask.name()))?;
            let told = question.read(answer, &|| self.rights())?;
            let about = question.queue.and_then(|queue| queues.get_mut(queue)).unwrap_or(&mut all);
            about.add(question.row.role, told);
        }
        if answers.next().is_some() {
            return Err(Fault::nonsense("a question about a queue"));
        }
        let everywhere = all.is_paused();
        let mut readings = Vec::with_capacity(queues.len());
        for (index, tally) in queues.into_iter().enumerate() {
            memory.set_head(self.place(index), tally.head.clone());
            let asked = heads.0.get(index).and_then(Option::as_deref);
            let paused = everywhere || tally.is_paused();
            readings.push(tally.reading(paused, asked, now));
        }
        let queues = readings.into_iter().reduce(together).unwrap_or_default();
        let ceiling = queues.ceiling;
        Ok(Reading { ceiling, ..together(queues, all.reading(everywhere, None, now)) })
    }

    /// Under what the head of a queue is remembered: the first key that is about it.
    fn place(&self, queue: usize) -> String {
        let first = self.questions.iter().find(|question| question.queue == Some(queue));
        first.map(|question| question.key.clone()).unwrap_or_default()
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
    fn last(&self, clock: Clock, within: Duration) -> String {
        clock.last(self.0 + within)
    }
}

/// Words for the same.
struct InWords;

impl Times for InWords {
    fn last(&self, _: Clock, within: Duration) -> String {
        if within.is_zero() {
            "NOW".to_owned()
        } else {
            format!("NOW+{}", humantime::format_duration(within))
        }
    }
}

impl fmt::Display for Framework {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { text, queues: _, questions: _, start_up } = self;
        f.write_str(text)?;
        if start_up.is_zero() {
            return Ok(());
        }
        write!(f, " starting in {}", humantime::format_duration(*start_up))
    }
}
