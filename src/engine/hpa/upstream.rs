//! Cases transposed from kubernetes v1.35.8 `pkg/controller/podautoscaler/horizontal_test.go`.
//!
//! Left out: a `minReplicas` of 0, which KEDA never sets, and metrics other than external ones, except where
//! only their ratio mattered.

use std::time::Duration;

use super::behavior::{Amount, Behavior, Pace, ScalingRules, Select, Tolerance};
use super::events::{Events, Wishes};
use super::{Bounds, Hpa, Metric, MetricType, Milli, Next, Replicas, Why};
use crate::timestamp::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(100_000_000);

/// `pods` per seconds and `percent` per seconds, of which 0 is none: upstream's `generateScalingRules`.
type Rules = (u32, u64, u32, u64);

const NONE: Rules = (0, 0, 0, 0);

fn rules((pods, pods_period, percent, percent_period): Rules, defaults: ScalingRules) -> ScalingRules {
    let pace = |amount, period| Pace { amount, period: Duration::from_secs(period) };
    let pods = (pods > 0).then(|| pace(Amount::Pods(pods), pods_period));
    let percent = (percent > 0).then(|| pace(Amount::Percent(percent), percent_period));
    let paces: Vec<_> = pods.into_iter().chain(percent).collect();
    if paces.is_empty() { defaults } else { ScalingRules { paces, ..defaults } }
}

/// Upstream's `generateEventsUniformDistribution`: the ages of changes spread over a time.
fn spread(changes: &[u32], seconds: u64) -> Vec<(u64, u32)> {
    let each = seconds as f64 / changes.len() as f64;
    let age = |index: usize| seconds as f64 - each * (index as f64 + 0.5);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "as upstream")]
    changes.iter().enumerate().map(|(index, change)| (age(index) as u64, *change)).collect()
}

// TestConvertDesiredReplicasWithRules
#[test]
fn without_a_behavior_bounds_and_doubling_limit() {
    for (current, wish, bounds, limited) in [
        (5, 7, (3, 8), None),
        (3, 1, (2, 8), Some((2, Why::Min))),
        (20, 1000, (1, 10), Some((10, Why::Max))),
        (3, 1000, (1, 2000), Some((6, Why::UpPolicy))),
        (1, 1000, (1, 2000), Some((4, Why::UpPolicy))), // calculateScaleUpLimit: at least 4
    ] {
        let bounds = Bounds::of(bounds.0, bounds.1);
        assert_eq!(super::limited_without_behavior(bounds, current, wish), limited, "{current} → {wish}");
    }
}

// TestCalculateScaleUpLimitWithScalingRules, TestCalculateScaleDownLimitWithBehaviors
#[test]
fn the_smallest_change_of_pods_and_percent() {
    let least = |defaults| ScalingRules { select: Select::Min, ..rules((2, 60, 50, 60), defaults) };
    let Behavior { up, down } = Behavior::default();
    assert_eq!(least(up).highest(1, &Events::default(), NOW), 2);
    assert_eq!(least(down).lowest(5, &Events::default(), NOW), 3);
}

