//! A handle for each group, because the library takes the group from a client's configuration.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaError;
use tokio::time::Instant;

use super::fault::Fault;
use super::handle::{Failure, Handle};
use super::offsets::{self, Answers, Place};
use super::opening::Opening;

/// Most groups that are watched through one connection: each takes some threads and connections.
const MOST_GROUPS: usize = 100;

/// How long a handle stays open that nobody asks: triggers are forgotten after a quarter of an hour, and none is read
/// less often than every 30 s.
const KEPT_UNUSED: Duration = Duration::from_secs(120);

/// How long no other handle is opened for a group whose last one was of no use: each logs in anew. Within the usual
/// tick, so that every tick tries again and no read that waits for a first task does.
const REST: Duration = Duration::from_secs(4);

/// The handles of one connection.
#[derive(Default)]
pub(super) struct Groups {
    known: HashMap<Arc<str>, Group>,
}

struct Group {
    handle: Result<Arc<Handle>, Fault>,
    /// When it was asked for, or when it became of no use.
    used: Instant,
}

impl Groups {
    /// The handle of a group, opened if there is none.
    ///
    /// # Errors
    /// When there are too many groups, or the last one failed a moment ago.
    pub(super) async fn handle(&mut self, name: &Arc<str>, opening: &Opening) -> Result<Arc<Handle>, Fault> {
        let now = Instant::now();
        self.known.retain(|_, group| {
            let kept = if group.handle.is_ok() { KEPT_UNUSED } else { REST };
            now < group.used + kept
        });
        if let Some(group) = self.known.get_mut(name) {
            if group.handle.is_ok() {
                group.used = now;
            }
            return group.handle.clone();
        }
        if self.known.len() >= MOST_GROUPS {
            return Err(Fault::Unexpected(format!(
                "more than {MOST_GROUPS} consumer groups: watch some of them through another connection"
            )));
        }
        let handle = Arc::new(opening.open_group(name).await?);
        self.known.insert(Arc::clone(name), Group { handle: Ok(Arc::clone(&handle)), used: now });
        Ok(handle)
    }

    /// Closes the handle of a group, which may hold on to a broker that keeps the group no longer, or to rights that
    /// have changed since.
    pub(super) fn close(&mut self, name: &Arc<str>, fault: &Fault) {
        let group = Group { handle: Err(fault.clone()), used: Instant::now() };
        self.known.insert(Arc::clone(name), group);
    }
}

/// What `group` has committed in `places`.
///
/// # Errors
/// When the broker that keeps it does not say.
pub(super) async fn committed(
    group: &str,
    handle: &Handle,
    places: Vec<Place>,
    until: Instant,
) -> Result<Answers<Option<u64>>, Fault> {
    let asking = handle.ask(until, move |asker, within| offsets::committed(asker, &places, within));
    asking.await.map_err(|failure| fault(group, failure))
}

fn fault(group: &str, Failure { fault, error }: Failure) -> Fault {
    match (error.as_ref().and_then(KafkaError::rdkafka_error_code), fault) {
        (_, fault @ (Fault::NotLetIn(_) | Fault::Denied(_))) => fault,
        (Some(code), _) => Fault::of_group(group, code),
        // The others are not of this group's broker.
        (None, Fault::Late) => {
            Fault::Unexpected(format!("group `{group}`: the broker that keeps its offsets does not answer"))
        }
        (None, fault) => fault,
    }
}
