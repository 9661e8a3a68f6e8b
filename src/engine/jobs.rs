//! Properties of values for Jobs: nothing that holds replicas starts a Job. KEDA starts a Job for each task of
//! the value that has none, and ends no running Job. So a value above the tasks that were just seen starts Jobs
//! that find no task.

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use crate::engine::decision::Answer;
use crate::engine::decision::LimitedBy::{Demand, LlmBlocked, LlmLimit, Stale};
use crate::engine::limit::{Block, Why};
use crate::engine::policy::Workload;
use crate::engine::signals::{InFlight, Reading, Worker, WorkerState, Workers};
use crate::engine::testing::*;
use crate::timestamp::Timestamp;

fn jobs() -> Trigger {
    Trigger::with(|policy| policy.workload = Workload::Job)
}

#[test]
fn a_queue_that_cannot_be_read_starts_no_jobs() {
    let mut trigger = jobs();
    trigger.at(0).is_unknown();
    trigger.at(5).sees(queue(12, 3)).wants(15).limited_by(Demand);
    trigger.at(20).wants(15).limited_by(Demand);
    trigger.at(21).is_unknown().limited_by(Stale);
    trigger.at(3_600).is_unknown();
    trigger.at(3_605).sees(queue(0, 0)).wants(0).inactive();
    trigger.at(3_621).is_unknown();
}

#[test]
fn a_decision_that_is_not_renewed_starts_no_jobs() {
    let mut trigger = jobs();
    trigger.at(0).sees(queue(12, 3)).wants(15);
    for (second, is_known) in [(15, true), (16, false), (90, false)] {
        let answer = trigger.answer_at(second);
        assert_eq!(matches!(answer, Answer::Fresh(_)), is_known, "{second}: {answer:?}");
        assert!(!matches!(answer, Answer::Held(_)), "{second}: {answer:?}");
    }
}

#[test]
fn a_read_that_failed_starts_no_jobs_though_the_one_before_it_is_young() {
    let mut trigger = jobs();
    trigger.at(0).sees(queue(0, 10)).wants(10);
    trigger.at(5).fails().is_unknown().limited_by(Stale);
    trigger.at(10).sees(queue(0, 0)).wants(0).limited_by(Demand).inactive();
    let mut deployment = Trigger::with(|_| {});
    deployment.at(0).sees(queue(0, 10));
    deployment.at(5).fails().wants(10);
}

#[test]
fn a_queue_without_a_number_of_waiting_tasks_starts_no_jobs() {
    let mut trigger = jobs();
    trigger.at(5).sees(queue(7, 0)).wants(7);
    trigger.at(10).sees(Reading { ready: None, ..queue(0, 0) }).is_unknown();
}

#[test]
fn a_count_that_a_zero_has_not_replaced_yet_starts_no_jobs() {
    let kept = Reading { kept: Tasks { ready: 2, soon: 0, in_flight: 8 }, ..queue(2, 10) };
    jobs().at(0).sees(kept.clone()).wants(2);
    Trigger::with(|_| {}).at(0).sees(kept).wants(12);
}

#[test]
fn a_blocked_limit_starts_no_jobs_and_lets_those_that_run_be_counted() {
    let until = Timestamp::from_millis(600_000);
    let mut trigger = jobs();
    trigger.at(0).sees(queue(4, 6)).wants(10);
    trigger.at(5).blocked(Block { until, why: Why::Quota }).sees(queue(4, 6)).wants(6).limited_by(LlmBlocked);
    trigger.at(10).sees(queue(9, 1)).wants(1).limited_by(LlmBlocked).active();
    trigger.at(15).sees(queue(10, 0)).wants(0).limited_by(LlmBlocked).inactive();
    trigger.at(601).sees(queue(10, 0)).wants(10).limited_by(Demand).active();
}

