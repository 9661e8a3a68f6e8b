//! Where a limit's headroom is read, when it is not, or not only, what workers see of it.

use std::collections::BTreeMap;
use std::iter;
use std::sync::Arc;

use super::connections::{Connection, named};
use crate::fields::{Fields, Key, Need};
use crate::sources::Plan;
use crate::sources::prometheus::{self, HEADROOM_KEYS};

/// Gauges that tell what is left of a limit.
#[derive(Clone, Debug)]
pub struct HeadroomAt {
    /// The Prometheus that has them.
    pub connection: Arc<Connection>,
    /// What it is asked.
    pub plan: Arc<dyn Plan>,
}

const PROMETHEUS_CONNECTION: Key = Key {
    name: "prometheusConnection",
    need: Need::Optional,
    unit: "name",
    help: "connection of `type: prometheus` that has the gauges of `headroomPreset`",
    example: "prometheus-main",
};

/// The keys, in the order in which people should read them.
pub(super) fn keys() -> impl Iterator<Item = &'static Key> {
    iter::once(&PROMETHEUS_CONNECTION).chain(HEADROOM_KEYS)
}

/// Reads the keys: `Some(None)` if none is given, `None` if `fields` kept a problem.
pub(super) fn parse(
    fields: &mut Fields<'_>,
    connections: &BTreeMap<String, Arc<Connection>>,
) -> Option<Option<HeadroomAt>> {
    let name: Option<String> = fields.read(&PROMETHEUS_CONNECTION);
    let plan = prometheus::parse_headroom(fields);
    let missing: Vec<&Key> = keys().filter(|key| !fields.has(key)).collect();
    if missing.len() == keys().count() {
        return Some(None);
    }
    missing.iter().for_each(|key| fields.problem(key, "is required: headroom takes all three keys"));
    let connection = named(fields, &PROMETHEUS_CONNECTION, &name?, connections)?;
    if connection.kind.name != prometheus::KIND {
        let kind = connection.kind.name;
        let message =
            format!("`{}` is a connection of type {kind}, not {}", connection.name, prometheus::KIND);
        fields.problem_at(PROMETHEUS_CONNECTION.name, message, None);
        return None;
    }
    Some(Some(HeadroomAt { connection, plan: plan?? }))
}
