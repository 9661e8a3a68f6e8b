//! Who has how much of the board: places are bounded per ScaledObject, per namespace and in total.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::{Purpose, Watched};
use crate::config::trigger::{Trigger, TriggerId};
use crate::timestamp::Timestamp;

/// Most triggers of one ScaledObject. Each edit makes another trigger, and the one that was requested least recently
/// yields: no object has so many at a time.
pub(super) const MOST_OF_AN_OBJECT: usize = 64;

/// On a full board, a trigger that was not requested for so long and has no stream yields to any newcomer: the HPA asks
/// every 15 s and KEDA every 30 s, and a trigger that is polled more slowly is read anew within milliseconds.
const YIELDS_AFTER: Duration = Duration::from_secs(2 * 60);

/// Shortest time between two searches for such triggers, which look at all of them.
const SEARCH_EVERY: Duration = Duration::from_secs(1);

/// What a trigger may keep in memory for one place of `maxTriggers`. Usual ones keep a quarter of it; one that names
/// hundreds of queues takes as many places as its names need.
const BYTES_OF_A_PLACE: usize = 4096;

/// Places of the board that a trigger takes, at least one.
pub(super) fn places_of(trigger: &Trigger) -> usize {
    trigger.bytes().div_ceil(BYTES_OF_A_PLACE).max(1)
}

/// The triggers in use, by namespace and name of their ScaledObjects.
#[derive(Debug, Default)]
pub(super) struct Occupancy {
    namespaces: BTreeMap<Arc<str>, Namespace>,
    count: usize,
    places: usize,
    /// No trigger is [unrequested for long](YIELDS_AFTER) before.
    search_at: Timestamp,
}

#[derive(Debug, Default)]
struct Namespace {
    objects: BTreeMap<Arc<str>, Vec<Arc<Watched>>>,
    places: usize,
}

impl Occupancy {
    /// The triggers of one ScaledObject.
    pub(super) fn of(&self, namespace: &str, name: &str) -> &[Arc<Watched>] {
        self.namespaces
            .get(namespace)
            .and_then(|namespace| namespace.objects.get(name))
            .map_or(&[], Vec::as_slice)
    }

    /// All of them, by namespace and name.
    pub(super) fn all(&self) -> Vec<Arc<Watched>> {
        let mut all = Vec::with_capacity(self.count);
        let objects = self.namespaces.values().flat_map(|namespace| namespace.objects.values());
        all.extend(objects.flatten().map(Arc::clone));
        all
    }

    /// Adds a trigger.
    pub(super) fn insert(&mut self, watched: Arc<Watched>) {
        let TriggerId { namespace, name, fingerprint: _ } = &watched.trigger.id;
        let namespace = self.namespaces.entry(Arc::clone(namespace)).or_default();
        // Nearly all objects have one trigger.
        let of_object = namespace.objects.entry(Arc::clone(name)).or_insert_with(|| Vec::with_capacity(1));
        let places = places_of(&watched.trigger);
        of_object.push(watched);
        namespace.places += places;
        self.places += places;
        self.count += 1;
    }

    /// Removes a trigger, if it is there.
    pub(super) fn remove(&mut self, watched: &Arc<Watched>) {
        watched.is_dropped.store(true, Ordering::Relaxed);
        watched.evaluations.end();
        let TriggerId { namespace: namespace_name, name, fingerprint: _ } = &watched.trigger.id;
        let Some(namespace) = self.namespaces.get_mut(namespace_name) else { return };
        let Some(of_object) = namespace.objects.get_mut(name) else { return };
        let Some(at) = of_object.iter().position(|other| Arc::ptr_eq(other, watched)) else { return };
        of_object.remove(at);
        if of_object.is_empty() {
            namespace.objects.remove(name);
        }
        let places = places_of(&watched.trigger);
        namespace.places -= places;
        self.places -= places;
        self.count -= 1;
        if namespace.objects.is_empty() {
            self.namespaces.remove(namespace_name);
        }
    }

    /// Makes room for one more trigger of `places`, and adds to `dropped` those that had to yield:
    ///
    /// 1. of a ScaledObject that has its most, the one that was requested least recently;
    /// 2. on a full board, of the namespace that has the most, as long as it has more than the newcomer's would;
    /// 3. else those of the newcomer's own namespace of which only the spec was ever asked for, if the newcomer's
    ///    number is asked for;
    /// 4. else all that were not requested for two minutes.
    ///
    /// Says whether there is room: otherwise the board is full, and the newcomer's namespace has its part of it.
    pub(super) fn make_room(
        &mut self,
        (newcomer, places, purpose): (&TriggerId, usize, Purpose),
        max_triggers: usize,
        now: Timestamp,
        dropped: &mut Vec<Arc<Watched>>,
    ) -> bool {
        let of_object = self.of(&newcomer.namespace, &newcomer.name);
        if of_object.len() >= MOST_OF_AN_OBJECT
            && let Some(yielding) = first_to_yield(of_object.iter()).map(Arc::clone)
        {
            self.remove(&yielding);
            dropped.push(yielding);
        }
        while self.places + places > max_triggers {
            let yielding = match self.next_to_yield(newcomer, places, purpose) {
                Some(yielding) => vec![Arc::clone(yielding)],
                None => self.unrequested(now),
            };
            if yielding.is_empty() {
                return false;
            }
            yielding.iter().for_each(|yielding| self.remove(yielding));
            dropped.extend(yielding);
        }
        true
    }

    /// Triggers that were not requested for long. Looks for them only when there may be any.
    fn unrequested(&mut self, now: Timestamp) -> Vec<Arc<Watched>> {
        if now < self.search_at {
            return Vec::new();
        }
        let (unrequested, others): (Vec<_>, Vec<_>) =
            self.all().into_iter().partition(|watched| watched.is_unrequested(YIELDS_AFTER, now));
        let earliest = others.iter().map(|watched| watched.asked() + YIELDS_AFTER).min();
        self.search_at = (now + SEARCH_EVERY).max(earliest.unwrap_or_default());
        unrequested
    }

    fn next_to_yield(&self, newcomer: &TriggerId, places: usize, purpose: Purpose) -> Option<&Arc<Watched>> {
        let own = self.namespaces.get(&newcomer.namespace);
        let own_places = own.map_or(0, |namespace| namespace.places);
        let largest = self.namespaces.values().max_by_key(|namespace| namespace.places)?;
        // The newcomer's places must not turn the two around.
        if largest.places > own_places + places {
            return first_to_yield(largest.triggers());
        }
        let unwanted = |watched: &&Arc<Watched>| !watched.is_wanted.load(Ordering::Relaxed);
        first_to_yield(own?.triggers().filter(unwanted)).filter(|_| purpose == Purpose::Answer)
    }
}

impl Namespace {
    fn triggers(&self) -> impl Iterator<Item = &Arc<Watched>> {
        self.objects.values().flatten()
    }
}

/// Of those whose number was never asked for, or else of all, the one that was requested least recently.
fn first_to_yield<'a>(triggers: impl Iterator<Item = &'a Arc<Watched>>) -> Option<&'a Arc<Watched>> {
    triggers.min_by_key(|watched| {
        let is_wanted = watched.is_wanted.load(Ordering::Relaxed);
        (is_wanted, watched.asked_ms.load(Ordering::Relaxed), watched.number)
    })
}
