//! Limits in use: who shares each, and what it leaves to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::server::{HeadroomAt, Limit};
use crate::config::trigger::TriggerId;
use crate::engine::limit::belief::{Sharing, believed};
use crate::engine::limit::share::{Bound, Claim, LimitSignals, LimitState, Share, share};
use crate::engine::limit::{Allowance, gateway};
use crate::engine::signals::{Signal, Signals, Workers};
use crate::engine::want::Want;
use crate::engine::{claimed, want};
use crate::scaler::board::Watched;
use crate::scaler::observer::Voice;
use crate::scaler::watchlist::PlaceId;
use crate::sources::Published;
use crate::timestamp::Timestamp;

use super::Decider;
use super::member::{LimitPlaces, Member};
use super::membership::named;
use super::places::Place;

/// Minutes for which workers keep what they did, and so for which it may be relied on when they cannot be asked.
const MINUTES_KEPT: u32 = 30;

/// One limit, and the triggers that share it.
pub(super) struct Shared {
    pub(super) limit: Arc<Limit>,
    /// Numbers of the triggers.
    pub(super) triggers: BTreeSet<u64>,
    /// Where workers report on it.
    workers: PlaceId,
    /// Where a gateway tells of it.
    gateway: Option<PlaceId>,
    /// As of the last evaluation.
    pub(super) state: Option<Arc<LimitState>>,
}

/// A trigger of a limit, and everything that its claim is made of.
struct Claimant {
    watched: Arc<Watched>,
    signals: Signals,
    want: Option<Want>,
    /// What its workers reported last.
    workers: Option<Arc<Workers>>,
}

impl Claimant {
    fn claim(&self, limit: &Limit) -> Claim<'_> {
        let trigger = &self.watched.trigger;
        let namespace: &str = &trigger.id.namespace;
        let want = self.want.as_ref();
        Claim {
            slots: want.and_then(|want| claimed(&trigger.policy, &self.signals, want)),
            tasks_per_replica: trigger.policy.tasks_per_replica,
            namespace,
            namespace_weight: limit.weight_of(namespace),
            weight: trigger.limit.as_ref().map_or(1.0, |limit| limit.weight),
            scope: trigger.workers.as_ref().map_or("", |workers| &workers.scope),
            workers: self.workers.as_deref(),
            service: self.signals.service.seen().copied(),
        }
    }
}

impl Decider {
    /// Adds a trigger to those that share a limit, and has the limit read.
    pub(super) fn join_limit(&mut self, limit: &Arc<Limit>, number: u64) -> LimitPlaces {
        let workers = self.watch(named(&limit.connection, &limit.plan), None, number);
        let gateway =
            limit.headroom.as_ref().map(|at| self.watch(named(&at.connection, &at.plan), None, number));
        let name = Arc::clone(&limit.name);
        let shared = self.limits.entry(Arc::clone(&name)).or_insert_with(|| Shared {
            limit: Arc::clone(limit),
            triggers: BTreeSet::new(),
            workers,
            gateway,
            state: None,
        });
        shared.triggers.insert(number);
        LimitPlaces { name, workers, gateway }
    }

    /// Divides the limits of some triggers anew.
    pub(super) fn divide_limits_of(&mut self, triggers: &[u64]) {
        if self.limits.is_empty() {
            return;
        }
        let limit = |number| Some(Arc::clone(&self.triggers.get(number)?.limit.as_ref()?.name));
        let limits: BTreeSet<Arc<str>> = triggers.iter().filter_map(limit).collect();
        let now = self.clock.now();
        limits.iter().for_each(|name| self.divide(name, now));
    }

    /// Removes a trigger that was dropped from those that share its limit.
    pub(super) fn leave_limit(&mut self, member: &Member) {
        let Some(LimitPlaces { name, .. }) = &member.limit else { return };
        let Some(shared) = self.limits.get_mut(name) else { return };
        shared.triggers.remove(&member.watched.number);
        if !shared.triggers.is_empty() {
            return;
        }
        // Nobody is told any more what nobody divides.
        if let Some(reader) = self.readers.get(&shared.limit.connection.name) {
            reader.shares.send_modify(|shares| drop(shares.remove(&*shared.limit.scope)));
        }
        self.limits.remove(name);
    }

    /// What the workers of a trigger reported last, for as long as they would keep it themselves.
    fn kept(&self, member: &Member, now: Timestamp) -> Option<Arc<Workers>> {
        let Signal::Seen { value, at, .. } = self.places.get(&member.workers?)?.workers()? else {
            return None;
        };
        (now.since(*at) <= self.manner.minute * MINUTES_KEPT).then(|| Arc::clone(value))
    }

