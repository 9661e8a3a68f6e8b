//! What lies in Redis, behind one pair of questions: what to ask, and what the answers mean.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use redis::{Arg, Cmd, Pipeline, Value};

use super::fault::Fault;
use super::list::List;
use super::memory::Memory;
use super::peek::Peek;
use super::presets::{Framework, Heads};
use super::stream::Stream;
use super::unknown::Unknown;
use crate::engine::signals::{Reading, Workers};
use crate::sources::{Counted, Plan, Sighting};
use crate::timestamp::Timestamp;
use crate::workers::reader::{self, LimitScope, Scope};

/// What triggers that count one record of what runs should have instead.
pub(super) const OWN_RECORD: &str = "a record of its own for each of them, of what its workers run";

/// How tasks, and reports about them, lie in Redis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Layout {
    /// In lists.
    List(List),
    /// In a stream.
    Stream(Stream),
    /// As a framework keeps them.
    Framework(Framework),
    /// No tasks: what workers report.
    Workers(Scope),
    /// No tasks: what workers saw of a limit.
    Limit(LimitScope),
}

/// What was asked, where the answers alone do not say it.
#[derive(Debug)]
pub(super) enum Asked {
    /// Workers.
    Workers(reader::Asked),
    /// Queues of a framework.
    Heads(Heads),
}

/// What the first answers told.
#[derive(Debug, PartialEq)]
pub(super) enum Look {
    /// Everything.
    Complete(Sighting),
    /// All but what comes with tasks themselves.
    Unfinished(Peek),
}

impl Look {
    /// All of a queue.
    pub(super) fn complete(reading: Reading) -> Self {
        Self::Complete(reading.into())
    }
}

impl Layout {
    /// Adds the commands of one read; `memory` is what the reads before told.
    /// After an answer that was `too_long`, only numbers are asked for.
    pub(super) fn ask(
        &self,
        memory: &Memory,
        too_long: Option<&Fault>,
        pipeline: &mut Pipeline,
    ) -> Option<Asked> {
        match self {
            Self::List(list) => list.ask(pipeline),
            Self::Stream(stream) => stream.ask(pipeline),
            Self::Framework(framework) => {
                return Some(Asked::Heads(framework.ask(memory, too_long, pipeline)));
            }
            Self::Workers(scope) => {
                return Some(Asked::Workers(scope.ask(&memory.minutes, memory.now(), pipeline)));
            }
            Self::Limit(limit) => limit.ask(pipeline),
        }
        None
    }

    /// Reads the answers to those commands, which Redis gave at `now`.
    ///
    /// # Errors
    /// When Redis refuses, or an answer makes no sense.
    pub(super) fn look(
        &self,
        asked: Option<&Asked>,
        answers: &[Value],
        memory: &mut Memory,
        now: Timestamp,
    ) -> Result<Look, Fault> {
        match self {
            Self::List(list) => Ok(Look::complete(list.read(answers)?)),
            Self::Stream(stream) => stream.look(answers, memory, now),
            Self::Framework(framework) => {
                let Some(Asked::Heads(heads)) = asked else { return Err(Fault::nonsense("no question")) };
                framework.read(heads, answers, memory, now)
            }
            Self::Workers(scope) => {
                let Some(Asked::Workers(asked)) = asked else { return Err(Fault::nonsense("HSCAN")) };
                let (workers, unreadable) = scope.read(asked, answers, &mut memory.minutes, now)?;
                let mut unknown = Unknown::default();
                unreadable
                    .into_iter()
                    .for_each(|why| unknown.add("a part of the workers' reports", why.into()));
                let workers = Workers { unknown: unknown.into_causes(), ..workers };
                Ok(Look::Complete(Sighting::Workers(workers)))
            }
            Self::Limit(limit) => Ok(Look::Complete(Sighting::Limit(limit.read(answers, now)?))),
        }
    }

