//! k, the part of a limit that the provider really admits: a fold over the minutes that workers keep.
//!
//! Every process that reads the same minutes computes the same k, so nothing of it has to be stored or shared.

use std::collections::BTreeMap;

use crate::engine::limit::Dimension;
use crate::engine::minutes::Minute;

/// Fewest calls of a minute that say anything about the share of refusals among them.
const ENOUGH_CALLS: u64 = 20;

/// Share of refusals that is too much where workers pace themselves: they should earn next to none.
const TOO_MANY_PACED: f64 = 0.03;

/// The same where they do not: a bursty load shows 9 % at a third of the limit, and needs no cap for it.
const TOO_MANY_UNPACED: f64 = 0.20;

/// Minutes in a row with too many refusals before k follows, where workers do not pace themselves.
///
/// A burst at a third of a limit that refills by the second earns more than a fifth in 13 to 50 % of the minutes, but
/// three times in a row mostly when it is larger than the limit itself; a provider that admits less refuses in each.
const LASTING_UNPACED: u32 = 3;

/// Minutes that workers keep.
const MINUTES_KEPT: u64 = 30;

/// Part of the threshold below which k may grow again.
const FEW: f64 = 0.25;

/// The most that one minute takes away, as a factor.
const STEEPEST: f64 = 0.7;

/// The least k: a provider that admits less is out of order, not out of room.
const LEAST: f64 = 0.25;

/// Growth a minute: up to near the k that was too much, from there up to it, and where nothing ahead has been too much.
///
/// Beyond what was too much, k doubles its distance from it each minute, up to the last. Of 1,440 losses of a third to
/// two thirds, with noise, 4 % earned more than 3 % refusals once settled, and all were used to 95 % again within 15 minutes
/// of their end. With free growth as soon as k was beyond, half of them earned more: a refusal that was chance sets the mark
/// too low, and the next step went far over it.
const GROWTH: f64 = 0.06;
const CAREFUL_GROWTH: f64 = 0.01;
const FREE_GROWTH: f64 = 0.14;

/// Part of the k that was too much up to which it grows fast.
const NEAR: f64 = 0.9;

/// How workers behave toward the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Manners {
    /// They keep to their share by themselves.
    Paced,
    /// They call when they like, and are refused now and then.
    Unpaced,
}

impl Manners {
    const fn too_many(self) -> f64 {
        match self {
            Self::Paced => TOO_MANY_PACED,
            Self::Unpaced => TOO_MANY_UNPACED,
        }
    }

    /// Minutes in a row with too many refusals that are more than a burst.
    const fn lasting(self) -> u32 {
        match self {
            Self::Paced => 1,
            Self::Unpaced => LASTING_UNPACED,
        }
    }

    /// Part η of a limit that is planned for: pacing workers can use all of it.
    pub(super) const fn usable(self) -> f64 {
        match self {
            Self::Paced => 1.0,
            Self::Unpaced => 0.92,
        }
    }
}

/// Calls of a minute, and the share of them that the provider refused.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Refusals {
    calls: u64,
    pub(super) share: f64,
}

impl Refusals {
    pub(super) fn of(minute: &Minute) -> Self {
        let calls = minute.used.requests.saturating_add(minute.refused);
        Self { calls, share: minute.refused as f64 / calls.max(1) as f64 }
    }

    /// Whether there were calls enough to tell.
    pub(super) const fn is_enough(&self) -> bool {
        self.calls >= ENOUGH_CALLS
    }
}

/// One minute of a limit, all workers together, and what is left to them of each dimension.
#[derive(Clone, Debug)]
pub(super) struct Past<'a> {
    pub(super) minute: &'a Minute,
    pub(super) refusals: Refusals,
    /// The limit less the use by others, by dimension.
    pub(super) available: BTreeMap<Dimension, f64>,
}

/// k after each complete minute, by its number. `present` is the minute that has not ended.
pub(super) fn fold(past: &BTreeMap<u64, Past<'_>>, present: u64, manners: Manners) -> BTreeMap<u64, f64> {
    let mut admission = Admission { k: 1.0, too_much: None, refusing: 0 };
    // Workers keep no more; minutes further apart are those of two clocks, one of which is wrong.
    let first = past.keys().copied().find(|number| present.saturating_sub(*number) <= MINUTES_KEPT);
    (first.unwrap_or(present)..present)
        .map(|number| {
            admission = admission.after(past.get(&number), manners);
            (number, admission.k)
        })
        .collect()
}

#[derive(Clone, Copy, Debug)]
struct Admission {
    k: f64,
    /// The last k that earned too many refusals.
    too_much: Option<f64>,
    /// Minutes in a row, up to the last one, with too many refusals.
    refusing: u32,
}

