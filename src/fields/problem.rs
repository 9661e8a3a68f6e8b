//! What is wrong with a configuration, in words.

use std::fmt;

use crate::text::Printable;

/// Most problems that the error of a trigger lists: it becomes an event, a log line and an answer.
const MOST_LISTED: usize = 20;

/// One thing that is wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where: `metadata.tasksPerReplica`.
    pub path: String,
    /// What.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Invalid {
    /// What was read: `the trigger metadata`.
    pub subject: &'static str,
    /// The problems, in the order in which they were found.
    pub problems: Vec<Problem>,
    /// How many more there are that are not among them.
    pub left_out: usize,
}

impl Invalid {
    /// An error about `subject`, unless there are no problems.
    ///
    /// # Errors
    /// When `problems` is not empty.
    pub fn unless_empty(subject: &'static str, problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { subject, problems, left_out: 0 }) }
    }

    /// An error about `subject` with one problem.
    pub fn one(subject: &'static str, problem: Problem) -> Self {
        Self { subject, problems: vec![problem], left_out: 0 }
    }

    /// The same with as many problems as its reader mends at a time; the others are only counted.
    #[must_use]
    pub fn shortened(mut self) -> Self {
        self.left_out += self.problems.len().saturating_sub(MOST_LISTED);
        self.problems.truncate(MOST_LISTED);
        self
    }
}

impl Problem {
    /// A text at `path` that is no YAML: says where, and shows nothing of the text, which may hold a secret.
    pub fn no_yaml(path: &str, error: &serde_saphyr::Error) -> Self {
        let text = error.without_snippet().to_string();
        // What follows is for programmers.
        let text = text.split(", set DuplicateKeyPolicy").next().unwrap_or_default();
        let text = text.trim_start_matches("error: ");
        let place = error
            .location()
            .filter(|_| !text.starts_with("line "))
            .map(|place| format!("line {} column {}: ", place.line(), place.column()));
        let message = format!("is no YAML: {}{text}", place.unwrap_or_default());
        Self { path: path.to_owned(), message, hint: None }
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { subject, problems, left_out } = self;
        let count = problems.len() + left_out;
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "{count} {noun} in {subject}:")?;
        problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))?;
        if *left_out == 0 { Ok(()) } else { write!(f, "\n  and {left_out} more") }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, message, hint } = self;
        // One line each: a newline in what a user wrote must not begin a problem of its own.
        write!(f, "{}", Printable(format_args!("{path}: {message}")))?;
        hint.iter().try_for_each(|hint| write!(f, " (hint: {})", Printable(hint)))
    }
}
