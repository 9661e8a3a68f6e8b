//! What queries told about a trigger's tasks, as `/decisions` and `plan` show it.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::engine::queries::{Line, Queries};
use crate::telemetry::shown::short;
use crate::text::Printable;
use crate::timestamp::Timestamp;

/// The queries about a trigger's tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownQueries {
    /// Named connection that answers them.
    pub connection: String,
    /// Why it answers none of them, if it does not.
    pub error: Option<String>,
    /// Each query that was ever answered.
    pub answers: Vec<ShownQuery>,
}

/// One query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShownQuery {
    /// What it asks for, with its unit.
    pub name: Cow<'static, str>,
    /// What it told last; null if it never told anything.
    pub value: Option<f64>,
    /// Time since then.
    pub age_seconds: Option<f64>,
    /// Why it told nothing the last time, or why what it told is not relied upon.
    pub note: Option<String>,
}

impl ShownQueries {
    /// As of `now`.
    pub(super) fn of(connection: &str, queries: &Queries, now: Timestamp) -> Self {
        let answers = queries.lines().into_iter().map(|Line { name, value, at, cause }| ShownQuery {
            name: name.into(),
            value,
            age_seconds: at.map(|at| now.since(at).as_secs_f64()),
            note: cause.map(|cause| cause.to_string()),
        });
        let error = queries.failure().map(ToString::to_string);
        Self { connection: connection.to_owned(), error, answers: answers.collect() }
    }
}

impl fmt::Display for ShownQueries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connection, error, answers } = self;
        if let Some(error) = error {
            writeln!(f, "  {} answers no queries: {}", Printable(connection), Printable(error))?;
        }
        for ShownQuery { name, value, age_seconds, note } in answers {
            write!(f, "  {}: {}", Printable(connection), Printable(name))?;
            match value {
                Some(value) => write!(f, " {}", short(*value))?,
                None => f.write_str(" not known")?,
            }
            age_seconds.iter().try_for_each(|age| write!(f, ", told {age:.1} s ago"))?;
            note.iter().try_for_each(|note| write!(f, "; {}", Printable(note)))?;
            writeln!(f)?;
        }
        Ok(())
    }
}
