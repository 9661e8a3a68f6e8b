//! ScaledJobs: KEDA's own cases, and what holds for all of them.

use proptest::prelude::{prop, prop_assert, prop_assert_eq, proptest};

use super::*;

fn trigger(value: u32, target: u32, active: bool) -> Trigger {
    Trigger { value: Milli::whole(value), target: Some(Milli::whole(target)), active }
}

fn creates(strategy: Strategy, value: u32, (running, pending): (u32, u32), bounds: Bounds) -> (u32, Why) {
    let demand = demand(&[trigger(value, 1, value > 0)], Calculation::Max, bounds);
    let Next { create, why } = to_create(strategy, demand, Unfinished { running, pending }, bounds);
    (create, why)
}

fn up_to(max: u32) -> Bounds {
    Bounds { min: 0, max: Some(max) }
}

// scale_jobs_test.go: TestDefaultScalingStrategy, TestCustomScalingStrategy (and …NilQueueLengthDeduction),
// TestAccurateScalingStrategy, TestEagerScalingStrategy; the columns are those of GetEffectiveMaxScale.
#[test]
fn the_strategies_allow_what_kedas_tests_say() {
    let custom = |deduction, running_share| Strategy::Custom { deduction, running_share };
    for (strategy, jobs, running, pending, room, allowed) in [
        (Strategy::Default, 3, 2, 0, 5, 1),
        (Strategy::Default, 2, 0, 0, 5, 2),
        (custom(1, 0.5), 3, 2, 0, 5, 1),
        (custom(1, 0.5), 10, 0, 0, 10, 9),
        (custom(2, 0.0), 3, 2, 0, 5, 1),
        (custom(-2, 0.0), 3, 2, 0, 4, 4),
        (custom(0, 0.5), 10, 2, 0, 100, 9),
        (custom(0, 0.5), 10, 0, 0, 100, 10),
        (Strategy::Accurate, 3, 2, 0, 5, 3),
        (Strategy::Accurate, 5, 2, 0, 5, 3),
        (Strategy::Accurate, 3, 4, 2, 10, 1),
        (Strategy::Accurate, 5, 4, 2, 5, 1),
        (Strategy::Accurate, 3, 3, 3, 5, 0),
        (Strategy::Accurate, 15, 15, 15, 20, 0),
        (Strategy::Accurate, 10, 10, 10, 15, 0),
        (Strategy::Accurate, 20, 15, 10, 20, 5),
        (Strategy::Eager, 4, 3, 0, 10, 4),
        (Strategy::Eager, 4, 0, 3, 10, 4),
        (Strategy::Eager, 4, 7, 0, 10, 3),
        (Strategy::Eager, 4, 1, 6, 10, 3),
        (Strategy::Eager, 15, 0, 0, 10, 10),
    ] {
        let seen = strategy.allows(jobs, running, pending, room);
        assert_eq!(seen, allowed, "{strategy:?} {jobs} {running} {pending} {room}");
    }
}

// scale_handler_test.go: TestGetScaledJobState and …IfQueueEmptyButMinReplicaCountGreaterZero.
#[test]
fn triggers_come_to_what_kedas_tests_say() {
    let bounds = Bounds { min: 1, max: Some(100) };
    let state = |triggers: &[Trigger], calculation, bounds| {
        let Demand { active, queue, jobs } = demand(triggers, calculation, bounds);
        (active, queue, jobs)
    };
    assert_eq!(state(&[trigger(20, 2, true)], Calculation::Max, bounds), (true, 20, 10));
    assert_eq!(state(&[trigger(0, 1, true)], Calculation::Max, bounds), (true, 0, 0));
    let four = [trigger(20, 1, true), trigger(10, 2, true), trigger(5, 3, true), trigger(7, 4, false)];
    for (calculation, max, queue, jobs) in [
        (Calculation::Max, 100, 20, 20),
        (Calculation::Min, 100, 5, 2),
        (Calculation::Average, 100, 12, 9),
        (Calculation::Sum, 100, 35, 27),
        (Calculation::Sum, 25, 35, 25),
    ] {
        assert_eq!(state(&four, calculation, up_to(max)), (true, queue, jobs), "{calculation:?} {max}");
    }
}

