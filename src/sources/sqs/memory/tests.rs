//! Timelines of counts.

use std::num::NonZeroU32;

use super::*;
use crate::sources::sqs::queue::Queue;

#[test]
fn a_zero_counts_when_it_has_lasted_for_a_minute() {
    let mut watch = Watch::of(&["q"]);
    assert_eq!(watch.at(0).counts(7, 0, 0), seen(7, known(0)));
    for second in (5..65).step_by(5) {
        assert_eq!(watch.at(second).counts(0, 0, 0), kept(7, 0, seen(7, known(0))), "after {second} s");
    }
    assert_eq!(watch.at(65).counts(0, 0, 0), seen(0, known(0)));
}

#[test]
fn a_zero_that_is_interrupted_begins_anew() {
    let mut watch = Watch::of(&["q"]);
    watch.at(0).counts(7, 0, 0);
    for second in (5..60).step_by(5) {
        watch.at(second).counts(0, 0, 0);
    }
    assert_eq!(watch.at(60).counts(2, 0, 0), seen(2, known(0)), "whatever is more than zero is true at once");
    for second in (65..125).step_by(5) {
        assert_eq!(watch.at(second).counts(0, 0, 0), kept(2, 0, seen(2, known(0))), "after {second} s");
    }
    assert_eq!(watch.at(125).counts(0, 0, 0), seen(0, known(0)));
}

#[test]
fn two_zeros_are_too_few_however_far_apart() {
    let mut watch = Watch::of(&["q"]);
    watch.at(0).counts(7, 0, 0);
    watch.at(30).counts(0, 0, 0);
    assert_eq!(watch.at(150).counts(0, 0, 0), kept(7, 0, seen(7, known(0))));
    assert_eq!(watch.at(151).counts(0, 0, 0), seen(0, known(0)));
}

#[test]
fn the_first_zero_of_all_is_true_at_once() {
    assert_eq!(Watch::of(&["q"]).at(0).counts(0, 0, 0), seen(0, known(0)));
}

#[test]
fn messages_that_were_taken_wait_no_longer() {
    let mut watch = Watch::of(&["q"]);
    watch.at(0).counts(7, 0, 0);
    assert_eq!(watch.at(5).counts(0, 7, 0), seen(0, known(7)), "counted once, as running");
    watch.at(10).counts(3, 2, 0);
    assert_eq!(watch.at(15).counts(0, 5, 0), seen(0, known(5)));
}

#[test]
fn running_tasks_are_not_given_up_for_a_zero_of_a_moment_even_where_others_wait() {
    let mut watch = Watch::of(&["q"]);
    watch.at(0).counts(0, 20, 0);
    assert_eq!(watch.at(5).counts(1, 0, 0), kept(0, 20, seen(1, InFlight::Estimated(20))));
    assert_eq!(watch.at(10).counts(0, 0, 0), kept(1, 20, seen(1, InFlight::Estimated(20))));
    assert_eq!(watch.at(15).counts(1, 20, 0), seen(1, known(20)));
    for second in (20..80).step_by(5) {
        watch.at(second).counts(1, 0, 0);
    }
    assert_eq!(watch.at(80).counts(1, 0, 0), seen(1, known(0)));
}

#[test]
fn one_queue_that_jitters_does_not_hide_behind_another() {
    let mut watch = Watch::of(&["a", "b"]);
    assert_eq!(watch.at(0).counts_each(&[(5, 0, 0), (1, 2, 0)]), seen(6, known(2)));
    assert_eq!(watch.at(5).counts_each(&[(0, 0, 0), (1, 2, 0)]), kept(5, 0, seen(6, known(2))));
    assert_eq!(
        watch.at(10).counts_each(&[(0, 0, 0), (1, 0, 0)]),
        kept(5, 2, seen(6, InFlight::Estimated(2)))
    );
}

#[test]
fn delayed_messages_count_where_the_trigger_says_so() {
    let mut silent = Watch::of(&["q"]);
    assert_eq!(silent.at(0).counts(0, 0, 9), seen(0, known(0)));
    let mut counting = Watch::of(&["q"]);
    counting.queues.scale_on_delayed = true;
    assert_eq!(counting.at(0).counts(1, 0, 9), Reading { soon: Some(9), ..seen(1, known(0)) });
}

#[test]
fn groups_are_a_ceiling() {
    let mut watch = Watch::of(&["q.fifo"]);
    watch.queues.max_groups = NonZeroU32::new(3);
    assert_eq!(watch.at(0).counts(9, 1, 0), Reading { ceiling: Some(3), ..seen(9, known(1)) });
}

#[test]
fn an_idle_queue_is_asked_less_and_less_down_to_twice_a_minute() {
    let mut watch = Watch::of(&["q"]);
    let calls = watch.calls(0, 3_600, |_| (0, 0, 0));
    assert_eq!(calls[..8], [0, 5, 10, 15, 25, 40, 60, 90]);
    // Every tick would be 720.
    assert_eq!(calls.len(), 124, "{calls:?}");
}

