//! What holds over any sequence of syncs.

use std::time::Duration;

use proptest::prelude::{Just, Strategy, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

/// Seconds since the last sync, and what the metric wants; `None` is a failed request.
type Sync = (u64, Option<u32>);

fn syncs() -> impl Strategy<Value = Vec<Sync>> {
    let wish = prop_oneof![1 => Just(None), 9 => (0_u32..120).prop_map(Some)];
    prop::collection::vec((1_u64..120, wish), 1..60)
}

fn pace() -> impl Strategy<Value = Pace> {
    (any::<bool>(), 1_u32..250, 1_u64..400).prop_map(|(percent, value, seconds)| Pace {
        amount: if percent { Amount::Percent(value) } else { Amount::Pods(value) },
        period: Duration::from_secs(seconds),
    })
}

fn rules() -> impl Strategy<Value = ScalingRules> {
    let select = prop::sample::select(vec![Select::Max, Select::Min, Select::Disabled]);
    let parts = (0_u32..300_000, 0_u64..400, select, prop::collection::vec(pace(), 1..4));
    parts.prop_map(|(tolerance, window, select, paces)| ScalingRules {
        tolerance: Tolerance::from_millionths(tolerance),
        window: Duration::from_secs(window),
        select,
        paces,
    })
}

fn behavior() -> impl Strategy<Value = Option<Behavior>> {
    prop::option::weighted(0.9, (rules(), rules()).prop_map(|(up, down)| Behavior { up, down }))
}

fn metric(wish: Option<u32>) -> Metric {
    Metric { value: wish.map(Milli::whole), ..Metric::replicas(0) }
}

/// Lets an HPA scale a workload, and hands over each sync: time, wish, replicas before, what came of it.
fn run(hpa: &mut Hpa, start: u32, syncs: &[Sync]) -> Vec<(Timestamp, Option<u32>, u32, Next)> {
    let (mut now, mut replicas) = (Timestamp::default(), start);
    let mut seen = Vec::new();
    for (pause, wish) in syncs {
        now = now + Duration::from_secs(*pause);
        let next = hpa.sync(Replicas::settled(replicas), &[metric(*wish)], now);
        seen.push((now, *wish, replicas, next));
        replicas = next.replicas;
    }
    seen
}

proptest! {
    #[test]
    fn no_sync_leaves_the_bounds_and_a_missing_metric_changes_nothing(
        behavior in behavior(), min in 0_u32..10, span in 0_u32..90, start in 1_u32..120, syncs in syncs(),
    ) {
        let bounds = Bounds::of(min, min.max(1) + span);
        for (_, wish, before, next) in run(&mut Hpa::new(bounds, behavior), start, &syncs) {
            prop_assert!((bounds.min..=bounds.max).contains(&next.replicas));
            if wish.is_none() && (bounds.min..=bounds.max).contains(&before) {
                prop_assert_eq!((next.replicas, next.why), (before, Why::NoMetric));
            }
        }
    }

    #[test]
    fn with_a_behavior_no_sync_overshoots_the_wish_or_goes_the_other_way(
        up in rules(), down in rules(), start in 1_u32..120, syncs in syncs(),
    ) {
        let mut hpa = Hpa::new(Bounds::of(0, 120), Some(Behavior { up, down }));
        for (_, wish, before, next) in run(&mut hpa, start, &syncs) {
            let wish = wish.map_or(before, |wish| wish.max(1));
            prop_assert!((before.min(wish)..=before.max(wish)).contains(&next.replicas), "{before} {wish} {next:?}");
        }
    }

    #[test]
    fn the_reason_fits_the_number(behavior in behavior(), start in 1_u32..120, syncs in syncs()) {
        // Without a behavior, the window gives back a wish that the tolerance would leave alone.
        let old_rules = behavior.is_none();
        let mut hpa = Hpa::new(Bounds::of(3, 100), behavior);
        for (_, wish, before, Next { replicas, wanted, why }) in run(&mut hpa, start, &syncs) {
            match why {
                Why::AsWanted => prop_assert!(wanted == Some(replicas)),
                Why::Tolerance => prop_assert!(replicas == before && wanted != Some(replicas)),
                Why::UpWindow | Why::UpPolicy => prop_assert!(replicas >= before),
                Why::DownWindow => prop_assert!(wanted < Some(replicas) || old_rules && replicas > before),
                Why::DownPolicy => prop_assert!(replicas <= before && wanted < Some(replicas)),
                Why::UpDisabled => prop_assert!(replicas == before && wanted > Some(replicas)),
                Why::DownDisabled => prop_assert!(replicas == before && wanted < Some(replicas)),
                Why::Max => prop_assert!(replicas == 100),
                Why::Min => prop_assert!(replicas == 3 && wish < Some(3)),
                Why::AboveMax => prop_assert!(before > 100 && replicas == 100),
                Why::BelowMin => prop_assert!(before < 3 && replicas == 3),
                Why::NoMetric => prop_assert!(wish.is_none()),
                Why::SomeMissing | Why::AtZero => prop_assert!(false, "one metric, and never zero"),
            }
        }
    }

    #[test]
    fn windows_are_the_extremes_of_the_whole_history(
        up in 0_u64..400, down in 0_u64..400, start in 1_u32..120, syncs in syncs(),
    ) {
        let mut behavior = Behavior::default();
        behavior.up.paces = vec![Pace { amount: Amount::Pods(1000), period: Duration::from_secs(1) }];
        (behavior.up.tolerance, behavior.down.tolerance) = (Tolerance::ZERO, Tolerance::ZERO);
        (behavior.up.window, behavior.down.window) = (Duration::from_secs(up), Duration::from_secs(down));
        let mut hpa = Hpa::new(Bounds::of(0, 1000), Some(behavior));
        let mut history = Vec::new();
        for (now, wish, before, next) in run(&mut hpa, start, &syncs) {
            if history.is_empty() {
                history.push((now, start));
            }
            let Some(wish) = wish else { continue };
            let recent = |window| history.iter().filter(move |(at, _)| now.since(*at).as_secs() < window);
            let lowest = recent(up).map(|(_, wish)| *wish).chain([wish]).min().unwrap();
            let highest = recent(down).map(|(_, wish)| *wish).chain([wish]).max().unwrap();
            prop_assert_eq!(next.replicas, before.max(lowest).min(highest).max(1));
            history.push((now, wish));
        }
    }

    #[test]
    fn a_policy_of_pods_is_kept_in_any_period_that_has_no_scale_down(
        pods in 1_u32..10, seconds in 1_u64..300, start in 1_u32..40, syncs in syncs(),
    ) {
        let mut behavior = Behavior::default();
        behavior.up.paces = vec![Pace { amount: Amount::Pods(pods), period: Duration::from_secs(seconds) }];
        // Scale-downs in the same period would give their replicas back to the scale-ups.
        behavior.down.select = Select::Disabled;
        let seen = run(&mut Hpa::new(Bounds::of(0, 1000), Some(behavior)), start, &syncs);
        for (index, (now, _, _, next)) in seen.iter().enumerate() {
            let earlier = seen[..=index].iter().find(|(at, ..)| now.since(*at).as_secs() < seconds);
            let first = earlier.map_or(next.replicas, |(_, _, before, _)| *before);
            prop_assert!(next.replicas - first <= pods);
        }
    }

    #[test]
    fn the_default_ladder_climbs_to_every_wish_outside_the_tolerance(current in 1_u32..100, wish in 1_u32..400) {
        let hpa = Hpa::new(Bounds::of(0, 400), Some(Behavior::default()));
        let Ladder { rungs, why } = hpa.ladder(current, wish, SYNC_EVERY, 40, Timestamp::default());
        let reached = rungs.last().map_or(current, |rung| rung.replicas);
        prop_assert!(reached == wish || why == Why::Tolerance);
        prop_assert!(rungs.is_sorted_by_key(|rung| rung.after));
        let sizes: Vec<u32> = [current].into_iter().chain(rungs.iter().map(|rung| rung.replicas)).collect();
        prop_assert!(sizes.is_sorted() || sizes.is_sorted_by(|above, below| above >= below));
        for pair in sizes.windows(2) {
            prop_assert!(pair[1] <= (pair[0] * 2).max(pair[0] + 4));
        }
    }

    #[test]
    fn any_wish_is_reached_without_a_tolerance(
        mut up in rules(), mut down in rules(), current in 1_u32..60, wish in 1_u32..60,
    ) {
        (up.tolerance, down.tolerance) = (Tolerance::ZERO, Tolerance::ZERO);
        (up.select, down.select) = (Select::Max, Select::Max);
        let hpa = Hpa::new(Bounds::default(), Some(Behavior { up, down }));
        let Ladder { rungs, .. } = hpa.ladder(current, wish, SYNC_EVERY, 4_000, Timestamp::default());
        prop_assert_eq!(rungs.last().map_or(current, |rung| rung.replicas), wish);
    }
}
