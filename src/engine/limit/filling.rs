//! Progressive filling: what a limit has room for, divided by weight in everybody's dominant share.
//!
//! Weighted dominant-resource fairness (Ghodsi et al., NSDI 2011): slots grow for all at once, by weight, until
//! what somebody wants is met or a dimension is full.

use std::num::NonZeroU32;

/// Somebody who wants slots.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Bidder {
    /// Part among the others; positive.
    pub(super) weight: f64,
    /// Slots that are wanted.
    pub(super) wanted: f64,
    /// What one slot uses of each dimension.
    pub(super) uses: Vec<f64>,
}

/// What of a room is a rounding error.
const ROUNDING: f64 = 1e-9;

/// The slots of each bidder. `rooms` are the amounts of each dimension; none is negative.
///
/// First everybody's want; then what is left over goes out by weight, so that a want may grow before the next
/// look without passing a neighbour's part.
pub(super) fn fill(rooms: &[f64], bidders: &[Bidder]) -> Vec<f64> {
    let mut slots = vec![0.0; bidders.len()];
    let mut left = rooms.to_vec();
    raise(rooms, &mut left, bidders, &mut slots, |bidder| bidder.wanted);
    raise(rooms, &mut left, bidders, &mut slots, |_| f64::INFINITY);
    slots
}

/// Raises the slots of all bidders until each has reached its `goal` or one of its dimensions is full.
fn raise(rooms: &[f64], left: &mut [f64], bidders: &[Bidder], slots: &mut [f64], goal: fn(&Bidder) -> f64) {
    // Each turn ends with a goal reached or a dimension full.
    for _ in 0..bidders.len() + rooms.len() {
        let paces: Vec<f64> = bidders
            .iter()
            .zip(&*slots)
            .map(|(bidder, slots)| {
                let rises = *slots < goal(bidder) && !is_stopped(left, bidder);
                if rises { pace(rooms, bidder) } else { 0.0 }
            })
            .collect();
        let drains: Vec<f64> = (0..rooms.len())
            .map(|at| bidders.iter().zip(&paces).map(|(bidder, pace)| pace * bidder.uses[at]).sum())
            .collect();
        let until_full =
            left.iter().zip(&drains).filter(|(_, drain)| **drain > 0.0).map(|(left, drain)| left / drain);
        let until_met = bidders
            .iter()
            .zip(&*slots)
            .zip(&paces)
            .filter(|(_, pace)| **pace > 0.0)
            .map(|((bidder, slots), pace)| (goal(bidder) - slots) / pace);
        let time = until_full.chain(until_met).fold(f64::INFINITY, f64::min);
        if !time.is_finite() {
            return;
        }
        slots.iter_mut().zip(&paces).for_each(|(slots, pace)| *slots += pace * time);
        for ((left, drain), room) in left.iter_mut().zip(&drains).zip(rooms) {
            *left -= drain * time;
            if *left <= room * ROUNDING {
                *left = 0.0;
            }
        }
        // The goal itself, so that a rounding error does not leave a turn without an end.
        for ((slots, bidder), pace) in slots.iter_mut().zip(bidders).zip(&paces) {
            let goal = goal(bidder);
            if *pace > 0.0 && goal.is_finite() && goal - *slots <= ROUNDING * goal {
                *slots = goal;
            }
        }
    }
}

/// Whether a dimension that it uses is full.
fn is_stopped(left: &[f64], bidder: &Bidder) -> bool {
    bidder.uses.iter().zip(left).any(|(uses, left)| *uses > 0.0 && *left <= 0.0)
}

/// Slots by which it rises while its dominant share rises by its weight; zero for who uses nothing.
fn pace(rooms: &[f64], bidder: &Bidder) -> f64 {
    let dominant = bidder.uses.iter().zip(rooms).map(|(uses, room)| uses / room).fold(0.0, f64::max);
    if dominant > 0.0 && dominant.is_finite() { bidder.weight / dominant } else { 0.0 }
}

