//! What happens, and when: the load and the provider's bad times, the same in both worlds.

use std::time::Duration;

use agent_scaler::engine::decision::LimitedBy;
use clap::ValueEnum;
use serde_json::json;

use crate::Failure;
use crate::deployment::Kind;
use crate::screen;
use crate::world::World;

/// Calls of the model that a task makes on average.
pub(crate) const STEPS: u64 = 5;

/// How long a task takes on average where nothing holds it up: [`STEPS`] times [`THINK`] and a tool but for the last.
pub(crate) const TASK: Duration = Duration::from_millis(8_000);

/// Seconds that the model takes for an answer, and a tool for its own.
const THINK: f64 = 1.3;
const TOOL: f64 = 0.4;

/// The part of its limit that a weak provider still admits.
const WEAK: f64 = 0.4;

/// What is wrong with the provider for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BadTime {
    /// It answers nothing but 503.
    Out,
    /// It admits two fifths of its limit, and its headers do not say so.
    Weak,
}

impl BadTime {
    /// What is said of it, what the provider is told, and the part of the limit that is left.
    fn begins(self) -> (String, serde_json::Value, f64) {
        match self {
            Self::Out => {
                let text = "The provider is out: every call is answered with 503.".to_owned();
                (text, json!({ "outage": { "answer": "503" } }), 0.0)
            }
            Self::Weak => {
                let lost = (1.0 - WEAK) * 100.0;
                let text =
                    format!("The provider loses {lost:.0} % of its capacity. Its headers do not say so.");
                (text, json!({ "capacity": WEAK }), WEAK)
            }
        }
    }
}

/// Length of the story as it is written here, from which the acts take their times.
const WRITTEN: Duration = Duration::from_secs(48);

/// Something that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Act {
    Quiet,
    /// One task.
    Trickle,
    Burst,
    Research,
    BadTime,
    Back,
}

/// The acts in order, with their second in the story as it is written.
const ACTS: [(u64, Act); 9] = [
    (0, Act::Quiet),
    (0, Act::Trickle),
    (2, Act::Trickle),
    (4, Act::Trickle),
    (6, Act::Trickle),
    (8, Act::Burst),
    (24, Act::Research),
    (40, Act::BadTime),
    (48, Act::Back),
];

/// How far it has come.
pub(crate) struct Story {
    burst: u32,
    length: Duration,
    bad_time: BadTime,
    acts: std::slice::Iter<'static, (u64, Act)>,
    capacity: f64,
    put: u64,
    /// What was noticed already.
    limit_binds: bool,
    at_rest: Vec<&'static str>,
}

impl Story {
    /// A story with a burst of so many tasks, in which the provider is back after `length`.
    pub(crate) fn new(burst: u32, length: Duration, bad_time: BadTime) -> Self {
        let acts = ACTS.iter();
        Self { bad_time, burst, length, acts, capacity: 1.0, put: 0, limit_binds: false, at_rest: Vec::new() }
    }

    /// The part of its limit that the provider admits.
    pub(crate) fn capacity(&self) -> f64 {
        self.capacity
    }

    /// Whether nothing more will happen by itself.
    pub(crate) fn is_told(&self) -> bool {
        self.acts.as_slice().is_empty()
    }

    /// Does what is due.
    pub(crate) async fn go_on(&mut self, elapsed: Duration, worlds: &mut [World]) -> Result<(), Failure> {
        while let Some((second, act)) = self.acts.as_slice().first()
            && elapsed >= self.length.mul_f64(*second as f64 / WRITTEN.as_secs_f64())
        {
            self.acts.next();
            self.play(*act, elapsed, worlds).await?;
        }
        Ok(())
    }

    async fn play(&mut self, act: Act, elapsed: Duration, worlds: &mut [World]) -> Result<(), Failure> {
        let (burst, research) = (self.burst, self.burst * 2 / 5);
        let announce = |text: &str| screen::announce(elapsed, text);
        match act {
            Act::Quiet => announce("Quiet: a task for `batch` every two seconds."),
            Act::Trickle => self.put(Kind::Batch, 1, worlds).await?,
            Act::Burst => {
                announce(&format!("{burst} tasks for `batch` at once: more than the key can feed."));
                self.put(Kind::Batch, burst, worlds).await?;
            }
            Act::Research => {
                let (research_weight, batch_weight) = (Kind::Research.weight(), Kind::Batch.weight());
                announce(&format!(
                    "`research` wakes with {research} tasks, on the same key. Its weight is {research_weight}, \
                     that of `batch` {batch_weight}."
                ));
                self.put(Kind::Research, research, worlds).await?;
            }
            Act::BadTime => {
                let (text, command, capacity) = self.bad_time.begins();
                announce(&text);
                self.provider(capacity, &command, worlds).await?;
            }
            Act::Back => {
                announce("The provider is back, as strong as before. What is left is drained to zero.");
                self.provider(1.0, &json!({ "clear": true }), worlds).await?;
            }
        }
        Ok(())
    }

    /// Says what has come about by itself.
    pub(crate) fn notice(&mut self, elapsed: Duration, worlds: &[World]) {
        let reports =
            worlds.iter().filter_map(|world| world.scaler.as_ref()).flat_map(|scaler| scaler.reports());
        if !self.limit_binds
            && reports.into_iter().any(|report| report.decision.limited_by == LimitedBy::LlmLimit)
        {
            self.limit_binds = true;
            screen::announce(
                elapsed,
                "The limit binds: agent-scaler asks for no more workers than the key feeds.",
            );
        }
        for world in worlds.iter().filter(|world| self.acts.as_slice().is_empty() && world.is_at_rest()) {
            let name = world.law.name();
            if !self.at_rest.contains(&name) {
                self.at_rest.push(name);
                screen::announce(elapsed, &format!("{name}: all is done, and no worker is left."));
            }
        }
    }

    /// Puts `number` tasks of slightly different lengths into every world, the same in each.
    async fn put(&mut self, kind: Kind, number: u32, worlds: &mut [World]) -> Result<(), Failure> {
        for _ in 0..number {
            let calls = STEPS - 1 + self.put % 3;
            self.put += 1;
            let prompt =
                format!("Compare three suppliers. [steps={calls} output=40 think={THINK} tool={TOOL}]");
            for world in &mut *worlds {
                world.put(kind, &prompt, calls).await?;
            }
        }
        Ok(())
    }

    async fn provider(
        &mut self,
        capacity: f64,
        command: &serde_json::Value,
        worlds: &[World],
    ) -> Result<(), Failure> {
        self.capacity = capacity;
        for world in worlds {
            world.tell_provider(command).await?;
        }
        Ok(())
    }
}
