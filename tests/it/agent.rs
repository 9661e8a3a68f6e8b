//! `examples/agent`, the API in front of the queue: the real process on a real Redis.

mod crash;
mod intake;
mod outage;
mod pressure;
mod probes;
mod process;
mod records;
mod repetition;
mod whole;
