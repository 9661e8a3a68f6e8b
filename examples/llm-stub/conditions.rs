//! Bad times, by command: slow, away, at a part of its capacity, out of budget, used by others.

use std::time::Duration;

use agent_scaler::engine::limit::Dimension;
use serde::{Deserialize, Deserializer};

use crate::recorded::Replay;

/// One command. What it names begins at once; what it does not name stays as it is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Command {
    /// The API key it is about; all of them, future ones included, if absent.
    pub(crate) account: Option<String>,
    /// How long it lasts, e.g. `30s`; until another command if absent.
    #[serde(default, rename = "for", deserialize_with = "duration")]
    lasts: Option<Duration>,
    /// Ends everything that other commands began, before this one begins.
    #[serde(default)]
    clear: bool,
    /// Factor of every latency.
    slow_down: Option<f64>,
    /// Requests that fail.
    outage: Option<Outage>,
    /// The part of every limit that is admitted, while headers speak of the whole.
    capacity: Option<f64>,
    /// A budget that is used up: every request is refused.
    exhausted: Option<Exhausted>,
    /// What others use of the same limits.
    external: Option<External>,
    /// A recorded answer.
    pub(crate) replay: Option<Replay>,
}

impl Command {
    /// Reads one; the error says what is wrong.
    pub(crate) fn read(text: &str) -> Result<Self, String> {
        let command: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let Self { slow_down, outage, capacity, .. } = &command;
        if slow_down.is_some_and(|factor| !(0.0..=1e6).contains(&factor)) {
            return Err("slow_down: must be from 0 to 1000000".to_owned());
        }
        if capacity.is_some_and(|part| !(0.0..=1.0).contains(&part)) {
            return Err("capacity: must be from 0 to 1".to_owned());
        }
        if outage.as_ref().is_some_and(|outage| !(0.0..=1.0).contains(&outage.part)) {
            return Err("outage.part: must be from 0 to 1".to_owned());
        }
        let External { requests_per_minute, input_tokens_per_minute, output_tokens_per_minute } =
            command.external.unwrap_or_default();
        let used = [requests_per_minute, input_tokens_per_minute, output_tokens_per_minute];
        if used.into_iter().any(|amount| amount < 0.0) {
            return Err("external: must not be negative".to_owned());
        }
        Ok(command)
    }
}

/// Requests that fail before they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Outage {
    /// What comes instead of an answer.
    pub(crate) answer: Down,
    /// The part of all requests that it hits.
    #[serde(default = "all")]
    pub(crate) part: f64,
}

/// What comes instead of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Down {
    /// 503 Service Unavailable.
    #[serde(rename = "503")]
    Unavailable,
    /// 529, Anthropic's own number for being overloaded.
    #[serde(rename = "529")]
    Overloaded,
    /// Nothing: the connection is closed.
    #[serde(rename = "reset")]
    Reset,
}

impl Down {
    /// A word for the counts.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Unavailable => "503",
            Self::Overloaded => "529",
            Self::Reset => "reset",
        }
    }
}

/// A budget that is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Exhausted {
    /// The plan's.
    Quota,
    /// The one in money.
    Spend,
}

/// What others use, a minute.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct External {
    requests_per_minute: f64,
    input_tokens_per_minute: f64,
    output_tokens_per_minute: f64,
}

impl External {
    /// The amount of one dimension, a minute.
    pub(crate) const fn of(self, dimension: Dimension) -> f64 {
        match dimension {
            Dimension::RequestsPerMinute | Dimension::RequestsPerDay => self.requests_per_minute,
            Dimension::InputTokensPerMinute | Dimension::InputTokensPerDay => self.input_tokens_per_minute,
            Dimension::OutputTokensPerMinute | Dimension::OutputTokensPerDay => self.output_tokens_per_minute,
            Dimension::TokensPerMinute | Dimension::TokensPerDay => {
                self.input_tokens_per_minute + self.output_tokens_per_minute
            }
            Dimension::Concurrency => 0.0,
        }
    }
}

/// Something that ends by itself, or lasts.
#[derive(Clone, Copy, Debug)]
struct Timed<T> {
    value: T,
    until: Option<Duration>,
}

/// The conditions of one account.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    slow_down: Option<Timed<f64>>,
    outage: Option<Timed<Outage>>,
    capacity: Option<Timed<f64>>,
    exhausted: Option<Timed<Exhausted>>,
    external: Option<Timed<External>>,
    replay: Option<Timed<Replay>>,
}

impl Conditions {
    /// Begins what `command` says.
    pub(crate) fn begin(&mut self, command: &Command, now: Duration) {
        if command.clear {
            *self = Self::default();
        }
        let until = command.lasts.map(|lasts| now + lasts);
        replace(&mut self.slow_down, command.slow_down, until);
        replace(&mut self.outage, command.outage, until);
        replace(&mut self.capacity, command.capacity, until);
        replace(&mut self.exhausted, command.exhausted, until);
        replace(&mut self.external, command.external, until);
        replace(&mut self.replay, command.replay.clone(), until);
    }

    /// When the next of them ends.
    pub(crate) fn next_end(&self) -> Option<Duration> {
        let Self { slow_down, outage, capacity, exhausted, external, replay } = self;
        let limits = [until(capacity), until(exhausted), until(external)];
        let ends = limits.into_iter().chain([until(slow_down), until(outage), until(replay)]);
        ends.flatten().min()
    }

    /// Forgets what has ended.
    pub(crate) fn end(&mut self, now: Duration) {
        end(&mut self.slow_down, now);
        end(&mut self.outage, now);
        end(&mut self.capacity, now);
        end(&mut self.exhausted, now);
        end(&mut self.external, now);
        end(&mut self.replay, now);
    }

    pub(crate) fn slow_down(&self) -> f64 {
        self.slow_down.map_or(1.0, |timed| timed.value)
    }

    pub(crate) fn outage(&self) -> Option<Outage> {
        self.outage.map(|timed| timed.value)
    }

    pub(crate) fn capacity(&self) -> f64 {
        self.capacity.map_or(1.0, |timed| timed.value)
    }

    pub(crate) fn exhausted(&self) -> Option<Exhausted> {
        self.exhausted.map(|timed| timed.value)
    }

    pub(crate) fn replay(&self) -> Option<Replay> {
        self.replay.as_ref().map(|timed| timed.value.clone())
    }

    pub(crate) fn external(&self) -> External {
        self.external.map(|timed| timed.value).unwrap_or_default()
    }
}

fn replace<T>(slot: &mut Option<Timed<T>>, value: Option<T>, until: Option<Duration>) {
    if let Some(value) = value {
        *slot = Some(Timed { value, until });
    }
}

fn until<T>(slot: &Option<Timed<T>>) -> Option<Duration> {
    slot.as_ref()?.until
}

fn end<T>(slot: &mut Option<Timed<T>>, now: Duration) {
    slot.take_if(|timed| timed.until.is_some_and(|until| until <= now));
}

const fn all() -> f64 {
    1.0
}

pub(crate) fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map(Some).map_err(serde::de::Error::custom)
}
