//! Backends that speak HTTP: the way in, answers of a bounded size, and words for what goes wrong.
//!
//! Prometheus and plain HTTP differ in what they ask and in how they read an answer. All else is here, once.

mod client;
mod endpoint;
mod fault;
mod header;
mod pass;
mod reserved;

pub(super) use self::client::{Answer, WebClient};
pub(super) use self::endpoint::{KEYS, WebEndpoint, parse};
