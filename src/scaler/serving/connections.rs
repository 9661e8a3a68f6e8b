//! The connections of a port: how many there are, what each holds, and which one goes when there is no room.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::telemetry::metrics::{Closed, Metrics};

/// Connections that a peer may have without being taken for greedy. Behind a proxy all peers look like one.
const FEW: usize = 8;

/// Most bytes that all unfinished calls of a port may hold.
const MOST_HELD: usize = 24 << 20;

/// What may be held beyond it while the greediest connection closes.
const WHILE_CLOSING: usize = 4 << 20;

/// What each connection may hold even when others hold everything: a largest request, and a few ordinary ones.
const ALWAYS_HELD: usize = 80 << 10;

/// Calls of a connection that may wait for a thread before no more of it is read. One read brings hundreds.
const MOST_FRESH: usize = 64;

/// Calls that each connection may have open even when others have opened all.
const ALWAYS_OPEN: usize = 64;

/// How long a new peer may be silent when descriptors are out.
const FIRST_WORD: Duration = Duration::from_millis(100);

/// How long a peer that has said something is left alone then.
const BEGINNING: Duration = Duration::from_secs(1);

/// How often the log says that connections are closed for want of room.
const SAY_EVERY: Duration = Duration::from_secs(10);

/// All connections of one port.
#[derive(Debug)]
pub(in crate::scaler) struct Connections {
    port: &'static str,
    /// Most connections at a time.
    most: usize,
    /// Most open calls at a time, over all connections.
    most_calls: usize,
    started: Instant,
    held: AtomicUsize,
    calls: AtomicUsize,
    open: Mutex<Open>,
    metrics: Metrics,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: BTreeMap<u64, Arc<Connection>>,
    /// Connections that were told to close and have not done so yet.
    closing: usize,
    said: Option<Instant>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    /// The port that it is on.
    pub(super) port: Arc<Connections>,
    pub(super) opened: Instant,
    /// Bytes that the peer has sent.
    pub(super) received: AtomicU64,
    peer: IpAddr,
    /// When the last request began, in milliseconds after the port's start, plus one; zero before the first.
    last_request: AtomicU64,
    held: AtomicUsize,
    calls: AtomicUsize,
    /// Calls that were read and have not begun to run.
    fresh: AtomicUsize,
    /// Reads on once fewer wait.
    reader: AtomicWaker,
    /// Answers that were given to HTTP and are not taken by the peer yet, with the time since when.
    untaken: Mutex<Untaken>,
    closed: CancellationToken,
}

#[derive(Debug, Default)]
struct Untaken {
    next: u64,
    since: BTreeMap<u64, Instant>,
}

/// A connection's place among the others; given back when dropped.
#[derive(Debug)]
pub(in crate::scaler) struct Place {
    id: u64,
    pub(super) connection: Arc<Connection>,
}

impl Connections {
    /// A port without connections yet.
    pub(in crate::scaler) fn new(
        port: &'static str,
        (most, most_calls): (usize, usize),
        metrics: Metrics,
    ) -> Arc<Self> {
        Arc::new(Self {
            port,
            most,
            most_calls,
            started: Instant::now(),
            held: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            open: Mutex::default(),
            metrics,
        })
    }

    /// A place for a new connection. When all are taken, another connection is closed for it.
    pub(super) fn admit(self: &Arc<Self>, peer: IpAddr) -> Place {
        let connection = Arc::new(Connection {
            port: Arc::clone(self),
            opened: Instant::now(),
            received: AtomicU64::new(0),
            peer,
            last_request: AtomicU64::new(0),
            held: AtomicUsize::new(0),
            calls: AtomicUsize::new(0),
            fresh: AtomicUsize::new(0),
            reader: AtomicWaker::new(),
            untaken: Mutex::default(),
            closed: CancellationToken::new(),
        });
        let mut open = self.open();
        if open.connections.len() >= self.most {
            let chosen = least_needed(&open.connections);
            self.close(&mut open, chosen, Closed::Connections);
        }
        let id = open.next;
        open.next += 1;
        open.connections.insert(id, Arc::clone(&connection));
        Place { id, connection }
    }