impl Admission {
    /// A minute without work is a minute without refusals.
    fn after(self, past: Option<&Past<'_>>, manners: Manners) -> Self {
        let Self { k, too_much, refusing } = self;
        let refusals = past.map(|past| past.refusals).unwrap_or_default();
        if let Some(past) = past
            && refusals.is_enough()
            && refusals.share > manners.too_many()
        {
            let refusing = refusing.saturating_add(1);
            if refusing < manners.lasting() {
                return Self { refusing, ..self };
            }
            let admitted = past.admitted() / manners.usable();
            let cut = admitted.clamp(STEEPEST * k, k).max(LEAST);
            // Where all of k was admitted, the refusals were for what had been sent before.
            let too_much = if cut < k { Some(k) } else { too_much };
            return Self { k: cut, too_much, refusing };
        }
        if refusals.share >= FEW * manners.too_many() {
            return Self { refusing: 0, ..self };
        }
        // What was too much, and is far behind, says nothing about what is ahead.
        let too_much = too_much.filter(|too_much| k - too_much < FREE_GROWTH);
        let grown = match too_much {
            None => k + FREE_GROWTH,
            Some(too_much) if k > too_much => k + (k - too_much).max(CAREFUL_GROWTH),
            Some(too_much) => (k + CAREFUL_GROWTH).max((k + GROWTH).min(NEAR * too_much)),
        };
        Self { k: grown.min(1.0), too_much, refusing: 0 }
    }
}

