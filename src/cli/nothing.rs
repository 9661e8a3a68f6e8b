//! Files without a trigger of agent-scaler: `check` says why instead of reporting no problem.

use std::collections::BTreeMap;

use super::manifests::is_ours;
use crate::fields::Problem;
use crate::manifest::{Manifests, Scaled};

/// The value of one `-f`.
#[derive(Debug)]
pub(super) struct Given {
    /// The path as it was given.
    pub(super) path: String,
    /// The files found at the path.
    pub(super) files: Vec<String>,
}

/// Most kinds of objects, and most types of triggers, that a message lists.
const MOST_NAMED: usize = 4;

/// Kinds that the rules read beside the triggers.
const USEFUL: &[&str] =
    &["Deployment", "StatefulSet", "ReplicaSet", "Rollout", "Job", "CronJob", "NodePool", "Queue"];

/// Adds a problem if no file has a trigger of agent-scaler, and a note for a file without one beside others.
pub(super) fn say(manifests: &mut Manifests, given: &[Given]) {
    let is_any = manifests.scaled.iter().any(has_ours);
    if !is_any && !manifests.problems.is_empty() {
        // One of those problems may be in a trigger.
        return;
    }
    for Given { path, files } in given {
        let wrong = |problem: &Problem| files.iter().any(|file| problem.path.starts_with(file.as_str()));
        let ours = manifests.scaled.iter().filter(|scaled| files.iter().any(|file| is_in(scaled, file)));
        if ours.clone().any(has_ours) || manifests.problems.iter().any(wrong) {
            continue;
        }
        let kinds: Vec<&str> =
            files.iter().filter_map(|file| manifests.kinds.get(file)).flatten().map(String::as_str).collect();
        let (message, hint) = reason(files.len(), &kinds, &ours.collect::<Vec<_>>());
        if !is_any {
            manifests.problems.push(Problem { path: path.clone(), message, hint });
        } else if !kinds.iter().any(|kind| USEFUL.contains(kind)) {
            manifests.notes.push(format!("{path}: {message}"));
        }
    }
}

fn has_ours(scaled: &Scaled) -> bool {
    scaled.triggers.iter().any(|written| is_ours(scaled, written))
}

fn is_in(scaled: &Scaled, file: &str) -> bool {
    scaled.origin.strip_prefix(file).is_some_and(|rest| rest.starts_with('#'))
}

/// The message and the hint for files without a trigger.
fn reason(files: usize, kinds: &[&str], scaled: &[&Scaled]) -> (String, Option<String>) {
    if !scaled.is_empty() {
        let types = scaled.iter().flat_map(|scaled| &scaled.triggers).map(|written| written.kind.as_str());
        let message = format!("no trigger of agent-scaler: the triggers are of type {}", counted(types));
        let hint = "one is of type `external` or `external-push`, and its metadata has a `source` and a `connection`";
        return (message, Some(hint.to_owned()));
    }
    if files == 0 {
        return (
            "there is no ScaledObject and no ScaledJob: the folder has no file of YAML or JSON".to_owned(),
            None,
        );
    }
    if kinds.is_empty() {
        return (
            "there is no ScaledObject and no ScaledJob: nothing but comments or white space".to_owned(),
            None,
        );
    }
    let message =
        format!("there is no ScaledObject and no ScaledJob, but {}", counted(kinds.iter().copied()));
    let hint = match () {
        () if kinds.contains(&"Kustomization") => {
            Some("`kubectl kustomize FOLDER | agent-scaler check -f -`")
        }
        () if kinds.iter().any(|kind| ["HelmRelease", "HelmChart", "Application"].contains(kind)) => {
            Some("check what it renders: `helm template CHART | agent-scaler check -f -`")
        }
        () if kinds.iter().all(|kind| kind.is_empty()) => {
            Some("if these are values of a chart: `helm template CHART -f VALUES | agent-scaler check -f -`")
        }
        () => None,
    };
    (message, hint.map(str::to_owned))
}

/// `Deployment (2), Service`, the most frequent first.
fn counted<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    names.for_each(|name| {
        *counts.entry(if name.is_empty() { "something without a kind" } else { name }).or_default() += 1
    });
    let mut counts: Vec<(&str, usize)> = counts.into_iter().collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let more = counts.len().saturating_sub(MOST_NAMED);
    let few = counts.iter().take(MOST_NAMED).map(|(name, count)| match count {
        1 => (*name).to_owned(),
        _ => format!("{name} ({count})"),
    });
    let few = few.collect::<Vec<_>>().join(", ");
    if more == 0 { few } else { format!("{few} and {more} more") }
}
