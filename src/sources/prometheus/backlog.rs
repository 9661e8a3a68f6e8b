//! The queue of `source: prometheus`: one query that counts what waits.

use std::fmt;
use std::sync::Arc;

use super::presets::{Parameter, Preset};
use super::promql::{LabelValue, PromQl};
use super::queries::{self, QUERY_PRESET};
use crate::fields::{Fields, Key, Need};
use crate::sources::{Counted, Plan};

/// The trigger keys of the source.
pub(super) const KEYS: &[Key] = &[QUERY];

/// Keys of KEDA's `prometheus` scaler.
pub(super) const MOVED: &[(&str, &str)] = &[
    ("threshold", "`tasksPerReplica`: tasks that one replica runs at a time"),
    ("activationThreshold", "`activationBacklog`"),
    (
        "ignoreNullValues",
        "nothing: no result is not known, and never zero; where no series does mean no tasks, write `… or vector(0)`",
    ),
    ("timeout", "nothing: a query has three fifths of the server's `tick`"),
];

const QUERY: Key = Key {
    name: "query",
    need: Need::Required,
    unit: "PromQL",
    help: "query for the number of tasks that wait, one series; not with a `queryPreset` that knows it",
    example: "sum(acme_tasks_waiting)",
};

/// What waits, as one query counts it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Backlog {
    pub(super) promql: String,
    of: Of,
}

/// Whose query it is.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Of {
    /// The trigger's own.
    Trigger,
    /// That of a preset, about this queue or model.
    Preset { preset: &'static str, about: String },
}

/// Parses the trigger keys of the source.
pub(super) fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Plan>> {
    // Whether the preset and its parameter are right, says who reads the keys that every source has.
    let preset = fields.peek(&QUERY_PRESET).map(str::to_owned);
    let from_preset = !fields.has(&QUERY) && preset.is_some();
    if !from_preset {
        let PromQl(promql) = fields.read(&QUERY)?;
        return Some(Arc::new(Backlog { promql, of: Of::Trigger }));
    }
    let preset = Preset::named(&preset?)?;
    let parameter: Parameter = preset.parameter;
    let about: LabelValue = fields.peek(parameter.key())?.parse().ok()?;
    let Some(promql) = preset.backlog(&about) else {
        let hint = format!("give `{}` beside it", QUERY.name);
        let message = format!("`{}` does not know what waits", preset.name);
        fields.problem_at(QUERY_PRESET.name, message, Some(hint));
        return None;
    };
    Some(Arc::new(Backlog { promql, of: Of::Preset { preset: preset.name, about: about.0 } }))
}

impl Plan for Backlog {
    fn queue(&self) -> String {
        self.to_string()
    }

    fn name(&self) -> String {
        match &self.of {
            Of::Trigger => self.promql.clone(),
            Of::Preset { preset: _, about } => about.clone(),
        }
    }

    fn names(&self) -> Vec<&str> {
        vec![match &self.of {
            Of::Trigger => queries::EVERYTHING,
            Of::Preset { preset: _, about } => about,
        }]
    }

    fn counts_in(&self) -> Vec<Counted> {
        vec![Counted::at(&self.promql)]
    }

    fn shows_running(&self) -> bool {
        false
    }

    fn commands(&self) -> Vec<String> {
        vec![self.promql.clone()]
    }

    fn asks_freely(&self) -> bool {
        self.of == Of::Trigger
    }
}

impl fmt::Display for Backlog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.of {
            Of::Trigger => write!(f, "query {}", self.promql),
            Of::Preset { preset, about } => write!(f, "{preset} {about}"),
        }
    }
}