// scale_jobs_test.go: TestRunningJobCountSmallerMinReplicaCount, …IsDeductedFromMinReplicaCount,
// …GreaterOrEqualMinReplicaCountExecutesScalingStrategy.
#[test]
fn the_minimum_comes_before_demand_and_beneath_it() {
    let two = Bounds { min: 2, max: Some(10) };
    assert_eq!(creates(Strategy::Default, 0, (0, 0), two), (2, Why::BelowMin));
    assert_eq!(creates(Strategy::Default, 7, (1, 0), two), (1, Why::BelowMin));
    assert_eq!(creates(Strategy::Default, 2, (1, 0), Bounds { min: 1, max: None }), (2, Why::AsWanted));
    assert_eq!(creates(Strategy::Default, 0, (2, 0), two), (0, Why::Enough));
}

// keda-cluster.md: ScaledJob, constant value 3; value 9 with max 5.
#[test]
fn what_the_real_keda_did() {
    assert_eq!(creates(Strategy::Default, 3, (0, 0), up_to(10)), (3, Why::AsWanted));
    assert_eq!(creates(Strategy::Default, 3, (3, 0), up_to(10)), (0, Why::Enough));
    assert_eq!(creates(Strategy::Default, 9, (0, 0), up_to(5)), (5, Why::Max));
    assert_eq!(creates(Strategy::Default, 9, (5, 0), up_to(5)), (0, Why::Max));
    assert_eq!(creates(Strategy::Default, 0, (5, 0), up_to(50)), (0, Why::Inactive));
}

#[test]
fn a_target_below_one_and_a_target_of_type_value_make_fewer_jobs_than_expected() {
    let half = Trigger { target: Some(Milli::from_thousandths(500)), ..trigger(3, 1, true) };
    let wanted = demand(&[half], Calculation::Max, up_to(50));
    assert_eq!(wanted, Demand { active: true, queue: 3, jobs: 6 });
    let Next { create, .. } = to_create(Strategy::Default, wanted, Unfinished::default(), up_to(50));
    assert_eq!(create, 3);
    let value = Trigger { target: None, ..half };
    assert_eq!(demand(&[value], Calculation::Max, up_to(50)).jobs, 0);
}

#[test]
fn bounds_are_read_as_keda_reads_them() {
    let read = |min, max| (Bounds { min, max }.base(), Bounds { min, max }.room());
    assert_eq!([read(0, None), read(3, None), read(3, Some(10))], [(0, 100), (3, 100), (3, 7)]);
    assert_eq!([read(5, Some(5)), read(6, Some(5))], [(5, 0), (5, 5)]);
}

#[test]
fn custom_may_exceed_the_maximum() {
    let all = Strategy::Custom { deduction: 0, running_share: 0.0 };
    assert_eq!(creates(all, 5, (5, 0), up_to(5)), (5, Why::Max));
}

proptest! {
    #[test]
    fn all_but_custom_keep_the_maximum(
        strategy in prop::sample::select(vec![Strategy::Default, Strategy::Accurate, Strategy::Eager]),
        value in 0_u32..300, min in 0_u32..10, span in 0_u32..30, running in 0_u32..50, pending in 0_u32..50,
    ) {
        let bounds = Bounds { min, max: Some(min + span) };
        let (created, _) = creates(strategy, value, (running, pending.min(running)), bounds);
        prop_assert!(running + created <= running.max(min + span));
    }

    #[test]
    fn a_value_that_counts_running_tasks_is_reached_in_one_poll_and_kept(
        value in 1_u32..80, running in 0_u32..80,
    ) {
        let (created, _) = creates(Strategy::Default, value, (running, 0), up_to(100));
        prop_assert_eq!(running + created, running.max(value));
        let (again, _) = creates(Strategy::Default, value, (running + created, 0), up_to(100));
        prop_assert_eq!(again, 0);
    }
}
