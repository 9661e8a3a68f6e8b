//! What workers may use, written once a tick.

use std::collections::BTreeMap;

use tokio::time::Instant;

use super::{Reader, State};
use crate::sources::{Published, ReadError};

/// What workers may use, by the scope of their limit.
pub(in crate::scaler) type Shares = BTreeMap<String, Published>;

impl Reader {
    /// Tells workers what they may use. What cannot be written is written with the next tick: workers keep the
    /// last that they saw.
    pub(super) async fn publish_shares(&self, deadline: Instant, state: &mut State) {
        let shares: Vec<Published> = self.shares.borrow().values().cloned().collect();
        let Some(mut client) = state.client.take_if(|_| !shares.is_empty()) else { return };
        let (error, is_of_use) = match self.within(deadline, client.publish(&shares)).await {
            Ok(Ok(())) => (None, true),
            Ok(Err(error)) => {
                let is_of_use = client.mends_itself() || !error.loses_connection();
                (Some(error), is_of_use)
            }
            Err(error) => (Some(error), false),
        };
        if is_of_use {
            state.client = Some(client);
        }
        let failing = error.as_ref().map(ReadError::label);
        if let Some(error) = error.filter(|_| failing != state.not_published) {
            let connection = &self.connection.name;
            tracing::warn!(%connection, %error, "Shares could not be published.");
        }
        state.not_published = failing;
    }
}
