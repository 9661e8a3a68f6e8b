//! `tenants`: which namespace may use what.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::Value as Node;

use super::{Connection, Limit};
use crate::config::tenants::{Tenant, Tenants};
use crate::config::yaml::Walk;
use crate::fields::{Key, Need, nearest};

const CONNECTIONS: Key = Key {
    name: "connections",
    need: Need::Optional,
    unit: "name: [pattern]",
    help: "connections that it may use, each with patterns of the names of queues and workers; `*` stands for any text",
    example: "{ redis-main: [\"acme:*\"] }",
};
const LLM_LIMITS: Key = Key {
    name: "llmLimits",
    need: Need::Optional,
    unit: "[name]",
    help: "limits that its workers may share",
    example: "[anthropic-prod]",
};

const PROMQL: Key = Key {
    name: "promql",
    need: Need::Default("false"),
    unit: "true | false",
    help: "let its triggers hold PromQL of their own, on connections with the pattern `*`; presets need neither",
    example: "true",
};

/// The keys under `tenants.NAMESPACE`.
pub const TENANT_KEYS: &[Key] = &[CONNECTIONS, LLM_LIMITS, PROMQL];

/// Reads who may use what.
pub(super) fn tenants(
    walk: &mut Walk,
    node: Option<Node>,
    connections: &BTreeMap<String, Arc<Connection>>,
    limits: &BTreeMap<String, Arc<Limit>>,
) -> Tenants {
    // Present and empty is closed to everybody; only absent is open.
    let Some(node) = node else { return Tenants::Open };
    let mut tenants = BTreeMap::new();
    for (namespace, node) in walk.map(node, "tenants") {
        let path = format!("tenants.{namespace}");
        let mut map = walk.map(node, &path);
        let mut tenant = Tenant::default();
        for (name, patterns) in walk.section(&mut map, CONNECTIONS.name, &format!("{path}.connections")) {
            let at = format!("{path}.connections.{name}");
            let patterns = walk.texts(patterns, &at, "[\"acme:*\"]");
            if !connections.contains_key(&name) {
                let hint = nearest(&name, connections.keys().map(String::as_str));
                walk.problem(&at, "no connection of that name", hint.as_deref());
            }
            tenant.connections.insert(name, patterns);
        }
        if let Some(names) = map.remove(LLM_LIMITS.name) {
            tenant.llm_limits = self::limits(walk, names, &format!("{path}.llmLimits"), limits);
        }
        tenant.promql = match map.remove(PROMQL.name) {
            None => false,
            Some(Node::Bool(promql)) => promql,
            Some(_) => {
                walk.problem(&format!("{path}.{}", PROMQL.name), "must be true or false", None);
                false
            }
        };
        for name in map.keys() {
            let hint = nearest(name, TENANT_KEYS.iter().map(|key| key.name));
            walk.problem(&format!("{path}.{name}"), "unknown key", hint.as_deref());
        }
        tenants.insert(namespace, tenant);
    }
    Tenants::Closed(tenants)
}

fn limits(
    walk: &mut Walk,
    node: Node,
    path: &str,
    limits: &BTreeMap<String, Arc<Limit>>,
) -> BTreeSet<String> {
    let names = walk.texts(node, path, LLM_LIMITS.example);
    for name in names.iter().filter(|name| !limits.contains_key(*name)) {
        let hint = nearest(name, limits.keys().map(String::as_str));
        walk.problem(path, format!("no LLM limit named `{name}`"), hint.as_deref());
    }
    names.into_iter().collect()
}
