//! Where a trigger's workers report, and the limit that they share.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::numbers::{Scope, Weight};
use crate::config::server::{Connection, Limit, NoReports, Server};
use crate::config::trigger::{self, Refusal};
use crate::config::{credential, keys};
use crate::fields::{Fields, Invalid, Problem, nearest};
use crate::sources::{Plan, Spec};

/// Where workers report.
#[derive(Clone, Debug)]
pub struct WorkersAt {
    /// Through which connection; it need not be the queue's.
    pub connection: Arc<Connection>,
    /// Under which name.
    pub scope: Arc<str>,
    /// How to read what they report.
    pub plan: Arc<dyn Plan>,
}

/// A limit that a trigger's workers share with others.
#[derive(Clone, Debug)]
pub struct LimitUse {
    /// The limit.
    pub limit: Arc<Limit>,
    /// Their part within their namespace, in relation to that of other triggers there; positive.
    pub weight: f64,
}

/// What the keys say, before anything is looked up.
#[derive(Debug)]
pub(super) struct Asked {
    connection: Option<String>,
    scope: Option<String>,
    limit: Option<String>,
    weight: f64,
}

/// Reads the keys that say where workers report and what they share.
pub(super) fn parse(fields: &mut Fields<'_>, server: &Server) -> Option<Asked> {
    let connection: Option<String> = fields.read(&keys::WORKERS_CONNECTION);
    let scope: Option<Scope> = fields.read(&keys::WORKER_SCOPE);
    let limit: Option<String> = fields.read(&keys::LLM_LIMIT);
    let weight: Option<Weight> = fields.read(&keys::LLM_WEIGHT);
    if let Some(name) = &limit
        && !server.limits.contains_key(name)
        && credential::is_likely(name)
    {
        let Problem { message, hint, path: _ } = looks_like_a_key();
        fields.problem_at(keys::LLM_LIMIT.name, message, hint);
    }
    if fields.has(&keys::WORKER_SCOPE) && connection.is_none() && limit.is_none() {
        fields.problem(&keys::WORKER_SCOPE, "says nothing without `workersConnection` or `llmLimit`");
    }
    if fields.has(&keys::LLM_WEIGHT) && limit.is_none() {
        fields.problem(&keys::LLM_WEIGHT, "says nothing without `llmLimit`");
    }
    Some(Asked { connection, scope: scope.map(|Scope(name)| name), limit, weight: weight?.0 })
}

impl Asked {
    /// Looks everything up; `queue` is what the trigger watches.
    ///
    /// # Errors
    /// When there is no such connection or limit, or the connection cannot carry reports.
    pub(super) fn find(
        self,
        server: &Server,
        source: &'static Spec,
        queue: &dyn Plan,
    ) -> Result<(Option<WorkersAt>, Option<LimitUse>), Refusal> {
        let Self { connection, scope, limit, weight } = self;
        let limit = limit.map(|name| find_limit(&server.limits, &name)).transpose()?;
        let connection = match (connection, &limit) {
            (Some(name), _) => Some(trigger::connection(server, source, &name, &keys::WORKERS_CONNECTION)?),
            (None, Some(limit)) => Some(Arc::clone(&limit.connection)),
            (None, None) => None,
        };
        let workers = connection.map(|connection| {
            let reports = connection.reports(server.sources).map_err(|error| {
                let path = format!("metadata.{}", keys::WORKERS_CONNECTION.name);
                let NoReports { message, hint } = error;
                Invalid::one(trigger::SUBJECT, Problem { path, message, hint: Some(hint) })
            })?;
            let scope = scope.unwrap_or_else(|| queue.name());
            let plan = (reports.workers)(&scope, server.minute);
            Ok::<_, Refusal>(WorkersAt { connection, scope: scope.into(), plan })
        });
        Ok((workers.transpose()?, limit.map(|limit| LimitUse { limit, weight })))
    }
}

/// Why a limit's name is refused that looks like an API key.
pub(super) fn key_refused() -> Invalid {
    Invalid::one(trigger::SUBJECT, looks_like_a_key())
}

fn looks_like_a_key() -> Problem {
    let hint = "the name of a limit under `llmLimits` in the server's file; the key stays with the workers";
    Problem {
        path: format!("metadata.{}", keys::LLM_LIMIT.name),
        message: "looks like an API key, which is not repeated here".to_owned(),
        hint: Some(hint.to_owned()),
    }
}

fn find_limit(limits: &BTreeMap<String, Arc<Limit>>, name: &str) -> Result<Arc<Limit>, Refusal> {
    limits.get(name).cloned().ok_or_else(|| {
        let hint = nearest(name, limits.keys().map(String::as_str))
            .or_else(|| Some("name it under `llmLimits` in the server's file".to_owned()));
        Refusal::UnknownLimit { name: name.to_owned(), hint }
    })
}