    /// Divides a limit anew among all its triggers.
    fn divide(&mut self, name: &Arc<str>, now: Timestamp) {
        let Some(shared) = self.limits.get(name) else { return };
        let limit = Arc::clone(&shared.limit);
        let claimants: Vec<Claimant> =
            shared.triggers.iter().filter_map(|number| self.claimant(*number, now)).collect();
        let claims: Vec<Claim<'_>> = claimants.iter().map(|claimant| claimant.claim(&limit)).collect();
        let Some(seen) = self.places.get(&shared.workers).map(|place| place.limit()) else { return };
        let seen = believed(seen, &limit.policy, sharing(&claims), now);
        let gateway = limit.headroom.as_ref().and_then(|at| {
            let place = self.places.get(&shared.gateway?)?;
            Some((place.limit(), sentence(at, place, now)))
        });
        let (seen, told) = match gateway {
            Some((gateway, told)) => (gateway::merge(seen, &gateway, &limit.policy, now), Some(told)),
            None => (seen, None),
        };
        let signals = LimitSignals { seen, minute: self.manner.minute };
        let (shares, mut state) = share(name, &limit.policy, &signals, &claims, now);
        state.gateway = told;
        if limit.publish_shares && self.manner.voice == Voice::TellsWorkers {
            let allowances = allowances(&claims, &shares);
            self.publish(&limit, allowances);
        }
        for (claimant, share) in claimants.iter().zip(shares) {
            let Watched { number, trigger, .. } = claimant.watched.as_ref();
            if let Some(member) = self.triggers.get_mut(number) {
                log_change(&trigger.id, member.share.as_deref(), &share);
                member.share = Some(Arc::new(share));
            }
        }
        if let Some(shared) = self.limits.get_mut(name) {
            shared.state = Some(Arc::new(state));
        }
    }

    fn claimant(&self, number: u64, now: Timestamp) -> Option<Claimant> {
        let member = self.triggers.get(&number)?;
        let signals = self.signals(member, now)?;
        let want = want(&member.watched.trigger.policy, &signals, &member.memory, now);
        Some(Claimant {
            watched: Arc::clone(&member.watched),
            signals,
            want,
            workers: self.kept(member, now),
        })
    }

    /// Tells the reader of a limit's connection what its workers may use.
    fn publish(&mut self, limit: &Limit, allowances: BTreeMap<String, Allowance>) {
        let Some(reader) = self.readers.get(&limit.connection.name) else { return };
        let published =
            Published { limit: limit.scope.to_string(), allowances: allowances.into_iter().collect() };
        reader.shares.send_modify(|shares| {
            shares.insert(published.limit.clone(), published);
        });
    }
}

/// Whether several namespaces use a limit.
fn sharing(claims: &[Claim<'_>]) -> Sharing {
    let namespaces: BTreeSet<&str> = claims.iter().map(|claim| claim.namespace).collect();
    if namespaces.len() > 1 { Sharing::Shared } else { Sharing::Alone }
}

/// What the limiters of each scope may use: two triggers on one scope share their workers, and so their amounts.
fn allowances(claims: &[Claim<'_>], shares: &[Share]) -> BTreeMap<String, Allowance> {
    let mut allowances: BTreeMap<String, Allowance> = BTreeMap::new();
    for (claim, share) in claims.iter().zip(shares) {
        if let Bound::At(cap) = &share.bound {
            let sum = allowances.entry(claim.scope.to_owned()).or_default();
            sum.slots += cap.allowance.slots;
            for (dimension, rate) in &cap.allowance.rates {
                *sum.rates.entry(*dimension).or_default() += rate;
            }
        }
    }
    allowances
}

/// What a gateway tells of a limit, or why it does not, for people.
fn sentence(at: &HeadroomAt, place: &Place, now: Timestamp) -> String {
    let from = format!("{} on {}", at.plan.queue(), at.connection.name);
    if let Some(error) = &place.error {
        return format!("{from}: not known: {error}");
    }
    let seen = place.limit();
    let Some((told, _)) = gateway::told(&seen, now) else {
        return format!("{from}: not known: no answer lately");
    };
    let mut parts: Vec<String> = Vec::new();
    for (dimension, headroom) in &told.headroom {
        let of = headroom.limit.map_or_else(String::new, |limit| format!(" of {limit}"));
        let left =
            headroom.remaining.map_or_else(|| "not known how much".to_owned(), |left| left.to_string());
        parts.push(format!("{left}{of} {dimension} left"));
    }
    parts.extend(told.full.map(|full| {
        let text = if full { "requests wait and its memory is full" } else { "no request waits for memory" };
        text.to_owned()
    }));
    if parts.is_empty() {
        return format!("{from}: not known: there is no gauge, or none has changed for two minutes");
    }
    format!("{from}: {}", parts.join(", "))
}

/// An active trigger without a cap although it names a limit is worth a line, once.
fn log_change(id: &TriggerId, last: Option<&Share>, share: &Share) {
    if let Bound::Open(cause) = &share.bound
        && last.is_none_or(|last| last.bound != share.bound)
    {
        tracing::info!(trigger = %id, limit = %share.limit, %cause, "No cap by this limit.");
    }
}