    /// What the answers to so many of its commands may cost while they come with others'.
    pub(super) fn allowance(&self, commands: usize) -> usize {
        /// A number, an id, or an error.
        const SHORT: usize = 512;
        /// Ten groups of a stream. A thousand streams fit into one round trip.
        const GROUPS: usize = 6 << 10;
        /// The busy threads of a thousand processes.
        const PROCESSES: usize = 128 << 10;
        /// A hundred workers.
        const WORKERS: usize = 32 << 10;
        /// Two full histograms and the counters of a minute; a limit has less.
        const FIELDS: usize = 12 << 10;
        match self {
            Self::List(_) => commands * SHORT,
            Self::Stream(_) => commands * SHORT + GROUPS,
            Self::Framework(framework) if framework.follows_names() => commands * SHORT + PROCESSES,
            Self::Framework(_) => commands * SHORT,
            Self::Workers(_) => commands * FIELDS + WORKERS,
            Self::Limit(_) => FIELDS,
        }
    }

    /// What the answers may cost at most: those that come alone have room for whatever is well meant.
    pub(super) const fn most(&self) -> usize {
        match self {
            // Ten thousand workers.
            Self::Workers(_) => 4 << 20,
            Self::List(_) | Self::Stream(_) | Self::Framework(_) | Self::Limit(_) => 1 << 20,
        }
    }

    /// Whether it can be read without those of its answers that may be long.
    pub(super) const fn has_short_answers(&self) -> bool {
        matches!(self, Self::Framework(_))
    }

    /// Whether workers write it, each as it likes, beside the queue's own keys.
    pub(super) const fn is_report(&self) -> bool {
        matches!(self, Self::Workers(_) | Self::Limit(_))
    }
}

/// What the workers of `scope` report, in minutes of this length.
pub(super) fn workers(scope: &str, minute: Duration) -> Arc<dyn Plan> {
    Arc::new(Layout::Workers(Scope::new(scope, minute)))
}

/// What workers saw of the limit of `scope`.
pub(super) fn limit(scope: &str) -> Arc<dyn Plan> {
    Arc::new(Layout::Limit(LimitScope::new(scope)))
}

impl Plan for Layout {
    fn queue(&self) -> String {
        match self {
            Self::List(list) => list.to_string(),
            Self::Stream(stream) => stream.to_string(),
            Self::Framework(framework) => framework.to_string(),
            Self::Workers(scope) => format!("workers of {}", quoted(scope.name())),
            Self::Limit(limit) => format!("limit {}", quoted(limit.name())),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::List(list) => list.name(),
            Self::Stream(stream) => stream.name().to_owned(),
            Self::Framework(framework) => framework.name(),
            Self::Workers(scope) => scope.name().to_owned(),
            Self::Limit(limit) => limit.name().to_owned(),
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            Self::List(list) => list.names(),
            Self::Stream(stream) => vec![stream.name()],
            Self::Framework(framework) => framework.names(),
            Self::Workers(scope) => vec![scope.name()],
            Self::Limit(limit) => vec![limit.name()],
        }
    }

    fn counts_in(&self) -> Vec<Counted> {
        match self {
            Self::List(list) => list.counts_in(),
            Self::Framework(framework) => framework.counts_in(),
            // Several groups may read one stream, each of them all of it.
            Self::Stream(stream) => vec![Counted::at(stream.to_string())],
            Self::Workers(scope) => {
                let own =
                    Some("`workerScope`: a name of its own for each of them, which its workers report under");
                vec![Counted { own, ..Counted::at(format!("the reports of {}", quoted(scope.name()))) }]
            }
            Self::Limit(_) => Vec::new(),
        }
    }

    fn shows_running(&self) -> bool {
        match self {
            Self::List(list) => list.shows_running(),
            Self::Framework(framework) => framework.shows_running(),
            Self::Stream(_) | Self::Workers(_) => true,
            Self::Limit(_) => false,
        }
    }

    fn starting_in(&self, start_up: Duration) -> Option<Arc<dyn Plan>> {
        let Self::Framework(framework) = self else { return None };
        Some(Arc::new(Self::Framework(framework.starting_in(start_up)?)))
    }

