//! Redis: lists, streams, and what workers report; all of a connection read in one pipeline.
//!
//! A kind of queue is a variant of [`layout::Layout`]: it says which commands it needs and reads their
//! answers. Reports are two more. The connection, the pipeline and the words for what goes wrong are shared.

mod answer;
mod client;
mod endpoint;
mod entry_id;
mod fault;
mod group;
mod layout;
mod list;
mod memory;
mod opening;
mod stream;

use std::time::Duration;

use crate::sources::{ConnectionKind, Reports, Spec};

/// Tasks in one or several lists.
pub(super) const LIST: Spec = Spec {
    name: "redis",
    summary: "tasks in Redis lists (LPUSH, and BRPOP or LMOVE)",
    keys: list::KEYS,
    moved: list::MOVED,
    parse: list::parse,
    connection: &CONNECTION,
};

/// Tasks in a stream, taken by a consumer group.
pub(super) const STREAMS: Spec = Spec {
    name: "redis-streams",
    summary: "tasks in a Redis stream, taken by a consumer group",
    keys: stream::KEYS,
    moved: stream::MOVED,
    parse: stream::parse,
    connection: &CONNECTION,
};

/// What to write instead of a key that says where Redis is and who asks.
const IN_CONNECTION: &str = "name a `connection`: the server's file holds its address and credentials";

/// One Redis server. Sentinel and Cluster would be further modes of this kind.
const CONNECTION: ConnectionKind = ConnectionKind {
    name: "redis",
    summary: "a Redis or Valkey server, version 5 or later",
    keys: endpoint::KEYS,
    moved: &[
        ("address", IN_CONNECTION),
        ("host", IN_CONNECTION),
        ("port", IN_CONNECTION),
        ("username", IN_CONNECTION),
        ("password", IN_CONNECTION),
        ("databaseIndex", IN_CONNECTION),
    ],
    // With it a first task is seen within 300 ms.
    wake_every: Duration::from_millis(200),
    parse: endpoint::parse,
    reports: Some(Reports { workers: layout::workers, limit: layout::limit }),
};