#[test]
fn a_limit_lets_fewer_jobs_start_and_no_more_than_there_are_tasks() {
    let mut trigger = jobs();
    trigger.at(0).shares(capped(5)).sees(queue(40, 0)).wants(5).limited_by(LlmLimit);
    trigger.at(5).sees(queue(2, 0)).wants(2).limited_by(Demand);
    trigger.at(10).sees(queue(0, 0)).wants(0).inactive();
}

#[test]
fn partitions_that_lie_unevenly_and_tasks_that_are_not_due_start_no_jobs() {
    let uneven = Reading { ceiling: Some(12), even_over: Some(12), ..queue(5, 0) };
    jobs().at(0).sees(uneven).wants(5).limited_by(Demand);
    jobs().at(0).sees(Reading { due: Some(3), soon: Some(40), ..queue(1, 2) }).wants(6);
    jobs().at(0).sees(Reading { soon: Some(40), ..queue(0, 0) }).wants(0).inactive();
}

#[test]
fn tasks_that_are_stuck_have_jobs_of_their_own_which_keda_subtracts() {
    let stuck = |poison| Worker {
        state: WorkerState::Busy,
        slots: 1,
        running: 1,
        oldest: None,
        progress: Some(Timestamp::default()),
        paces: false,
        poison,
    };
    let workers =
        Workers { leases: 4, alive: vec![stuck(0), stuck(0), stuck(1), stuck(1)], ..Workers::default() };
    jobs().at(9_000).hears(workers).sees(queue(3, 4)).wants(7);
}

/// Any result of one read of a source.
#[derive(Clone, Debug)]
enum Look {
    Sees(Box<Reading>),
    Fails,
    Nothing,
}

fn look() -> impl Strategy<Value = Look> {
    let tasks = || prop::option::weighted(0.8, 0..40_u64);
    let counts = (tasks(), tasks(), tasks(), prop::option::of((0..40_u64, any::<bool>())));
    let kept = (0..50_u64, 0..50_u64, 0..50_u64);
    let room = (prop::option::of(0..30_u32), prop::option::of(1..30_u32));
    let sees = (counts, kept, room).prop_map(|((ready, due, soon, running), kept, (ceiling, even_over))| {
        let in_flight = running.map(|(tasks, known)| match known {
            true => InFlight::Known(tasks),
            false => InFlight::Estimated(tasks),
        });
        let (kept_ready, kept_soon, kept_in_flight) = kept;
        let kept = Tasks {
            ready: kept_ready.min(ready.unwrap_or(0)),
            soon: kept_soon.min(soon.unwrap_or(0)),
            in_flight: kept_in_flight.min(in_flight.map_or(0, InFlight::tasks)),
        };
        Look::Sees(Box::new(Reading {
            ready,
            due,
            soon,
            in_flight,
            kept,
            ceiling,
            even_over,
            ..Reading::default()
        }))
    });
    prop_oneof![6 => sees, 1 => Just(Look::Fails), 2 => Just(Look::Nothing)]
}