    fn given_again_after(&self) -> Option<Duration> {
        let Self::Framework(framework) = self else { return None };
        framework.given_again_after()
    }

    fn cost(&self) -> usize {
        match self {
            Self::List(list) => list.names().len(),
            Self::Stream(_) => Stream::COMMANDS,
            Self::Framework(framework) => framework.commands(),
            Self::Workers(_) => reader::COMMANDS,
            Self::Limit(_) => 1,
        }
    }

    /// The commands themselves, so that what is said and what is sent cannot differ; and those that depend on
    /// the answers.
    fn commands(&self) -> Vec<String> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("TIME");
        match self {
            Self::List(_) | Self::Stream(_) | Self::Limit(_) => {
                self.ask(&Memory::new(Timestamp::default()), None, &mut pipeline);
            }
            Self::Framework(framework) => framework.ask_in_words(&mut pipeline),
            Self::Workers(_) => {}
        }
        let mut commands: Vec<String> = pipeline.cmd_iter().map(words).collect();
        match self {
            Self::Stream(stream) => {
                let stream = stream.name();
                commands.push(format!("XRANGE {stream} ID + COUNT 1, or 101 where Redis knows no lag"));
            }
            // They depend on the time, and on what is known already.
            Self::Workers(scope) => commands.extend(scope.commands()),
            Self::List(_) | Self::Framework(_) | Self::Limit(_) => {}
        }
        commands
    }
}

fn words(command: &Cmd) -> String {
    let words: Vec<_> = command
        .args_iter()
        .filter_map(|word| match word {
            Arg::Simple(word) => Some(String::from_utf8_lossy(word)),
            // A place for a cursor, which no command here has; and what a later version may add.
            Arg::Cursor | _ => None,
        })
        .collect();
    words.join(" ")
}

/// A name as part of a queue's text: in quotation marks where it could be taken for several words.
pub(super) fn quoted(name: &str) -> Cow<'_, str> {
    if name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"') {
        Cow::Owned(format!("{name:?}"))
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_are_named_by_their_scope() {
        let (workers, limit) = (workers("acme tasks", Duration::from_secs(60)), limit("anthropic/prod"));
        assert_eq!(
            (workers.queue(), limit.queue()),
            ("workers of \"acme tasks\"".into(), "limit anthropic/prod".into())
        );
        assert_eq!((workers.names(), limit.names()), (vec!["acme tasks"], vec!["anthropic/prod"]));
        assert_eq!(limit.commands(), ["TIME", "HSCAN agent-scaler:limit:{anthropic/prod} 0 COUNT 1001"]);
        assert_eq!(
            workers.commands(),
            [
                "TIME",
                "ZCOUNT agent-scaler:{acme tasks}:leases (NOW NOW+1d",
                "HSCAN agent-scaler:{acme tasks}:workers 0 COUNT 10001",
                "HSCAN agent-scaler:{acme tasks}:m:MINUTE 0 COUNT 1001, for the present minute, those beside it and any of \
             the last 30 that is not known yet",
            ]
        );
    }

    #[test]
    fn a_plan_costs_as_many_commands_as_it_sends() {
        let memory = Memory::new(Timestamp::from_millis(29_000_000 * 60_000));
        let stream = Layout::Stream(Stream::new("acme:tasks".to_owned(), "workers".to_owned()));
        // One more where the oldest entry is not known.
        for (layout, later) in [(stream, 1), (Layout::Limit(LimitScope::new("anthropic/prod")), 0)] {
            let mut pipeline = Pipeline::new();
            layout.ask(&memory, None, &mut pipeline);
            assert_eq!(layout.cost(), pipeline.len() + later, "{layout:?}");
        }
    }

    #[test]
    fn no_two_queues_have_one_text() {
        assert_eq!(quoted("acme:tasks"), "acme:tasks");
        assert_eq!(quoted("a processing b"), "\"a processing b\"");
    }
}
