//! The keys that say what is wanted, whatever the source → a policy.

use std::str::FromStr;
use std::time::Duration;

use crate::config::keys;
use crate::engine::policy::{BadRange, Policy, ReplicaRange, Workload};
use crate::fields::{Fields, Positive, PositiveSpan, Span};

/// Reads what is wanted; a reading is fresh for three of the server's ticks, and for as long on top as its
/// connection may pause.
pub(super) fn parse(fields: &mut Fields<'_>, tick: Duration) -> Option<Policy> {
    let workload: Option<WorkloadName> = fields.read(&keys::WORKLOAD);
    let tasks_per_replica: Option<Positive> = fields.read(&keys::TASKS_PER_REPLICA);
    let max_queue_wait: Option<PositiveSpan> = fields.read(&keys::MAX_QUEUE_WAIT);
    let latency_target: Option<PositiveSpan> = fields.read(&keys::LATENCY_TARGET);
    let expected_task_duration: Option<PositiveSpan> = fields.read(&keys::EXPECTED_TASK_DURATION);
    let stuck_after: Option<PositiveSpan> = fields.read(&keys::STUCK_AFTER);
    let pod_startup: Option<Span> = fields.read(&keys::POD_STARTUP_TIME);
    let node_startup: Option<Span> = fields.read(&keys::NODE_STARTUP_TIME);
    let drain_time: Option<Span> = fields.read(&keys::DRAIN_TIME);
    let min: Option<u32> = fields.read(&keys::MIN_REPLICA_COUNT);
    let max: Option<u32> = fields.read(&keys::MAX_REPLICA_COUNT);
    let activation_backlog: Option<u64> = fields.read(&keys::ACTIVATION_BACKLOG);
    let replicas = range(fields, min, max);
    Some(Policy {
        workload: workload?.0,
        replicas: replicas?,
        tasks_per_replica: tasks_per_replica?.0,
        max_queue_wait: max_queue_wait?.0,
        latency_target: latency_target.map(|span| span.0),
        expected_task_duration: expected_task_duration.map(|span| span.0),
        stuck_after: stuck_after?.0,
        start_up: pod_startup?.0 + node_startup?.0,
        drain_time: drain_time?.0,
        activation_backlog: activation_backlog?,
        fresh_for: tick * 3,
    })
}

fn range(fields: &mut Fields<'_>, min: Option<u32>, max: Option<u32>) -> Option<ReplicaRange> {
    match ReplicaRange::try_new(min?, max?) {
        Ok(range) => Some(range),
        Err(error @ BadRange::Crossed { .. }) => {
            fields.problem(&keys::MIN_REPLICA_COUNT, error.to_string());
            None
        }
        Err(error @ (BadRange::Never | BadRange::TooMany { .. })) => {
            fields.problem(&keys::MAX_REPLICA_COUNT, error.to_string());
            None
        }
    }
}

struct WorkloadName(Workload);

impl FromStr for WorkloadName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "deployment" => Ok(Self(Workload::Deployment)),
            "job" => Ok(Self(Workload::Job)),
            _ => Err("neither `deployment` nor `job`"),
        }
    }
}
