//! Configuration keys declared in tables, and the reading of values by them.
//!
//! A key is declared once; parsing, hints, `agent-scaler keys` and the README's table all read the
//! declaration. Reading goes on after a bad key, so that one error names every problem.

mod hint;
mod problem;
mod text;
mod units;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::secret::Secret;

pub use hint::{in_brackets, nearest};
pub use problem::{Invalid, Problem};
pub use text::{cut, shortened};
pub use units::{Names, Positive, PositiveSpan, Span, plain};

/// Longest name of a queue, a connection or the like, in bytes: backends have none that is longer, and every key that
/// is made of it repeats it.
pub const LONGEST_NAME: usize = 512;

/// Longest message of one problem, in characters; ours are shorter, and so only what a user wrote is cut.
const LONGEST_MESSAGE: usize = 400;

/// Most unknown keys that are compared with the known ones.
const MOST_HINTS: usize = 8;

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

/// Reads the keys of one table out of a map of values.
#[derive(Debug)]
pub struct Fields<'a> {
    path: String,
    values: &'a BTreeMap<String, Value>,
    known: BTreeSet<&'static str>,
    excused: BTreeSet<&'static str>,
    problems: Vec<Problem>,
}

impl<'a> Fields<'a> {
    /// Reads `values`, which stand at `path` in the configuration; an empty path is its top.
    pub fn new(path: impl Into<String>, values: &'a BTreeMap<String, Value>) -> Self {
        Self {
            path: path.into(),
            values,
            known: BTreeSet::new(),
            excused: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    /// The value of `key`. `None` if it is absent or bad; where that is a problem, the problem is kept.
    ///
    /// Bind all values first and build from them afterwards: a `?` between two reads would hide the
    /// problems of the second.
    pub fn read<T>(&mut self, key: &'static Key) -> Option<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        self.known.insert(key.name);
        let text = match (self.values.get(key.name), key.need) {
            (Some(Value::Text(text)), _) => text.trim(),
            (Some(Value::Secret(_)), _) => {
                self.problem(key, "must be plain text, not a reference to a secret");
                return None;
            }
            (None, Need::Default(text)) => text,
            (None, Need::Optional) => return None,
            (None, Need::Required) if self.excused.contains(key.name) => return None,
            (None, Need::Required) => {
                self.problem(key, "is required");
                return None;
            }
        };
        if let Some(fault) = key.fault(text) {
            self.problem(key, format!("`{}`: {fault}", shortened(text)));
            return None;
        }
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
        self.known.insert(key.name);
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

    /// Suppresses the error about a missing `key`, because the way in which it was given has an error already.
    pub fn excuse(&mut self, key: &'static Key) {
        self.excused.insert(key.name);
    }

    /// Keeps a problem with `key` that only its meaning shows.
    pub fn problem(&mut self, key: &Key, message: impl Into<String>) {
        let hint = format!("{}, e.g. `{}`", key.help, key.example);
        self.problem_at(key.name, message, Some(hint));
    }

    /// Keeps a problem with the value at `name`.
    pub fn problem_at(&mut self, name: &str, message: impl Into<String>, hint: Option<String>) {
        let name = shortened(name);
        let path = if self.path.is_empty() { name } else { format!("{}.{name}", self.path) };
        let message = cut(&message.into(), LONGEST_MESSAGE);
        self.problems.push(Problem { path, message, hint });
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
        let unknown = self.values.keys().map(String::as_str);
        let unknown: Vec<&str> =
            unknown.filter(|name| !self.known.contains(name) && !allowed.contains(name)).collect();
        let mut hints = 0;
        for name in unknown {
            let moved = moved.iter().copied().flatten().find(|(old, _)| *old == name);
            let hint = match moved {
                Some((_, new)) => Some((*new).to_owned()),
                None if hints < MOST_HINTS => {
                    hints += 1;
                    nearest(name, self.known.iter().chain(allowed).copied())
                }
                None => None,
            };
            self.problem_at(name, "unknown key", hint);
        }
    }

    /// Ends the reading: everything that was wrong, in the order in which it was found.
    pub fn finish(self) -> Vec<Problem> {
        self.problems
    }
}

impl Key {
    /// What is wrong with a text, whatever the key means: a name is short and one line, and no text holds a character
    /// that only a machine sends.
    fn fault(&self, text: &str) -> Option<String> {
        let is_name = self.unit == "name";
        // Such a text is part of a key's name, and Celery's separator holds control characters.
        let is_part = self.unit == "text";
        if (is_name || is_part) && text.len() > LONGEST_NAME {
            return Some(format!("longer than {LONGEST_NAME} bytes"));
        }
        let is_wrong = |character: char| match character {
            '\0' => true,
            '\t' | '\n' | '\r' => is_name,
            _ => !is_part && character.is_control(),
        };
        text.contains(is_wrong).then(|| "holds a control character".to_owned())
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
    fn many_problems_are_counted_and_few_are_listed_and_fewer_have_hints() {
        let names: Vec<String> = (10..60).map(|number| format!("queue{number}")).collect();
        let values = names.iter().map(|name| (name.clone(), Value::Text(String::new()))).collect();
        let mut fields = Fields::new("metadata", &values);
        fields.know(&KEYS);
        fields.refuse_unknown(&[], &[]);
        let error = Invalid::unless_empty("the trigger metadata", fields.finish()).unwrap_err();
        let error = error.shortened().to_string();
        assert!(error.starts_with("50 problems in the trigger metadata:\n  metadata.queue10: "), "{error}");
        assert!(error.ends_with("\n  metadata.queue29: unknown key\n  and 30 more"), "{error}");
        assert_eq!(error.matches("did you mean `queue`?").count(), MOST_HINTS);
    }

    #[test]
    fn a_name_is_short_and_one_line_and_no_text_holds_a_nul() {
        let of = |unit| Key { unit, ..QUEUE };
        let long = "x".repeat(LONGEST_NAME + 1);
        for (text, name, part, query) in [
            ("acme tasks größer", true, true, true),
            ("sum(\n\tup\r\n)", false, true, true),
            ("\u{6}\u{16}", false, true, false),
            ("a\u{1b}[2J", false, true, false),
            ("a\0b", false, false, false),
            (&long, false, false, true),
        ] {
            let is_good = |unit| of(unit).fault(text).is_none();
            assert_eq!(
                (is_good("name"), is_good("text"), is_good("PromQL")),
                (name, part, query),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_problem_shows_little_of_what_a_user_wrote_and_nothing_that_a_terminal_obeys() {
        let values = texts(&[("queue", "a\u{1b}[2Jb")]);
        let mut fields = Fields::new("metadata", &values);
        fields.problem_at(&"k\n".repeat(9_000), format!("`{}` is wrong", "\u{7}".repeat(9_000)), None);
        assert_eq!(fields.read::<Names>(&KEYS[0]), None);
        for problem in fields.finish() {
            let text = problem.to_string();
            assert!(text.len() < 4_000 && !text.contains(char::is_control), "{text:?}");
        }
    }

    fn texts(pairs: &[(&str, &str)]) -> BTreeMap<String, Value> {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), Value::Text((*text).to_owned()))).collect()
    }
}
