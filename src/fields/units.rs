//! Values that carry their unit or their shape in the text.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

/// A duration written as people write it: `2m`, `90s`, `1h 30m`; a bare `0` is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

impl Span {
    /// Longest duration that is accepted: a week. Longer ones are slips, and sums of them stay small.
    pub const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "0" {
            return Ok(Self(Duration::ZERO));
        }
        let duration = humantime::parse_duration(text).map_err(|error| error.to_string())?;
        if duration > Self::LONGEST {
            return Err("longer than a week".to_owned());
        }
        Ok(Self(duration))
    }
}

/// A duration of at least one second: what a divisor or a promise needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PositiveSpan(pub Duration);

impl FromStr for PositiveSpan {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let Span(duration) = text.parse()?;
        if duration < Duration::from_secs(1) {
            return Err("shorter than a second".to_owned());
        }
        Ok(Self(duration))
    }
}

/// A whole number of at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Positive(pub NonZeroU32);

impl FromStr for Positive {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number: u32 = text.parse().map_err(|error: std::num::ParseIntError| error.to_string())?;
        NonZeroU32::new(number).map(Self).ok_or_else(|| "must be at least 1".to_owned())
    }
}

/// One or more names, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names(pub Vec<String>);

impl FromStr for Names {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let names: Vec<String> = text.split(',').map(|name| name.trim().to_owned()).collect();
        if names.iter().any(String::is_empty) {
            return Err("an empty name");
        }
        Ok(Self(names))
    }
}

/// A name that others repeat in a key or a query: not empty, of at most so many bytes, without control characters.
///
/// # Errors
/// What is wrong with it, in words.
pub fn plain(text: &str, longest: usize) -> Result<String, String> {
    if text.is_empty() {
        return Err("an empty name".to_owned());
    }
    if text.len() > longest {
        return Err(format!("longer than {longest} bytes"));
    }
    if text.chars().any(char::is_control) {
        return Err("holds a control character".to_owned());
    }
    Ok(text.to_owned())
}