    /// Closes a connection that was never used, because there is no descriptor for a new one; whether one closes.
    pub(super) fn close_silent(&self) -> bool {
        let mut open = self.open();
        if open.closing == 0 {
            let idle = |id: &u64| open.connections.get(id).is_some_and(|connection| connection.is_idle());
            let chosen = least_needed(&open.connections).filter(idle);
            self.close(&mut open, chosen, Closed::Descriptors);
        }
        open.closing > 0
    }

    /// Counts a connection that was closed by the server.
    pub(super) fn count(&self, why: Closed) {
        self.metrics.closed(self.port, why);
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self, open: &mut Open, chosen: Option<u64>, why: Closed) {
        let Some(connection) = chosen.and_then(|id| open.connections.remove(&id)) else { return };
        connection.closed.cancel();
        open.closing += 1;
        self.count(why);
        let now = Instant::now();
        if open.said.is_none_or(|said| now.duration_since(said) >= SAY_EVERY) {
            open.said = Some(now);
            tracing::warn!(
                port = self.port,
                reason = why.label(),
                peer = %connection.peer,
                "A port has no room left; connections are closed, the longest silent ones of the largest peer first."
            );
        }
    }

    /// Closes the connection that holds most, if it or its peer holds much more than `asking` or its peer; whether one
    /// closes.
    fn close_greediest(&self, asking: &Connection) -> bool {
        let mut open = self.open();
        // One at a time: what it holds is given back only when it has closed.
        if open.closing == 0 {
            let of_peer = held_by_peer(&open.connections);
            let sum = |peer: IpAddr| of_peer.get(&peer).copied().unwrap_or(0);
            let rank = |connection: &Connection| (sum(connection.peer), connection.held());
            let greediest = open.connections.iter().max_by_key(|(_, connection)| rank(connection));
            let pays = greediest.filter(|(_, greediest)| {
                let (theirs, ours) = (rank(greediest), rank(asking));
                if greediest.peer == asking.peer { theirs.1 / 2 >= ours.1 } else { theirs.0 / 2 >= ours.0 }
            });
            let chosen = pays.map(|(id, _)| *id);
            self.close(&mut open, chosen, Closed::Memory);
        }
        open.closing > 0
    }
}

/// Never used ones first, then the one whose last request is longest ago; those of a peer with many before others.
fn least_needed(open: &BTreeMap<u64, Arc<Connection>>) -> Option<u64> {
    let mut of_peer: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for connection in open.values() {
        *of_peer.entry(connection.peer).or_default() += 1;
    }
    let rank = |id: &u64, connection: &Connection| {
        let greed = of_peer.get(&connection.peer).map_or(0, |count| count.saturating_sub(FEW));
        let used = connection.last_request.load(Ordering::Relaxed);
        (Reverse(greed), used, connection.has_begun(), *id)
    };
    open.iter().min_by_key(|(id, connection)| rank(id, connection)).map(|(id, _)| *id)
}

fn held_by_peer(open: &BTreeMap<u64, Arc<Connection>>) -> BTreeMap<IpAddr, usize> {
    let mut of_peer = BTreeMap::new();
    for connection in open.values() {
        *of_peer.entry(connection.peer).or_default() += connection.held();
    }
    of_peer
}

/// A call that was read and has not begun to run.
#[derive(Debug)]
pub(super) struct Fresh(Arc<Connection>);

impl Fresh {
    pub(super) fn of(connection: &Arc<Connection>) -> Self {
        connection.fresh.fetch_add(1, Ordering::SeqCst);
        Self(Arc::clone(connection))
    }
}

impl Drop for Fresh {
    fn drop(&mut self) {
        if self.0.fresh.fetch_sub(1, Ordering::SeqCst) <= MOST_FRESH + 1 {
            self.0.reader.wake();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.connection.port.open();
        if open.connections.remove(&self.id).is_none() {
            open.closing = open.closing.saturating_sub(1);
        }
    }
}

/// There is no room for a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoRoom;

impl Connection {
    /// Completes when another connection needs this one's place.
    pub(super) async fn closed(&self) {
        self.closed.cancelled().await;
    }

