//! The tasks that this worker runs, and the leases on them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_scaler::timestamp::Timestamp;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::queue::Hold;

/// One running task.
pub(crate) struct Running {
    pub(crate) hold: Hold,
    /// When it was taken, by our clock and by Redis's.
    pub(crate) taken: Instant,
    pub(crate) taken_at: Timestamp,
    /// Milliseconds since the epoch when it last got on.
    progress: AtomicU64,
    lease: watch::Sender<Lease>,
    hand_back: watch::Sender<bool>,
}

#[derive(Clone, Copy, Debug)]
enum Lease {
    /// Ours until then, counted from before Redis was asked, so that we never believe in it for longer than others.
    Until(Instant),
    Lost,
}

/// Why a task is to be left off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CalledOff {
    /// It may belong to somebody else: nothing more may be written.
    Lost,
    /// It is to go back to the queue.
    HandBack,
}

impl Running {
    pub(crate) fn new(hold: Hold, until: Instant, now: Timestamp) -> Arc<Self> {
        Arc::new(Self {
            hold,
            taken: Instant::now(),
            taken_at: now,
            progress: AtomicU64::new(now.as_millis()),
            lease: watch::Sender::new(Lease::Until(until)),
            hand_back: watch::Sender::new(false),
        })
    }

    /// It got on.
    pub(crate) fn got_on(&self, now: Timestamp) {
        self.progress.store(now.as_millis(), Ordering::Relaxed);
    }

    pub(crate) fn progress(&self) -> Timestamp {
        Timestamp::from_millis(self.progress.load(Ordering::Relaxed))
    }

    /// The lease was renewed until then.
    pub(crate) fn renewed(&self, until: Instant) {
        self.lease.send_modify(|lease| {
            if let Lease::Until(end) = lease {
                *end = until.max(*end);
            }
        });
    }

    /// The lease belongs to somebody else, or to nobody.
    pub(crate) fn lose(&self) {
        self.lease.send_replace(Lease::Lost);
    }

    /// Whether the lease is still ours.
    pub(crate) fn is_held(&self) -> bool {
        matches!(*self.lease.borrow(), Lease::Until(end) if Instant::now() < end)
    }

    /// It shall go back to the queue.
    pub(crate) fn hand_back(&self) {
        self.hand_back.send_replace(true);
    }

    /// Comes when the lease is lost, or could not be renewed in time.
    pub(crate) async fn lost(&self) {
        let mut lease = self.lease.subscribe();
        loop {
            let Lease::Until(end) = *lease.borrow_and_update() else { return };
            tokio::select! {
                () = sleep_until(end) => {
                    self.lose();
                    return;
                }
                // The sender is our own, so there will be a change or none.
                _ = lease.changed() => {}
            }
        }
    }

    /// Comes when the task is to be left off.
    pub(crate) async fn called_off(&self) -> CalledOff {
        let mut hand_back = self.hand_back.subscribe();
        tokio::select! {
            biased;
            () = self.lost() => CalledOff::Lost,
            _ = hand_back.wait_for(|wanted| *wanted) => CalledOff::HandBack,
        }
    }
}

/// Where running tasks sit, by token.
#[derive(Default)]
pub(crate) struct Desk(Mutex<BTreeMap<String, Arc<Running>>>);

/// A task sits as long as this lives, however it ends: a lease that nobody works for is not renewed.
pub(crate) struct Seat {
    desk: Arc<Desk>,
    token: String,
}

impl Desk {
    pub(crate) fn seat(self: &Arc<Self>, running: &Arc<Running>) -> Seat {
        let token = running.hold.token.clone();
        self.tasks().insert(token.clone(), Arc::clone(running));
        Seat { desk: Arc::clone(self), token }
    }

    /// Everything that runs.
    pub(crate) fn all(&self) -> Vec<Arc<Running>> {
        self.tasks().values().cloned().collect()
    }

    /// Hands back what was taken less than `age` ago.
    pub(crate) fn hand_back_younger_than(&self, age: Duration) -> usize {
        let young: Vec<_> = self.all().into_iter().filter(|running| running.taken.elapsed() < age).collect();
        young.iter().for_each(|running| running.hand_back());
        young.len()
    }

    /// Hands everything back.
    pub(crate) fn hand_back_all(&self) -> usize {
        let all = self.all();
        all.iter().for_each(|running| running.hand_back());
        all.len()
    }

    fn tasks(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Running>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.desk.tasks().remove(&self.token);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::Message;

    fn running(lease: Duration) -> Arc<Running> {
        let message = Message { handle: "1-0".to_owned(), ..Message::default() };
        let hold = Hold { message, id: "a".to_owned(), token: "t".to_owned(), attempts: 1 };
        Running::new(hold, Instant::now() + lease, Timestamp::default())
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_is_not_renewed_in_time_calls_its_task_off() {
        let started = Instant::now();
        let running = running(Duration::from_secs(30));
        let renewing = Arc::clone(&running);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(10)).await;
            renewing.renewed(Instant::now() + Duration::from_secs(30));
        });
        assert_eq!(running.called_off().await, CalledOff::Lost);
        assert_eq!(started.elapsed().as_secs(), 40);
        running.renewed(Instant::now() + Duration::from_secs(30));
        assert!(!running.is_held(), "what was lost stays lost");
    }

    #[tokio::test(start_paused = true)]
    async fn only_the_young_are_handed_back() {
        let desk = Arc::new(Desk::default());
        let running = running(Duration::from_secs(30));
        let seat = desk.seat(&running);
        tokio::time::advance(Duration::from_secs(20)).await;
        assert_eq!(desk.hand_back_younger_than(Duration::from_secs(20)), 0);
        assert_eq!(desk.hand_back_younger_than(Duration::from_secs(21)), 1);
        assert_eq!(running.called_off().await, CalledOff::HandBack);
        drop(seat);
        assert_eq!(desk.hand_back_all(), 0);
    }
}
