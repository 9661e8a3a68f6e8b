//! Configuration keys declared in tables, and the reading of values by them.
//!
//! A key is declared once; parsing, hints, `agent-scaler keys` and the README's table all read the
//! declaration. Reading goes on after a bad key, so that one error names every problem.

mod units;

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use crate::secret::Secret;

pub use units::{Names, Positive, PositiveSpan, Span, plain};

/// One configuration key.
#[derive(Debug)]
pub struct Key {
    /// Its name, camelCase as KEDA's users expect.
    pub name: &'static str,
    /// Whether it must be given, and what holds if it is not.
    pub need: Need,
    /// Unit or shape of the value, e.g. `duration` or `tasks`.
    pub unit: &'static str,
    /// One line that says what it is for.
    pub help: &'static str,
    /// A value that would be accepted.
    pub example: &'static str,
}

/// Whether a key must be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// Its absence is a problem.
    Required,
    /// Its absence means something of its own, which the key's help says.
    Optional,
    /// Its absence means this text.
    Default(&'static str),
}

/// The value of a key before it is parsed.
#[derive(Clone, Debug)]
pub enum Value {
    /// A text; numbers and booleans of a YAML file come as their text.
    Text(String),
    /// A reference to a credential.
    Secret(Secret),
}

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
}

/// Reads the keys of one table out of a map of values.
#[derive(Debug)]
pub struct Fields<'a> {
    path: String,
    values: &'a BTreeMap<String, Value>,
    known: Vec<&'static str>,
    problems: Vec<Problem>,
}

impl<'a> Fields<'a> {
    /// Reads `values`, which stand at `path` in the configuration; an empty path is its top.
    pub fn new(path: impl Into<String>, values: &'a BTreeMap<String, Value>) -> Self {
        Self { path: path.into(), values, known: Vec::new(), problems: Vec::new() }
    }

    /// The value of `key`. `None` if it is absent or bad; where that is a problem, the problem is kept.
    ///
    /// Bind all values first and build from them afterwards: a `?` between two reads would hide the
    /// problems of the second.
    pub fn read<T>(&mut self, key: &'static Key) -> Option<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.known.push(key.name);
        let text = match (self.values.get(key.name), key.need) {
            (Some(Value::Text(text)), _) => text.trim(),
            (Some(Value::Secret(_)), _) => {
                self.problem(key, "must be plain text, not a reference to a secret");
                return None;
            }
            (None, Need::Default(text)) => text,
            (None, Need::Optional) => return None,
            (None, Need::Required) => {
                self.problem(key, "is required");
                return None;
            }
        };
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.problem(key, format!("`{}`: {error}", shortened(text)));
                None
            }
        }
    }

    /// The value of an optional key, if it was given; `None` if it is bad.
    pub fn optional<T>(&mut self, key: &'static Key) -> Option<Option<T>>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let value = self.read(key);
        (value.is_some() || !self.has(key)).then_some(value)
    }

    /// The credential that `key` refers to. `None` if it is absent or bad.
    pub fn secret(&mut self, key: &'static Key) -> Option<Secret> {
        self.known.push(key.name);
        match self.values.get(key.name) {
            Some(Value::Secret(secret)) => Some(secret.clone()),
            // The text may be the credential itself, so it is not repeated.
            Some(Value::Text(_)) => {
                self.problem(key, "must be a reference: the configuration is no place for a secret");
                None
            }
            None if key.need == Need::Required => {
                self.problem(key, "is required");
                None
            }
            None => None,
        }
    }

    /// The credential of an optional key, if it was given; `None` if it is bad.
    pub fn optional_secret(&mut self, key: &'static Key) -> Option<Option<Secret>> {
        let secret = self.secret(key);
        (secret.is_some() || !self.has(key)).then_some(secret)
    }

    /// Whether `key` was given.
    pub fn has(&self, key: &Key) -> bool {
        self.values.contains_key(key.name)
    }

    /// The text of a key that somebody else reads and checks.
    pub fn peek(&self, key: &Key) -> Option<&str> {
        match self.values.get(key.name)? {
            Value::Text(text) => Some(text.trim()),
            Value::Secret(_) => None,
        }
    }

    /// Keeps a problem with `key` that only its meaning shows.
    pub fn problem(&mut self, key: &Key, message: impl Into<String>) {
        let hint = format!("{}, e.g. `{}`", key.help, key.example);
        self.problem_at(key.name, message, Some(hint));
    }

    /// Keeps a problem with the value at `name`.
    pub fn problem_at(&mut self, name: &str, message: impl Into<String>, hint: Option<String>) {
        let path = if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) };
        self.problems.push(Problem { path, message: message.into(), hint });
    }

    /// Takes `keys` for known without reading them.
    pub fn know(&mut self, keys: &[Key]) {
        self.known.extend(keys.iter().map(|key| key.name));
    }

    /// Keeps a problem for every key that was given, is not `allowed` and was never read, with the nearest
    /// name that would have been.
    ///
    /// `moved` names what to write instead of a key that goes by another name here.
    pub fn refuse_unknown(&mut self, allowed: &[&str], moved: &[&[(&str, &str)]]) {
        let unknown: Vec<&String> = self
            .values
            .keys()
            .filter(|name| !self.known.contains(&name.as_str()) && !allowed.contains(&name.as_str()))
            .collect();
        for name in unknown {
            let moved = moved
                .iter()
                .copied()
                .flatten()
                .find(|(old, _)| old == name)
                .map(|(_, new)| (*new).to_owned());
            let hint = moved.or_else(|| nearest(name, self.known.iter().chain(allowed).copied()));
            self.problem_at(name, "unknown key", hint);
        }
    }

    /// Ends the reading: everything that was wrong, in the order in which it was found.
    pub fn finish(self) -> Vec<Problem> {
        self.problems
    }
}

