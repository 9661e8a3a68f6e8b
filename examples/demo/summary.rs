//! The end: both worlds in a table, and what it means.

use std::time::Duration;

use crate::ledger::Outcome;
use crate::screen::{say, wrapped};
use crate::world::Law;

/// Part of a finish by which two count as the same.
const SAME: f64 = 0.05;

/// Prints the table and the sentence.
pub(crate) fn show(ours: &Outcome, theirs: &Outcome) {
    let (left, right) = (Law::AgentScaler.name(), Law::ListLength.name());
    say(&format!("\n{:<44} {left:>14} {right:>14}\n{}", "", "─".repeat(74)));
    let number = |number: u64| number.to_string();
    let seconds = |time: Duration| format!("{:.0} s", time.as_secs_f64());
    let row = |what: &str, of: &dyn Fn(&Outcome) -> String| {
        say(&format!("{what:<44} {:>14} {:>14}", of(ours), of(theirs)));
    };
    row("tasks put in", &|it| number(it.put));
    row("tasks done", &|it| number(it.done));
    row("tasks given up, or still there", &|it| number(it.failed + it.left));
    row("tasks lost", &|it| number(it.lost()));
    row("tasks run twice", &|it| number(it.again));
    row("calls of the model paid twice", &|it| number(it.repeated));
    row("calls refused with 429", &|it| number(it.refused));
    row("workers killed at the end of their grace", &|it| number(it.killed.into()));
    row("share of the key used while there was work", &|it| {
        it.used.map_or("-".to_owned(), |used| format!("{:.0} %", used * 100.0))
    });
    row("`research`: 95 % of tasks done within", &|it| it.research.map_or("-".to_owned(), seconds));
    row("worker-minutes", &|it| format!("{:.1}", it.worker_minutes()));
    row("finished after", &|it| seconds(it.finished));
    say(&format!("\n{}", wrapped(&meaning(ours, theirs), 0)));
}

/// What the figures say, whoever they favour.
fn meaning(ours: &Outcome, theirs: &Outcome) -> String {
    let (finished, other) = (ours.finished.as_secs_f64(), theirs.finished.as_secs_f64());
    let by = format!("{:.0} s", (finished - other).abs());
    let when = if (finished - other).abs() <= SAME * other {
        "at about the same time as".to_owned()
    } else if finished < other {
        format!("{by} before")
    } else {
        format!("{by} after")
    };
    let part = 100.0 * (ours.worker_minutes() / theirs.worker_minutes() - 1.0);
    let cost = match part {
        part if part.is_nan() => "no workers to compare".to_owned(),
        part if part < 0.0 => format!("{:.0} % fewer worker-minutes", -part),
        part => format!("{part:.0} % more worker-minutes"),
    };
    let why = match (part < 0.0, finished <= (1.0 + SAME) * other) {
        (true, true) => "the key sets the pace, and workers beyond what it feeds only wait for it",
        (true, false) => "less was paid for workers and the provider was spared, for a later end",
        (false, _) => "this time the list length did as well, or better",
    };
    format!(
        "With the same load on an equal key, agent-scaler finished {when} the list length, with {cost} and {} \
         instead of {} refused calls: {why}.",
        ours.refused, theirs.refused
    )
}
