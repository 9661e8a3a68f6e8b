//! What the tests stand on.

pub(crate) mod answerer;
pub(crate) mod examples;
pub(crate) mod harness;
#[cfg(feature = "kafka")]
pub(crate) mod kafka;
#[cfg(feature = "kafka")]
pub(crate) mod kafka_server;
pub(crate) mod keda_client;
pub(crate) mod moto;
pub(crate) mod program;
pub(crate) mod prometheus;
pub(crate) mod proxy;
pub(crate) mod redis_cluster;
pub(crate) mod scripted;
pub(crate) mod sentinels;
pub(crate) mod servers;
pub(crate) mod tree;