impl Past<'_> {
    /// Part of what was available that was used, in the fullest dimension.
    fn admitted(&self) -> f64 {
        self.available
            .iter()
            .filter_map(|(dimension, available)| {
                Some(self.minute.used.of(*dimension)? as f64 / available).filter(|part| part.is_finite())
            })
            .fold(0.0, f64::max)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::engine::minutes::Used;

    #[test]
    fn a_provider_that_loses_sixty_percent_is_found_in_three_minutes_and_found_again_within_fifteen() {
        let capacity = |minute: u64| if (5..25).contains(&minute) { 24.0 } else { 60.0 };
        let k = provider(capacity, 60, Manners::Paced);
        assert!(k[..5].iter().all(|(k, _)| *k == 1.0), "{k:?}");
        assert!(k[8].0 <= 0.42, "{k:?}");
        let settled = &k[9..25];
        let refused: f64 = settled.iter().map(|(_, refused)| refused).sum::<f64>() / settled.len() as f64;
        assert!(refused <= 0.03, "{refused:.3} refused once settled: {settled:?}");
        let back = (25..60).find(|minute| k[*minute].0 >= 0.95);
        assert!(back.is_some_and(|minute| minute - 25 <= 14), "{back:?} {k:?}");
    }

    #[test]
    fn a_bursty_load_at_a_third_of_the_limit_is_not_capped() {
        let minutes: Vec<Minute> = (0..30).map(|number| minute(number, 20, 2)).collect();
        assert_eq!(last(&minutes, Manners::Unpaced), 1.0);
        assert!(last(&minutes, Manners::Paced) < 1.0, "pacing workers should earn none");
    }

    #[test]
    fn of_workers_that_do_not_pace_themselves_a_burst_is_no_loss_and_a_loss_is_found_in_three_minutes() {
        let burst = |number| minute(number, 20, 15);
        let quiet = |number| minute(number, 8, 0);
        let bursts: Vec<Minute> =
            (0..30).map(|number| if number % 3 == 2 { quiet(number) } else { burst(number) }).collect();
        assert_eq!(last(&bursts, Manners::Unpaced), 1.0);
        let loss: Vec<Minute> = (0..6).map(|number| minute(number, 24, 30)).collect();
        let k: Vec<f64> = folded(&loss, Manners::Unpaced).into_values().collect();
        assert_eq!(k[..2], [1.0, 1.0]);
        assert_eq!(k[2], STEEPEST);
        assert!(k[5] <= 0.45, "{k:?}");
    }

    #[test]
    fn refusals_of_what_was_sent_before_do_not_make_a_smaller_k_too_much() {
        // Sixty a minute became 24: two cuts, a minute that refuses stragglers although it admits all of k, peace.
        let mut minutes = vec![minute(0, 24, 36), minute(1, 24, 18), minute(2, 24, 9), minute(3, 24, 4)];
        minutes.extend((4..8).map(|number| minute(number, 24, 0)));
        let k = folded(&minutes, Manners::Paced);
        assert!((k[&3] - 0.4).abs() < 1e-9, "{k:?}");
        assert!(k[&7] <= 0.48, "near to what was too much it grows carefully: {k:?}");
    }

    #[test]
    fn beyond_what_was_too_much_it_doubles_its_distance_until_it_grows_freely() {
        let admission = Admission { k: 0.42, too_much: Some(0.41), refusing: 0 };
        let mut grown = vec![admission];
        for _ in 0..6 {
            grown.extend(grown.last().map(|admission| admission.after(None, Manners::Paced)));
        }
        let k: Vec<f64> = grown.iter().map(|admission| (admission.k * 100.0).round() / 100.0).collect();
        assert_eq!(k, [0.42, 0.43, 0.45, 0.49, 0.57, 0.71, 0.85]);
    }

    /// Whoever paces himself does so to a request or two, and a bucket leaks a little more in one minute than in another.
    #[test]
    fn a_loss_that_lasts_earns_few_refusals_also_with_noise() {
        let (mut admitted, mut refused) = (0.0, 0.0);
        for seed in 0..100 {
            let noise = |minute: u64| ((seed * 7_919 + minute * 104_729) % 1_009 % 5) as f64 - 2.0;
            let capacity = |minute: u64| if minute < 5 { 60.0 } else { 24.0 + noise(minute) };
            for (k, share) in &provider(capacity, 29, Manners::Paced)[10..] {
                admitted += k * (1.0 - share);
                refused += k * share;
            }
        }
        let share = refused / (admitted + refused);
        assert!(share <= 0.03, "{share:.4} refused");
    }

    #[test]
    fn a_clock_that_is_wrong_by_years_costs_no_years_of_minutes() {
        let now = 29_000_000;
        let minutes = vec![minute(3, 0, 50), minute(now, 0, 50), minute(now + 1, 24, 0)];
        let k = folded(&minutes, Manners::Paced);
        assert_eq!(k.keys().copied().collect::<Vec<_>>(), [now, now + 1]);
    }

    #[test]
    fn nineteen_calls_say_nothing() {
        assert_eq!(last(&[minute(0, 0, 19)], Manners::Paced), 1.0);
        assert_eq!(last(&[minute(0, 0, 20)], Manners::Paced), 0.7);
    }

    #[test]
    fn a_dead_provider_leaves_a_quarter_to_try_with() {
        let minutes: Vec<Minute> = (0..10).map(|number| minute(number, 0, 50)).collect();
        assert_eq!(last(&minutes, Manners::Paced), LEAST);
    }

    proptest! {
        #[test]
        fn k_stays_within_its_bounds_and_falls_by_at_most_three_tenths(
            seeds in prop::collection::vec((0..200_u64, 0..200_u64), 1..30),
        ) {
            let minutes: Vec<Minute> =
                (0_u64..).zip(seeds).map(|(number, (used, refused))| minute(number, used, refused)).collect();
            let mut before = 1.0;
            for k in folded(&minutes, Manners::Paced).into_values() {
                prop_assert!((LEAST..=1.0).contains(&k) && k >= before * STEEPEST - 1e-9, "{before} {k}");
                before = k;
            }
        }
    }

    /// Workers that want all of a limit of 60 a minute and pace themselves to k of it, minute by minute: k and
    /// the share of refusals.
    fn provider(capacity: impl Fn(u64) -> f64, minutes: u64, manners: Manners) -> Vec<(f64, f64)> {
        let mut past: Vec<Minute> = Vec::new();
        let mut seen = Vec::new();
        for number in 0..minutes {
            let kept = past.len().saturating_sub(30);
            let k = last(&past[kept..], manners);
            let (asked, admitted) = (60.0 * k, (60.0 * k).min(capacity(number)));
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "at most 60")]
            past.push(minute(number, admitted.round() as u64, (asked - admitted).round() as u64));
            seen.push((k, (asked - admitted) / asked));
        }
        seen
    }

    fn last(minutes: &[Minute], manners: Manners) -> f64 {
        folded(minutes, manners).into_values().last().unwrap_or(1.0)
    }

    fn folded(minutes: &[Minute], manners: Manners) -> BTreeMap<u64, f64> {
        let available = BTreeMap::from([(Dimension::RequestsPerMinute, 60.0)]);
        let past = |minute| Past { minute, refusals: Refusals::of(minute), available: available.clone() };
        let present = minutes.last().map_or(0, |minute| minute.number + 1);
        fold(&minutes.iter().map(|minute| (minute.number, past(minute))).collect(), present, manners)
    }

    fn minute(number: u64, requests: u64, refused: u64) -> Minute {
        let used = Used { requests, ..Used::default() };
        Minute { number, used, refused, ..Minute::default() }
    }
}
