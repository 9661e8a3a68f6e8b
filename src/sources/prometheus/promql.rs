//! Texts that become part of a query.

use std::str::FromStr;

use crate::fields::plain;

/// A query that a trigger wrote. What it means is for the server to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PromQl(pub(super) String);

impl PromQl {
    /// Longest query, in bytes: it travels in a URL, of which most servers take eight thousand.
    const LONGEST: usize = 4_096;
}

impl FromStr for PromQl {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.len() {
            0 => Err("an empty query".to_owned()),
            length if length > Self::LONGEST => Err(format!("longer than {} bytes", Self::LONGEST)),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

/// A value of a label: a queue, a model, an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LabelValue(pub(super) String);

impl LabelValue {
    /// Longest value, in bytes.
    const LONGEST: usize = 250;

    /// The value as PromQL writes a text: whatever is in it, it does not end before its last quotation mark.
    pub(super) fn quoted(&self) -> String {
        let mut quoted = String::from('"');
        for character in self.0.chars() {
            if matches!(character, '"' | '\\') {
                quoted.push('\\');
            }
            quoted.push(character);
        }
        quoted.push('"');
        quoted
    }
}

impl FromStr for LabelValue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        plain(text, Self::LONGEST).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_leave_its_quotation_marks() {
        for (text, quoted) in [
            ("acme:tasks", r#""acme:tasks""#),
            (r#"x"} or vector(1) #"#, r#""x\"} or vector(1) #""#),
            (r#"x\"#, r#""x\\""#),
            (r#"x\""#, r#""x\\\"""#),
            ("größer", r#""größer""#),
        ] {
            assert_eq!(text.parse::<LabelValue>().map(|value| value.quoted()), Ok(quoted.to_owned()));
        }
        for bad in ["", "a\nb", "a\0", &"x".repeat(251)] {
            assert!(bad.parse::<LabelValue>().is_err(), "{bad:?}");
        }
    }
}
