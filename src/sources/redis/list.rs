//! Tasks in lists: waiting in some, and moved to others while they run.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use redis::{Pipeline, Value};

use super::answer;
use super::fault::Fault;
use super::layout::{Layout, OWN_RECORD, quoted};
use super::presets::lists;
use super::unknown::Unknown;
use super::wrong_type::Purpose;
use crate::engine::signals::{InFlight, Reading};
use crate::fields::{Fields, Key, Names, Need};
use crate::sources::{Counted, Plan};

/// The trigger keys of a list.
pub(super) const KEYS: &[Key] = &[
    LIST_NAME,
    PROCESSING_LIST_NAME,
    lists::PROCESSING_SORTED_SET_NAME,
    lists::PROCESSING_SCORE_UNIT,
    lists::DELAYED_SORTED_SET_NAME,
    lists::DELAYED_SCORE_UNIT,
];

/// Keys of KEDA's `redis` scaler.
pub(super) const MOVED: &[(&str, &str)] = &[
    ("listLength", "`tasksPerReplica`: tasks that one replica runs at a time"),
    ("activationListLength", "`activationBacklog`"),
];

const LIST_NAME: Key = Key {
    name: "listName",
    need: Need::Required,
    unit: "names",
    help: "lists that hold waiting tasks, separated by commas; they are summed",
    example: "acme:tasks",
};

const PROCESSING_LIST_NAME: Key = Key {
    name: "processingListName",
    need: Need::Optional,
    unit: "names",
    help: "lists that hold running tasks (LMOVE), separated by commas; without them running tasks are not seen",
    example: "acme:processing",
};

/// Lists whose lengths say all there is to know.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct List {
    waiting: Vec<String>,
    /// Empty if the workers keep no record of what they run.
    processing: Vec<String>,
}

/// Parses the trigger keys of a list.
pub(super) fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Plan>> {
    if lists::are_named(fields) {
        return lists::parse(fields);
    }
    let waiting = fields.read::<Names>(&LIST_NAME);
    let processing = fields.read::<Names>(&PROCESSING_LIST_NAME);
    let processing_is_bad = processing.is_none() && fields.has(&PROCESSING_LIST_NAME);

    let waiting = waiting.map_or_else(Vec::new, |Names(names)| names);
    let processing = processing.map_or_else(Vec::new, |Names(names)| names);
    let waiting_is_bad = waiting.is_empty();
    // A list named twice would count its tasks twice.
    let mut seen = HashSet::new();
    let mut twice = false;
    for (key, names) in [(&LIST_NAME, &waiting), (&PROCESSING_LIST_NAME, &processing)] {
        for name in names.iter().filter(|name| !seen.insert(name.as_str())) {
            twice = true;
            fields.problem(key, format!("`{name}` is named twice"));
        }
    }
    if waiting_is_bad || processing_is_bad || twice {
        return None;
    }
    Some(Arc::new(Layout::List(List { waiting, processing })))
}

impl List {
    /// The waiting lists, as a trigger names them.
    pub(super) fn name(&self) -> String {
        self.waiting.join(",")
    }

    /// Every list that a read touches.
    pub(super) fn names(&self) -> Vec<&str> {
        self.all().map(String::as_str).collect()
    }

    /// What tasks are counted in.
    pub(super) fn counts_in(&self) -> Vec<Counted> {
        let at = |name: &String| Counted::at(quoted(name));
        let runs = |name: &String| Counted { own: Some(OWN_RECORD), ..at(name) };
        self.waiting.iter().map(at).chain(self.processing.iter().map(runs)).collect()
    }

    /// Whether the workers keep a record of what they run.
    pub(super) fn shows_running(&self) -> bool {
        !self.processing.is_empty()
    }

    /// Adds the commands of one read: the waiting lists before the processing ones, so that a task which
    /// moves between two commands is counted twice for a tick, and never missed.
    pub(super) fn ask(&self, pipeline: &mut Pipeline) {
        for name in self.all() {
            pipeline.cmd("LLEN").arg(name);
        }
    }

    /// Reads the answers to those commands.
    ///
    /// # Errors
    /// When an answer is not a length.
    pub(super) fn read(&self, answers: &[Value]) -> Result<Reading, Fault> {
        let (waiting, processing) =
            answers.split_at_checked(self.waiting.len()).ok_or_else(|| Fault::nonsense("LLEN"))?;
        let ready = Some(sum(&self.waiting, Purpose::WaitingList, waiting)?);
        if self.processing.len() != processing.len() {
            return Err(Fault::nonsense("LLEN"));
        }
        let mut unknown = Unknown::default();
        // The waiting tasks are known, so a fault of the processing lists costs only the running tasks.
        let in_flight = sum(&self.processing, Purpose::RunningList, processing)
            .map(InFlight::Known)
            .map_err(|fault| unknown.add("the number of running tasks", fault));
        Ok(Reading {
            ready,
            in_flight: in_flight.ok().filter(|_| !self.processing.is_empty()),
            unknown: unknown.into_causes(),
            ..Reading::default()
        })
    }

