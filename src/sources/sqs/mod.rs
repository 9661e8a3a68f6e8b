//! SQS: how many messages are visible, not visible and delayed, in one call a queue.
//!
//! Each call costs money and its counts are late by up to a minute, so what was counted is remembered: a zero
//! must last, and an idle queue is asked less often.

mod bounded;
mod call;
mod client;
mod counts;
mod endpoint;
mod fault;
mod host;
mod identity;
mod memory;
mod queue;

use std::time::Duration;

use crate::sources::{ConnectionKind, Spec, Wake};

/// Messages in one or several queues.
pub(super) const QUEUE: Spec = Spec {
    name: "aws-sqs-queue",
    summary: "messages in SQS queues, standard or FIFO",
    keys: queue::KEYS,
    moved: queue::MOVED,
    parse: queue::parse,
    connections: &[&CONNECTION],
    to_show_running: None,
};

/// What to write instead of a key that says who asks.
const IN_CONNECTION: &str =
    "name a `connection`: the server's file holds its credentials, and the role that it takes (`roleArn`)";

/// SQS in one region, as one identity.
const CONNECTION: ConnectionKind = ConnectionKind {
    name: "aws",
    summary: "the SQS of one AWS region",
    keys: endpoint::KEYS,
    moved: &[
        ("awsRegion", "name a `connection`: the server's file holds its `region`"),
        ("awsEndpoint", "name a `connection`: the server's file holds its `endpoint`"),
        ("awsRoleArn", IN_CONNECTION),
        ("awsExternalId", IN_CONNECTION),
        ("awsAccessKeyID", IN_CONNECTION),
        ("awsAccessKeyId", IN_CONNECTION),
        ("awsSecretAccessKey", IN_CONNECTION),
        ("awsSessionToken", IN_CONNECTION),
        ("identityOwner", IN_CONNECTION),
    ],
    // A paid call each: a dollar a month for each queue that is waited for. A connection may say otherwise.
    wake: Wake::Polled(Duration::from_secs(1)),
    parse: endpoint::parse,
    reports: None,
};
