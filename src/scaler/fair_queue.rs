//! A queue that serves its owners in turn, so that one with much to do delays nobody but itself.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

/// The namespace that something is done for; `None` is the server itself.
pub(super) type Owner = Option<Arc<str>>;

/// Cost that one turn of an owner is worth. An owner with little to do is through after its first turn.
const COST_PER_TURN: usize = 64;

/// Deficit round robin over owners (Shreedhar and Varghese, 1995): each turn adds to an owner's credit, and its
/// items leave in order while the credit pays for them.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    /// Owners that have items, in the order of their turns.
    turns: VecDeque<Owner>,
    lines: BTreeMap<Owner, Line<T>>,
}

/// The items of one owner.
#[derive(Debug)]
struct Line<T> {
    /// Items with their costs, oldest first.
    items: VecDeque<(T, usize)>,
    credit: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { turns: VecDeque::new(), lines: BTreeMap::new() }
    }
}

impl<T> FairQueue<T> {
    /// Adds an item behind the others of its owner.
    pub(super) fn push(&mut self, owner: Owner, item: T, cost: usize) {
        let turns = &mut self.turns;
        let line = self.lines.entry(owner).or_insert_with_key(|owner| {
            turns.push_back(owner.clone());
            Line { items: VecDeque::new(), credit: 0 }
        });
        line.items.push_back((item, cost));
    }

    /// Takes items worth at most `cost` together, or one that costs more.
    pub(super) fn take(&mut self, cost: usize) -> Vec<T> {
        let (mut taken, mut left) = (Vec::new(), cost);
        while let Some(owner) = self.turns.pop_front() {
            let Some(line) = self.lines.get_mut(&owner) else { continue };
            line.credit += COST_PER_TURN;
            while let Some((_, cost)) = line.items.front() {
                let cost = *cost;
                if cost > line.credit {
                    break;
                }
                if cost > left && !taken.is_empty() {
                    // The turn goes on with the next batch, with the credit that it has.
                    line.credit -= COST_PER_TURN.min(line.credit);
                    self.turns.push_front(owner);
                    return taken;
                }
                line.credit -= cost;
                left = left.saturating_sub(cost);
                taken.extend(line.items.pop_front().map(|(item, _)| item));
            }
            if line.items.is_empty() {
                self.lines.remove(&owner);
            } else {
                self.turns.push_back(owner);
            }
        }
        taken
    }

    /// Whether there is nothing to take.
    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(name: &str) -> Owner {
        Some(Arc::from(name))
    }

    #[test]
    fn an_owner_with_much_to_do_delays_nobody_else() {
        let mut queue = FairQueue::default();
        (0..10_000).for_each(|item| queue.push(owner("flood"), item, 1));
        queue.push(owner("acme"), 77_777, 1);
        let first = queue.take(1_000);
        assert_eq!(first.len(), 1_000);
        assert!(first.contains(&77_777), "the neighbour waited for a flood");
    }

    #[test]
    fn each_item_leaves_once_and_those_of_an_owner_in_order() {
        let mut queue = FairQueue::default();
        for item in 0..300 {
            queue.push(owner(["a", "b", "c"][item % 3]), item, 1 + item % 200);
        }
        let mut taken = Vec::new();
        while !queue.is_empty() {
            let batch = queue.take(500);
            let cost: usize = batch.iter().map(|item| 1 + item % 200).sum();
            assert!(!batch.is_empty() && (cost <= 500 || batch.len() == 1), "{cost}");
            taken.extend(batch);
        }
        for line in 0..3 {
            let of_line: Vec<usize> = taken.iter().copied().filter(|item| item % 3 == line).collect();
            assert!(of_line.is_sorted() && of_line.len() == 100);
        }
    }

    #[test]
    fn an_item_that_costs_more_than_a_batch_leaves_alone() {
        let mut queue = FairQueue::default();
        queue.push(owner("a"), "large", 10_000);
        queue.push(owner("b"), "small", 1);
        let batches = [queue.take(1_000), queue.take(1_000)];
        assert_eq!(batches, [vec!["small"], vec!["large"]]);
        assert!(queue.is_empty());
    }
}