proptest! {
    /// For any reading and any limit, a value never exceeds the tasks of a fresh reading, and without such a
    /// reading there is no value.
    #[test]
    fn a_value_is_never_more_than_the_tasks_that_were_just_seen(
        looks in prop::collection::vec((look(), 1..12_u64, any::<bool>(), any::<bool>()), 1..60),
        share in 0..4_u32, min in 0..4_u32, activation in 0..4_u64, hold in prop::option::of(1..900_u64),
    ) {
        let mut trigger = Trigger::with(|policy| {
            policy.workload = Workload::Job;
            policy.replicas = range(min, 100);
            policy.activation_backlog = activation;
            policy.expected_task_duration = hold.map(seconds);
        });
        match share {
            0 => {}
            1 => { trigger.shares(capped(3)); }
            2 => { trigger.full(); }
            _ => {
                let until = Timestamp::from_millis(200_000);
                trigger.blocked(Block { until, why: Why::Spend });
            }
        }
        let (mut second, mut fresh) = (0, None);
        for (look, pause, silent, reported) in looks {
            second += pause;
            trigger.at(second);
            trigger.is_silent(silent);
            if reported {
                trigger.hears(Workers { leases: 30, ..Workers::default() });
            }
            match look {
                Look::Sees(reading) => {
                    let counted = |tasks: Option<u64>, kept: u64| tasks.unwrap_or(0) - kept;
                    let waiting = counted(reading.ready, reading.kept.ready) + reading.due.unwrap_or(0);
                    let running = counted(reading.in_flight.map(InFlight::tasks), reading.kept.in_flight);
                    fresh = reading.ready.is_some().then_some((second, waiting, running));
                    trigger.sees(*reading);
                }
                Look::Fails => {
                    fresh = None;
                    trigger.fails();
                }
                Look::Nothing => {}
            }
            let fresh = fresh.filter(|(at, ..)| second - at <= 15);
            let answer = trigger.answer_at(second);
            match (fresh, answer) {
                (Some((_, waiting, running)), Answer::Fresh(size)) => {
                    prop_assert!(u64::from(size.replicas) <= waiting + running, "{}", trigger.decision());
                    prop_assert_eq!(size.active, size.replicas > 0);
                    let blocked = share == 3 && second < 200;
                    prop_assert!(!blocked || u64::from(size.replicas) <= running, "{}", trigger.decision());
                    // Without a limit, each task has a Job.
                    if share == 0 && waiting > activation {
                        prop_assert!(size.active);
                    }
                }
                (Some(_), other) => prop_assert!(false, "a fresh reading gives a value: {other:?}"),
                (None, Answer::Unknown(_)) => {}
                (None, other) => prop_assert!(false, "nothing is known, and the answer is {other:?}"),
            }
        }
    }

    /// Tasks arrive and end, and their Jobs with them, while KEDA polls. KEDA starts as many Jobs as there were
    /// tasks.
    #[test]
    fn keda_starts_a_job_for_each_task(
        bursts in prop::collection::vec((0..12_u32, 1..8_u32), 1..20), outages in prop::collection::vec(any::<bool>(), 20),
    ) {
        let mut trigger = jobs();
        let (mut put, mut started, mut waiting) = (0, 0, 0);
        let mut running: Vec<u32> = Vec::new();
        for (second, ((tasks, length), outage)) in (0..).step_by(5).zip(bursts.iter().zip(&outages)) {
            running.retain_mut(|left| { *left -= 1; *left > 0 });
            (put, waiting) = (put + tasks, waiting + tasks);
            trigger.at(second);
            if *outage {
                trigger.fails();
            } else {
                trigger.sees(queue(u64::from(waiting), running.len() as u64));
            }
            let value = match trigger.answer_at(second) {
                Answer::Fresh(size) => size.replicas,
                Answer::Held(_) | Answer::Unknown(_) => 0,
            };
            let unfinished = u32::try_from(running.len()).unwrap();
            let create = created(value, unfinished);
            started += create;
            prop_assert!(create <= waiting, "{create} Jobs for {waiting} tasks");
            waiting -= create;
            running.extend(std::iter::repeat_n(*length, usize::try_from(create).unwrap()));
        }
        prop_assert_eq!(started + waiting, put);
    }
}

/// The Jobs that one poll of KEDA starts for a value: `hpa/jobs.rs` with the strategy `default`.
fn created(value: u32, running: u32) -> u32 {
    use crate::engine::hpa::Milli;
    use crate::engine::hpa::jobs::{Bounds, Calculation, Strategy, Trigger, Unfinished, demand, to_create};
    let bounds = Bounds { min: 0, max: Some(1_000) };
    let said = Trigger { value: Milli::whole(value), target: Some(Milli::whole(1)), active: value > 0 };
    let demand = demand(&[said], Calculation::Max, bounds);
    to_create(Strategy::Default, demand, Unfinished { running, pending: 0 }, bounds).create
}
