//! Each source against its real server, and against faults on the way to it.

mod frameworks;
#[cfg(feature = "kafka")]
mod kafka;
mod redis;
mod sqs;
