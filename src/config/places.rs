//! The places in which a trigger counts tasks. Two triggers that share a place count its tasks twice.

use crate::config::server::Connection;
use crate::config::trigger::Trigger;

/// The address of a connection that is known only by its name.
pub const NOWHERE: &str = "nowhere";

/// A place in which a trigger counts tasks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The backend that holds it: its address, since two connections may lead to one, or the connection's name.
    pub backend: String,
    /// Its name there, as a text shows it.
    pub name: String,
    /// The trigger key whose `false` leaves this place out, where a framework has one such key for all of its
    /// queues.
    pub switch: Option<&'static str>,
    /// What each trigger should have of its own, where that is not its queue.
    pub own: Option<&'static str>,
    /// Wider places that it is a part of.
    pub within: Vec<String>,
}

impl Place {
    /// Whether the tasks in one of them are in the other too.
    pub fn is_same(&self, other: &Self) -> bool {
        let has = |wide: &Self, part: &Self| wide.name == part.name || part.within.contains(&wide.name);
        self.backend == other.backend && (has(self, other) || has(other, self))
    }
}

impl Trigger {
    /// The places in which it counts tasks: the queue, the workers' reports, and the query for running tasks.
    pub fn places(&self) -> Vec<Place> {
        let Self { connection, plan, workers, queries, .. } = self;
        let workers = workers.as_ref().map(|at| (&at.connection, &at.plan));
        let queries = queries.as_ref().map(|at| (&at.connection, &at.plan));
        let read = [Some((connection, plan)), workers, queries].into_iter().flatten();
        let backend = |connection: &Connection| match connection.endpoint.address() {
            address if address == NOWHERE => connection.name.to_string(),
            address => address,
        };
        read.flat_map(|(connection, plan)| {
            plan.counts_in().into_iter().map(|counted| Place {
                backend: backend(connection),
                name: counted.place,
                switch: counted.switch,
                own: counted.own,
                within: counted.within,
            })
        })
        .collect()
    }
}
