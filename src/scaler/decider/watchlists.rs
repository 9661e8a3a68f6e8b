//! What readers are told to read, and how often.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::scaler::decider::Decider;
use crate::scaler::decider::member::Member;
use crate::scaler::decider::places::Place;
use crate::scaler::reader::{Item, Pace, Watchlist};

impl Decider {
    /// Connections whose readers were told of another pace than these triggers need now.
    pub(super) fn turned<'a>(&self, members: impl Iterator<Item = &'a Member>) -> BTreeSet<Arc<str>> {
        let turned = members.filter(|member| member.pace() != member.listed);
        let places = turned.flat_map(|member| [Some(&member.queue), member.workers.as_ref()]).flatten();
        places.filter_map(|key| Some(Arc::clone(&self.places.get(key)?.connection.name))).collect()
    }

    /// Tells a reader what to read, if that has changed.
    pub(super) fn publish_watchlist(&mut self, connection: &Arc<str>) {
        let Some(reader) = self.readers.get(connection) else { return };
        let mut paces: BTreeMap<&Arc<str>, Pace> = BTreeMap::new();
        for member in self.triggers.values_mut() {
            let pace = member.pace();
            if member.watched.trigger.connection.name == *connection {
                member.listed = pace;
            }
            let member: &Member = member;
            for (key, pace) in member.between_ticks(pace) {
                let of_key = paces.entry(key).or_insert(pace);
                *of_key = pace.max(*of_key);
            }
        }
        let here = self.places.iter().filter(|(_, place)| place.connection.name == *connection);
        let item = |(key, place): (&Arc<str>, &Place)| {
            place.item(key, paces.get(key).copied().unwrap_or(Pace::Tick))
        };
        let watchlist: Watchlist = here.map(item).collect();
        reader.watchlist.send_if_modified(|old| {
            let changed = !same(old, &watchlist);
            if changed {
                *old = Arc::clone(&watchlist);
            }
            changed
        });
    }
}

fn same(old: &[Item], new: &[Item]) -> bool {
    let told = |item: &Item| (Arc::clone(&item.queue), item.pace);
    old.iter().map(told).eq(new.iter().map(told))
}
