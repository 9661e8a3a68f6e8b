//! Divides what one limit admits among the triggers that use it.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use crate::engine::limit::admission::Manners;
use crate::engine::limit::amounts::{amounts, blocked, is_scarce, left_today};
use crate::engine::limit::consumption::UsePerSlot;
use crate::engine::limit::evidence::{self, Common, Evidence, times_less};
use crate::engine::limit::filling::{Bidder, fill, in_replicas};
use crate::engine::limit::policy::LimitPolicy;
use crate::engine::limit::uses::uses;
use crate::engine::limit::{Allowance, Block, Dimension, LimitSeen};
use crate::engine::minutes::Minute;
use crate::engine::signals::{Cause, Quality, Signal, Workers};
use crate::timestamp::Timestamp;

/// Everything the engine is told about one limit.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitSignals {
    /// What workers last saw of it.
    pub seen: Signal<LimitSeen>,
    /// Length of the workers' minute, which is the provider's.
    pub minute: Duration,
}

/// What one trigger claims of a limit.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// Slots that it wants, before any limit; `None` while it is inactive, or not known to be active.
    pub slots: Option<f64>,
    /// Slots of one replica.
    pub tasks_per_replica: NonZeroU32,
    /// Namespace, whose triggers share its weight.
    pub namespace: &'a str,
    /// Weight of the namespace among others; positive.
    pub namespace_weight: f64,
    /// Weight of the trigger within its namespace; positive.
    pub weight: f64,
    /// Where its workers report: triggers with one scope share its minutes.
    pub scope: &'a str,
    /// What they report; `None` while that is not known.
    pub workers: Option<&'a Workers>,
    /// Service time S.
    pub service: Option<Duration>,
}

/// What a limit leaves to one trigger.
#[derive(Clone, Debug, PartialEq)]
pub struct Share {
    /// The limit's name.
    pub limit: Arc<str>,
    /// Until when the provider refuses everything, if that is longer than a minute.
    pub blocked: Option<Block>,
    /// How many replicas the limit feeds.
    pub bound: Bound,
    /// Whether more replicas would only wait, so that nobody grows.
    pub full: bool,
}

/// How many replicas a limit feeds.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    /// So many.
    At(Cap),
    /// Nobody can tell, for this reason: there is no cap.
    Open(Cause),
}

/// The replicas that a limit feeds, and where the number comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Cap {
    /// Most replicas that are of use; at least one.
    pub replicas: u32,
    /// Replicas of its part by weight, if all active triggers wanted all they could get.
    pub fair: u32,
    /// Slots that the limit feeds, before they are rounded to replicas.
    pub slots: f64,
    /// The dimension of which it uses the largest part.
    pub dimension: Dimension,
    /// The whole limit in that dimension.
    pub amount: f64,
    /// What of it is there to divide: k·η·(limit − others).
    pub room: f64,
    /// What one slot uses of it, a minute.
    pub per_slot: f64,
    /// Whether that was measured.
    pub quality: Quality,
    /// k, the part of the limit that the provider really admits.
    pub k: f64,
    /// The cap with twice the limit in that dimension.
    pub twice: u32,
    /// Whether so little is left that nobody may grow beyond their part.
    pub scarce: bool,
    /// What the limiter of its workers may use.
    pub allowance: Allowance,
}

/// The limit itself, for those who look.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitState {
    /// k.
    pub k: f64,
    /// Whether all its workers keep to their share by themselves.
    pub paced: bool,
    /// The dimensions that are limited.
    pub dimensions: Vec<DimensionState>,
    /// Until when the provider refuses everything.
    pub blocked: Option<Block>,
    /// Tasks a minute that it admits, for the mix of tasks that its active triggers run; `None` while a service
    /// time or a use is not known.
    pub admits: Option<f64>,
    /// What all workers used in the minutes that they keep.
    pub total: Minute,
    /// What a gateway tells of it, or why it does not; for people.
    pub gateway: Option<String>,
}

