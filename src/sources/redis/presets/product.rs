//! How many commands a preset asks for, counted before any of them is put together.
//!
//! A row stands for one command for each queue and each value of every other name in its key, so a few kilobytes of
//! metadata could stand for gigabytes of keys.

use super::parameters::Values;
use super::question::HEAD;
use super::{Preset, Row};
use crate::fields::Key;

/// Most commands of one read: twenty for each of a hundred queues.
const MOST_COMMANDS: usize = 2_000;

/// Most bytes of all the keys that these commands name: what a trigger takes of our memory for as long as it is watched.
const MOST_BYTES: usize = 256 * 1024;

/// What a template stands for: so many texts, of so many bytes together.
#[derive(Clone, Copy)]
struct Texts {
    count: usize,
    bytes: usize,
}

impl Texts {
    /// No text.
    const NONE: Self = Self { count: 0, bytes: 0 };

    /// The empty text, once.
    const EMPTY: Self = Self { count: 1, bytes: 0 };

    fn of(values: &[String], colon: bool) -> Self {
        let colon = usize::from(colon);
        let bytes = values.iter().map(|value| value.len().saturating_add(colon));
        Self { count: values.len(), bytes: bytes.fold(0, usize::saturating_add) }
    }

    /// Every text, followed by each of the others.
    const fn times(self, other: Self) -> Self {
        let (mine, others) = (self.bytes.saturating_mul(other.count), other.bytes.saturating_mul(self.count));
        Self { count: self.count.saturating_mul(other.count), bytes: mine.saturating_add(others) }
    }