    /// Whether it ever carried a request.
    pub(super) fn is_used(&self) -> bool {
        self.last_request.load(Ordering::Relaxed) != 0
    }

    /// Whether the peer has said anything.
    fn has_begun(&self) -> bool {
        self.received.load(Ordering::Relaxed) > 0
    }

    /// Whether nothing has come of it although it had the time.
    fn is_idle(&self) -> bool {
        let had = if self.has_begun() { BEGINNING } else { FIRST_WORD };
        !self.is_used() && self.opened.elapsed() > had
    }

    /// Calls that are open.
    pub(super) fn calls(&self) -> usize {
        self.calls.load(Ordering::Relaxed)
    }

    /// Time since the last request began, or since the connection was opened.
    pub(super) fn silent_for(&self, now: Instant) -> Duration {
        let last = match self.last_request.load(Ordering::Relaxed) {
            0 => self.opened,
            millis => self.port.started + Duration::from_millis(millis - 1),
        };
        now.saturating_duration_since(last)
    }

    /// How long the oldest answer has not been taken.
    pub(super) fn untaken_for(&self, now: Instant) -> Option<Duration> {
        let oldest = self.untaken().since.first_key_value().map(|(_, since)| *since)?;
        Some(now.saturating_duration_since(oldest))
    }

    /// Notes that a request begins.
    pub(super) fn note_request(&self) {
        let millis = u64::try_from(self.port.started.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.last_request.store(millis + 1, Ordering::Relaxed);
    }

    /// Opens a call.
    pub(super) fn open_call(&self) -> Result<(), NoRoom> {
        self.note_request();
        let ours = self.calls.fetch_add(1, Ordering::Relaxed) + 1;
        let all = self.port.calls.fetch_add(1, Ordering::Relaxed) + 1;
        if all > self.port.most_calls && ours > ALWAYS_OPEN {
            self.end_call();
            return Err(NoRoom);
        }
        Ok(())
    }

    /// Whether more may be read: not while many calls wait for a thread. The task is woken when it may.
    pub(super) fn may_read(&self, cx: &Context<'_>) -> bool {
        let few = || self.fresh.load(Ordering::SeqCst) <= MOST_FRESH;
        if few() {
            return true;
        }
        self.reader.register(cx.waker());
        few()
    }

    /// Ends a call.
    pub(super) fn end_call(&self) {
        self.calls.fetch_sub(1, Ordering::Relaxed);
        self.port.calls.fetch_sub(1, Ordering::Relaxed);
    }

    /// Holds `bytes` more. When all connections hold too much together, the greediest one pays: it is closed, or
    /// this request is refused if it is on it.
    pub(super) fn hold(&self, bytes: usize) -> Result<(), NoRoom> {
        let ours = self.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let all = self.port.held.fetch_add(bytes, Ordering::Relaxed) + bytes;
        let fits = all <= MOST_HELD
            || ours <= ALWAYS_HELD
            || (self.port.close_greediest(self) && all <= MOST_HELD + WHILE_CLOSING);
        if !fits {
            self.release(bytes);
            return Err(NoRoom);
        }
        Ok(())
    }

    /// Holds `bytes` less.
    pub(super) fn release(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.port.held.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn held(&self) -> usize {
        self.held.load(Ordering::Relaxed)
    }

    /// Notes that a part of an answer waits for the peer; gives its number.
    pub(super) fn answer_waits(&self) -> u64 {
        let mut untaken = self.untaken();
        let id = untaken.next;
        untaken.next += 1;
        untaken.since.insert(id, Instant::now());
        id
    }

    /// Notes that HTTP has passed the part on, or that its call is over.
    pub(super) fn answer_taken(&self, id: u64) {
        self.untaken().since.remove(&id);
    }

    fn untaken(&self) -> MutexGuard<'_, Untaken> {
        self.untaken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
