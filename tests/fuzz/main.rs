//! Nonsense of every kind, for as long as it is given: `make test-fuzz` for a few seconds a target, `make fuzz` for hours.
//!
//! Inputs are what others write: tenants, workers, providers, and backends that lie. They are mostly right, because
//! noise is refused at the first byte. Backends are spoken to over real connections, so that the libraries that decode
//! their answers are tried too. Each input must be answered without a panic, soon, and in few words.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "a test fails by panicking, says what it found, and measures real time"
)]

mod budget;
mod decisions;
mod liar;
mod metadata;
mod protocol;
mod providers;
mod redis_answers;
mod server_file;
mod text;
mod web_answers;