// TestScalingWithRules: scale-ups
#[test]
fn scale_ups_keep_policies_and_bounds() {
    const EARLIER: &[u32] = &[1, 5, 9];
    const MANY: &[u32] = &[8, 12, 9, 11];
    for (ups, downs, bounds, up, current, wish, limited) in [
        (&[][..], &[][..], (3, 8), NONE, 5, 7, None),
        (&[], &[], (100, 150), NONE, 100, 1000, Some((150, Why::Max))),
        (&[], &[], (1, 2000), (0, 0, 1, 60), 3, 1000, Some((4, Why::UpPolicy))),
        (&[], &[], (1, 1000), NONE, 10, 50, Some((20, Why::UpPolicy))),
        (&[], &[], (1, 1000), (100, 60, 100, 60), 10, 500, Some((110, Why::UpPolicy))),
        (&[], &[], (1, 1000), (2, 60, 100, 60), 10, 500, Some((20, Why::UpPolicy))),
        (&[], &[], (1, 1000), (100, 60, 0, 0), 10, 50, None),
        (&[], &[], (1, 1000), (10_000, 60, 0, 0), 10, 50, None),
        (&[], &[], (1, 1000), (30, 60, 0, 0), 10, 50, Some((40, Why::UpPolicy))),
        (&[], &[], (1, 1000), (0, 0, 200, 60), 10, 50, Some((30, Why::UpPolicy))),
        (EARLIER, &[], (1, 200), (300, 60, 0, 0), 100, 500, Some((200, Why::Max))),
        (EARLIER, &[], (1, 200), (0, 0, 10_000, 60), 100, 500, Some((200, Why::Max))),
        (EARLIER, &[], (1, 1000), (5, 120, 0, 0), 100, 500, Some((100, Why::UpPolicy))),
        (EARLIER, &[], (1, 1000), (150, 120, 0, 0), 100, 500, Some((235, Why::UpPolicy))),
        (EARLIER, &[], (1, 1000), (0, 0, 200, 120), 100, 500, Some((255, Why::UpPolicy))),
        (&[4], &[2], (1, 1000), (0, 0, 300, 300), 6, 24, Some((16, Why::UpPolicy))),
        (MANY, &[], (1, 1000), (1000, 60, 0, 0), 100, 200, None),
        (MANY, &[], (1, 1000), (1000, 120, 100, 60), 100, 200, None),
        (MANY, &[], (1, 1000), (1000, 30, 100, 60), 100, 200, None),
    ] {
        let hpa = hpa(ups, downs, bounds);
        let behavior = Behavior { up: rules(up, Behavior::default().up), ..Behavior::default() };
        let seen = hpa.limited(&behavior, current, wish, NOW);
        assert_eq!(seen, limited, "{ups:?} {downs:?} {bounds:?} {up:?} {current} → {wish}");
    }
}

// TestScalingWithRules: scale-downs
#[test]
fn scale_downs_keep_policies_and_bounds() {
    const EARLIER: &[u32] = &[1, 5, 9];
    const MANY: &[u32] = &[8, 12, 9, 11];
    for (ups, downs, bounds, down, current, wish, limited) in [
        (&[][..], &[][..], (2, 8), NONE, 3, 1, Some((2, Why::Min))),
        (&[], &[], (3, 2000), (20, 60, 0, 0), 1000, 3, Some((980, Why::DownPolicy))),
        (&[], &[], (1, 1000), (20, 60, 1, 60), 100, 2, Some((80, Why::DownPolicy))),
        (&[], &[], (1, 1000), (2, 60, 1, 60), 100, 2, Some((98, Why::DownPolicy))),
        (&[], &[], (1, 1000), (100, 60, 0, 0), 10, 0, Some((1, Why::Min))),
        (&[], &[], (5, 1000), (0, 0, 100, 60), 10, 2, Some((5, Why::Min))),
        (&[], &[], (1, 1000), (5, 60, 0, 0), 10, 2, Some((5, Why::DownPolicy))),
        (&[], &[], (1, 1000), (0, 0, 50, 60), 10, 5, None),
        (&[], EARLIER, (1, 1000), NONE, 10, 5, None),
        (&[], EARLIER, (1, 1000), (115, 120, 0, 0), 100, 0, Some((1, Why::Min))),
        (&[], EARLIER, (5, 1000), (130, 120, 0, 0), 100, 0, Some((5, Why::Min))),
        (&[], EARLIER, (5, 1000), (0, 0, 100, 120), 100, 2, Some((5, Why::Min))),
        (&[], EARLIER, (1, 1000), (5, 120, 0, 0), 100, 2, Some((100, Why::DownPolicy))),
        (&[], &[2, 4, 6], (1, 1000), (0, 0, 50, 120), 100, 0, Some((56, Why::DownPolicy))),
        (&[2], &[4], (1, 1000), (0, 0, 50, 180), 10, 1, Some((6, Why::DownPolicy))),
        (&[], &[10, 10, 10], (1, 1000), (0, 0, 10, 120), 100, 0, Some((100, Why::DownPolicy))),
        (&[], &[10, 10, 10], (1, 1000), (0, 0, 1000, 120), 10, 5, None),
        (&[], MANY, (1, 1000), (1000, 60, 0, 0), 100, 5, None),
        (&[], MANY, (1, 1000), (1000, 120, 100, 60), 100, 5, None),
        (&[], MANY, (1, 1000), (1000, 30, 100, 60), 100, 5, None),
    ] {
        let hpa = hpa(ups, downs, bounds);
        let behavior = Behavior { down: rules(down, Behavior::default().down), ..Behavior::default() };
        let seen = hpa.limited(&behavior, current, wish, NOW);
        assert_eq!(seen, limited, "{ups:?} {downs:?} {bounds:?} {down:?} {current} → {wish}");
    }
}

