//! The kinds of queues in Redis, behind one pair of questions: what to ask, and what the answers mean.

use std::borrow::Cow;

use redis::{Arg, Cmd, Pipeline, Value};

use super::entry_id::EntryId;
use super::fault::Fault;
use super::list::List;
use super::stream::{Stream, Uncounted};
use crate::engine::signals::Reading;
use crate::sources::Plan;
use crate::timestamp::Timestamp;

/// How tasks lie in Redis.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Layout {
    /// In lists.
    List(List),
    /// In a stream.
    Stream(Stream),
}

/// What the first answers about a queue told.
#[derive(Debug, PartialEq)]
pub(super) enum Look {
    /// Everything.
    Complete {
        /// What was seen.
        reading: Reading,
        /// The entry of a stream after which unread ones lie, if there are any.
        unread_after: Option<EntryId>,
    },
    /// Not how many entries are unread: they have to be counted.
    Uncounted(Uncounted),
}

impl Layout {
    /// Adds the commands of one read; `unread_after` is what the read before told.
    pub(super) fn ask(&self, unread_after: Option<EntryId>, pipeline: &mut Pipeline) {
        match self {
            Self::List(list) => list.ask(pipeline),
            Self::Stream(stream) => stream.ask(unread_after, pipeline),
        }
    }

    /// Reads the answers to those commands, which Redis gave at `now`.
    ///
    /// # Errors
    /// When Redis refuses, or an answer makes no sense.
    pub(super) fn look(&self, answers: &[Value], now: Timestamp) -> Result<Look, Fault> {
        match self {
            Self::List(list) => Ok(Look::Complete { reading: list.read(answers)?, unread_after: None }),
            Self::Stream(stream) => stream.look(answers, now),
        }
    }
}

impl Plan for Layout {
    fn queue(&self) -> String {
        match self {
            Self::List(list) => list.to_string(),
            Self::Stream(stream) => stream.to_string(),
        }
    }

    fn name(&self) -> String {
        match self {
            Self::List(list) => list.name(),
            Self::Stream(stream) => stream.name().to_owned(),
        }
    }

    fn names(&self) -> Vec<&str> {
        match self {
            Self::List(list) => list.names(),
            Self::Stream(stream) => vec![stream.name()],
        }
    }

    fn shows_running(&self) -> bool {
        match self {
            Self::List(list) => list.shows_running(),
            Self::Stream(_) => true,
        }
    }

    /// The commands themselves, so that what is said and what is sent cannot differ; and those that depend on
    /// the answers.
    fn commands(&self) -> Vec<String> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("TIME");
        self.ask(None, &mut pipeline);
        let mut commands: Vec<String> = pipeline.cmd_iter().map(words).collect();
        if let Self::Stream(stream) = self {
            commands.push(format!("XRANGE {} ID + COUNT 1, or 101 where Redis knows no lag", stream.name()));
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
    if name.contains(|c: char| c.is_whitespace() || c == '"') {
        Cow::Owned(format!("{name:?}"))
    } else {
        Cow::Borrowed(name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_queues_have_one_text() {
        assert_eq!(quoted("acme:tasks"), "acme:tasks");
        assert_eq!(quoted("a processing b"), "\"a processing b\"");
    }
}
