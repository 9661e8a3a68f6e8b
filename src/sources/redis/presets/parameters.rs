//! Trigger keys of a framework → the commands that its table asks for.

use std::collections::{BTreeMap, HashSet};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use super::question::{HEAD, Question};
use super::{Clock, Framework, Preset, Row, celery, product, rq, sidekiq};
use crate::fields::{Fields, Key, Names, Need, PositiveSpan};
use crate::sources::Plan;
use crate::sources::redis::layout::{Layout, quoted};

/// Unit of a key with one or several names, separated by commas.
pub(super) const NAMES: &str = "names";

/// Unit of a key with one text, which may be empty; `\x41` in it stands for a byte.
pub(super) const TEXT: &str = "text";

/// Unit of the key that says how long a worker may keep what it was given.
pub(super) const SPAN: &str = "duration";

/// Unit of a key that is on or off.
pub(super) const SWITCH: &str = "true | false";

/// What each key stands for in a template.
pub(super) type Values = BTreeMap<&'static str, Vec<String>>;

/// Parses the trigger keys of a framework. Keys of other units are its own to read.
pub(in crate::sources::redis) fn parse(
    preset: &'static Preset,
    fields: &mut Fields<'_>,
) -> Option<Arc<dyn Plan>> {
    parse_rows(preset, preset.rows, &[], fields)
}

/// The same for other `rows` than the preset's own, which depend on the trigger keys `units`.
pub(super) fn parse_rows(
    preset: &'static Preset,
    rows: &[Row],
    units: &[Key],
    fields: &mut Fields<'_>,
) -> Option<Arc<dyn Plan>> {
    let mut seen = HashSet::new();
    let mut values = Values::new();
    let mut words = vec![preset.name.to_owned()];
    let (mut wrong, mut visibility) = (false, Duration::ZERO);
    for key in preset.keys.iter().filter(|key| [NAMES, TEXT, SPAN, SWITCH].contains(&key.unit)) {
        let Some(value) = read(key, fields) else {
            wrong |= key.need != Need::Optional || fields.has(key);
            values.insert(key.name, Vec::new());
            continue;
        };
        wrong |= repeats(key, &value, &mut seen, fields) || is_unprintable(key, &value, fields);
        let written = value.written();
        if key.need == Need::Required {
            words.push(written);
        } else if !matches!(key.need, Need::Default(text) if value.is(text)) {
            words.extend([key.name.to_owned(), written]);
        }
        if let Value::Span(span) = value {
            visibility = span;
        }
        values.insert(key.name, value.stands_for());
    }
    if wrong {
        return None;
    }
    for unit in units {
        words.extend(fields.peek(unit).into_iter().flat_map(|value| [unit.name, value]).map(str::to_owned));
    }
    let several = preset.keys.first()?;
    if let Err(message) = product::bounded(preset, rows, &values) {
        fields.problem_at(several.name, message, Some("divide them among several objects".to_owned()));
        return None;
    }
    let queues = values.get(several.name)?.clone();
    let questions = questions(preset, rows, &queues, &mut values);
    let framework = Framework::new(words.join(" "), queues, questions).visible_after(visibility);
    Some(Arc::new(Layout::Framework(framework)))
}

/// The value of a key.
enum Value {
    Names(Vec<String>),
    Text(String),
    Span(Duration),
    Switch(bool),
}

impl Value {
    /// Whether it is what `text` means.
    fn is(&self, text: &str) -> bool {
        match self {
            Self::Names(names) => Names::from_str(text).is_ok_and(|other| other.0 == *names),
            Self::Text(value) => Text::from_str(text).is_ok_and(|other| other.0 == *value),
            Self::Span(span) => PositiveSpan::from_str(text).is_ok_and(|other| other.0 == *span),
            Self::Switch(on) => text == on.to_string(),
        }
    }

    /// As it stands in the queue's text.
    fn written(&self) -> String {
        match self {
            Self::Names(names) => names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(","),
            Self::Text(text) => quoted(text).into_owned(),
            Self::Span(span) => humantime::format_duration(*span).to_string().replace(' ', ""),
            Self::Switch(on) => on.to_string(),
        }
    }

    /// What it stands for in a template: a row with a name that stands for nothing at all is not asked.
    fn stands_for(self) -> Vec<String> {
        match self {
            Self::Names(names) => names,
            Self::Text(text) => vec![text],
            Self::Switch(true) => vec![String::new()],
            Self::Span(_) | Self::Switch(false) => Vec::new(),
        }
    }
}

fn read(key: &'static Key, fields: &mut Fields<'_>) -> Option<Value> {
    match key.unit {
        NAMES => fields.read::<Names>(key).map(|Names(names)| Value::Names(names)),
        SPAN => fields.read::<PositiveSpan>(key).map(|PositiveSpan(span)| Value::Span(span)),
        SWITCH => fields.read::<bool>(key).map(Value::Switch),
        _ => fields.read::<Text>(key).map(|Text(text)| Value::Text(text)),
    }
}

