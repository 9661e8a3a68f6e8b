//! Redis: lists, streams, sorted sets, the queues of task frameworks, and what workers report; all of a connection read in one pipeline.
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
mod presets;
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

/// Tasks in Redis sorted sets, scored by the time at which they are due.
pub(super) const SORTED_SET: Spec = Spec {
    name: "redis-sorted-set",
    summary: "tasks in Redis sorted sets, scored by the time at which they are due",
    keys: presets::sorted_set::KEYS,
    moved: &[],
    parse: presets::sorted_set::parse,
    connection: &CONNECTION,
};

/// Tasks of Celery, through Redis.
pub(super) const CELERY: Spec = Spec {
    name: "celery",
    summary: "tasks of Celery, through Redis",
    keys: presets::celery::CELERY.keys,
    moved: &[],
    parse: |fields| presets::parse(&presets::celery::CELERY, fields),
    connection: &CONNECTION,
};

/// Jobs of BullMQ, versions 3 to 6.
pub(super) const BULLMQ: Spec = Spec {
    name: "bullmq",
    summary: "jobs of BullMQ, versions 3 to 6",
    keys: presets::bullmq::BULLMQ.keys,
    moved: &[],
    parse: |fields| presets::parse(&presets::bullmq::BULLMQ, fields),
    connection: &CONNECTION,
};

/// Jobs of RQ, versions 2 and 3.
pub(super) const RQ: Spec = Spec {
    name: "rq",
    summary: "jobs of RQ, versions 2 and 3",
    keys: presets::rq::RQ.keys,
    moved: &[],
    parse: |fields| presets::parse(&presets::rq::RQ, fields),
    connection: &CONNECTION,
};

/// Jobs of Sidekiq, versions 6 to 8.
pub(super) const SIDEKIQ: Spec = Spec {
    name: "sidekiq",
    summary: "jobs of Sidekiq, versions 6 to 8",
    keys: presets::sidekiq::SIDEKIQ.keys,
    moved: &[],
    parse: |fields| presets::parse(&presets::sidekiq::SIDEKIQ, fields),
    connection: &CONNECTION,
};

/// Messages of Dramatiq, through Redis.
pub(super) const DRAMATIQ: Spec = Spec {
    name: "dramatiq",
    summary: "messages of Dramatiq, through Redis",
    keys: presets::dramatiq::DRAMATIQ.keys,
    moved: &[],
    parse: |fields| presets::parse(&presets::dramatiq::DRAMATIQ, fields),
    connection: &CONNECTION,
};

/// Messages of taskiq's `RedisStreamBroker` (for `ListQueueBroker` take `redis`).
pub(super) const TASKIQ: Spec = Spec {
    name: "taskiq",
    summary: "messages of taskiq's `RedisStreamBroker` (for `ListQueueBroker` take `redis`)",
    keys: presets::taskiq::KEYS,
    moved: &[],
    parse: presets::taskiq::parse,
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
