//! What the engine makes of what it is told, whatever that is.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use agent_scaler::config::server::Server;
use agent_scaler::config::trigger;
use agent_scaler::engine::decision::Answer;
use agent_scaler::engine::estimate::Throughput;
use agent_scaler::engine::limit::belief::{Sharing, believed};
use agent_scaler::engine::limit::policy::LimitPolicy;
use agent_scaler::engine::limit::share::{Bound, Claim, LimitSignals, share};
use agent_scaler::engine::limit::{Dimension, LimitSeen};
use agent_scaler::engine::policy::{Policy, Workload};
use agent_scaler::engine::signals::{
    Counters, InFlight, Percentile, Quality, Reading, Signal, Tasks, Workers,
};
use agent_scaler::engine::{Memory, claimed, decide, want};
use agent_scaler::sources::ALL;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;

use crate::budget::{fuzz, is_plain};
use crate::protocol::NOW;

const MINUTE: Duration = Duration::from_secs(60);

/// Two namespaces share 600 requests a minute, and a task uses 12 of them in a minute: 25 slots for each.
const PART: f64 = 25.0;

/// Divides a limit between a namespace whose workers say this, and one whose workers say nothing.
pub(crate) fn decide_beside(reported: Arc<Workers>, seen: LimitSeen) -> Result<(), TestCaseError> {
    let at = |value| Signal::Seen { value, at: NOW, quality: Quality::Measured };
    let mut policy = LimitPolicy {
        amounts: BTreeMap::from([(Dimension::RequestsPerMinute, 600.0)]),
        ..LimitPolicy::default()
    };
    policy.use_per_task.requests = Some(12.0);
    let seen = believed(at(seen), &policy, Sharing::Shared, NOW);
    let claim = |namespace| Claim {
        slots: Some(200.0),
        tasks_per_replica: NonZeroU32::MIN,
        namespace,
        namespace_weight: 1.0,
        weight: 1.0,
        scope: namespace,
        workers: None,
        service: Some(MINUTE),
    };
    let claims = [Claim { workers: Some(&reported), ..claim("liar") }, claim("calm")];
    let signals = LimitSignals { seen, minute: MINUTE };
    let (shares, state) = share(&"prod".into(), &policy, &signals, &claims, NOW);
    let Bound::At(cap) = &shares[1].bound else {
        return Err(TestCaseError::fail(format!("no cap: {:?}", shares[1].bound)));
    };
    // Workers that do not pace themselves cost everybody 8 %; a neighbour's use stands for what is not measured up to
    // four times of what the file says.
    if cap.slots < 0.92 * PART / 4.0 - 1e-6 {
        return Err(TestCaseError::fail(format!("{} slots are left of {PART}", cap.slots)));
    }
    for share in &shares {
        let until = share.blocked.map(|block| block.until.to_string());
        is_plain(&format!("{share:?} {until:?}"))?;
    }
    is_plain(&format!("{state:?}"))?;
    decides(&trigger_policy(), &[(0, Reading { ready: Some(9), ..Reading::default() })], &Some(reported))
}

#[test]
fn whatever_a_queue_shows_is_decided_upon() {
    let amount = || prop_oneof![0..100_u64, any::<u64>(), Just(u64::MAX)];
    let some = move || prop::option::of(amount());
    let span = || any::<u64>().prop_map(Duration::from_millis);
    let percentile =
        move || prop::option::of((span(), amount()).prop_map(|(p95, samples)| Percentile { p95, samples }));
    let flight = prop::option::of((amount(), any::<bool>()).prop_map(|(tasks, is_known)| {
        if is_known { InFlight::Known(tasks) } else { InFlight::Estimated(tasks) }
    }));
    let counters = (some(), some()).prop_map(|(added, completed)| Counters { added, completed });
    let ceilings = (prop::option::of(any::<u32>()), prop::option::of(any::<u32>()));
    let counts = (some(), some(), some(), some(), some());
    let kept = (amount(), amount(), amount());
    let kept = kept.prop_map(|(ready, soon, in_flight)| Tasks { ready, soon, in_flight });
    let rest = (prop::option::of(span()), counters, ceilings, percentile(), percentile(), kept);
    let reading = (counts, flight, rest).prop_map(|((ready, due, soon, delayed, dead), in_flight, rest)| {
        let (oldest, counters, (ceiling, even_over), waits, services, kept) = rest;
        Reading {
            ready,
            due,
            soon,
            delayed,
            in_flight,
            dead,
            oldest,
            counters,
            ceiling,
            even_over,
            waits,
            services,
            kept,
            unknown: Vec::new(),
        }
    });
    let deployment = trigger_policy();
    let job = Policy { workload: Workload::Job, ..deployment };
    fuzz("engine", &vec((0..200_u64, reading), 1..12), |seen| {
        decides(&deployment, &seen, &None)?;
        decides(&job, &seen, &None)
    });
}

/// Decides about readings so many seconds apart.
fn decides(
    policy: &Policy,
    seen: &[(u64, Reading)],
    workers: &Option<Arc<Workers>>,
) -> Result<(), TestCaseError> {
    let (mut memory, mut throughput, mut now) = (Memory::default(), Throughput::default(), NOW);
    for (passed, reading) in seen {
        now = now + Duration::from_secs(*passed);
        let at = now;
        throughput.observe(at, reading);
        let queue = Signal::Seen { value: reading.clone(), at, quality: Quality::Measured };
        let workers = workers.clone().map(|value| Signal::Seen { value, at, quality: Quality::Measured });
        let signals = throughput.signals(policy, queue, workers.as_ref(), None, now);
        let wanted = want(policy, &signals, &memory, now);
        if let Some(slots) = wanted.as_ref().and_then(|wanted| claimed(policy, &signals, wanted))
            && !slots.is_finite()
        {
            return Err(TestCaseError::fail(format!("{slots} slots are claimed")));
        }
        let (decision, next) = decide(policy, &signals, wanted, None, &memory, now);
        memory = next;
        is_plain(&decision.to_string())?;
        let size = match decision.answer {
            Answer::Fresh(size) | Answer::Held(size) => size.replicas,
            Answer::Unknown(_) => 0,
        };
        if size > policy.replicas.max() {
            return Err(TestCaseError::fail(format!("more replicas than there may be: {decision}")));
        }
    }
    Ok(())
}

fn trigger_policy() -> Policy {
    let server =
        Server::parse("connections: { main: { type: redis, url: \"redis://127.0.0.1:1\" } }", ALL).unwrap();
    let metadata =
        [("source", "redis"), ("connection", "main"), ("listName", "a"), ("expectedTaskDuration", "60s")];
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    trigger::parse(&server, "acme", "tasks", &metadata).unwrap().policy
}
