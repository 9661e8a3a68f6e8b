//! One LLM rate-limit budget, which several triggers may share.

pub mod belief;
pub mod gateway;
pub mod policy;
pub mod share;

mod admission;
mod amounts;
mod consumption;
mod evidence;
mod filling;
mod uses;

use std::collections::BTreeMap;
use std::fmt;

use crate::timestamp::Timestamp;

/// What a provider limits. A closed list: the key is the server file's, the label a metric's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Dimension {
    /// Requests a minute.
    RequestsPerMinute,
    /// Tokens sent a minute; those read from a cache do not count with most providers.
    InputTokensPerMinute,
    /// Tokens generated a minute.
    OutputTokensPerMinute,
    /// Tokens sent and generated a minute, where a provider limits their sum.
    TokensPerMinute,
    /// Requests a day.
    RequestsPerDay,
    /// Tokens sent a day.
    InputTokensPerDay,
    /// Tokens generated a day.
    OutputTokensPerDay,
    /// Tokens sent and generated a day.
    TokensPerDay,
    /// Requests at a time.
    Concurrency,
}

impl Dimension {
    /// Every value, in the order in which people should read them.
    pub const ALL: [Self; 9] = [
        Self::RequestsPerMinute,
        Self::InputTokensPerMinute,
        Self::OutputTokensPerMinute,
        Self::TokensPerMinute,
        Self::RequestsPerDay,
        Self::InputTokensPerDay,
        Self::OutputTokensPerDay,
        Self::TokensPerDay,
        Self::Concurrency,
    ];

    /// A word for metrics, JSON and the worker protocol.
    pub const fn label(self) -> &'static str {
        match self {
            Self::RequestsPerMinute => "requests",
            Self::InputTokensPerMinute => "input_tokens",
            Self::OutputTokensPerMinute => "output_tokens",
            Self::TokensPerMinute => "tokens",
            Self::RequestsPerDay => "requests_day",
            Self::InputTokensPerDay => "input_tokens_day",
            Self::OutputTokensPerDay => "output_tokens_day",
            Self::TokensPerDay => "tokens_day",
            Self::Concurrency => "concurrency",
        }
    }

    /// The dimension of that label.
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dimension| dimension.label() == label)
    }

    /// Whether it is a budget for a day, which is used up and not a rate.
    pub const fn is_daily(self) -> bool {
        match self {
            Self::RequestsPerDay
            | Self::InputTokensPerDay
            | Self::OutputTokensPerDay
            | Self::TokensPerDay => true,
            Self::RequestsPerMinute
            | Self::InputTokensPerMinute
            | Self::OutputTokensPerMinute
            | Self::TokensPerMinute
            | Self::Concurrency => false,
        }
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::RequestsPerMinute => "requests/min",
            Self::InputTokensPerMinute => "input tokens/min",
            Self::OutputTokensPerMinute => "output tokens/min",
            Self::TokensPerMinute => "tokens/min",
            Self::RequestsPerDay => "requests/day",
            Self::InputTokensPerDay => "input tokens/day",
            Self::OutputTokensPerDay => "output tokens/day",
            Self::TokensPerDay => "tokens/day",
            Self::Concurrency => "requests at a time",
        })
    }
}

/// What a provider said of one dimension, in its last answer. What it did not say is `None`, never zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headroom {
    /// The whole limit.
    pub limit: Option<u64>,
    /// What is left of it.
    pub remaining: Option<u64>,
    /// When it will be whole again.
    pub reset: Option<Timestamp>,
    /// When it said so.
    pub seen: Timestamp,
}

/// A time in which the provider refuses everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Its end.
    pub until: Timestamp,
    /// Its reason.
    pub why: Why,
}

/// Why a provider refuses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Too much at once: it passes within seconds or minutes.
    Rate,
    /// The budget in money is used up.
    Spend,
    /// A budget for a day or a month is used up, or the plan does not allow it.
    Quota,
    /// The provider itself is overloaded.
    Overload,
}

impl Why {
    /// Every value.
    pub const ALL: [Self; 4] = [Self::Rate, Self::Spend, Self::Quota, Self::Overload];

    /// A word for metrics, JSON and the worker protocol.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Rate => "rate",
            Self::Spend => "spend",
            Self::Quota => "quota",
            Self::Overload => "overload",
        }
    }

    /// The reason of that label.
    pub fn of_label(label: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|why| why.label() == label)
    }
}

/// What workers, or a gateway, last saw of a limit.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitSeen {
    /// The provider's own words, by dimension.
    pub headroom: BTreeMap<Dimension, Headroom>,
    /// Until when it refuses everything.
    pub blocked: Option<Block>,
    /// When it last refused something because of that; `None` if that is not known.
    pub block_seen: Option<Timestamp>,
    /// What workers used of the daily budgets since midnight UTC.
    pub used_today: BTreeMap<Dimension, u64>,
    /// Whether requests wait in the model's own server because its memory is full. `None` is not known.
    pub full: Option<bool>,
}

/// What one scope's workers may use, for their limiter: published, not decided upon.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Allowance {
    /// Slots that the limit feeds.
    pub slots: f64,
    /// Amounts a minute by dimension; for concurrency requests at a time.
    pub rates: BTreeMap<Dimension, f64>,
}
