//! What happened, for people and machines: logs, metrics, and the pages of the admin port.

pub mod admin;
pub mod limits;
pub mod log;
pub mod metrics;
pub mod pages;
pub mod queries;
pub mod report;
pub mod shown;

use std::error::Error;
use std::fmt;

pub use log::{LastLines, start as log};

/// An error and what caused it, in one line for the log.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a dyn Error);

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}
