//! Files without a trigger of ours: why there is none, instead of a clean bill of health.

use std::collections::BTreeMap;

use super::manifests::is_ours;
use crate::fields::Problem;
use crate::manifest::{Manifests, Scaled};

/// One `-f`.
#[derive(Debug)]
pub(super) struct Given {
    /// As it was given.
    pub(super) path: String,
    /// The files that it stands for.
    pub(super) files: Vec<String>,
}

/// Most kinds of objects or triggers that a text names.
const MOST_NAMED: usize = 4;

/// Kinds that a check looks at beside a trigger of ours.
const USEFUL: &[&str] =
    &["Deployment", "StatefulSet", "ReplicaSet", "Rollout", "Job", "CronJob", "NodePool", "Queue"];

/// Keeps a problem where there is no trigger of ours at all, and a note where one of several files has none.
pub(super) fn say(manifests: &mut Manifests, given: &[Given]) {
    let is_any = manifests.scaled.iter().any(has_ours);
    if !is_any && !manifests.problems.is_empty() {
        // Whatever is wrong may be the trigger.
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

/// Why there is nothing to check, and what to do about it.
fn reason(files: usize, kinds: &[&str], scaled: &[&Scaled]) -> (String, Option<String>) {
    if !scaled.is_empty() {
        let types = scaled.iter().flat_map(|scaled| &scaled.triggers).map(|written| written.kind.as_str());
        let message = format!("no trigger of agent-scaler: the triggers are of type {}", counted(types));
        let hint = "ours is of type `external` or `external-push`, and its metadata name a `source` and a `connection`";
        return (message, Some(hint.to_owned()));
    }
    if files == 0 {
        return (
            "there is no ScaledObject and no ScaledJob: the folder has no file of YAML".to_owned(),
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
            Some("values of a chart? `helm template CHART -f VALUES | agent-scaler check -f -`")
        }
        () => None,
    };
    (message, hint.map(str::to_owned))
}

/// `2 of Deployment, 1 of Service`, the most frequent first.
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
