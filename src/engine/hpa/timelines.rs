//! What a workload goes through, sync after sync.

use std::time::Duration;

use super::*;

/// A workload whose pods are there as soon as they are asked for, and its HPA.
struct Workload {
    hpa: Hpa,
    replicas: u32,
}

impl Workload {
    fn new(replicas: u32, max: u32, behavior: Option<Behavior>) -> Self {
        Self { hpa: Hpa::new(Bounds::of(0, max), behavior), replicas }
    }

    /// Syncs at `second`, with a metric that wants so many.
    fn at(&mut self, second: u64, wanted: u32) -> (u32, Why) {
        let now = Timestamp::from_millis(second * 1_000);
        let next = self.hpa.sync(Replicas::settled(self.replicas), &[Metric::replicas(wanted)], now);
        self.replicas = next.replicas;
        (next.replicas, next.why)
    }
}

fn with(change: impl FnOnce(&mut Behavior)) -> Option<Behavior> {
    let mut behavior = Behavior::default();
    change(&mut behavior);
    Some(behavior)
}

fn pace(amount: Amount, seconds: u64) -> Pace {
    Pace { amount, period: Duration::from_secs(seconds) }
}

fn steps(behavior: Option<Behavior>, current: u32, wish: u32) -> (Vec<(u64, u32)>, Why) {
    let hpa = Hpa::new(Bounds::of(0, 200), behavior);
    let Ladder { rungs, why } = hpa.ladder(current, wish, SYNC_EVERY, 100, Timestamp::default());
    (rungs.iter().map(|rung| (rung.after.as_secs(), rung.replicas)).collect(), why)
}

#[test]
fn the_default_policies_climb_in_a_ladder() {
    let climbed = vec![(0, 5), (15, 10), (30, 20), (45, 40), (60, 80), (75, 100)];
    assert_eq!(steps(with(|_| ()), 1, 100), (climbed, Why::AsWanted));
    assert_eq!(steps(with(|_| ()), 1, 37), (vec![(0, 5), (15, 10), (30, 20), (45, 37)], Why::AsWanted));
}

#[test]
fn without_a_behavior_the_ladder_is_another_one() {
    let climbed = vec![(0, 4), (15, 8), (30, 16), (45, 32), (60, 37)];
    assert_eq!(steps(None, 1, 37), (climbed, Why::AsWanted));
}

#[test]
fn a_ladder_says_why_it_ends_below_the_wish() {
    assert_eq!(steps(with(|_| ()), 20, 21), (vec![], Why::Tolerance));
    assert_eq!(steps(with(|_| ()), 100, 300), (vec![(0, 200)], Why::Max));
    assert_eq!(
        steps(with(|behavior| behavior.up.select = Select::Disabled), 1, 9),
        (vec![], Why::UpDisabled)
    );
    assert_eq!(steps(with(|_| ()), 9, 9), (vec![], Why::AsWanted));
    assert_eq!(steps(with(|_| ()), 0, 9), (vec![], Why::AtZero));
}

#[test]
fn a_new_hpa_waits_for_a_whole_window_before_it_scales_down() {
    assert_eq!(steps(with(|_| ()), 20, 2), (vec![(300, 2)], Why::AsWanted));
    assert_eq!(steps(None, 20, 2), (vec![(315, 2)], Why::AsWanted));
}

#[test]
fn a_tolerance_counts_in_its_own_direction() {
    let narrow = |up: u32, down: u32| {
        with(|behavior| {
            behavior.up.tolerance = Tolerance::from_millionths(up);
            behavior.down.tolerance = Tolerance::from_millionths(down);
            behavior.down.window = Duration::ZERO;
        })
    };
    for (up, down, wanted, next) in [
        (100_000, 100_000, 22, (20, Why::Tolerance)),
        (100_000, 100_000, 23, (23, Why::AsWanted)),
        (20_000, 100_000, 21, (21, Why::AsWanted)),
        (20_000, 100_000, 19, (20, Why::Tolerance)),
        (100_000, 0, 19, (19, Why::AsWanted)),
        (100_000, 0, 21, (20, Why::Tolerance)),
        (100_000, 0, 20, (20, Why::AsWanted)),
    ] {
        assert_eq!(Workload::new(20, 100, narrow(up, down)).at(0, wanted), next, "{up} {down} {wanted}");
    }
}

#[test]
fn policies_of_several_periods_limit_together() {
    let mut workload = Workload::new(
        10,
        100,
        with(|behavior| {
            behavior.up.select = Select::Min;
            behavior.up.paces = vec![pace(Amount::Pods(4), 15), pace(Amount::Pods(10), 60)];
        }),
    );
    let climbed: Vec<u32> = (0..8).map(|sync| workload.at(sync * 15, 90).0).collect();
    assert_eq!(climbed, [14, 18, 20, 20, 24, 28, 30, 30]);
}

#[test]
fn one_pod_a_minute_is_one_pod_a_minute() {
    let slow = with(|behavior| {
        behavior.down.window = Duration::ZERO;
        behavior.down.paces = vec![pace(Amount::Pods(1), 60)];
    });
    assert_eq!(steps(slow, 9, 6), (vec![(0, 8), (60, 7), (120, 6)], Why::AsWanted));
}