/// Slots as replicas, by largest remainder: together they have room for the slots that were admitted, with less
/// than one replica to spare. Everybody has at least one.
pub(super) fn in_replicas(slots: &[f64], per_replica: &[NonZeroU32]) -> Vec<u32> {
    let exact: Vec<f64> =
        slots.iter().zip(per_replica).map(|(slots, c)| slots / f64::from(c.get())).collect();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bounded to u32's range")]
    let mut replicas: Vec<u32> = exact.iter().map(|exact| (exact + 1e-6).min(1e9).floor() as u32).collect();
    let mut by_remainder: Vec<usize> = (0..exact.len()).collect();
    by_remainder.sort_by(|a, b| {
        let remainder = |at: usize| exact[at] - f64::from(replicas[at]);
        remainder(*b).total_cmp(&remainder(*a))
    });
    let mut missing: f64 = slots
        .iter()
        .zip(&replicas)
        .zip(per_replica)
        .map(|((s, r), c)| s - f64::from(*r) * f64::from(c.get()))
        .sum();
    for at in by_remainder {
        if missing <= 1e-6 {
            break;
        }
        replicas[at] += 1;
        missing -= f64::from(per_replica[at].get());
    }
    replicas.iter().map(|replicas| (*replicas).max(1)).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_small_want_is_met_and_the_rest_goes_to_who_wants_it() {
        // 60 requests a minute, 5 a slot-minute: 12 slots; by weight 1 : 3 that would be 3 and 9.
        let slots = fill(&[60.0], &[bidder(1.0, 100.0, &[5.0]), bidder(3.0, 100.0, &[5.0])]);
        assert_close(&slots, &[3.0, 9.0]);
        let slots = fill(&[60.0], &[bidder(1.0, 100.0, &[5.0]), bidder(3.0, 4.0, &[5.0])]);
        assert_close(&slots, &[8.0, 4.0]);
    }

    #[test]
    fn what_nobody_wants_goes_out_by_weight() {
        let slots = fill(&[60.0], &[bidder(1.0, 1.0, &[5.0]), bidder(3.0, 1.0, &[5.0])]);
        assert_close(&slots, &[1.0 + 2.5, 1.0 + 7.5]);
    }

    #[test]
    fn the_published_example_of_dominant_resource_fairness() {
        // Nine processors and 18 GB; users of (1, 4) and (3, 1): three tasks and two.
        let slots = fill(&[9.0, 18.0], &[bidder(1.0, 100.0, &[1.0, 4.0]), bidder(1.0, 100.0, &[3.0, 1.0])]);
        assert_close(&slots, &[3.0, 2.0]);
    }

    #[test]
    fn a_full_dimension_stops_only_those_who_use_it() {
        let slots = fill(&[10.0, 100.0], &[bidder(1.0, 50.0, &[1.0, 0.0]), bidder(1.0, 50.0, &[0.0, 1.0])]);
        assert_close(&slots, &[10.0, 100.0]);
    }

    #[test]
    fn no_room_is_no_slots() {
        assert_close(&fill(&[0.0], &[bidder(1.0, 5.0, &[1.0])]), &[0.0]);
    }

    proptest! {
        #[test]
        fn nothing_is_overfilled_and_nothing_that_is_wanted_is_left(
            rooms in prop::collection::vec(1.0..1_000.0_f64, 1..4),
            seeds in prop::collection::vec((0.1..5.0_f64, 0.0..500.0_f64, prop::array::uniform3(0.01..20.0_f64)), 1..8),
        ) {
            let bidders: Vec<Bidder> = seeds
                .iter()
                .map(|(weight, wanted, uses)| bidder(*weight, *wanted, &uses[..rooms.len()]))
                .collect();
            let slots = fill(&rooms, &bidders);
            for (at, room) in rooms.iter().enumerate() {
                let used: f64 = bidders.iter().zip(&slots).map(|(bidder, slots)| bidder.uses[at] * slots).sum();
                prop_assert!(used <= room * (1.0 + 1e-6), "dimension {at}: {used} of {room}");
            }
            let full = (0..rooms.len()).any(|at| {
                let used: f64 = bidders.iter().zip(&slots).map(|(bidder, slots)| bidder.uses[at] * slots).sum();
                used >= rooms[at] * (1.0 - 1e-6)
            });
            prop_assert!(full, "everybody uses every dimension, so one of them must be full");
        }

        #[test]
        fn a_neighbour_that_floods_takes_nothing_of_a_part_that_is_wanted(
            room in 10.0..1_000.0_f64, weight in 0.1..10.0_f64, flood in 0.0..1e6_f64, uses in 0.1..10.0_f64,
        ) {
            let part = room / uses * weight / (weight + 1.0);
            let slots = fill(&[room], &[bidder(weight, part, &[uses]), bidder(1.0, flood, &[uses])]);
            prop_assert!(slots[0] >= part * (1.0 - 1e-6), "{} of {part}", slots[0]);
        }
    }

    fn bidder(weight: f64, wanted: f64, uses: &[f64]) -> Bidder {
        Bidder { weight, wanted, uses: uses.to_vec() }
    }

    fn assert_close(slots: &[f64], expected: &[f64]) {
        let close = slots.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6);
        assert!(close && slots.len() == expected.len(), "{slots:?} is not {expected:?}");
    }
}
