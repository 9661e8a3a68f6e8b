//! Figures beside their bars.

use std::fmt::Display;
use std::time::Duration;

use tonic::Status;

/// A table that is printed row by row, as figures come in.
#[derive(Default)]
pub(crate) struct Table {
    bars: usize,
    missed: usize,
}

impl Table {
    /// Begins a part of the table.
    pub(crate) fn part(&self, title: &str) {
        println!("\n{title}");
    }

    /// A figure that has no bar.
    pub(crate) fn row(&self, name: &str, figure: impl Display) {
        println!("  {name:<58} {figure:>12}");
    }

    /// A figure that should be at most, or exactly, what its bar says.
    pub(crate) fn bar(&mut self, name: &str, figure: impl Display, bar: &str, kept: bool) {
        self.bars += 1;
        self.missed += usize::from(!kept);
        let verdict = if kept { "ok" } else { "MISSED" };
        println!("  {name:<58} {figure:>12}   {bar:<10} {verdict}");
    }

    /// How many errors there were, which should be none, and the first one.
    pub(crate) fn errors(&mut self, errors: &[Status]) {
        self.bar("errors", errors.len(), "0", errors.is_empty());
        if let Some(first) = errors.first() {
            println!("    the first: {first}");
        }
    }

    /// Says how many bars were kept.
    pub(crate) fn end(&self) {
        println!("\n{} of {} bars kept", self.bars - self.missed, self.bars);
    }
}

/// Samples in order.
pub(crate) struct Sorted(Vec<Duration>);

impl From<Vec<Duration>> for Sorted {
    fn from(mut samples: Vec<Duration>) -> Self {
        samples.sort_unstable();
        Self(samples)
    }
}

impl Sorted {
    /// The sample that so many in a thousand do not exceed; zero if there is none.
    pub(crate) fn per_mille(&self, per_mille: usize) -> Duration {
        let rank = (self.0.len() * per_mille).div_ceil(1_000).max(1);
        self.0.get(rank - 1).copied().unwrap_or_default()
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

/// Milliseconds with two digits after the point.
pub(crate) fn millis(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1e3)
}