#[test]
fn a_queue_with_anything_in_it_is_asked_each_tick() {
    for counts in [(1, 0, 0), (0, 1, 0), (0, 0, 1)] {
        let calls = Watch::of(&["q"]).calls(0, 600, |_| counts);
        assert_eq!(calls.len(), 120, "{counts:?}");
    }
}

#[test]
fn while_a_zero_is_being_confirmed_nothing_rests() {
    let mut watch = Watch::of(&["q"]);
    let calls = watch.calls(0, 120, |second| if second < 10 { (1, 0, 0) } else { (0, 0, 0) });
    // True at 70 s: the rests begin there, with none at first.
    assert_eq!(calls[..15], (0..75).step_by(5).collect::<Vec<_>>()[..]);
    assert_eq!(calls[15..], [75, 80, 85, 95, 110]);
}

#[test]
fn work_and_failures_end_the_rest() {
    let mut watch = Watch::of(&["q"]);
    watch.calls(0, 600, |_| (0, 0, 0));
    let late = watch.calls(600, 650, |second| if second < 630 { (0, 0, 0) } else { (4, 0, 0) });
    assert_eq!(late, [600, 630, 635, 640, 645]);
    let mut watch = Watch::of(&["q"]);
    let last = watch.calls(0, 600, |_| (0, 0, 0)).pop().unwrap();
    let fault = Fault::Unexpected("it says 500".to_owned());
    watch.at(last + 30).fails(&fault);
    assert!(!watch.at(last + 31).rests());
}

#[test]
fn a_throttle_rests_for_longer_each_time_and_ends_with_an_answer() {
    let mut watch = Watch::of(&["q"]);
    let throttle = Fault::Throttled("slower".to_owned());
    let mut second = 0;
    for rest in [8, 16, 32, 60, 60] {
        watch.at(second).fails(&throttle);
        assert_eq!(watch.at(second + rest - 1).throttled(), Some(throttle.clone()), "{rest} s");
        second += rest;
        assert_eq!(watch.at(second).throttled(), None, "{rest} s");
    }
    watch.counts(1, 0, 0);
    watch.fails(&throttle);
    assert_eq!(watch.at(second + 8).throttled(), None);
}

#[test]
fn triggers_rest_each_by_itself_and_are_forgotten_when_nobody_reads_them() {
    let mut watch = Watch::of(&["q"]);
    watch.calls(0, 300, |_| (0, 0, 0));
    assert!(watch.rests());
    watch.queues.scale_on_delayed = true;
    assert!(!watch.rests());
    watch.queues.scale_on_delayed = false;
    watch.at(1_000);
    watch.memory.forget(watch.now);
    assert!(watch.memory.plans.is_empty());
}

/// Queues, and a clock that begins at zero.
struct Watch {
    memory: Memory,
    queues: Queues,
    begun: Instant,
    now: Instant,
}

impl Watch {
    fn of(names: &[&str]) -> Self {
        let queue = |name: &&str| Queue { name: (*name).to_owned(), place: None };
        let queues = names.iter().map(queue).collect();
        let queues = Queues { queues, scale_on_delayed: false, max_groups: None };
        let now = Instant::now();
        Self { memory: Memory::default(), queues, begun: now, now }
    }

    fn at(&mut self, second: u64) -> &mut Self {
        self.now = self.begun + Duration::from_secs(second);
        self
    }

    fn counts(&mut self, visible: u64, in_flight: u64, delayed: u64) -> Reading {
        self.counts_each(&[(visible, in_flight, delayed)])
    }

    fn counts_each(&mut self, counts: &[(u64, u64, u64)]) -> Reading {
        let counts: Vec<Counts> = counts
            .iter()
            .map(|&(visible, in_flight, delayed)| Counts { visible, in_flight, delayed })
            .collect();
        self.memory.take(&self.queues, &counts, self.now)
    }

    fn fails(&mut self, fault: &Fault) {
        self.memory.fail(&self.queues, fault, self.now);
    }

    fn rests(&self) -> bool {
        self.memory.rests(&self.queues, self.now)
    }

    fn throttled(&self) -> Option<Fault> {
        self.memory.throttled(&self.queues, self.now)
    }

    /// When ticks of five seconds, from one second up to another, ask for what `counts` says.
    fn calls(&mut self, from: u64, to: u64, counts: impl Fn(u64) -> (u64, u64, u64)) -> Vec<u64> {
        let mut calls = Vec::new();
        for second in (from..to).step_by(5) {
            if !self.at(second).rests() {
                self.counts_each(&[counts(second)]);
                calls.push(second);
            }
        }
        calls
    }
}

fn seen(ready: u64, in_flight: InFlight) -> Reading {
    Reading { ready: Some(ready), in_flight: Some(in_flight), ..Reading::default() }
}

/// The part of it that this read did not count.
fn kept(ready: u64, in_flight: u64, reading: Reading) -> Reading {
    Reading { kept: Tasks { ready, soon: 0, in_flight }, ..reading }
}

const fn known(tasks: u64) -> InFlight {
    InFlight::Known(tasks)
}
