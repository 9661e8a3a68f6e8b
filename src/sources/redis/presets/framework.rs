//! The queues of a framework that a trigger names: what to ask about them, and what the answers add up to.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use redis::{Pipeline, Value};

use super::question::{Question, Spans, Times, When};
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
    spans: Spans,
}

/// The ids at the heads of queues whose times were asked for, by queue.
#[derive(Debug, Default, PartialEq)]
pub(in crate::sources::redis) struct Heads(Vec<Option<String>>);

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

    /// Most commands of one read.
    pub(in crate::sources::redis) const fn commands(&self) -> usize {
        self.questions.len()
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

    /// Adds the commands of one read. The time of a task at the head of its queue needs its id, which the read before
    /// told: so a wait that grows is seen without a second round trip.
    pub(in crate::sources::redis) fn ask(&self, memory: &Memory, pipeline: &mut Pipeline) -> Heads {
        let heads = Heads((0..self.queues.len()).map(|queue| memory.head(self.place(queue)?)).collect());
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
            question.ask(times, self.spans, head, pipeline);
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
            if let Some(place) = self.place(index) {
                memory.set_head(place, tally.head.clone());
            }
            let asked = heads.0.get(index).and_then(Option::as_deref);
            let paused = everywhere || tally.is_paused();
            readings.push(tally.reading(paused, asked, now));
        }
        let queues = readings.into_iter().reduce(together).unwrap_or_default();
        let ceiling = queues.ceiling;
        Ok(Reading { ceiling, ..together(queues, all.reading(everywhere, None, now)) })
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
mod tests {
    use redis::Value::{Array, BulkString, Int, Nil};

    use super::*;
    use crate::engine::signals::InFlight;
    use crate::sources::redis::presets::Role::{
        Concurrency, Dead, Due, Head, InFlight as Running, Paused, Rate, Ready, Since, Started,
    };
    use crate::sources::redis::presets::{Stamp, row};

    const NOW: Timestamp = Timestamp::from_millis(1_700_000_060_000);

    #[test]
    fn what_was_next_when_it_was_asked_for_and_is_not_any_more_has_no_age() {
        let head = || Heads(vec![Some("7".to_owned())]);
        for (next, since, oldest) in [
            ("7", text("1700000000000"), Some(60)),
            ("8", text("1700000000000"), None),
            ("7", Nil, None),
            // By another clock.
            ("7", text("1700000099000"), None),
        ] {
            let mut memory = Memory::new(NOW);
            let answers = [Int(2), text(next), since];
            let reading = aged().read(&head(), &answers, &mut memory, NOW).unwrap();
            assert_eq!(reading.oldest, oldest.map(Duration::from_secs), "{next}");
            assert_eq!(memory.head("q"), Some(next.to_owned()));
        }
        let mut memory = Memory::new(NOW);
        let marker = aged().read(&Heads(vec![None]), &[Int(1), text("0:0")], &mut memory, NOW).unwrap();
        assert_eq!((marker.ready, memory.head("q")), (Some(0), None));
    }

    #[test]
    fn a_rate_leaves_room_for_what_may_still_start_and_a_queue_told_to_wait_for_none() {
        let told_to_wait = "9007199254740991";
        for (most, rate, started, ceiling) in [
            (Nil, Nil, Nil, None),
            (text("8"), Nil, Nil, Some(8)),
            (Nil, text("5"), Nil, Some(3 + 5)),
            (Nil, text("5"), text("4"), Some(3 + 1)),
            (text("3"), text("5"), text("4"), Some(3)),
            (Nil, text("5"), text("9"), Some(3)),
            (Nil, Nil, text("9"), None),
            (Nil, Nil, text(told_to_wait), Some(3)),
        ] {
            let rows = [(Ask::Llen, Running), (Ask::Hget("concurrency"), Concurrency)];
            let others = [(Ask::Hget("max"), Rate), (Ask::Get, Started)];
            let framework = of(&[&rows[..], &others].concat());
            let answers = [Int(3), most, rate, started];
            let reading = framework.read(&Heads(vec![None]), &answers, &mut Memory::new(NOW), NOW).unwrap();
            assert_eq!(reading.ceiling, ceiling, "{answers:?}");
        }
    }

    #[test]
    fn what_a_paused_queue_holds_waits_for_nobody_and_what_runs_runs_on() {
        let rows =
            [(Ask::Llen, Ready), (Ask::Zcard, Due), (Ask::Llen, Running), (Ask::Hget("paused"), Paused)];
        let answers = [Int(4), Int(2), Int(3), text("1")];
        let reading = of(&rows).read(&Heads(vec![None]), &answers, &mut Memory::new(NOW), NOW);
        let in_flight = Some(InFlight::Known(3));
        let held =
            Reading { ready: Some(0), due: Some(0), delayed: Some(6), in_flight, ..Reading::default() };
        assert_eq!(reading, Ok(held));
    }

    #[test]
    fn nonsense_is_neither_a_number_nor_a_panic() {
        let nonsense =
            [Nil, Int(-1), Value::Okay, text("soon"), text("-1"), Array(vec![]), Array(vec![Int(1)])];
        for ask in [Ask::Llen, Ask::Hlen, Ask::Zcard, Ask::Exists, Ask::Zcount(Span::Past, Clock::Seconds)] {
            for role in [Ready, Due, Running, Dead, Paused] {
                nonsense.iter().for_each(|answer| refuses(ask, role, answer));
            }
        }
        for role in [Concurrency, Rate, Started] {
            nonsense[1..].iter().for_each(|answer| refuses(Ask::Hget("max"), role, answer));
        }
        for stamp in [Stamp::Millis, Stamp::Rfc3339] {
            nonsense[1..].iter().for_each(|answer| refuses(Ask::Hget("since"), Since(stamp), answer));
        }
        for answer in [Nil, Int(1), Array(vec![text("a")]), Array(vec![text("a"), text("soon")])] {
            refuses(Ask::Zrange, Since(Stamp::Score(Clock::Seconds)), &answer);
        }
        for answer in [Int(1), Array(vec![])] {
            refuses(Ask::Lindex(0), Head(""), &answer);
        }
        for answer in [Nil, text("1"), Array(vec![text("many")]), Array(vec![Nil; 1_001])] {
            refuses(Ask::Sort("*->busy"), Running, &answer);
        }
        for answers in [vec![], vec![Int(1), Int(1)]] {
            let reading =
                of(&[(Ask::Llen, Ready)]).read(&Heads(vec![None]), &answers, &mut Memory::new(NOW), NOW);
            assert!(matches!(reading, Err(Fault::Unexpected(_))), "{reading:?}");
        }
    }

    #[test]
    fn the_sum_over_processes_leaves_out_those_that_are_gone() {
        let busy = Array(vec![text("2"), Nil, text("3")]);
        let framework = of(&[(Ask::Sort("*->busy"), Running)]);
        let reading = framework.read(&Heads(vec![None]), &[busy], &mut Memory::new(NOW), NOW).unwrap();
        assert_eq!(reading.in_flight, Some(InFlight::Known(5)));
    }

    #[test]
    fn a_score_is_a_time_in_both_versions_of_the_protocol() {
        let framework = of(&[(Ask::Zrange, Since(Stamp::Score(Clock::Seconds)))]);
        let pair = |score| Array(vec![Array(vec![text("task"), Value::Double(score)])]);
        let flat = |score| Array(vec![text("task"), text(score)]);
        for answer in
            [Array(vec![]), flat("0"), flat("-1"), flat("inf"), flat("-inf"), pair(0.0), pair(f64::NAN)]
        {
            let reading = framework.read(&Heads(vec![None]), &[answer], &mut Memory::new(NOW), NOW).unwrap();
            assert_eq!(reading.oldest, None);
        }
        for answer in [flat("1700000050.5"), pair(1_700_000_050.5)] {
            let reading = framework.read(&Heads(vec![None]), &[answer], &mut Memory::new(NOW), NOW).unwrap();
            assert_eq!(reading.oldest, Some(Duration::from_millis(9_500)));
        }
    }

    fn refuses(ask: Ask, role: Role, answer: &Value) {
        let reading = of(&[(ask, role)]).read(
            &Heads(vec![None]),
            std::slice::from_ref(answer),
            &mut Memory::new(NOW),
            NOW,
        );
        assert!(matches!(reading, Err(Fault::Unexpected(_))), "{ask:?} {role:?} {answer:?}: {reading:?}");
    }

    /// One queue, with these rows about one key.
    fn of(rows: &[(Ask, Role)]) -> Framework {
        let question =
            |(ask, role): &(Ask, Role)| Question::new(row(*ask, "", *role), "q".to_owned(), None, Some(0));
        Framework::new("test".to_owned(), vec!["q".to_owned()], rows.iter().map(question).collect())
    }

    /// One queue whose oldest task has an age.
    fn aged() -> Framework {
        let mut framework = of(&[(Ask::Llen, Ready), (Ask::Lindex(0), Head("0:"))]);
        let since = row(Ask::Hget("timestamp"), "", Since(Stamp::Millis));
        framework.questions.push(Question::new(since, "q:\0".to_owned(), None, Some(0)));
        framework
    }

    fn text(text: &str) -> Value {
        BulkString(text.into())
    }
}
