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

/// The handles of one connection.
#[derive(Default)]
pub(super) struct Groups {
    open: HashMap<Arc<str>, Group>,
}

struct Group {
    handle: Arc<Handle>,
    used: Instant,
}

impl Groups {
    /// The handle of a group, opened if there is none.
    ///
    /// # Errors
    /// When there are too many groups.
    pub(super) async fn handle(&mut self, name: &Arc<str>, opening: &Opening) -> Result<Arc<Handle>, Fault> {
        let now = Instant::now();
        self.open.retain(|_, group| now < group.used + KEPT_UNUSED);
        if let Some(group) = self.open.get_mut(name) {
            group.used = now;
            return Ok(Arc::clone(&group.handle));
        }
        if self.open.len() >= MOST_GROUPS {
            return Err(Fault::Unexpected(format!(
                "more than {MOST_GROUPS} consumer groups: watch some of them through another connection"
            )));
        }
        let handle = Arc::new(opening.open_group(name).await?);
        self.open.insert(Arc::clone(name), Group { handle: Arc::clone(&handle), used: now });
        Ok(handle)
    }

    /// Closes the handle of a group: the next question opens another.
    pub(super) fn close(&mut self, name: &str) {
        self.open.remove(name);
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
