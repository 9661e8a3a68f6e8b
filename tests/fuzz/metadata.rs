//! What a tenant writes into a trigger.

use std::collections::BTreeMap;

use agent_scaler::config::server::Server;
use agent_scaler::config::trigger;
use agent_scaler::sources::ALL;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::budget::{fuzz, is_plain, is_short};
use crate::text::text;

/// A connection of each kind, and two limits.
const FILE: &str = "
connections:
  redis: { type: redis, url: \"redis://127.0.0.1:1\" }
  prometheus: { type: prometheus, url: \"http://127.0.0.1:1\" }
  http: { type: http, url: \"http://127.0.0.1:1\" }
  aws: { type: aws, region: eu-central-1 }
llmLimits:
  prod: { workersConnection: redis, scope: prod, requestsPerMinute: 60 }
";

/// Keys of every trigger.
const COMMON: &[&str] = &[
    "source",
    "connection",
    "workload",
    "tasksPerReplica",
    "maxQueueWait",
    "latencyTarget",
    "expectedTaskDuration",
    "stuckAfter",
    "podStartupTime",
    "nodeStartupTime",
    "drainTime",
    "minReplicaCount",
    "maxReplicaCount",
    "activationBacklog",
    "workersConnection",
    "workerScope",
    "llmLimit",
    "llmWeight",
    "prometheusConnection",
    "queryPreset",
    "inFlightQuery",
    "scalerAddress",
    "metricType",
    "passwordFromEnv",
];

/// A source with its connection and values of its own keys that are right.
const RIGHT: &[&[(&str, &str)]] = &[
    &[("source", "redis"), ("connection", "redis"), ("listName", "acme:a,acme:b")],
    &[("source", "redis-streams"), ("connection", "redis"), ("stream", "s"), ("consumerGroup", "g")],
    &[
        ("source", "redis-sorted-set"),
        ("connection", "redis"),
        ("sortedSetName", "z"),
        ("scoreUnit", "seconds"),
    ],
    &[("source", "celery"), ("connection", "redis"), ("queue", "a,b"), ("prioritySteps", "3,6,9")],
    &[("source", "bullmq"), ("connection", "redis"), ("queue", "a")],
    &[("source", "rq"), ("connection", "redis"), ("queue", "a")],
    &[("source", "sidekiq"), ("connection", "redis"), ("queue", "a"), ("busy", "true")],
    &[("source", "dramatiq"), ("connection", "redis"), ("queue", "a")],
    &[("source", "taskiq"), ("connection", "redis")],
    &[("source", "aws-sqs-queue"), ("connection", "aws"), ("queueURL", "acme-tasks")],
    &[("source", "prometheus"), ("connection", "prometheus"), ("query", "sum(up)")],
    &[("source", "http"), ("connection", "http"), ("path", "/a"), ("readyPath", "$.queues[*].ready")],
];

#[test]
fn whatever_a_trigger_says_is_a_trigger_or_a_short_refusal() {
    let server = Server::parse(FILE, ALL).unwrap();
    let keys: Vec<&'static str> =
        ALL.iter().flat_map(|spec| spec.keys).map(|key| key.name).chain(COMMON.iter().copied()).collect();
    let key = prop_oneof![8 => prop::sample::select(keys).prop_map(str::to_owned), 1 => text()];
    let strategy = (prop::sample::select(RIGHT.to_vec()), vec((key, text()), 0..8), text(), text());
    fuzz("metadata", &strategy, |(right, more, namespace, name)| {
        let mut metadata: BTreeMap<String, String> =
            right.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        metadata.extend(more);
        match trigger::parse(&server, &namespace, &name, &metadata) {
            Ok(trigger) => {
                is_short(&trigger.plan.queue())?;
                is_plain(&format!("{:?} {}", trigger.plan.commands(), trigger.id.fingerprint))
            }
            Err(refusal) => is_plain(&refusal.to_string()),
        }
    });
}
