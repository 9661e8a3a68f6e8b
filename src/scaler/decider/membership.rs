//! Which triggers there are, and which places are read for them.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use crate::config::server::Connection;
use crate::engine::Memory;
use crate::scaler::board::Watched;
use crate::scaler::decider::member::Member;
use crate::scaler::decider::places::{Place, PlaceName};
use crate::scaler::decider::{Decider, Orders};
use crate::scaler::fair_queue::Owner;
use crate::scaler::listener::Listener;
use crate::scaler::observer::Voice;
use crate::scaler::reader::{Reader, Shares};
use crate::scaler::supervise::spawn_guarded;
use crate::scaler::watchlist::{Item, Pace, PlaceId, watchlist};
use crate::sources::{Plan, Wake};

/// What is read, through which connection, and its name in full.
type Named<'a> = (&'a Arc<Connection>, &'a Arc<dyn Plan>, Arc<str>);

/// A plan with its name.
pub(super) fn named<'a>(connection: &'a Arc<Connection>, plan: &'a Arc<dyn Plan>) -> Named<'a> {
    (connection, plan, plan.queue().into())
}

impl Decider {
    /// A new member, all of whose places are read from now on.
    pub(super) fn join(&mut self, watched: Arc<Watched>) -> Member {
        let (trigger, number) = (&watched.trigger, watched.number);
        let owner = Some(&trigger.id.namespace);
        let what = Arc::clone(&watched.queue);
        let queue = self.watch((&trigger.connection, &trigger.plan, what), owner, number);
        let workers = trigger.workers.as_ref();
        let workers = workers.map(|at| self.watch(named(&at.connection, &at.plan), owner, number));
        let queries = trigger.queries.as_ref();
        let queries = queries.map(|at| self.watch(named(&at.connection, &at.plan), owner, number));
        let limit = trigger.limit.as_ref().map(|uses| self.join_limit(&uses.limit, number));
        let decided_at = self.clock.now();
        let (memory, share, listed) = (Memory::default(), None, Pace::Tick);
        Member { watched, memory, queue, workers, queries, limit, share, decided_at, listed }
    }

    /// Has a place read for a trigger, and says which. A place that no namespace owns is read once for all.
    pub(super) fn watch(
        &mut self,
        (connection, plan, what): Named<'_>,
        owner: Option<&Arc<str>>,
        number: u64,
    ) -> PlaceId {
        let owner: Owner = owner.map(Arc::clone);
        let name = PlaceName::of(connection, owner.clone(), what);
        if let Some(place) = self.place_ids.get(&name).and_then(|id| self.places.get_mut(id)) {
            place.join(number);
            return place.id;
        }
        let id = PlaceId(self.next_place);
        self.next_place += 1;
        let mut place = Place::unread(id, name.clone());
        place.join(number);
        self.places.insert(id, Box::new(place));
        self.place_ids.insert(name, id);
        let item = Item { place: id, owner, plan: Arc::clone(plan), pace: Pace::Tick };
        self.orders(connection).watchlist.put(item);
        id
    }

    /// Whether all that is read for a trigger has been answered once, well or not: a decision on half of it would
    /// ask for replicas that the other half does not allow.
    pub(super) fn is_answered(&self, number: u64) -> bool {
        self.triggers.get(&number).is_some_and(|member| {
            member.places().all(|id| self.places.get(&id).is_some_and(|place| place.is_answered))
        })
    }

    /// What the reader of a connection is told. The first call starts it.
    fn orders(&mut self, connection: &Arc<Connection>) -> &Orders {
        let manner = self.manner;
        self.readers.entry(Arc::clone(&connection.name)).or_insert_with(|| {
            let (writer, watchlist) = watchlist();
            let (shares, published) = watch::channel(Shares::default());
            // A reader that is busy will have looked at most of what is announced until it is not.
            let (announced, announcements) = mpsc::channel(1);
            let (announces_all, all_announced) = watch::channel(false);
            // Where nobody is told, nobody waits for a first task.
            if let (Wake::Pushed { .. }, Voice::TellsWorkers) = (connection.kind.wake, manner.voice) {
                let (connection, watchlist, tick) = (Arc::clone(connection), watchlist.clone(), manner.tick);
                let listener = Listener { connection, watchlist, announced, announces_all, tick };
                spawn_guarded(&self.tasks, &self.shutdown, "listener", listener.run(self.shutdown.clone()));
            }
            let reader = Reader {
                connection: Arc::clone(connection),
                watchlist,
                shares: published,
                announced: announcements,
                announces_all: all_announced,
                batches: self.batches.0.clone(),
                clock: Arc::clone(&self.clock),
                metrics: self.metrics.clone(),
                tick: manner.tick,
            };
            spawn_guarded(&self.tasks, &self.shutdown, "reader", reader.run(self.shutdown.clone()));
            Orders { watchlist: writer, shares }
        })
    }

    /// Tells the readers how often the places of a trigger are to be read, if that has changed.
    pub(super) fn renew_pace(&mut self, number: u64) {
        let Some(member) = self.triggers.get_mut(&number) else { return };
        let pace = member.pace();
        if pace == member.listed {
            return;
        }
        member.listed = pace;
        for id in member.of_tasks().collect::<Vec<_>>() {
            let Some(place) = self.places.get(&id) else { continue };
            let members = place.triggers().filter_map(|number| self.triggers.get(&number));
            let pace = members.map(|member| member.pace_of(id)).max().unwrap_or(Pace::Tick);
            if let Some(orders) = self.readers.get(&place.name.connection) {
                orders.watchlist.set_pace(id, pace);
            }
        }
    }

    /// Forgets a trigger that the board has dropped.
    pub(super) fn forget(&mut self, number: u64) {
        let Some(member) = self.triggers.remove(&number) else { return };
        tracing::info!(trigger = %member.watched.trigger.id, "Trigger dropped: not requested, or its place was needed.");
        for id in member.places() {
            let Some(place) = self.places.get_mut(&id) else { continue };
            if place.leave(number) {
                if let Some(orders) = self.readers.get(&place.name.connection) {
                    orders.watchlist.remove(id);
                }
                self.place_ids.remove(&place.name);
                self.places.remove(&id);
            }
        }
        self.leave_limit(&member);
    }
}
