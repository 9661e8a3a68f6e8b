//! Redis: lists, streams, sorted sets, the queues of task frameworks, and what workers report; all of a connection read in one pipeline.
//!
//! A kind of queue is a variant of [`layout::Layout`]: it says which commands it needs and reads their
//! answers. Reports are two more. The connection, the pipeline and the words for what goes wrong are shared.

mod access;
mod address;
mod answer;
mod client;
mod cluster;
mod connection;
mod endpoint;
mod entry_id;
mod fault;
mod group;
mod inbox;
mod layout;
mod list;
mod listener;
mod memory;
mod meter;
mod opening;
mod oversized;
mod peek;
mod presets;
mod reach;
mod round;
mod sentinel;
mod slots;
mod stream;
mod unknown;
mod visit;
mod weight;
mod wire;
mod wrong_type;

use std::sync::Arc;
use std::time::Duration;

use crate::fields::Fields;
use crate::sources::redis::presets::Preset;
use crate::sources::{ConnectionKind, Plan, Reports, Spec, Wake};

/// Tasks in one or several lists.
pub(super) const LIST: Spec = Spec {
    name: "redis",
    summary: "tasks in Redis lists (LPUSH, and BRPOP or LMOVE)",
    keys: list::KEYS,
    moved: list::MOVED,
    parse: list::parse,
    connections: CONNECTIONS,
    to_show_running: Some(PROCESSING_LIST),
};

/// Tasks in a stream, taken by a consumer group.
pub(super) const STREAMS: Spec = Spec {
    name: "redis-streams",
    summary: "tasks in a Redis stream, taken by a consumer group",
    keys: stream::KEYS,
    moved: stream::MOVED,
    parse: stream::parse,
    connections: CONNECTIONS,
    to_show_running: None,
};

/// Tasks in sorted sets, scored by the time at which they are due.
pub(super) const SORTED_SET: Spec = Spec {
    name: "redis-sorted-set",
    summary: "tasks in Redis sorted sets, scored by the time at which they are due",
    keys: presets::sorted_set::KEYS,
    moved: &[],
    parse: presets::sorted_set::parse,
    connections: CONNECTIONS,
    to_show_running: Some(PROCESSING_LIST),
};

/// Celery's tasks.
pub(super) const CELERY: Spec =
    framework(&presets::celery::CELERY, |fields| presets::parse(&presets::celery::CELERY, fields));

/// BullMQ's jobs.
pub(super) const BULLMQ: Spec =
    framework(&presets::bullmq::BULLMQ, |fields| presets::parse(&presets::bullmq::BULLMQ, fields));

/// RQ's jobs.
pub(super) const RQ: Spec = framework(&presets::rq::RQ, |fields| presets::parse(&presets::rq::RQ, fields));

/// Sidekiq's jobs.
pub(super) const SIDEKIQ: Spec =
    framework(&presets::sidekiq::SIDEKIQ, |fields| presets::parse(&presets::sidekiq::SIDEKIQ, fields));

/// Dramatiq's messages.
pub(super) const DRAMATIQ: Spec =
    framework(&presets::dramatiq::DRAMATIQ, |fields| presets::parse(&presets::dramatiq::DRAMATIQ, fields));

/// Taskiq's messages.
pub(super) const TASKIQ: Spec = Spec {
    name: "taskiq",
    summary: "messages of taskiq's `RedisStreamBroker` (for `ListQueueBroker` take `redis`)",
    keys: presets::taskiq::KEYS,
    moved: IN_FRAMEWORK,
    parse: presets::taskiq::parse,
    connections: CONNECTIONS,
    to_show_running: None,
};

/// The queues of a framework that is a table.
const fn framework(preset: &'static Preset, parse: fn(&mut Fields<'_>) -> Option<Arc<dyn Plan>>) -> Spec {
    let Preset { name, summary, keys, to_show_running, rows: _ } = *preset;
    Spec { name, summary, keys, moved: IN_FRAMEWORK, parse, connections: CONNECTIONS, to_show_running }
}

/// How lists and sorted sets show running tasks, which Redis forgets once they are taken.
const PROCESSING_LIST: &str =
    "`processingListName` or `processingSortedSetName`: where workers move each task that they take";

/// What to write instead of the keys of KEDA's `redis` scaler, which sees one list of a framework.
const IN_FRAMEWORK: &[(&str, &str)] = &[
    ("listName", "`queue`: the framework's own name of it, without prefix"),
    ("listLength", "`tasksPerReplica`: tasks that one replica runs at a time"),
    ("activationListLength", "`activationBacklog`"),
];

/// What to write instead of a key that says where Redis is and who asks.
const IN_CONNECTION: &str = "name a `connection`: the server's file holds its address and credentials";

/// The ways in which Redis is run, all of which hold the same queues.
const CONNECTIONS: &[&ConnectionKind] = &[&SERVER, &CLUSTER, &SENTINEL];

/// One server.
const SERVER: ConnectionKind = ConnectionKind {
    name: "redis",
    summary: "a Redis or Valkey server, version 5 or later",
    keys: endpoint::SERVER_KEYS,
    moved: &[
        ("address", IN_CONNECTION),
        ("host", IN_CONNECTION),
        ("port", IN_CONNECTION),
        ("username", IN_CONNECTION),
        ("password", IN_CONNECTION),
        ("databaseIndex", IN_CONNECTION),
    ],
    // Without a push a first task is seen within 300 ms.
    wake: Wake::Pushed { otherwise: Duration::from_millis(200) },
    parse: endpoint::parse_server,
    reports: Some(Reports { workers: layout::workers, limit: layout::limit }),
};

/// A cluster.
const CLUSTER: ConnectionKind = ConnectionKind {
    name: "redis-cluster",
    summary: "a Redis or Valkey Cluster; each queue is read from the master that holds it",
    keys: endpoint::CLUSTER_KEYS,
    moved: &[("addresses", IN_CONNECTION), ("hosts", IN_CONNECTION), ("ports", IN_CONNECTION)],
    parse: endpoint::parse_cluster,
    ..SERVER
};

/// A master with replicas, and sentinels that know which one it is.
const SENTINEL: ConnectionKind = ConnectionKind {
    name: "redis-sentinel",
    summary: "the master of Redis or Valkey servers that sentinels watch",
    keys: endpoint::SENTINEL_KEYS,
    moved: &[
        ("sentinelMaster", IN_CONNECTION),
        ("sentinelUsername", IN_CONNECTION),
        ("sentinelPassword", IN_CONNECTION),
    ],
    parse: endpoint::parse_sentinel,
    ..SERVER
};
