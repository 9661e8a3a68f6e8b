//! `defaults`: values of trigger keys where a trigger gives none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Node};

use super::connections::{Connection, reporting};
use crate::config::yaml::Walk;
use crate::config::{keys, policy};
use crate::fields::{Fields, Value, nearest};
use crate::sources::Spec;

/// Reads the defaults as a trigger would read them, so that a bad one is found here and not by every trigger.
pub(super) fn defaults(
    walk: &mut Walk,
    map: Map<String, Node>,
    connections: &BTreeMap<String, Arc<Connection>>,
    sources: &[Spec],
) -> BTreeMap<String, String> {
    let values = walk.values(map, "defaults");
    let mut texts = BTreeMap::new();
    for (name, value) in values {
        let path = format!("defaults.{name}");
        let known = keys::DEFAULTABLE.iter().find(|key| key.name == name);
        match (known, value) {
            (Some(_), Value::Text(text)) => {
                texts.insert(name, text);
            }
            (Some(_), Value::Secret(_)) => walk.problem(&path, "must be plain text", None),
            (None, _) => {
                let hint = nearest(&name, keys::DEFAULTABLE.iter().map(|key| key.name));
                walk.problem(&path, "unknown key", hint.as_deref());
            }
        }
    }
    let values = texts.iter().map(|(name, text)| (name.clone(), Value::Text(text.clone()))).collect();
    let mut fields = Fields::new("defaults", &values);
    let _ = policy::parse(&mut fields, Duration::ZERO);
    if let Some(name) = fields.read::<String>(&keys::WORKERS_CONNECTION) {
        drop(reporting(&mut fields, &keys::WORKERS_CONNECTION, &name, connections, sources));
    }
    walk.problems.extend(fields.finish());
    texts
}
