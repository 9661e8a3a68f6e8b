//! What a scenario measured, each figure beside the bar that it must not miss.

use std::fmt::{Debug, Write as _};

/// Figures in the order in which they were taken, and those that missed their bar.
#[derive(Debug, Default)]
pub(crate) struct Figures {
    lines: Vec<String>,
    missed: Vec<String>,
}

impl Figures {
    /// Adds what has no bar.
    pub(crate) fn note(&mut self, text: impl Into<String>) {
        self.lines.push(text.into());
    }

    /// Adds a figure that must be `bar` or more.
    pub(crate) fn at_least(&mut self, what: &str, value: f64, bar: f64) {
        self.bar(format!("{what} {value:.3} (at least {bar})"), value >= bar);
    }

    /// Adds a figure that must be `bar` or less.
    pub(crate) fn at_most(&mut self, what: &str, value: f64, bar: f64) {
        self.bar(format!("{what} {value:.4} (at most {bar})"), value <= bar);
    }

    /// Adds a figure that must be within `part` of `expected`.
    pub(crate) fn near(&mut self, what: &str, value: f64, expected: f64, part: f64) {
        let is_near = (value - expected).abs() <= part * expected.abs();
        self.bar(format!("{what} {value:.2} (by hand {expected:.2}, within {} %)", part * 100.0), is_near);
    }

    /// Adds a figure that must be `expected`.
    pub(crate) fn equal<T: Debug + PartialEq>(&mut self, what: &str, value: T, expected: T) {
        let is_equal = value == expected;
        self.bar(format!("{what} {value:?} (expected {expected:?})"), is_equal);
    }

    /// Adds a fact that must hold.
    pub(crate) fn holds(&mut self, what: impl Into<String>, holds: bool) {
        self.bar(what.into(), holds);
    }

    /// Whether no bar was missed.
    pub(crate) fn are_good(&self) -> bool {
        self.missed.is_empty()
    }

    /// All of it, as it is printed for the scenario `name`.
    pub(crate) fn printed(&self, name: &str, seconds: f64) -> String {
        let mut text = if self.are_good() {
            format!("PASS {name} ({seconds:.0} s)")
        } else {
            format!("FAIL {name} ({seconds:.0} s): {}", self.missed.join("; "))
        };
        for line in &self.lines {
            write!(text, "\n     {line}").unwrap();
        }
        text
    }

    fn bar(&mut self, line: String, holds: bool) {
        if !holds {
            self.missed.push(line.clone());
        }
        self.lines.push(line);
    }
}
