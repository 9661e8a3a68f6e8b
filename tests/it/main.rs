//! Tests of the whole: one binary, linked once.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a helper of a test may fail the test")]

mod support;

mod admin;
mod admission;
mod agent;
mod agreement;
#[cfg(feature = "kafka")]
mod bad_day;
mod checks;
mod clocks;
mod configuration;
mod demo;
mod documents;
mod field;
mod isolation;
mod jobs;
mod keda;
mod limited_by;
mod limits;
mod llm_stub;
mod metadata;
mod peers;
mod plan;
mod protocol;
mod providers;
mod queries;
mod shipped;
mod sources;
mod tidy;
mod tls;
mod worker;
mod workers;
