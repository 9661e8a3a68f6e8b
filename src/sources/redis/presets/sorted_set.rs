//! Sorted sets that workers poll for members whose score, a time, has come.

use std::str::FromStr;
use std::sync::Arc;

use super::Ask::{Llen, Zcount, Zrange};
use super::Role::{Delayed, InFlight, Ready, Since, Soon};
use super::parameters::{NAMES, parse as parse_by};
use super::{Clock, Preset, Row, Span, Stamp, row};
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
    SCORE_UNIT,
];

const SCORE_UNIT: Key = Key {
    name: "scoreUnit",
    need: Need::Required,
    unit: "seconds | milliseconds",
    help: "what scores count, since 1970",
    example: "seconds",
};

const SECONDS: Preset = of(&rows(Clock::Seconds));
const MILLIS: Preset = of(&rows(Clock::Millis));

const fn of(rows: &'static [Row]) -> Preset {
    Preset { name: "sorted set", summary: "", keys: KEYS, to_show_running: None, rows }
}

const fn rows(clock: Clock) -> [Row; 5] {
    [
        row(Zcount(Span::Past, clock), "{sortedSetName}", Ready),
        row(Zcount(Span::Soon, clock), "{sortedSetName}", Soon),
        row(Zcount(Span::Later, clock), "{sortedSetName}", Delayed),
        row(Zrange, "{sortedSetName}", Since(Stamp::Score(clock))),
        row(Llen, "{processingListName}", InFlight),
    ]
}

/// Parses the trigger keys of sorted sets.
pub(in crate::sources::redis) fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Plan>> {
    let unit: Option<ScoreUnit> = fields.read(&SCORE_UNIT);
    // Without a unit the other keys are read all the same, for their problems.
    let plan = parse_by(unit.as_ref().map_or(&SECONDS, |unit| unit.0), fields);
    unit.and(plan)
}

struct ScoreUnit(&'static Preset);

impl FromStr for ScoreUnit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "seconds" => Ok(Self(&SECONDS)),
            "milliseconds" => Ok(Self(&MILLIS)),
            _ => Err("neither `seconds` nor `milliseconds`"),
        }
    }
}
