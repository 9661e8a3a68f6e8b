//! How much memory the process may have: what a broker makes it allocate ends this process, and no other.

use std::sync::atomic::{AtomicU64, Ordering};

use rustix::process::{Resource, Rlimit, setrlimit};

/// Bytes for what all clients share. An answer of the longest kind takes some 40 MB until it is written.
const SHARED: u64 = 96 << 20;

/// Bytes for one client: the stacks of 60 threads, one for each broker, which are reserved and hardly ever used.
const CLIENT: u64 = 32 << 20;

/// Most clients so far: those that are closed keep what they have for a while.
static MOST: AtomicU64 = AtomicU64::new(0);

/// Allows what `clients` take, and no more.
pub(super) fn allow(clients: u32) {
    let most = MOST.fetch_max(clients.into(), Ordering::Relaxed).max(clients.into());
    let most = SHARED + CLIENT * most;
    // A limit that cannot be set leaves what the parent sees to: it weighs us.
    let _ = setrlimit(Resource::Data, Rlimit { current: Some(most), maximum: None });
}
