//! `connections`: backends under names of the user's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Node};

use crate::config::yaml::Walk;
use crate::fields::{Fields, Key, nearest};
use crate::sources::{ConnectionKind, Endpoint, Reports, Spec};

/// A backend under a name that triggers use.
#[derive(Debug)]
pub struct Connection {
    /// The name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: &'static ConnectionKind,
    /// How to connect to it.
    pub endpoint: Arc<dyn Endpoint>,
}

/// A connection through which workers cannot report.
#[derive(Debug)]
pub(in crate::config) struct NoReports {
    /// What is wrong.
    pub(in crate::config) message: String,
    /// Which connections could.
    pub(in crate::config) hint: String,
}

impl Connection {
    /// Pause between two reads that wait for the first task of an inactive workload.
    pub fn wake_every(&self) -> Duration {
        self.endpoint.wake_every().unwrap_or(self.kind.wake.pause())
    }

    /// How workers report through it, where the kinds of `sources` are known.
    ///
    /// # Errors
    /// When they cannot.
    pub(in crate::config) fn reports(&self, sources: &[Spec]) -> Result<Reports, NoReports> {
        self.kind.reports.ok_or_else(|| {
            let mut kinds: Vec<&str> = sources
                .iter()
                .flat_map(|spec| spec.connections)
                .filter(|kind| kind.reports.is_some())
                .map(|kind| kind.name)
                .collect();
            kinds.sort_unstable();
            kinds.dedup();
            NoReports {
                message: format!(
                    "workers cannot report through `{}`, a connection of type {}",
                    self.name, self.kind.name
                ),
                hint: format!("name a connection of type {}", kinds.join(" or ")),
            }
        })
    }
}

/// Reads the named backends.
pub(super) fn connections(
    walk: &mut Walk,
    map: Map<String, Node>,
    sources: &'static [Spec],
) -> BTreeMap<String, Arc<Connection>> {
    let mut connections = BTreeMap::new();
    for (name, node) in map {
        let path = format!("connections.{name}");
        let mut map = walk.map(node, &path);
        let kind = kind(walk, map.remove("type"), &path, sources);
        let values = walk.values(map, &path);
        let Some(kind) = kind else { continue };
        let mut fields = Fields::new(path, &values);
        let endpoint = (kind.parse)(&mut fields);
        fields.refuse_unknown(&["type"], &[]);
        walk.problems.extend(fields.finish());
        if let Some(endpoint) = endpoint {
            let connection = Connection { name: name.as_str().into(), kind, endpoint };
            connections.insert(name, Arc::new(connection));
        }
    }
    connections
}

fn kind(
    walk: &mut Walk,
    node: Option<Node>,
    path: &str,
    sources: &'static [Spec],
) -> Option<&'static ConnectionKind> {
    let path = format!("{path}.type");
    let mut names: Vec<&str> = kinds(sources).map(|kind| kind.name).collect();
    names.sort_unstable();
    names.dedup();
    let one_of = format!("one of {}", names.join(", "));
    let Some(Node::String(name)) = node else {
        walk.problem(&path, "is required", Some(&one_of));
        return None;
    };
    let kind = kinds(sources).find(|kind| kind.name == name);
    if kind.is_none() {
        let hint = nearest(&name, names.iter().copied()).unwrap_or(one_of);
        walk.problem(&path, format!("no kind of connection named `{name}`"), Some(&hint));
    }
    kind
}

/// The kinds that `sources` are read through, each as often as it is one's.
fn kinds(sources: &'static [Spec]) -> impl Iterator<Item = &'static ConnectionKind> {
    sources.iter().flat_map(|spec| spec.connections.iter().copied())
}

/// The connection of that name; otherwise a problem with `key`.
pub(super) fn named(
    fields: &mut Fields<'_>,
    key: &Key,
    name: &str,
    connections: &BTreeMap<String, Arc<Connection>>,
) -> Option<Arc<Connection>> {
    let connection = connections.get(name);
    if connection.is_none() {
        let hint = nearest(name, connections.keys().map(String::as_str))
            .unwrap_or_else(|| "name it under `connections`".to_owned());
        fields.problem_at(key.name, format!("no connection named `{name}`"), Some(hint));
    }
    connection.map(Arc::clone)
}

/// The connection of that name, if workers can report through it; otherwise a problem with `key`.
pub(super) fn reporting(
    fields: &mut Fields<'_>,
    key: &Key,
    name: &str,
    connections: &BTreeMap<String, Arc<Connection>>,
    sources: &[Spec],
) -> Option<(Arc<Connection>, Reports)> {
    let connection = named(fields, key, name, connections)?;
    match connection.reports(sources) {
        Ok(reports) => Some((connection, reports)),
        Err(NoReports { message, hint }) => {
            fields.problem_at(key.name, message, Some(hint));
            None
        }
    }
}
