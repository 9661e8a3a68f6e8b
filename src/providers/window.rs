//! Windows over which providers count, and the texts that name them.

use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// A window over which a provider counts; a longer window is the greater value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Window {
    Second,
    Minute,
    Hour,
    Day,
    Week,
    Month,
}

impl Window {
    /// Every value.
    pub(super) const ALL: [Self; 6] =
        [Self::Second, Self::Minute, Self::Hour, Self::Day, Self::Week, Self::Month];

    /// The word for it in the names of headers.
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Second => "second",
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
        }
    }

    /// Its length; 31 days for a month, the longest one.
    pub(super) const fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Second => 1,
            Self::Minute => MINUTE,
            Self::Hour => HOUR,
            Self::Day => DAY,
            Self::Week => 7 * DAY,
            Self::Month => 31 * DAY,
        })
    }

    /// The window of a limit that counts over this many seconds. GitHub writes `per 0s` for concurrent
    /// requests, which have none.
    const fn of_seconds(seconds: u64) -> Option<Self> {
        Some(match seconds {
            0 => return None,
            1..MINUTE => Self::Second,
            MINUTE..HOUR => Self::Minute,
            HOUR..DAY => Self::Hour,
            DAY..604_800 => Self::Day,
            604_800..2_419_200 => Self::Week,
            _ => Self::Month,
        })
    }

    /// The longest window that a text or a code names; `None` if it names none.
    ///
    /// The longest decides, because a request waits for all limits that are violated.
    pub(super) fn named_in(text: &str) -> Option<Self> {
        let text = text.to_lowercase().replace('/', " per ");
        let words: Vec<&str> =
            text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect();
        let named = |index: usize| {
            let word = words[index];
            let next = words.get(index + 1).copied().unwrap_or_default();
            let after = words.get(index + 2).copied().unwrap_or_default();
            match word {
                "per" | "by" | "every" | "each" => unit(next).or_else(|| counted(next, after)),
                _ => acronym(word)
                    .or_else(|| joined(word))
                    .or_else(|| adjective(word, next))
                    .or_else(|| attribute(word, next)),
            }
        };
        (0..words.len()).filter_map(named).max()
    }
}

/// A unit of time as a word.
fn unit(word: &str) -> Option<Window> {
    Some(match word {
        "s" | "sec" | "second" | "seconds" => Window::Second,
        "min" | "minute" | "minutes" => Window::Minute,
        "h" | "hr" | "hour" | "hours" => Window::Hour,
        "d" | "day" | "days" => Window::Day,
        "week" | "weeks" => Window::Week,
        "month" | "months" => Window::Month,
        _ => return None,
    })
}

/// A number of units: `86400s`, `60 seconds`, `1 minute`.
fn counted(word: &str, next: &str) -> Option<Window> {
    let digits = word.find(|c: char| !c.is_ascii_digit()).unwrap_or(word.len());
    let (number, rest) = word.split_at(digits);
    let unit = unit(if rest.is_empty() { next } else { rest })?;
    Window::of_seconds(number.parse::<u64>().ok()?.checked_mul(unit.length().as_secs())?)
}

/// Words that imply a window: `RPD` is requests per day.
fn acronym(word: &str) -> Option<Window> {
    Some(match word {
        "rps" | "tps" | "qps" => Window::Second,
        "rpm" | "tpm" | "itpm" | "otpm" | "ipm" | "qpm" => Window::Minute,
        "rph" | "tph" | "hourly" => Window::Hour,
        "rpd" | "tpd" | "itpd" | "otpd" | "ipd" | "daily" | "tomorrow" => Window::Day,
        "weekly" => Window::Week,
        "monthly" => Window::Month,
        _ => return None,
    })
}

/// Names without spaces: `GenerateRequestsPerDayPerProject`, `UserByModelByMinute`.
fn joined(word: &str) -> Option<Window> {
    let names = |window: &Window| {
        let word_for = window.word();
        word.contains(&format!("per{word_for}")) || word.contains(&format!("by{word_for}"))
    };
    Window::ALL.into_iter().rev().find(names)
}

/// `5-hour limit`, `7 day window`. The singular is required, because a time to wait is in the plural: `5
/// hours`.
fn adjective(word: &str, next: &str) -> Option<Window> {
    let number = word.parse::<u64>().ok().filter(|number| *number > 1)?;
    let unit = Window::ALL.into_iter().find(|window| window.word() == next)?;
    Window::of_seconds(number.checked_mul(unit.length().as_secs())?)
}

/// `hour quota`, `week allocated quota`, `day limit`.
fn attribute(word: &str, next: &str) -> Option<Window> {
    let is_counted = matches!(next, "quota" | "limit" | "allocated" | "usage" | "budget");
    Window::ALL.into_iter().find(|window| is_counted && window.word() == word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_window_that_is_named_counts() {
        for (text, window) in [
            ("on requests per min (RPM): Limit 3", Some(Window::Minute)),
            ("Too many tokens per day, please wait", Some(Window::Day)),
            ("limited to 1000 API calls / month", Some(Window::Month)),
            ("Requests per Second (actual/limit): 2/2", Some(Window::Second)),
            ("Rate limit of 50 per 86400s exceeded", Some(Window::Day)),
            ("Rate limit of 5 per 0s exceeded for UserConcurrentRequests", None),
            ("at most 10 requests per 60 seconds", Some(Window::Minute)),
            ("UserByModelByDay", Some(Window::Day)),
            ("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", Some(Window::Minute)),
            ("online_prediction_input_tokens_per_minute_per_base_model", Some(Window::Minute)),
            ("free-models-per-min", Some(Window::Minute)),
            ("Your limits are 600 RPM (10 QPS) and 180000 TPM (3000 TPS)", Some(Window::Minute)),
            ("request reached organization TPD rate limit", Some(Window::Day)),
            ("your 5-hour usage limit", Some(Window::Hour)),
            ("the 7-day window", Some(Window::Week)),
            ("hour allocated quota exceeded", Some(Window::Hour)),
            ("try again in 5 hours", None),
            ("wait a minute", None),
            ("Rate limit exceeded", None),
            ("", None),
        ] {
            assert_eq!(Window::named_in(text), window, "{text}");
        }
    }
}
