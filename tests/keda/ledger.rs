//! The tasks of a scenario, from being put in to being done.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Number of a task, unique in its scenario.
pub(crate) type TaskId = u64;

/// A task as it lies in the queue: its number and how long it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Task {
    /// The number.
    pub(crate) id: TaskId,
    /// How long it runs.
    pub(crate) runs: Duration,
}

impl Task {
    /// What lies in the queue.
    pub(crate) fn text(self) -> String {
        format!("{}:{}", self.id, self.runs.as_millis())
    }

    /// The task that lies in the queue as `text`.
    pub(crate) fn parse(text: &str) -> Self {
        let (id, runs) = text.split_once(':').unwrap();
        Self { id: id.parse().unwrap(), runs: Duration::from_millis(runs.parse().unwrap()) }
    }
}

/// A task at work.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// The task.
    pub(crate) task: Task,
    /// Its entry, in a stream.
    pub(crate) entry: Option<String>,
    /// The pod that works on it.
    pub(crate) pod: String,
    /// When it is done.
    pub(crate) until: Instant,
}

/// What became of every task.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    tasks: Vec<Task>,
    running: BTreeMap<TaskId, Run>,
    done: BTreeMap<TaskId, u32>,
    killed: u64,
}

/// The ledger in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Tasks put in.
    pub(crate) put: u64,
    /// Tasks at work.
    pub(crate) running: u64,
    /// Tasks done, each counted once.
    pub(crate) done: u64,
    /// Tasks done again.
    pub(crate) repeated: u64,
    /// Times that a pod went away from under a task.
    pub(crate) killed: u64,
}

impl Counts {
    /// Tasks that nobody works on.
    pub(crate) const fn waiting(self) -> u64 {
        self.put.saturating_sub(self.running).saturating_sub(self.done)
    }

    /// Whether every task is done, exactly once, and none was interrupted.
    pub(crate) const fn is_clean(self) -> bool {
        self.put == self.done && self.repeated == 0 && self.killed == 0
    }
}

impl Ledger {
    /// New tasks that take `runs` each.
    pub(crate) fn put(&mut self, count: u64, runs: Duration) -> Vec<Task> {
        let first = self.tasks.len() as u64;
        let tasks: Vec<Task> = (first..first + count).map(|id| Task { id, runs }).collect();
        self.tasks.extend(&tasks);
        tasks
    }

    /// A pod has taken a task.
    pub(crate) fn took(&mut self, run: Run) {
        self.running.insert(run.task.id, run);
    }

    /// A task is done.
    pub(crate) fn finished(&mut self, id: TaskId) {
        self.running.remove(&id);
        *self.done.entry(id).or_default() += 1;
    }

    /// A pod went away from under a task, which waits again.
    pub(crate) fn interrupted(&mut self, id: TaskId) {
        self.running.remove(&id);
        self.killed += 1;
    }

    /// The tasks at work.
    pub(crate) fn running(&self) -> Vec<Run> {
        self.running.values().cloned().collect()
    }

    /// The tasks that are not done.
    pub(crate) fn open(&self) -> Vec<Task> {
        self.tasks.iter().filter(|task| !self.done.contains_key(&task.id)).copied().collect()
    }

    /// Whether this task is at work.
    pub(crate) fn runs(&self, id: TaskId) -> bool {
        self.running.contains_key(&id)
    }

    /// Everything in numbers.
    pub(crate) fn counts(&self) -> Counts {
        Counts {
            put: self.tasks.len() as u64,
            running: self.running.len() as u64,
            done: self.done.len() as u64,
            repeated: self.done.values().map(|times| u64::from(*times) - 1).sum(),
            killed: self.killed,
        }
    }
}
