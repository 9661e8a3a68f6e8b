//! The worker protocol: what workers report in Redis, and how it is read.
//!
//! Plain commands and no scripts, so that a worker in any language can take part. `docs/worker-protocol.md`
//! describes it for those who write one; [`keys`] names every key and field once. Absent fields are accepted,
//! unknown ones ignored, and nonsense in one field makes that field unknown without spoiling the others.

pub mod keys;

pub mod cadence;
pub mod reader;
pub mod share;
pub mod tally;
pub mod writer;

mod answer;
mod limit;
mod minute;
mod presence;