#[test]
fn small_percentages_stand_still_or_take_one_at_a_time() {
    let down = with(|behavior| {
        behavior.down.window = Duration::ZERO;
        behavior.down.paces = vec![pace(Amount::Percent(10), 60)];
    });
    // A tenth of 5 is half a pod: rounded so that one goes.
    assert_eq!(steps(down, 5, 3), (vec![(0, 4), (60, 3)], Why::AsWanted));
    let up = with(|behavior| behavior.up.paces = vec![pace(Amount::Percent(10), 60)]);
    assert_eq!(steps(up, 3, 5), (vec![(0, 4), (60, 5)], Why::AsWanted));
}

#[test]
fn a_disabled_direction_stands_still_and_the_other_moves() {
    let paused_in = || with(|behavior| behavior.down.select = Select::Disabled);
    let mut workload = Workload::new(20, 100, paused_in());
    assert_eq!(workload.at(0, 40), (40, Why::AsWanted));
    assert_eq!(workload.at(900, 2), (40, Why::DownDisabled));
    let mut workload = Workload::new(20, 100, with(|behavior| behavior.up.select = Select::Disabled));
    assert_eq!(workload.at(0, 40), (20, Why::UpDisabled));
    assert_eq!(workload.at(900, 2), (2, Why::AsWanted));
}

#[test]
fn an_up_window_waits_for_the_spike_to_last() {
    let patient = with(|behavior| behavior.up.window = Duration::from_secs(60));
    let mut workload = Workload::new(4, 100, patient);
    assert_eq!(workload.at(0, 8), (4, Why::UpWindow));
    assert_eq!(workload.at(45, 8), (4, Why::UpWindow));
    assert_eq!(workload.at(60, 8), (8, Why::AsWanted));
}

#[test]
fn one_spike_holds_the_fleet_for_a_window() {
    let mut workload = Workload::new(4, 100, with(|_| ()));
    assert_eq!(workload.at(0, 8), (8, Why::AsWanted));
    assert_eq!(workload.at(15, 4), (8, Why::DownWindow));
    assert_eq!(workload.at(299, 4), (8, Why::DownWindow));
    assert_eq!(workload.at(300, 4), (4, Why::AsWanted));
}

#[test]
fn a_scale_down_falls_to_the_highest_wish_of_the_window() {
    let mut workload = Workload::new(20, 100, with(|_| ()));
    assert_eq!(workload.at(0, 20), (20, Why::AsWanted));
    assert_eq!(workload.at(150, 12), (20, Why::DownWindow));
    assert_eq!(workload.at(300, 3), (12, Why::DownWindow));
    assert_eq!(workload.at(450, 3), (3, Why::AsWanted));
}

#[test]
fn a_recent_scale_down_lets_a_scale_up_go_further() {
    let mut workload = Workload::new(20, 100, with(|behavior| behavior.down.window = Duration::ZERO));
    assert_eq!(workload.at(0, 2), (2, Why::AsWanted));
    assert_eq!(workload.at(10, 90), (40, Why::UpPolicy));
}

// KEDA's steps are no events of the HPA's: with a period longer than the rest at zero, the replicas that it
// added before still count against it.
#[test]
fn after_a_rest_at_zero_a_long_period_blocks_the_climb() {
    let ten_minutes = with(|behavior| behavior.up.paces = vec![pace(Amount::Pods(20), 600)]);
    let mut workload = Workload::new(1, 100, ten_minutes);
    assert_eq!(workload.at(0, 21), (21, Why::AsWanted));
    workload.replicas = 0;
    assert_eq!(workload.at(120, 9), (0, Why::AtZero));
    workload.replicas = 1;
    assert_eq!(workload.at(180, 9), (1, Why::UpPolicy));
    assert_eq!(workload.at(600, 9), (9, Why::AsWanted));
}

// Without a `behavior`, the highest wish of 300 s holds even above what runs.
#[test]
fn after_a_short_rest_at_zero_without_a_behavior_the_old_peak_comes_back() {
    for (behavior, next) in [(None, (4, Why::UpPolicy)), (with(|_| ()), (1, Why::AsWanted))] {
        let mut workload = Workload::new(20, 100, behavior);
        assert_eq!(workload.at(0, 20), (20, Why::AsWanted));
        workload.replicas = 1;
        assert_eq!(workload.at(90, 1), next);
    }
}

// KEDA's e2e: a target of 6.111 and a value of 22.222 want 4.
#[test]
fn a_fraction_is_rounded_up() {
    let metric = Metric {
        kind: MetricType::AverageValue,
        target: Milli::sent(6.111),
        value: Some(Milli::sent(22.222)),
    };
    let mut hpa = Hpa::new(Bounds::of(0, 3), with(|_| ()));
    let next = hpa.sync(Replicas::settled(1), &[metric], Timestamp::default());
    assert_eq!(next, Next { replicas: 3, wanted: Some(4), why: Why::Max });
}

#[test]
fn a_rolling_update_lifts_the_size_within_the_tolerance() {
    let mut hpa = Hpa::new(Bounds::default(), with(|_| ()));
    let surge = Replicas { spec: 20, status: 22, ready: 20 };
    let next = hpa.sync(surge, &[Metric::replicas(20)], Timestamp::default());
    assert_eq!(next, Next { replicas: 22, wanted: Some(20), why: Why::Tolerance });
}

#[test]
fn every_reason_has_a_name_and_a_phrase_of_its_own() {
    let labels: std::collections::BTreeSet<_> = Why::ALL.iter().map(|why| why.label()).collect();
    let phrases: std::collections::BTreeSet<_> = Why::ALL.iter().map(Why::to_string).collect();
    assert_eq!((labels.len(), phrases.len()), (Why::ALL.len(), Why::ALL.len()));
}