/// Keeps a problem for a text that no key of the framework has: a control character is there by mistake, but between
/// Celery's queues and priorities. A zero byte, which stands for an id in our own keys, is nowhere.
fn is_unprintable(key: &'static Key, value: &Value, fields: &mut Fields<'_>) -> bool {
    let is_separator = matches!(key.need, Need::Default(text) if text.contains(r"\x"));
    let is_wrong = |text: &String| {
        text.contains(HEAD) || !is_separator && text.contains(|letter: char| letter.is_control())
    };
    let texts = match value {
        Value::Names(names) => names.as_slice(),
        Value::Text(text) => std::slice::from_ref(text),
        Value::Span(_) | Value::Switch(_) => return false,
    };
    let wrong = texts.iter().any(is_wrong);
    if wrong {
        fields.problem(key, "holds a control character");
    }
    wrong
}

/// Adds a problem for a name that is given twice, because its tasks would count twice. Whole keys are compared
/// with one another, and parts of keys with those of their own kind.
fn repeats(
    key: &'static Key,
    value: &Value,
    seen: &mut HashSet<(&'static str, String)>,
    fields: &mut Fields<'_>,
) -> bool {
    let Value::Names(names) = value else { return false };
    let kind = if key.name.ends_with("Name") { "" } else { key.name };
    let mut twice = false;
    for name in names.iter().filter(|name| !seen.insert((kind, (*name).clone()))) {
        twice = true;
        fields.problem(key, format!("`{name}` is named twice"));
    }
    twice
}

/// Every command that the table asks for: those about a queue for each queue, the others once.
fn questions(preset: &Preset, rows: &[Row], queues: &[String], values: &mut Values) -> Vec<Question> {
    let Some(queue) = preset.keys.first() else { return Vec::new() };
    let mut questions = Vec::new();
    let mut add = |row: &Row, queue: Option<usize>, values: &Values| {
        let member = row.ask.member().and_then(|member| expanded(member, values).pop());
        let keys = expanded(row.key, values).into_iter();
        questions.extend(keys.map(|key| Question::new(*row, key, member.clone(), queue)));
    };
    let placeholder = format!("{{{}}}", queue.name);
    let about_a_queue = |row: &&Row| {
        let texts = [Some(row.key), row.ask.member()].into_iter().flatten();
        texts.into_iter().any(|text| text.contains(&placeholder) || text.contains("{head}"))
    };
    for (index, name) in queues.iter().enumerate() {
        values.insert(queue.name, vec![name.clone()]);
        rows.iter().filter(about_a_queue).for_each(|row| add(row, Some(index), values));
    }
    rows.iter().filter(|row| !about_a_queue(row)).for_each(|row| add(row, None, values));
    questions
}

/// The switch that leaves out a row with this template, if one does.
pub(super) fn switch(template: &str) -> Option<&'static str> {
    let switches = [&celery::CELERY, &rq::RQ, &sidekiq::SIDEKIQ].into_iter().flat_map(|preset| preset.keys);
    let mut switches = switches.filter(|key| key.unit == SWITCH).map(|key| key.name);
    switches.find(|name| template.contains(&format!("{{{name}}}")))
}

/// Every text that a template stands for.
fn expanded(template: &str, values: &Values) -> Vec<String> {
    let mut texts = vec![String::new()];
    let mut parts = template.split('{');
    let first = parts.next().unwrap_or_default();
    texts.iter_mut().for_each(|text| text.push_str(first));
    for part in parts {
        let (name, rest) = part.split_once('}').unwrap_or((part, ""));
        let head = [HEAD.to_owned()];
        let (name, colon) = name.strip_suffix(':').map_or((name, ""), |name| (name, ":"));
        let known = if name == "head" { &head[..] } else { values.get(name).map_or(&[][..], Vec::as_slice) };
        texts = texts
            .iter()
            .flat_map(|text| {
                known.iter().map(move |value| {
                    let colon = if value.is_empty() { "" } else { colon };
                    format!("{text}{value}{colon}{rest}")
                })
            })
            .collect();
    }
    texts
}

/// The unit of a score, which is a time since 1970.
pub(super) struct ScoreUnit(pub(super) Clock);

impl FromStr for ScoreUnit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "seconds" => Ok(Self(Clock::Seconds)),
            "milliseconds" => Ok(Self(Clock::Millis)),
            _ => Err("neither `seconds` nor `milliseconds`"),
        }
    }
}

/// A text in which `\x06` stands for a byte, which YAML has only in double quotes.
struct Text(String);

