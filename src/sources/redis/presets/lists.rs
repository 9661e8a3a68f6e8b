//! Lists with sorted sets of running tasks, of delayed tasks, or of both, as in Laravel.

use std::sync::Arc;

use super::Ask::{Llen, Zcard, Zcount};
use super::Role::{Delayed, Due, InFlight, Ready, Soon};
use super::parameters::{NAMES, ScoreUnit, parse_rows};
use super::{Clock, Preset, Row, Span, row};
use crate::fields::{Fields, Key, Need};
use crate::sources::Plan;

/// Sorted sets of running tasks.
pub(in crate::sources::redis) const PROCESSING_SORTED_SET_NAME: Key = Key {
    name: "processingSortedSetName",
    need: Need::Optional,
    unit: NAMES,
    help: "sorted sets that hold running tasks, separated by commas; every member counts as running, unless \
           `processingScoreUnit` is given",
    example: "acme:reserved",
};

/// The unit of their scores.
pub(in crate::sources::redis) const PROCESSING_SCORE_UNIT: Key = Key {
    name: "processingScoreUnit",
    need: Need::Optional,
    unit: "seconds | milliseconds",
    help: "unit of the scores of `processingSortedSetName`, times since 1970 until which a worker may keep a task; a task \
           whose time is over is given to another worker, and counts as waiting",
    example: "seconds",
};

/// Sorted sets of delayed tasks that belong to a list.
pub(in crate::sources::redis) const DELAYED_SORTED_SET_NAME: Key = Key {
    name: "delayedSortedSetName",
    need: Need::Optional,
    unit: NAMES,
    help: "sorted sets from which workers move tasks to the lists at the time in their scores, separated by commas",
    example: "acme:delayed",
};

/// The unit of their scores, required with `delayedSortedSetName`.
pub(in crate::sources::redis) const DELAYED_SCORE_UNIT: Key = Key {
    name: "delayedScoreUnit",
    need: Need::Optional,
    unit: "seconds | milliseconds",
    help: "unit of the scores of `delayedSortedSetName`, times since 1970",
    example: "seconds",
};

static PRESET: Preset = Preset {
    name: "list",
    summary: "",
    keys: crate::sources::redis::list::KEYS,
    to_show_running: None,
    rows: &[],
};

/// Whether a trigger names such a set.
pub(in crate::sources::redis) fn are_named(fields: &Fields<'_>) -> bool {
    let keys =
        [PROCESSING_SORTED_SET_NAME, PROCESSING_SCORE_UNIT, DELAYED_SORTED_SET_NAME, DELAYED_SCORE_UNIT];
    keys.iter().any(|key| fields.has(key))
}

/// Parses the trigger keys of lists with such sets.
pub(in crate::sources::redis) fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Plan>> {
    let running = running_rows(fields);
    let delayed: Option<ScoreUnit> = fields.read(&DELAYED_SCORE_UNIT);
    let is_delayed = fields.has(&DELAYED_SORTED_SET_NAME);
    let mut is_bad = running.is_none() || delayed.is_none() && fields.has(&DELAYED_SCORE_UNIT);
    if is_delayed != fields.has(&DELAYED_SCORE_UNIT) {
        let problem = if is_delayed {
            "is required by `delayedSortedSetName`"
        } else {
            "says nothing without `delayedSortedSetName`"
        };
        fields.problem(&DELAYED_SCORE_UNIT, problem);
        is_bad = true;
    }
    // The order in which a task moves, so that a task that moves between two commands is not missed.
    let clock = delayed.map_or(Clock::Seconds, |ScoreUnit(clock)| clock);
    let mut rows = vec![
        row(Zcount(Span::Past, clock), "{delayedSortedSetName}", Due),
        row(Zcount(Span::Soon, clock), "{delayedSortedSetName}", Soon),
        row(Zcount(Span::Later, clock), "{delayedSortedSetName}", Delayed),
        row(Llen, "{listName}", Ready),
    ];
    rows.extend(running.into_iter().flatten());
    let units = [PROCESSING_SCORE_UNIT, DELAYED_SCORE_UNIT];
    let plan = parse_rows(&PRESET, &rows, &units, fields);
    plan.filter(|_| !is_bad)
}

/// The rows about running tasks; `None` if one of their keys is bad.
pub(super) fn running_rows(fields: &mut Fields<'_>) -> Option<Vec<Row>> {
    let unit: Option<ScoreUnit> = fields.read(&PROCESSING_SCORE_UNIT);
    if fields.has(&PROCESSING_SCORE_UNIT) && !fields.has(&PROCESSING_SORTED_SET_NAME) {
        fields.problem(&PROCESSING_SCORE_UNIT, "says nothing without `processingSortedSetName`");
        return None;
    }
    let set = "{processingSortedSetName}";
    let mut rows = vec![row(Llen, "{processingListName}", InFlight)];
    match unit {
        Some(ScoreUnit(clock)) => rows.extend([
            row(Zcount(Span::Future, clock), set, InFlight),
            row(Zcount(Span::Past, clock), set, Due),
        ]),
        None if fields.has(&PROCESSING_SCORE_UNIT) => return None,
        None => rows.push(row(Zcard, set, InFlight)),
    }
    Some(rows)
}
