//! Queries of Prometheus about a trigger's tasks, and where they are answered.

use std::sync::Arc;

use crate::config::keys;
use crate::config::server::{Connection, Server};
use crate::config::trigger::{self, Refusal};
use crate::fields::{Fields, Invalid, Problem};
use crate::sources::prometheus::{self, QUERY_KEYS};
use crate::sources::{Plan, Spec};

/// Queries about a trigger's tasks.
#[derive(Clone, Debug)]
pub struct QueriesAt {
    /// Who answers them; it may be the queue's own connection.
    pub connection: Arc<Connection>,
    /// What is asked.
    pub plan: Arc<dyn Plan>,
}

/// What the keys say, before anything is looked up.
#[derive(Debug)]
pub(super) struct Asked {
    connection: Option<String>,
    plan: Option<Arc<dyn Plan>>,
}

/// Reads the keys that say what is asked, and where.
pub(super) fn parse(fields: &mut Fields<'_>, source: Option<&Spec>) -> Option<Asked> {
    let connection: Option<String> = fields.read(&keys::PROMETHEUS_CONNECTION);
    let plan = prometheus::parse_queries(fields);
    let is_bad = connection.is_none() && fields.has(&keys::PROMETHEUS_CONNECTION);
    let asks = QUERY_KEYS.iter().any(|key| fields.has(key));
    let is_prometheus =
        source.is_some_and(|source| source.connections.iter().any(|kind| kind.name == prometheus::KIND));
    if asks && connection.is_none() && !is_bad && !is_prometheus && source.is_some() {
        fields.problem(&keys::PROMETHEUS_CONNECTION, "is required by the trigger's queries");
    }
    if !asks && connection.is_some() {
        fields.problem(&keys::PROMETHEUS_CONNECTION, "says nothing without a query or a `queryPreset`");
    }
    let plan = plan?;
    (!is_bad).then_some(Asked { connection, plan })
}

impl Asked {
    /// Looks the connection up; without a name it is that of the queue.
    ///
    /// # Errors
    /// When there is no such connection, or it answers no queries.
    pub(super) fn find(
        self,
        server: &Server,
        source: &'static Spec,
        of_queue: &Arc<Connection>,
    ) -> Result<Option<QueriesAt>, Refusal> {
        let Self { connection, plan } = self;
        let connection = match connection {
            Some(name) => trigger::connection(server, source, &name, &keys::PROMETHEUS_CONNECTION)?,
            None => Arc::clone(of_queue),
        };
        let Some(plan) = plan else { return Ok(None) };
        if connection.kind.name != prometheus::KIND {
            let message = format!(
                "`{}` is a connection of type {}, not {}",
                connection.name,
                connection.kind.name,
                prometheus::KIND
            );
            let path = format!("metadata.{}", keys::PROMETHEUS_CONNECTION.name);
            return Err(Invalid::one(trigger::SUBJECT, Problem { path, message, hint: None }).into());
        }
        Ok(Some(QueriesAt { connection, plan }))
    }
}
