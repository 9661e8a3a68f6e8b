//! Each source against its real server, and against faults on the way to it.

mod frameworks;
mod http;
#[cfg(feature = "kafka")]
mod kafka;
mod prometheus;
mod redis;
mod sqs;
