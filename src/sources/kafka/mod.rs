//! Kafka: the lag of a consumer group, read with two requests a broker however many partitions there are.
//!
//! Kafka's client library is in a process of its own, the [`reader`], because an answer of a broker can end it. We keep
//! what must outlive it: which topics there are, which groups are watched, and what was seen before. [`process`] asks
//! it, in the words of [`wire`]. What the offsets mean is in [`lag`], without any input or output.

mod client;
mod endpoint;
mod fault;
mod groups;
mod lag;
mod login;
mod memory;
mod opening;
mod process;
mod queue;
mod reader;
mod round;
mod starts;
mod topics;
mod wire;

use std::time::Duration;

pub use self::process::set_program;
pub(crate) use self::process::{COMMAND, program};
pub(crate) use self::reader::run as run_reader;
use crate::sources::{ConnectionKind, Spec, Wake};

/// Records of topics, taken by a consumer group.
pub(super) const SPEC: Spec = Spec {
    name: "kafka",
    summary: "tasks in Kafka topics, taken by a consumer group",
    keys: queue::keys::KEYS,
    moved: queue::keys::MOVED,
    parse: queue::parse,
    connections: &[&CONNECTION],
    to_show_running: None,
};

/// What to write instead of a key that says where Kafka is and who asks.
const IN_CONNECTION: &str = "name a `connection`: the server's file holds its address and credentials";

/// One Kafka cluster.
const CONNECTION: ConnectionKind = ConnectionKind {
    name: "kafka",
    summary: "a Kafka cluster, version 2.1 or later",
    keys: endpoint::KEYS,
    moved: &[
        ("bootstrapServers", IN_CONNECTION),
        ("sasl", IN_CONNECTION),
        ("saslTokenProvider", IN_CONNECTION),
        ("username", IN_CONNECTION),
        ("password", IN_CONNECTION),
        ("scopes", IN_CONNECTION),
        ("oauthTokenEndpointUri", IN_CONNECTION),
        ("oauthExtensions", IN_CONNECTION),
        ("tls", IN_CONNECTION),
        ("ca", IN_CONNECTION),
        ("cert", IN_CONNECTION),
        ("key", IN_CONNECTION),
        ("keyPassword", IN_CONNECTION),
        ("awsEndpoint", "not supported: IAM of MSK; give the connection SCRAM, or a `tokenEndpoint`"),
        ("awsRoleArn", "not supported: IAM of MSK; give the connection SCRAM, or a `tokenEndpoint`"),
        ("awsRegion", "not supported: IAM of MSK; give the connection SCRAM, or a `tokenEndpoint`"),
        ("keytab", "not supported: Kerberos; give the connection another `mechanism`"),
        ("realm", "not supported: Kerberos; give the connection another `mechanism`"),
        ("kerberosConfig", "not supported: Kerberos; give the connection another `mechanism`"),
        ("kerberosServiceName", "not supported: Kerberos; give the connection another `mechanism`"),
    ],
    // A read is two requests a broker, and a first task is seen within a second.
    wake: Wake::Polled(Duration::from_millis(500)),
    parse: endpoint::parse,
    reports: None,
};
