//! The groups that are watched: the process has a client for each, because the library takes the group from a
//! client's configuration.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::fault::Fault;

/// Most groups that are watched through one connection: each takes some threads and connections.
const MOST_GROUPS: usize = 100;

/// How long a client stays open that nobody asks: triggers are forgotten after a quarter of an hour, and none is read
/// less often than every 30 s.
const KEPT_UNUSED: Duration = Duration::from_secs(120);

/// How long no other client is opened for a group whose last one was of no use: each logs in anew. Within the usual
/// tick, so that every tick tries again and no read that waits for a first task does.
const REST: Duration = Duration::from_secs(4);

/// The groups of one connection.
#[derive(Default)]
pub(super) struct Groups {
    known: HashMap<Arc<str>, Group>,
    /// Whose clients are to be closed with the next question.
    closed: BTreeSet<String>,
}

struct Group {
    /// Why its client was closed, if it was.
    fault: Option<Fault>,
    /// When it was asked for, or when it became of no use.
    used: Instant,
}

impl Groups {
    /// Lets a group be asked about.
    ///
    /// # Errors
    /// When there are too many groups, or the last client failed a moment ago.
    pub(super) fn admit(&mut self, name: &Arc<str>) -> Result<(), Fault> {
        let now = Instant::now();
        let closed = &mut self.closed;
        self.known.retain(|name, group| {
            let kept = now < group.used + if group.fault.is_none() { KEPT_UNUSED } else { REST };
            if !kept {
                closed.insert(name.to_string());
            }
            kept
        });
        if let Some(group) = self.known.get_mut(name) {
            if let Some(fault) = &group.fault {
                return Err(fault.clone());
            }
            group.used = now;
            return Ok(());
        }
        if self.known.len() >= MOST_GROUPS {
            return Err(Fault::Unexpected(format!(
                "more than {MOST_GROUPS} consumer groups: watch some of them through another connection"
            )));
        }
        self.known.insert(Arc::clone(name), Group { fault: None, used: now });
        Ok(())
    }

    /// Closes the client of a group, which may hold on to a broker that keeps the group no longer, or to rights that
    /// have changed since.
    pub(super) fn close(&mut self, name: &Arc<str>, fault: &Fault) {
        self.closed.insert(name.to_string());
        self.known.insert(Arc::clone(name), Group { fault: Some(fault.clone()), used: Instant::now() });
    }

    /// The groups whose clients are to be closed, for the question that says so.
    pub(super) fn take_closed(&mut self) -> Vec<String> {
        std::mem::take(&mut self.closed).into_iter().collect()
    }
}
