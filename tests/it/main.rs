//! Tests of the whole: one binary, linked once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test may fail the test")]

mod support;

mod checks;
mod configuration;
mod documents;
mod limited_by;
mod metadata;
mod protocol;
mod sources;
mod tidy;
