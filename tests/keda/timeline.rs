//! What happened in a scenario, and when.

use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use crate::ledger::Counts;

/// What a line begins with that tells what the scenario does.
const NOTE: &str = "──";

/// Lines with their times, shared by a scenario and those who watch it.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    started: Instant,
    lines: Arc<Mutex<Vec<(f64, String)>>>,
}

/// All that is seen of a scenario at one time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sample {
    /// What our servers say.
    pub(crate) said: String,
    /// What the HPA wants, and why it does not.
    pub(crate) hpa: String,
    /// Replicas that the Deployment is to have, or Jobs that are not done.
    pub(crate) replicas: u64,
    /// Changes of the Deployment's spec so far: a count that came and went shows here.
    pub(crate) generation: u64,
    /// How often the HPA was seen without a value so far.
    pub(crate) blind: u64,
    /// Jobs ever created.
    pub(crate) jobs: u64,
    /// Pods that work.
    pub(crate) ready: usize,
    /// The tasks.
    pub(crate) tasks: Counts,
}

impl Default for Timeline {
    fn default() -> Self {
        Self { started: Instant::now(), lines: Arc::default() }
    }
}

impl Timeline {
    /// Adds what the scenario does.
    pub(crate) fn note(&self, text: impl Into<String>) {
        let line = format!("{NOTE} {}", text.into());
        let at = self.started.elapsed().as_secs_f64();
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).push((at, line));
    }

    /// Adds what was seen.
    pub(crate) fn saw(&self, sample: &Sample) {
        let Sample { said, hpa, replicas, generation: _, blind: _, jobs: _, ready, tasks } = sample;
        let (waiting, Counts { put, running, done, killed, repeated }) = (tasks.waiting(), *tasks);
        let mut line = format!(
            "{said:<22} {hpa:<12} {replicas:>4} {ready:>5} {waiting:>7} {running:>7} {:>9}",
            format!("{done}/{put}")
        );
        if killed + repeated > 0 {
            write!(line, "  {killed} interrupted, {repeated} repeated").unwrap();
        }
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        // What has changed may be nothing that is shown.
        if lines.iter().rev().find(|(_, last)| !last.starts_with(NOTE)).is_none_or(|(_, last)| *last != line)
        {
            lines.push((self.started.elapsed().as_secs_f64(), line));
        }
    }

    /// The whole story of the scenario `name`, which failed or did not.
    pub(crate) fn printed(&self, name: &str, failure: Option<&str>) -> String {
        let outcome = failure.map_or_else(|| "ok".to_owned(), |failure| format!("FAILED: {failure}"));
        let seconds = self.started.elapsed().as_secs_f64();
        let mut text = format!("\n{name}: {outcome} ({seconds:.0} s)\n");
        text.push_str("      s  we say                 HPA wants    spec ready waiting running      done\n");
        for (at, line) in self.lines.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            writeln!(text, "{at:7.1}  {line}").unwrap();
        }
        text
    }
}
