//! Sorted sets that workers poll for members whose score, a time, has come.

use std::sync::Arc;

use super::Ask::{Zcount, Zrange};
use super::Role::{Delayed, Ready, Since, Soon};
use super::lists::{PROCESSING_SCORE_UNIT, PROCESSING_SORTED_SET_NAME, running_rows};
use super::parameters::{NAMES, ScoreUnit, parse_rows};
use super::{Clock, Preset, Span, Stamp, row};
use crate::fields::{Fields, Key, Need};
use crate::sources::Plan;

/// The trigger keys of sorted sets.
pub(in crate::sources::redis) const KEYS: &[Key] = &[
    Key {
        name: "sortedSetName",
        need: Need::Required,
        unit: NAMES,
        help: "sorted sets whose scores say when a task is due, separated by commas; they are summed",
        example: "acme:delayed",
    },
    Key {
        name: "processingListName",
        need: Need::Optional,
        unit: NAMES,
        help: "lists that hold running tasks, separated by commas; without them running tasks are not seen",
        example: "acme:processing",
    },
    PROCESSING_SORTED_SET_NAME,
    PROCESSING_SCORE_UNIT,
    SCORE_UNIT,
];

const SCORE_UNIT: Key = Key {
    name: "scoreUnit",
    need: Need::Required,
    unit: "seconds | milliseconds",
    help: "what scores count, since 1970",
    example: "seconds",
};

static PRESET: Preset =
    Preset { name: "sorted set", summary: "", keys: KEYS, to_show_running: None, rows: &[] };

/// Parses the trigger keys of sorted sets.
pub(in crate::sources::redis) fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Plan>> {
    let unit: Option<ScoreUnit> = fields.read(&SCORE_UNIT);
    let running = running_rows(fields);
    // Without a unit the other keys are read all the same, for their problems.
    let clock = unit.as_ref().map_or(Clock::Seconds, |ScoreUnit(clock)| *clock);
    let mut rows = vec![
        row(Zcount(Span::Past, clock), "{sortedSetName}", Ready),
        row(Zcount(Span::Soon, clock), "{sortedSetName}", Soon),
        row(Zcount(Span::Later, clock), "{sortedSetName}", Delayed),
        row(Zrange, "{sortedSetName}", Since(Stamp::Score(clock))),
    ];
    let is_bad = unit.is_none() || running.is_none();
    rows.extend(running.into_iter().flatten());
    let plan = parse_rows(&PRESET, &rows, &[SCORE_UNIT, PROCESSING_SCORE_UNIT], fields);
    plan.filter(|_| !is_bad)
}
