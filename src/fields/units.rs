//! Values that carry their unit or their shape in the text.

use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use super::LONGEST_NAME;

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

impl Names {
    /// Most names in one list: a read asks about each of them.
    pub const MOST: usize = 256;
}

impl FromStr for Names {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Counted before any of them is kept.
        let count = text.split(',').count();
        if count > Self::MOST {
            return Err(format!("{count} names, more than {}", Self::MOST));
        }
        text.split(',').map(|name| plain(name.trim(), LONGEST_NAME)).collect::<Result<_, _>>().map(Self)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_names_is_counted_before_it_is_kept() {
        let list = |count| vec!["acme:tasks"; count].join(", ");
        assert_eq!(list(Names::MOST).parse::<Names>().map(|Names(names)| names.len()), Ok(Names::MOST));
        assert_eq!(list(257).parse::<Names>(), Err("257 names, more than 256".to_owned()));
    }

    #[test]
    fn each_name_of_a_list_is_short_and_one_line_and_the_list_need_not_be() {
        let names = ["a".to_owned(), "b c".to_owned()].to_vec();
        assert_eq!("a,\n  b c".parse(), Ok(Names(names)));
        for (bad, fault) in [
            ("a,,b", "an empty name"),
            ("a,b\nc", "holds a control character"),
            (&format!("a,{}", "x".repeat(513)), "longer than 512 bytes"),
        ] {
            assert_eq!(bad.parse::<Names>(), Err(fault.to_owned()), "{bad}");
        }
    }
}