    const fn plus(self, other: Self) -> Self {
        Self { count: self.count.saturating_add(other.count), bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// Whether the commands that `values` stand for are few enough.
///
/// # Errors
/// How many there are, and why, in words.
pub(super) fn bounded(preset: &Preset, rows: &[Row], values: &Values) -> Result<(), String> {
    let Some(queue) = preset.keys.first() else { return Ok(()) };
    let rows = rows.iter().map(|row| commands(row, queue, values));
    let Texts { count, bytes } = rows.fold(Texts::NONE, Texts::plus);
    if count > MOST_COMMANDS {
        return Err(format!(
            "takes {count} commands a read, more than {MOST_COMMANDS}{}",
            by(preset, values)
        ));
    }
    if bytes > MOST_BYTES {
        let by = by(preset, values);
        return Err(format!("stands for keys of {bytes} bytes together, more than {MOST_BYTES}{by}"));
    }
    Ok(())
}

/// The commands of a row: those about a queue for each queue. Its member, if it has one, stands beside each of its keys.
fn commands(row: &Row, queue: &Key, values: &Values) -> Texts {
    let placeholder = format!("{{{}}}", queue.name);
    let keys = texts(row.key, values);
    let member = row.ask.member().unwrap_or_default();
    let is_about_a_queue =
        row.key.contains("{head}") || [row.key, member].iter().any(|text| text.contains(&placeholder));
    let queues = values.get(queue.name).map_or(0, Vec::len);
    let times = if is_about_a_queue && !row.key.contains(&placeholder) { queues } else { 1 };
    let members = keys.count.saturating_mul(texts(member, values).bytes);
    keys.times(Texts { count: times, bytes: 0 }).plus(Texts { count: 0, bytes: members })
}

/// What a template stands for, without the texts themselves.
fn texts(template: &str, values: &Values) -> Texts {
    let mut parts = template.split('{');
    let first = parts.next().unwrap_or_default();
    let literal = |text: &str| Texts { count: 1, bytes: text.len() };
    parts.fold(Texts::EMPTY.times(literal(first)), |texts, part| {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        let (name, colon) = name.strip_suffix(':').map_or((name, false), |name| (name, true));
        let known = if name == "head" {
            literal(HEAD)
        } else {
            Texts::of(values.get(name).map_or(&[][..], Vec::as_slice), colon)
        };
        texts.times(known).times(literal(rest))
    })
}

/// The keys that multiply one another, with how many values each has.
fn by(preset: &Preset, values: &Values) -> String {
    let several = preset.keys.iter().filter_map(|key| {
        let count = values.get(key.name)?.len();
        (1 < count).then(|| format!("{count} of `{}`", key.name))
    });
    let several: Vec<String> = several.collect();
    if several.is_empty() { String::new() } else { format!(" ({})", several.join(" × ")) }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fields::{Fields, Value};
    use crate::sources::redis::presets::{bullmq, celery, dramatiq, parse, rq, sidekiq};

    /// Every preset, whose parameters are all of the usual length.
    const PRESETS: [&Preset; 5] =
        [&celery::CELERY, &bullmq::BULLMQ, &rq::RQ, &sidekiq::SIDEKIQ, &dramatiq::DRAMATIQ];

    #[test]
    fn a_hundred_queues_of_any_framework_are_taken() {
        for preset in PRESETS {
            let mut texts = vec![("queue", queues(100))];
            if preset.name == "celery" {
                texts.push(("prioritySteps", "1,2,3,4,5,6,7,8,9".to_owned()));
            }
            assert_eq!(parsed(preset, &texts), Ok(()), "{}", preset.name);
        }
    }

    #[test]
    fn queues_times_priorities_are_bounded_and_the_error_names_both() {
        let steps: Vec<String> = (1..=256).map(|step| step.to_string()).collect();
        let texts = [("queue", queues(256)), ("prioritySteps", steps.join(","))];
        let problem = "metadata.queue: takes 65794 commands a read, more than 2000 (256 of `queue` × 256 of \
                       `prioritySteps`) (hint: divide them among several objects)";
        assert_eq!(parsed(&celery::CELERY, &texts), Err(vec![problem.to_owned()]));
    }

    #[test]
    fn bytes_are_bounded_where_few_commands_have_long_keys() {
        let texts = [("queue", queues(200)), ("prefix", "x".repeat(500))];
        let problem = "metadata.queue: takes 3000 commands a read, more than 2000 (200 of `queue`) (hint: divide them among \
                       several objects)";
        assert_eq!(parsed(&bullmq::BULLMQ, &texts), Err(vec![problem.to_owned()]));
        let texts = [("queue", queues(100)), ("prefix", "x".repeat(500))];
        let problems = parsed(&bullmq::BULLMQ, &texts).unwrap_err();
        assert!(problems[0].contains("bytes together, more than 262144 (100 of `queue`)"), "{problems:?}");
    }

    /// The count is of the very questions that would be asked.
    #[test]
    fn the_count_is_exact() {
        for preset in PRESETS {
            for count in [1, 3] {
                let values = texts(&[("queue", queues(count))]);
                let mut fields = Fields::new("metadata", &values);
                let plan = parse(preset, &mut fields).unwrap();
                let mut counted = Values::new();
                for key in preset.keys {
                    let stands_for = match (key.name, key.unit, key.need) {
                        ("queue", ..) => queues(count).split(',').map(str::to_owned).collect(),
                        (_, "true | false", _) => vec![String::new()],
                        (_, "names", crate::fields::Need::Default(text)) => {
                            text.split(',').map(str::to_owned).collect()
                        }
                        (_, _, crate::fields::Need::Default(text)) => vec![text.to_owned()],
                        (_, _, _) => Vec::new(),
                    };
                    counted.insert(key.name, stands_for);
                }
                let rows = preset.rows.iter().map(|row| commands(row, &preset.keys[0], &counted));
                let sum = rows.fold(Texts::NONE, Texts::plus);
                // The first command asks for the time.
                assert_eq!(sum.count, plan.commands().len() - 1, "{}", preset.name);
            }
        }
    }

    fn queues(count: usize) -> String {
        (0..count).map(|number| format!("acme-queue-{number}")).collect::<Vec<_>>().join(",")
    }

    fn texts(texts: &[(&str, String)]) -> BTreeMap<String, Value> {
        texts.iter().map(|(name, text)| ((*name).to_owned(), Value::Text(text.clone()))).collect()
    }

    fn parsed(preset: &'static Preset, metadata: &[(&str, String)]) -> Result<(), Vec<String>> {
        let values = texts(metadata);
        let mut fields = Fields::new("metadata", &values);
        let plan = parse(preset, &mut fields);
        let problems: Vec<String> = fields.finish().iter().map(ToString::to_string).collect();
        assert_eq!(plan.is_some(), problems.is_empty());
        plan.map(drop).ok_or(problems)
    }
}
