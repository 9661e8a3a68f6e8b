//! The places to read through one connection. The decider writes the list; the connection's reader and its listener
//! read it, and learn of a change without looking at what has not changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use crate::scaler::fair_queue::{FairQueue, Owner};
use crate::sources::Plan;

/// Names a place within the server, for as long as it is read. A number is never given twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct PlaceId(pub(super) u64);

/// One place to read.
#[derive(Clone, Debug)]
pub(super) struct Item {
    /// Which place.
    pub(super) place: PlaceId,
    /// The namespace that it is read for; `None` where several share it, as they do a rate limit.
    pub(super) owner: Owner,
    /// How to read it.
    pub(super) plan: Arc<dyn Plan>,
    /// How often it is read.
    pub(super) pace: Pace,
}

/// How often a place is read. Where several triggers watch it, the greatest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pace {
    /// Once a tick.
    Tick,
    /// Between ticks too, and as soon as the backend announces a change: a stream waits for its first task.
    Waking,
    /// At once: a call waits for a new reading.
    Asked,
}

/// The decider's side of a list.
#[derive(Debug)]
pub(super) struct WatchlistWriter {
    items: Arc<Mutex<Items>>,
    version: watch::Sender<()>,
}

/// A reader's side of a list.
#[derive(Clone, Debug)]
pub(super) struct Watchlist {
    items: Arc<Mutex<Items>>,
    version: watch::Receiver<()>,
}

#[derive(Debug, Default)]
struct Items {
    all: BTreeMap<PlaceId, Listed>,
    /// Places that were never read.
    unread: FairQueue<PlaceId>,
    /// Places at [`Pace::Waking`].
    waking: BTreeSet<PlaceId>,
    /// Places at [`Pace::Asked`].
    asked: BTreeSet<PlaceId>,
}

#[derive(Debug)]
struct Listed {
    owner: Owner,
    plan: Arc<dyn Plan>,
    pace: Pace,
    /// Whether a read of it has begun.
    is_read: bool,
}

/// An empty list.
pub(super) fn watchlist() -> (WatchlistWriter, Watchlist) {
    let items = Arc::<Mutex<Items>>::default();
    let (version, versions) = watch::channel(());
    (WatchlistWriter { items: Arc::clone(&items), version }, Watchlist { items, version: versions })
}

impl WatchlistWriter {
    /// Adds a place, or changes it.
    pub(super) fn put(&self, item: Item) {
        let Item { place, owner, plan, pace } = item;
        let mut items = lock(&self.items);
        items.unread.push(owner.clone(), place, plan.cost());
        items.all.insert(place, Listed { owner, plan, pace, is_read: false });
        items.note_pace(place, pace);
        drop(items);
        self.version.send_replace(());
    }

    /// Changes how often a place is read.
    pub(super) fn set_pace(&self, place: PlaceId, pace: Pace) {
        let mut items = lock(&self.items);
        let Some(listed) = items.all.get_mut(&place).filter(|listed| listed.pace != pace) else { return };
        listed.pace = pace;
        items.note_pace(place, pace);
        drop(items);
        self.version.send_replace(());
    }

    /// Takes a place off the list.
    pub(super) fn remove(&self, place: PlaceId) {
        let mut items = lock(&self.items);
        items.all.remove(&place);
        items.note_pace(place, Pace::Tick);
        drop(items);
        self.version.send_replace(());
    }
}

impl Watchlist {
    /// Waits for a change; `false` once nobody writes the list.
    pub(super) async fn changed(&mut self) -> bool {
        self.version.changed().await.is_ok()
    }

    /// Takes note of all changes so far.
    pub(super) fn mark_seen(&mut self) {
        self.version.mark_unchanged();
    }

    /// Places that were never read, worth at most `cost` together, of all owners in turn. They count as read now.
    pub(super) fn take_unread(&self, cost: usize) -> Vec<Item> {
        let mut items = lock(&self.items);
        let places = items.unread.take(cost);
        let mut taken = Vec::with_capacity(places.len());
        for place in places {
            // A place that was removed before it was read is still in the queue.
            if let Some(listed) = items.all.get_mut(&place) {
                listed.is_read = true;
                taken.push(listed.item(place));
            }
        }
        taken
    }

    /// Whether there are places that were never read.
    pub(super) fn has_unread(&self) -> bool {
        !lock(&self.items).unread.is_empty()
    }

    /// Every place that was read before.
    pub(super) fn read_before(&self) -> Vec<Item> {
        let items = lock(&self.items);
        let read = items.all.iter().filter(|(_, listed)| listed.is_read);
        read.map(|(place, listed)| listed.item(*place)).collect()
    }

    /// Places that a call waits for.
    pub(super) fn asked(&self) -> Vec<Item> {
        let items = lock(&self.items);
        items.of(&items.asked)
    }

    /// Places whose first task a stream waits for.
    pub(super) fn waking(&self) -> Vec<Item> {
        let items = lock(&self.items);
        items.of(&items.waking)
    }

    /// Those of `places` whose first task a stream still waits for.
    pub(super) fn still_waking(&self, places: &BTreeSet<PlaceId>) -> Vec<Item> {
        let items = lock(&self.items);
        items.of(places.intersection(&items.waking))
    }

    /// Whether a call waits for any place.
    pub(super) fn has_asked(&self) -> bool {
        !lock(&self.items).asked.is_empty()
    }

    /// Whether a stream waits for the first task of any place.
    pub(super) fn has_waking(&self) -> bool {
        !lock(&self.items).waking.is_empty()
    }
}

impl Items {
    fn note_pace(&mut self, place: PlaceId, pace: Pace) {
        for (of_pace, places) in [(Pace::Waking, &mut self.waking), (Pace::Asked, &mut self.asked)] {
            if pace == of_pace {
                places.insert(place);
            } else {
                places.remove(&place);
            }
        }
    }

    fn of<'a>(&self, places: impl IntoIterator<Item = &'a PlaceId>) -> Vec<Item> {
        let listed = places.into_iter().filter_map(|place| Some((place, self.all.get(place)?)));
        listed.map(|(place, listed)| listed.item(*place)).collect()
    }
}

impl Listed {
    fn item(&self, place: PlaceId) -> Item {
        Item { place, owner: self.owner.clone(), plan: Arc::clone(&self.plan), pace: self.pace }
    }
}

fn lock(items: &Mutex<Items>) -> MutexGuard<'_, Items> {
    // Nothing in the critical sections leaves the list half changed.
    items.lock().unwrap_or_else(PoisonError::into_inner)
}