impl FromStr for Text {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.split(r"\x");
        let mut plain = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (digits, rest) = part.split_at_checked(2).ok_or("`\\x` needs two hexadecimal digits")?;
            let byte = u8::from_str_radix(digits, 16).ok().filter(|byte| matches!(byte, 1..=0x7f));
            let byte = byte.ok_or("`\\x` needs two hexadecimal digits, 01 to 7f")?;
            plain.push(char::from(byte));
            plain.push_str(rest);
        }
        Ok(Self(plain))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fields::{self, Problem};
    use crate::sources::redis::presets::{bullmq, celery, rq, sorted_set};

    #[test]
    fn a_row_is_asked_for_every_name_and_not_at_all_where_a_switch_is_off() {
        let plan = parsed(&celery::CELERY, &[("queue", "a,b"), ("prioritySteps", "3"), ("separator", ":")]);
        let commands =
            ["LLEN a", "LLEN a:3", "LLEN b", "LLEN b:3", "HLEN unacked", "ZCOUNT unacked_index -inf NOW-1h"];
        let plan = plan.unwrap();
        assert_eq!(plan.commands()[1..], commands);
        assert_eq!(plan.cost(), commands.len());
        let plan = parsed(&rq::RQ, &[("queue", "a"), ("withScheduler", "false")]).unwrap();
        assert!(plan.names().iter().all(|name| !name.contains("scheduled")), "{:?}", plan.names());
    }

    #[test]
    fn a_text_may_spell_bytes_that_yaml_has_not() {
        let default = parsed(&celery::CELERY, &[("queue", "a")]).unwrap();
        assert_eq!(
            default.names(),
            ["a", "a\u{6}\u{16}3", "a\u{6}\u{16}6", "a\u{6}\u{16}9", "unacked", "unacked_index"]
        );
        let spelled = parsed(&celery::CELERY, &[("queue", "a"), ("separator", r"\x06\x16")]).unwrap();
        assert_eq!(spelled.queue(), default.queue());
        for wrong in [r"\x", r"\x6", r"\xzz", r"\xff", r"\x6é"] {
            let problems = parsed(&celery::CELERY, &[("queue", "a"), ("separator", wrong)]).unwrap_err();
            assert!(
                problems[0].starts_with(&format!("metadata.separator: `{wrong}`: `\\x` needs")),
                "{problems:?}"
            );
        }
    }

    #[test]
    fn a_value_with_braces_is_no_name_of_a_key() {
        let plan = parsed(&bullmq::BULLMQ, &[("queue", "a"), ("prefix", "{queue}")]).unwrap();
        assert!(plan.names().contains(&"{queue}:a:wait"), "{:?}", plan.names());
        assert_eq!(plan.queue(), "bullmq a prefix {queue}");
    }

    #[test]
    fn a_control_character_is_refused_and_a_zero_byte_even_in_a_separator() {
        for (key, text) in [
            ("queue", "a\0b"),
            ("queue", "a\u{1b}[2J"),
            ("globalKeyprefix", "a\0"),
            ("globalKeyprefix", r"a\x00"),
            ("unackedKey", r"\x0a"),
            ("separator", r"\x00"),
            ("prioritySteps", "3,\u{7}"),
        ] {
            let keys: &[(&str, &str)] = &[("queue", "a"), (key, text)];
            let keys = if key == "queue" { &keys[1..] } else { keys };
            let problems = parsed(&celery::CELERY, keys).unwrap_err();
            let path = format!("metadata.{key}: ");
            let [problem] = problems.as_slice() else { panic!("{problems:?}") };
            assert!(problem.starts_with(&path), "{problem}");
        }
        // As YAML's double quotes write it.
        let plan = parsed(&celery::CELERY, &[("queue", "a"), ("separator", "\u{6}\u{16}")]).unwrap();
        assert_eq!(plan.queue(), "celery a");
        assert!(parsed(&bullmq::BULLMQ, &[("queue", "a"), ("prefix", "bull\0")]).is_err());
    }

    #[test]
    fn every_problem_is_named() {
        let problems = parsed(&rq::RQ, &[("queue", "a,b,a"), ("withScheduler", "perhaps")]).unwrap_err();
        let hints = "metadata.queue: `a` is named twice (hint: queues of the workers, separated by commas; they are summed, \
                     e.g. `default`)";
        assert_eq!(problems[0], hints);
        assert!(
            problems[1]
                .starts_with("metadata.withScheduler: `perhaps`: provided string was not `true` or `false`")
        );
        let values = BTreeMap::from([("scoreUnit".to_owned(), fields::Value::Text("days".to_owned()))]);
        let mut fields = Fields::new("metadata", &values);
        assert!(sorted_set::parse(&mut fields).is_none());
        let problems: Vec<String> = fields.finish().into_iter().map(|Problem { path, .. }| path).collect();
        assert_eq!(problems, ["metadata.scoreUnit", "metadata.sortedSetName"]);
    }

    /// The plan, or every problem.
    fn parsed(preset: &'static Preset, texts: &[(&str, &str)]) -> Result<Arc<dyn Plan>, Vec<String>> {
        let values = texts
            .iter()
            .map(|(name, text)| ((*name).to_owned(), fields::Value::Text((*text).to_owned())))
            .collect();
        let mut fields = Fields::new("metadata", &values);
        let plan = parse(preset, &mut fields);
        let problems: Vec<String> = fields.finish().iter().map(ToString::to_string).collect();
        assert_eq!(plan.is_some(), problems.is_empty(), "{texts:?}");
        plan.ok_or(problems)
    }
}