/// One dimension of a limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DimensionState {
    /// Which.
    pub dimension: Dimension,
    /// The whole limit.
    pub amount: f64,
    /// Use by others, a minute.
    pub others: f64,
    /// What there is to divide.
    pub room: f64,
    /// Our own use in the last complete minute; `None` for concurrency.
    pub used: Option<f64>,
}

impl DimensionState {
    /// Our use and that of others, as a part of the limit.
    pub fn saturation(&self) -> Option<f64> {
        Some((self.used? + self.others) / self.amount)
    }
}

/// Divides the limit `name` among `claims`: one share for each, in order, and the state of the limit.
///
/// The same claims give the same shares: nothing is remembered, because workers keep the minutes that k, use per
/// slot and use by others are folded from. Claims must come in a fixed order, which breaks ties.
pub fn share(
    name: &Arc<str>,
    policy: &LimitPolicy,
    signals: &LimitSignals,
    claims: &[Claim<'_>],
    now: Timestamp,
) -> (Vec<Share>, LimitState) {
    let view = View::of(policy, signals, claims, now);
    let bounds = view.bounds(claims);
    let blocked = blocked(view.seen, &view.dimensions, now);
    let full = view.seen.is_some_and(|seen| seen.full == Some(true));
    let state = view.state(claims, &bounds, blocked);
    let share = |bound| Share { limit: Arc::clone(name), blocked, bound, full };
    (bounds.into_iter().map(share).collect(), state)
}

/// Everything about a limit that does not depend on who asks, and what the reports of each claim's namespace say of it.
struct View<'a> {
    seen: Option<&'a LimitSeen>,
    length: Duration,
    manners: Manners,
    /// k by the reports of all workers together, for people.
    k: f64,
    /// The dimensions by the reports of all workers together; what is divided are the [`rooms`](Self::rooms).
    dimensions: Vec<DimensionState>,
    /// The most that there is of each dimension by the reports of any namespace.
    rooms: Vec<f64>,
    scarce: bool,
    minutes: BTreeMap<u64, Minute>,
    /// Use of one slot of each claim.
    uses: Vec<Option<UsePerSlot>>,
    /// What the reports of each claim's namespace make of the limit.
    own: Vec<Own>,
}

/// What the reports of a namespace make of a limit.
struct Own {
    k: f64,
    /// How many times less of each dimension there is than the most.
    less: Vec<f64>,
}