// TestNormalizeDesiredReplicas
#[test]
fn without_a_behavior_the_highest_wish_of_five_minutes_holds() {
    for (wishes, wish, stable, places) in [
        (&[][..], 5, 5, 1),
        (&[(120, 4), (60, 5)], 3, 5, 3),
        (&[(120, 1), (60, 2)], 3, 3, 3),
        (&[(600, 10), (540, 9)], 3, 3, 2),
        (&[(600, 10), (60, 4), (120, 5), (540, 9)], 3, 5, 4),
    ] {
        let mut seen = Wishes::from_ages(wishes, NOW);
        assert_eq!(seen.highest(wish, Behavior::DOWN_WINDOW, NOW), stable, "{wishes:?} {wish}");
        assert_eq!(seen.all().len(), places, "{wishes:?} {wish}");
    }
}

// TestNormalizeDesiredReplicasWithBehavior
#[test]
fn windows_hold_in_both_directions_and_old_wishes_give_up_their_places() {
    for (wishes, windows, current, wish, stable, places) in [
        (&[][..], (0, 0), 100, 5, 5, &[5][..]),
        (&[(120, 4), (60, 5)], (0, 180), 100, 3, 5, &[4, 5, 3]),
        (&[(120, 4), (60, 5)], (300, 0), 1, 7, 4, &[4, 5, 7]),
        (&[(120, 1), (60, 2)], (300, 0), 100, 3, 3, &[1, 2, 3]),
        (&[(120, 4), (60, 5)], (0, 300), 1, 3, 3, &[4, 5, 3]),
        (&[(600, 10), (540, 9)], (0, 0), 100, 3, 3, &[10, 3]),
        (&[(600, 10), (540, 9)], (0, 0), 1, 100, 100, &[10, 100]),
        (&[(600, 10), (60, 4), (120, 5), (540, 9)], (0, 180), 100, 3, 5, &[10, 4, 5, 3]),
        (&[(6000, 10), (60, 6), (120, 5), (180, 9)], (300, 0), 1, 100, 5, &[100, 6, 5, 9]),
        (&[(6000, 2), (180, 3)], (300, 300), 2, 1, 2, &[1, 3]),
        (&[(6000, 2), (180, 1)], (300, 300), 2, 3, 2, &[3, 1]),
    ] {
        let mut seen = Wishes::from_ages(wishes, NOW);
        let windows = (Duration::from_secs(windows.0), Duration::from_secs(windows.1));
        assert_eq!(seen.stabilise(current, wish, windows, NOW), stable, "{wishes:?} {current} → {wish}");
        assert_eq!(seen.all(), places, "{wishes:?} {current} → {wish}");
    }
}

// TestStoreScaleEvents
#[test]
fn changes_count_for_a_period_and_then_give_up_their_places() {
    for (ages, paces, within, places) in [
        (&[][..], (10, 60, 100, 60), 0, &[5][..]),
        (&[(61, 7)], (10, 60, 100, 60), 0, &[5]),
        (&[(58, 7)], (10, 60, 100, 60), 7, &[7, 5]),
        (&[(61, 7), (59, 6)], (10, 60, 0, 0), 6, &[5, 6]),
        (&[(29, 8), (59, 6), (61, 7), (61, 9)], (10, 60, 100, 30), 14, &[8, 6, 7, 5]),
        (&[(58, 7), (59, 6)], (10, 120, 100, 30), 13, &[7, 6, 5]),
    ] {
        let mut events = Events::from_ages(ages, &[], NOW);
        assert_eq!(100 - events.start(100, Duration::from_secs(60), NOW), within, "{ages:?}");
        events.added(5, rules(paces, Behavior::default().up).longest_period(), NOW);
        assert_eq!(events.ups(), places, "{ages:?}");
    }
}

