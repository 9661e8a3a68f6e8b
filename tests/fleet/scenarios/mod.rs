//! The scenarios.

mod audit;
mod chaos;
mod control;
mod never_passes;
mod outage;
mod reporters;
mod restart;
mod shares;
mod unpaced;

use std::path::PathBuf;
use std::pin::Pin;

use crate::figures::Figures;

/// One scenario.
pub(crate) struct Scenario {
    /// Its name, which is also that of its folder.
    pub(crate) name: &'static str,
    /// Plays it in that folder; panics if it cannot go on.
    pub(crate) play: Play,
}

type Play = fn(PathBuf) -> Pin<Box<dyn Future<Output = Figures>>>;

/// Every scenario, the longest first.
const ALL: &[(&str, Play)] = &[
    ("outage", |folder| Box::pin(outage::part_of_the_capacity(folder))),
    ("shares", |folder| Box::pin(shares::play(folder))),
    ("blocked", |folder| Box::pin(outage::nothing_at_all(folder))),
    ("control", |folder| Box::pin(control::play(folder))),
    ("unpaced", |folder| Box::pin(unpaced::play(folder))),
    ("chaos", |folder| Box::pin(chaos::play(folder))),
    ("never-passes", |folder| Box::pin(never_passes::play(folder))),
    ("restart", |folder| Box::pin(restart::play(folder))),
    ("audit", |folder| Box::pin(audit::play(folder))),
    ("reporters", |folder| Box::pin(reporters::play(folder))),
];

/// The scenarios that some words choose; all of them without words.
pub(crate) fn chosen(words: impl Iterator<Item = String>) -> Vec<Scenario> {
    // Flags are cargo's or the harness's, and there is no harness.
    let words: Vec<String> = words.filter(|word| !word.starts_with('-')).collect();
    let is_chosen = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let chosen: Vec<Scenario> = ALL
        .iter()
        .filter(|(name, _)| is_chosen(name))
        .map(|(name, play)| Scenario { name, play: *play })
        .collect();
    assert!(!chosen.is_empty(), "no scenario is called {words:?}");
    chosen
}