impl<'a> View<'a> {
    fn of(policy: &LimitPolicy, signals: &'a LimitSignals, claims: &[Claim<'a>], now: Timestamp) -> Self {
        let seen = signals.seen.seen();
        let length = signals.minute;
        let amounts = amounts(policy, seen);
        let minutes = evidence::of_all(claims);
        let present = claims.iter().filter_map(|claim| Some(claim.workers?.minute)).max().unwrap_or(0);
        let manners = manners(claims);
        let common = Common { amounts: &amounts, all: &minutes, present, length, manners };
        let together = Evidence::of(&minutes, &common);
        let namespaces = evidence::of_namespaces(claims, &common);
        let uses = uses(policy, claims, length, &namespaces);

        let none = Minute::default();
        let last = minutes.get(&present.saturating_sub(1)).unwrap_or(&none);
        let dimensions: Vec<DimensionState> = amounts
            .iter()
            .filter_map(|(dimension, amount)| {
                let room = if dimension.is_daily() {
                    left_today(seen, *dimension, *amount, now)?
                } else {
                    together.room(*dimension, *amount)
                };
                let others = together.others.get(dimension).copied().unwrap_or(0.0);
                let used = last.used.of(*dimension).map(|used| used as f64);
                Some(DimensionState { dimension: *dimension, amount: *amount, others, room, used })
            })
            .collect();
        let room = |evidence: &Evidence<'_>, state: &DimensionState| {
            if state.dimension.is_daily() { state.room } else { evidence.room(state.dimension, state.amount) }
        };
        let most = |state| namespaces.values().map(|own| room(own, state)).fold(0.0, f64::max);
        let rooms: Vec<f64> = dimensions.iter().map(most).collect();
        let own = |evidence: &Rc<Evidence<'_>>| Own {
            k: evidence.k,
            less: dimensions
                .iter()
                .zip(&rooms)
                .map(|(of, most)| times_less(*most, room(evidence, of)))
                .collect(),
        };
        let own = claims.iter().filter_map(|claim| namespaces.get(claim.namespace).map(own)).collect();
        let k = together.k;
        let scarce = seen.is_some_and(|seen| is_scarce(seen, length, now));
        Self { seen, length, manners, k, dimensions, rooms, scarce, minutes, uses, own }
    }

    fn bounds(&self, claims: &[Claim<'_>]) -> Vec<Bound> {
        let weights = weights(claims);
        let mut bidding = Vec::new();
        let mut bounds: Vec<Bound> = Vec::new();
        for (at, claim) in claims.iter().enumerate() {
            let uses = self.uses[at].map(|uses| self.uses_of(uses, at, claim)).unwrap_or_default();
            bounds.push(Bound::Open(Cause::new(if claim.slots.is_none() {
                "it is not active"
            } else if self.dimensions.is_empty() {
                "no limit is known in any dimension: name one under llmLimits in the server's file"
            } else {
                "what a task uses is not known yet: give usePerTask and expectedTaskDuration, or let workers report"
            })));
            if let Some(wanted) = claim.slots
                && uses.iter().any(|uses| *uses > 0.0)
            {
                bidding.push((at, Bidder { weight: weights[at], wanted, uses }));
            }
        }
        for (at, cap) in self.caps(claims, &bidding) {
            bounds[at] = Bound::At(cap);
        }
        bounds
    }

    /// What a slot of the claim at `at` takes of each room: more than it uses, where there is less for its namespace.
    fn uses_of(&self, uses: UsePerSlot, at: usize, claim: &Claim<'_>) -> Vec<f64> {
        let of = |state: &DimensionState| uses.of(state.dimension, claim.service, self.length);
        self.dimensions.iter().zip(&self.own[at].less).map(|(state, less)| of(state) * less).collect()
    }

    fn caps(&self, claims: &[Claim<'_>], bidding: &[(usize, Bidder)]) -> Vec<(usize, Cap)> {
        let rooms = &self.rooms;
        let bidders: Vec<Bidder> = bidding.iter().map(|(_, bidder)| bidder.clone()).collect();
        let per_replica: Vec<NonZeroU32> =
            bidding.iter().map(|(at, _)| claims[*at].tasks_per_replica).collect();
        let greedy: Vec<Bidder> =
            bidders.iter().map(|bidder| Bidder { wanted: 0.0, ..bidder.clone() }).collect();
        let slots = fill(rooms, &bidders);
        let (replicas, fair) =
            (in_replicas(&slots, &per_replica), in_replicas(&fill(rooms, &greedy), &per_replica));
        let doubled: Vec<Vec<u32>> = (0..rooms.len())
            .map(|dimension| {
                let mut rooms = rooms.clone();
                rooms[dimension] *= 2.0;
                in_replicas(&fill(&rooms, &bidders), &per_replica)
            })
            .collect();
        let allowances = self.allowances(bidding, &slots);
        let caps =
            bidding.iter().zip(allowances).enumerate().filter_map(|(at, ((claim, bidder), allowance))| {
                let tightest = tightest(rooms, bidder)?;
                let state = self.dimensions.get(tightest)?;
                let own = &self.own[*claim];
                let cap = Cap {
                    replicas: replicas[at],
                    fair: fair[at],
                    slots: slots[at],
                    dimension: state.dimension,
                    amount: state.amount,
                    room: rooms[tightest] / own.less[tightest],
                    per_slot: bidder.uses[tightest] / own.less[tightest],
                    quality: self.uses[*claim].map_or(Quality::Estimated, |uses| uses.quality),
                    k: own.k,
                    twice: doubled[tightest][at],
                    scarce: self.scarce,
                    allowance,
                };
                Some((*claim, cap))
            });
        caps.collect()
    }

    /// All the room of each dimension, in proportion to what the admitted slots use of it.
    fn allowances(&self, bidding: &[(usize, Bidder)], slots: &[f64]) -> Vec<Allowance> {
        let mut allowances: Vec<Allowance> =
            slots.iter().map(|slots| Allowance { slots: *slots, rates: BTreeMap::new() }).collect();
        for (dimension, (state, room)) in self.dimensions.iter().zip(&self.rooms).enumerate() {
            if state.dimension.is_daily() {
                continue;
            }
            let uses: Vec<f64> = bidding
                .iter()
                .zip(slots)
                .map(|((_, bidder), slots)| bidder.uses[dimension] * slots)
                .collect();
            let all: f64 = uses.iter().sum();
            for ((allowance, uses), (claim, _)) in allowances.iter_mut().zip(uses).zip(bidding) {
                // Who is not known to use it must not be stopped by it.
                if uses > 0.0 {
                    let less = self.own[*claim].less[dimension];
                    allowance.rates.insert(state.dimension, room * uses / all / less);
                }
            }
        }
        allowances
    }

    fn state(self, claims: &[Claim<'_>], bounds: &[Bound], blocked: Option<Block>) -> LimitState {
        let admits =
            claims.iter().zip(bounds).filter(|(claim, _)| claim.slots.is_some()).map(|(claim, bound)| {
                let Bound::At(cap) = bound else { return None };
                Some(cap.slots / (claim.service?.as_secs_f64() / self.length.as_secs_f64()))
            });
        let admits: Option<f64> = admits.sum();
        let mut total = Minute::default();
        for minute in self.minutes.values() {
            total.used.add(minute.used);
            total.refused = total.refused.saturating_add(minute.refused);
            total.busy = total.busy.saturating_add(minute.busy);
        }
        let paced = self.manners == Manners::Paced;
        LimitState { k: self.k, paced, dimensions: self.dimensions, blocked, admits, total, gateway: None }
    }
}

/// All live workers must say that they pace themselves. Of workers that are gone nobody knows, and to take a burst's
/// refusals for a smaller limit would hold up the next one.
fn manners(claims: &[Claim<'_>]) -> Manners {
    let mut alive =
        claims.iter().filter_map(|claim| claim.workers).flat_map(|workers| &workers.alive).peekable();
    let paced = alive.peek().is_some() && alive.all(|worker| worker.paces);
    if paced { Manners::Paced } else { Manners::Unpaced }
}

/// The weight of each claim: its namespace's, divided among the active triggers there by their own.
fn weights(claims: &[Claim<'_>]) -> Vec<f64> {
    let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
    for claim in claims.iter().filter(|claim| claim.slots.is_some()) {
        *sums.entry(claim.namespace).or_default() += claim.weight;
    }
    let weight = |claim: &Claim<'_>| {
        let sum = sums.get(claim.namespace).copied().unwrap_or(claim.weight);
        claim.namespace_weight * claim.weight / sum
    };
    claims.iter().map(weight).collect()
}

/// The dimension of which a bidder uses the largest part.
fn tightest(rooms: &[f64], bidder: &Bidder) -> Option<usize> {
    let parts = bidder.uses.iter().zip(rooms).map(|(uses, room)| uses / room).enumerate();
    parts.filter(|(_, part)| *part > 0.0).max_by(|(_, a), (_, b)| a.total_cmp(b)).map(|(at, _)| at)
}

#[cfg(test)]
mod liars;
#[cfg(test)]
mod tests;