    fn all(&self) -> impl Iterator<Item = &String> {
        self.waiting.iter().chain(&self.processing)
    }
}

/// The sum of the lengths; a list that does not exist has the length zero.
fn sum(names: &[String], purpose: Purpose, answers: &[Value]) -> Result<u64, Fault> {
    if names.len() != answers.len() {
        return Err(Fault::nonsense("LLEN"));
    }
    names.iter().zip(answers).try_fold(0_u64, |sum, (name, answer)| {
        if let Value::ServerError(error) = answer {
            return Err(Fault::about(name, "list", purpose, error));
        }
        let length = answer::count(answer).ok_or_else(|| Fault::nonsense(&format!("LLEN {name}")))?;
        Ok(sum.saturating_add(length))
    })
}

impl fmt::Display for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { waiting, processing } = self;
        write!(f, "list {}", joined(waiting))?;
        if processing.is_empty() {
            return Ok(());
        }
        write!(f, " processing {}", joined(processing))
    }
}

fn joined(names: &[String]) -> String {
    names.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fields::Value as Text;

    #[test]
    fn the_text_names_every_list() {
        let plan = parsed(&[("listName", "acme:tasks, acme:low"), ("processingListName", "acme:busy")]);
        let plan = plan.unwrap();
        assert_eq!(plan.queue(), "list acme:tasks,acme:low processing acme:busy");
        assert_eq!(plan.names(), ["acme:tasks", "acme:low", "acme:busy"]);
        assert_eq!(plan.cost(), 3);
        assert_eq!(parsed(&[("listName", "acme:tasks")]).unwrap().queue(), "list acme:tasks");
    }

    #[test]
    fn wrong_names_are_refused() {
        for (texts, problems) in [
            (vec![], vec!["listName: is required"]),
            (vec![("listName", "")], vec!["listName: ``: an empty name"]),
            (vec![("listName", "a,,b")], vec!["listName: `a,,b`: an empty name"]),
            (vec![("listName", "a,b,a")], vec!["listName: `a` is named twice"]),
            (
                vec![("listName", "a"), ("processingListName", "b,a")],
                vec!["processingListName: `a` is named twice"],
            ),
            (
                vec![("listName", "a"), ("processingListName", "b,")],
                vec!["processingListName: `b,`: an empty name"],
            ),
            (
                vec![("processingListName", "b,b")],
                vec!["listName: is required", "processingListName: `b` is named twice"],
            ),
        ] {
            assert_eq!(parsed(&texts).unwrap_err(), problems, "{texts:?}");
        }
    }

    #[test]
    fn nonsense_is_neither_a_number_nor_a_panic() {
        let list = List { waiting: vec!["a".into()], processing: vec!["b".into()] };
        for answers in [
            vec![],
            vec![Value::Int(1)],
            vec![Value::Int(1), Value::Int(2), Value::Int(3)],
            vec![Value::Nil, Value::Int(1)],
            vec![Value::Okay, Value::Okay],
        ] {
            assert!(matches!(list.read(&answers), Err(Fault::Unexpected(_))), "{answers:?}");
        }
        let reading = list.read(&[Value::Int(1), Value::Int(-1)]).unwrap();
        assert_eq!((reading.ready, reading.in_flight, reading.unknown.len()), (Some(1), None, 1));
        let endless = List { waiting: vec!["a".into(), "b".into(), "c".into()], processing: vec![] };
        let reading = endless.read(&vec![Value::Int(i64::MAX); 3]).unwrap();
        assert_eq!(reading, Reading { ready: Some(u64::MAX), ..Reading::default() });
    }

    /// The plan, or every problem without its hint.
    fn parsed(texts: &[(&str, &str)]) -> Result<Arc<dyn Plan>, Vec<String>> {
        let values: BTreeMap<String, Text> =
            texts.iter().map(|(name, text)| ((*name).to_owned(), Text::Text((*text).to_owned()))).collect();
        let mut fields = Fields::new("metadata", &values);
        let plan = parse(&mut fields);
        let problems: Vec<String> = fields
            .finish()
            .iter()
            .map(|problem| format!("{}: {}", problem.path.trim_start_matches("metadata."), problem.message))
            .collect();
        assert_eq!(plan.is_some(), problems.is_empty(), "{texts:?}");
        plan.ok_or(problems)
    }
}
