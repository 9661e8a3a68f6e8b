//! Each source against its real server, and against faults on the way to it.

mod redis;
mod sqs;
