//! The latest of a series of values, for many that wait for the next.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The version of a series that has ended.
const ENDED: u64 = u64::MAX;

/// The latest value. A tenth of the size of a `tokio::sync::watch`, which has eight lists of those that wait and is
/// meant for thousands; a trigger has two, and there are 100,000 triggers.
#[derive(Debug)]
pub(super) struct Latest<T> {
    slot: Mutex<Slot<T>>,
    changed: Notify,
}

#[derive(Debug)]
struct Slot<T> {
    /// How many values there have been.
    version: u64,
    value: Option<Arc<T>>,
}

impl<T> Default for Latest<T> {
    fn default() -> Self {
        Self { slot: Mutex::new(Slot { version: 0, value: None }), changed: Notify::new() }
    }
}

impl<T> Latest<T> {
    /// The latest value; `None` before the first.
    pub(super) fn get(&self) -> Option<Arc<T>> {
        self.lock().value.clone()
    }

    /// Publishes a value.
    pub(super) fn publish(&self, value: Arc<T>) {
        let mut slot = self.lock();
        slot.version = slot.version.saturating_add(1);
        let former = slot.value.replace(value);
        drop(slot);
        self.changed.notify_waiters();
        drop(former);
    }

    /// Ends the series: nobody waits any more.
    pub(super) fn end(&self) {
        self.lock().version = ENDED;
        self.changed.notify_waiters();
    }

    /// The latest value and its version, as soon as that is above `version`; `None` once the series has ended.
    pub(super) async fn newer_than(&self, version: u64) -> Option<(u64, Arc<T>)> {
        loop {
            let mut changed = pin!(self.changed.notified());
            // From here on no change is missed.
            changed.as_mut().enable();
            {
                let slot = self.lock();
                if slot.version == ENDED {
                    return None;
                }
                if let Some(value) = slot.value.as_ref().filter(|_| slot.version > version) {
                    return Some((slot.version, Arc::clone(value)));
                }
            }
            changed.await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Slot<T>> {
        // The critical sections assign, and leave nothing half done.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn each_waiter_sees_the_latest_value_once_and_then_the_end() {
        let latest = Arc::new(Latest::default());
        let watch = |latest: Arc<Latest<u32>>| async move {
            let (mut version, mut seen) = (0, Vec::new());
            while let Some((newer, value)) = latest.newer_than(version).await {
                version = newer;
                seen.push(*value);
            }
            seen
        };
        let waiters = [(); 3].map(|()| tokio::spawn(watch(Arc::clone(&latest))));
        for value in [7, 8] {
            tokio::task::yield_now().await;
            latest.publish(Arc::new(value));
            tokio::task::yield_now().await;
        }
        latest.end();
        for waiter in waiters {
            let seen = waiter.await.unwrap();
            assert!(seen == [7, 8] || seen == [8], "{seen:?}");
        }
        assert_eq!(latest.get().as_deref(), Some(&8));
    }
}