/// "did you mean" for a name that is near to one of `known`.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    let lower = name.to_lowercase();
    known
        .map(|candidate| (strsim::damerau_levenshtein(&lower, &candidate.to_lowercase()), candidate))
        .min()
        // Two slips of the finger in a short word, four in a long one.
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 4).clamp(2, 4))
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// At most 60 characters of a user's text: enough to recognise it, too little to flood a log.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    if text.chars().count() <= LONGEST {
        return text.to_owned();
    }
    text.chars().take(LONGEST).chain(['…']).collect()
}

impl Invalid {
    /// An error about `subject`, unless there are no problems.
    ///
    /// # Errors
    /// When `problems` is not empty.
    pub fn unless_empty(subject: &'static str, problems: Vec<Problem>) -> Result<(), Self> {
        if problems.is_empty() { Ok(()) } else { Err(Self { subject, problems }) }
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
        let Self { subject, problems } = self;
        let count = problems.len();
        let noun = if count == 1 { "problem" } else { "problems" };
        write!(f, "{count} {noun} in {subject}:")?;
        problems.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, message, hint } = self;
        write!(f, "{path}: {message}")?;
        hint.iter().try_for_each(|hint| write!(f, " (hint: {hint})"))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const QUEUE: Key = Key {
        name: "queue",
        need: Need::Required,
        unit: "name",
        help: "list that holds waiting tasks",
        example: "jobs",
    };
    const SLOTS: Key = Key {
        name: "tasksPerReplica",
        need: Need::Default("1"),
        unit: "tasks",
        help: "tasks one replica runs at a time",
        example: "4",
    };
    static KEYS: [Key; 2] = [QUEUE, SLOTS];

    #[test]
    fn one_error_names_every_problem_with_path_and_hint() {
        let values = texts(&[("Queue", "jobs"), ("tasksPerReplica", "ten")]);
        let mut fields = Fields::new("metadata", &values);
        assert_eq!(fields.read::<String>(&KEYS[0]), None);
        assert_eq!(fields.read::<Positive>(&KEYS[1]), None);
        fields.refuse_unknown(&[], &[]);
        let error = Invalid::unless_empty("the trigger metadata", fields.finish()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "3 problems in the trigger metadata:\n  \
             metadata.queue: is required (hint: list that holds waiting tasks, e.g. `jobs`)\n  \
             metadata.tasksPerReplica: `ten`: invalid digit found in string \
             (hint: tasks one replica runs at a time, e.g. `4`)\n  \
             metadata.Queue: unknown key (hint: did you mean `queue`?)"
        );
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in [("0", 0), ("90s", 90), ("2m", 120), ("1h 30m", 5400)] {
            assert_eq!(text.parse(), Ok(Span(Duration::from_secs(seconds))), "{text}");
        }
        assert_eq!("8d".parse::<Span>(), Err("longer than a week".to_owned()));
        assert_eq!("0".parse::<PositiveSpan>(), Err("shorter than a second".to_owned()));
    }

    #[test]
    fn a_text_where_a_secret_belongs_is_not_repeated() {
        let values = texts(&[("queue", "hunter2")]);
        let mut fields = Fields::new("connections.main", &values);
        assert!(fields.secret(&KEYS[0]).is_none());
        let problems = fields.finish();
        assert_eq!(problems.len(), 1);
        assert!(!problems[0].to_string().contains("hunter2"), "{}", problems[0]);
    }

    #[test]
    fn a_long_text_is_cut() {
        assert_eq!(shortened(&"x".repeat(61)).chars().count(), 61);
        assert_eq!(shortened(&"x".repeat(60)), "x".repeat(60));
    }

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, Value> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), Value::Text((*text).to_owned()))).collect()
    }
}