// TestConfigurableTolerance; TestMinReplicas(DesiredZero), TestMaxReplicas, TestTooFewReplicas,
// TestTooManyReplicas, TestZeroReplicas, TestUpscaleCap(GreaterThanMaxReplicas), TestMissingMetrics.
#[test]
fn whole_syncs() {
    let percent = |down: u32, up: u32| {
        let mut behavior = Behavior::default();
        (behavior.down.window, behavior.down.tolerance) = (Duration::ZERO, Tolerance::from_millionths(down));
        behavior.up.tolerance = Tolerance::from_millionths(up);
        behavior
    };
    let cap = Behavior { up: rules((0, 0, 700, 60), Behavior::default().up), ..Behavior::default() };
    for (bounds, behavior, current, usage, replicas, why) in [
        ((1, 5), percent(100_000, 10_000), 3, Some(1020), 4, Why::AsWanted),
        ((1, 5), percent(900_000, 100_000), 3, Some(300), 3, Why::Tolerance),
        ((1, 5), percent(100_000, 100_000), 3, Some(1020), 3, Why::Tolerance),
        ((2, 5), percent(100_000, 100_000), 3, Some(0), 2, Why::Min),
        ((2, 5), percent(100_000, 100_000), 3, Some(9000), 5, Why::Max),
        ((3, 5), percent(100_000, 100_000), 2, Some(1000), 3, Why::BelowMin),
        ((3, 5), percent(100_000, 100_000), 10, Some(1000), 5, Why::AboveMax),
        ((3, 5), percent(100_000, 100_000), 0, Some(1000), 0, Why::AtZero),
        ((1, 100), cap.clone(), 3, Some(20_000), 24, Why::UpPolicy),
        ((1, 20), cap, 3, Some(20_000), 20, Why::Max),
        ((2, 6), percent(100_000, 100_000), 4, None, 4, Why::NoMetric),
    ] {
        let metric = Metric {
            kind: MetricType::Value,
            target: Milli::whole(1),
            value: usage.map(Milli::from_thousandths),
        };
        let mut hpa = Hpa::new(Bounds::of(bounds.0, bounds.1), Some(behavior));
        let Next { replicas: seen, why: reason, .. } = hpa.sync(Replicas::settled(current), &[metric], NOW);
        assert_eq!((seen, reason), (replicas, why), "{bounds:?} {current} {usage:?}");
    }
}

// TestStabilizeDownscale, TestScaleDownStabilizeInitialSize
#[test]
fn without_a_behavior_the_first_size_counts_as_a_wish() {
    let mut hpa = Hpa::new(Bounds::of(1, 5), None);
    let Next { replicas, why, .. } = hpa.sync(Replicas::settled(4), &[Metric::replicas(2)], NOW);
    assert_eq!((replicas, why), (4, Why::DownWindow));
    hpa.wishes = Wishes::from_ages(&[(600, 10), (60, 4)], NOW);
    let Next { replicas, why, .. } = hpa.sync(Replicas::settled(4), &[Metric::replicas(2)], NOW);
    assert_eq!((replicas, why), (4, Why::DownWindow));
}

// TestScaleUpOneMetricInvalid, TestNoScaleDownOneMetricInvalid, TestScaleUpBothMetricsEmpty
#[test]
fn a_missing_metric_forbids_only_a_scale_down() {
    let missing = Metric { value: None, ..Metric::replicas(0) };
    let sync = |metrics: &[Metric]| {
        let Next { replicas, why, .. } =
            Hpa::new(Bounds::of(2, 6), Some(Behavior::default())).sync(Replicas::settled(3), metrics, NOW);
        (replicas, why)
    };
    assert_eq!(sync(&[Metric::replicas(4), missing]), (4, Why::AsWanted));
    assert_eq!(sync(&[missing, Metric::replicas(2)]), (3, Why::SomeMissing));
    assert_eq!(sync(&[missing, missing]), (3, Why::NoMetric));
    assert_eq!(sync(&[Metric::replicas(2), Metric::replicas(5)]), (5, Why::AsWanted));
}

fn hpa(ups: &[u32], downs: &[u32], (min, max): (u32, u32)) -> Hpa {
    let events = Events::from_ages(&spread(ups, 120), &spread(downs, 120), NOW);
    Hpa { events, ..Hpa::new(Bounds::of(min, max), None) }
}
