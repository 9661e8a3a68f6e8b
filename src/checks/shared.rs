//! Two triggers that count the same tasks.

use std::collections::{BTreeMap, BTreeSet};

use super::{Check, Finding, Rule, Subject};
use crate::config::keys;
use crate::config::places::Place;
use crate::manifest::Scaled;

pub(super) const COUNTED_TWICE: Rule = Rule {
    id: "counted-twice",
    summary: "another trigger counts the same tasks",
    check: Check::Each(counted_twice),
};

/// Most places, and most triggers, that a finding lists.
const MOST_NAMED: usize = 3;

/// One finding for each group of triggers that share places with this one.
fn counted_twice(subject: &Subject<'_>) -> Vec<Finding> {
    let own = subject.trigger.places();
    // The same object in several files, such as a base and an overlay, counts once.
    let is_copy =
        |scaled: &Scaled| is_same_object(subject.scaled, scaled) && scaled.origin != subject.scaled.origin;
    let others = subject.others.iter().filter(|(scaled, _)| !is_copy(scaled));
    let others: Vec<_> = others.map(|(scaled, other)| (scaled, other.places())).collect();
    // The shared places, by the names of the triggers that share them.
    let mut shared: BTreeMap<Vec<String>, Vec<&Place>> = BTreeMap::new();
    for place in &own {
        let others = others.iter().filter(|(_, others)| others.iter().any(|other| place.is_same(other)));
        let others: Vec<String> = others.map(|(scaled, _)| name(subject, scaled)).collect();
        if !others.is_empty() {
            shared.entry(others).or_default().push(place);
        }
    }
    shared.into_iter().map(|(others, places)| finding(&others, &places)).collect()
}

fn is_same_object(one: &Scaled, other: &Scaled) -> bool {
    (one.kind, &one.namespace, &one.name) == (other.kind, &other.namespace, &other.name)
}

fn name(subject: &Subject<'_>, other: &Scaled) -> String {
    if is_same_object(subject.scaled, other) {
        return "another trigger of this object".to_owned();
    }
    format!("{}/{}", other.namespace, other.name)
}

fn finding(others: &[String], places: &[&Place]) -> Finding {
    let names: Vec<&str> = places.iter().map(|place| place.name.as_str()).collect();
    let mut switches: Vec<&str> = places.iter().filter_map(|place| place.switch).collect();
    switches.dedup();
    let all_switch = places.iter().all(|place| place.switch.is_some());
    let fix = if all_switch {
        let off: Vec<String> = switches.iter().map(|name| format!("{name}: \"false\"")).collect();
        format!(
            "metadata: {} in all of them but one; there {} shows the running tasks, if workers report them",
            off.join(", "),
            keys::WORKERS_CONNECTION.name
        )
    } else if let Some(own) = places.iter().map(|place| place.own).collect::<Option<BTreeSet<&str>>>() {
        Vec::from_iter(own).join("; ")
    } else {
        "one trigger for each queue: one object's workers take all of its tasks, or each object has its own queue"
            .to_owned()
    };
    Finding { what: format!("the tasks in {} are counted by {} too", named(&names), named(others)), fix }
}

/// At most `MOST_NAMED` names, and the number of the others.
fn named<T: AsRef<str>>(names: &[T]) -> String {
    let few: Vec<&str> = names.iter().take(MOST_NAMED).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(MOST_NAMED) {
        0 => few.join(", "),
        more => format!("{} and {more} more", few.join(", ")),
    }
}
