//! Rights before work: what is checked of a trigger before anything in it is parsed, multiplied, hinted at or kept.
//!
//! [`trigger::parse`](super::trigger::parse) calls [`admit`], reads the metadata, and calls [`permit`]. Whatever a
//! caller can size is bounded by the first before the second begins.

use std::collections::BTreeMap;

use crate::config::server::{Connection, Server};
use crate::config::tenants::{Forbidden, Tenants};
use crate::config::trigger::{Refusal, SUBJECT, Trigger, address_refused};
use crate::config::workers::{LimitUse, WorkersAt};
use crate::config::{credential, keys, queries::QueriesAt, workers};
use crate::fields::{Fields, Invalid, Key, Problem, shortened};
use crate::sources::Plan;

/// Most keys of a trigger: a Kafka trigger with all of its keys, every query and KEDA's own keys has 52.
const MOST_KEYS: usize = 64;

/// Longest name of a key, in bytes: ours have up to 34, and KEDA's users add `FromEnv`.
const LONGEST_KEY: usize = 128;

/// Largest value, in bytes: a list of [`Names::MOST`](crate::fields::Names::MOST) names of 60 characters.
const LARGEST_VALUE: usize = 16 * 1024;

/// Most bytes of all keys and values: ten queries of the longest kind, and as much as half a list of names.
const LARGEST_METADATA: usize = 48 * 1024;

/// Where the metadata stands in the paths of problems.
const WHOLE: &str = "metadata";

/// Longest name of a namespace, as Kubernetes has it (RFC 1123, a label).
const LONGEST_NAMESPACE: usize = 63;

/// Longest name of an object, as Kubernetes has it (RFC 1123, a subdomain).
pub(super) const LONGEST_OBJECT: usize = 253;

/// Lets the metadata of the object `name` be read, or not. In this order, each before the next:
///
/// 1. namespace and name are names that Kubernetes gives;
/// 2. the metadata is as small as that of any trigger;
/// 3. where tenants are named, the namespace is one of them and may use the connections and the limit that it names.
///
/// # Errors
/// When it may not. An unknown connection or limit and one of another tenant give the same error.
pub(super) fn admit(
    server: &Server,
    namespace: &str,
    name: &str,
    metadata: &BTreeMap<String, String>,
) -> Result<(), Refusal> {
    identity(namespace, name)?;
    size(metadata)?;
    rights(server, namespace, metadata)
}

/// Lets a trigger read the queues that its metadata names, or not; its connections and its limit are admitted already.
///
/// # Errors
/// When a name fits none of the tenant's patterns, or a query is the trigger's own and may not be.
pub(super) fn permit(tenants: &Tenants, trigger: &Trigger) -> Result<(), Forbidden> {
    let Trigger { id, connection, plan, queries, workers, limit, policy: _, source: _ } = trigger;
    let namespace = &*id.namespace;
    permit_plan(tenants, namespace, connection, plan.as_ref())?;
    if let Some(QueriesAt { connection, plan }) = queries {
        permit_plan(tenants, namespace, connection, plan.as_ref())?;
    }
    if let Some(WorkersAt { connection, plan, scope: _ }) = workers {
        tenants.permit(namespace, &connection.name, &plan.names())?;
    }
    if let Some(LimitUse { limit, weight: _ }) = limit {
        tenants.permit_limit(namespace, &limit.name)?;
    }
    Ok(())
}

fn permit_plan(
    tenants: &Tenants,
    namespace: &str,
    connection: &Connection,
    plan: &dyn Plan,
) -> Result<(), Forbidden> {
    // Who may not write queries at all should not first be told of patterns.
    if plan.asks_freely() {
        tenants.permit_promql(namespace)?;
    }
    tenants.permit(namespace, &connection.name, &plan.names())
}

/// Names become part of logs, pages and metrics, so they are those that Kubernetes gives.
fn identity(namespace: &str, name: &str) -> Result<(), Invalid> {
    let mut problems = Vec::new();
    let mut check = |path: &str, text: &str, is_good: bool, hint: &str| {
        if !is_good {
            let message = format!("`{}` is not a name that Kubernetes gives", shortened(text));
            problems.push(Problem { path: path.to_owned(), message, hint: Some(hint.to_owned()) });
        }
    };
    let is_namespace = namespace.len() <= LONGEST_NAMESPACE && is_label(namespace);
    let hint = "lower-case letters, digits and `-`, at most 63 characters";
    check("namespace", namespace, is_namespace, hint);
    let is_object = name.len() <= LONGEST_OBJECT && name.split('.').all(is_label);
    check("name", name, is_object, "lower-case letters, digits, `-` and `.`, at most 253 characters");
    Invalid::unless_empty("the name of the scaled object", problems)
}

fn is_label(text: &str) -> bool {
    let is_end =
        |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let bytes = text.as_bytes();
    is_end(bytes.first())
        && is_end(bytes.last())
        && bytes.iter().all(|byte| is_end(Some(byte)) || *byte == b'-')
}

/// Bounds what the metadata costs to read. The error repeats no value, because one may be a secret.
fn size(metadata: &BTreeMap<String, String>) -> Result<(), Invalid> {
    let nothing = BTreeMap::new();
    let mut fields = Fields::new("", &nothing);
    let count = metadata.len();
    if count > MOST_KEYS {
        fields.problem_at(WHOLE, format!("{count} keys, more than {MOST_KEYS}"), None);
        return Invalid::unless_empty(SUBJECT, fields.finish());
    }
    let hint = || Some("divide the queues among several objects".to_owned());
    for (key, value) in metadata {
        let path = || format!("{WHOLE}.{}", shortened(key));
        if key.len() > LONGEST_KEY {
            let message = format!("a key of {} bytes, more than {LONGEST_KEY}", key.len());
            fields.problem_at(&path(), message, None);
        }
        if value.len() > LARGEST_VALUE {
            let message = format!("a value of {} bytes, more than {LARGEST_VALUE}", value.len());
            fields.problem_at(&path(), message, hint());
        }
    }
    let all: usize = metadata.iter().map(|(key, value)| key.len() + value.len()).sum();
    if all > LARGEST_METADATA {
        fields.problem_at(WHOLE, format!("{all} bytes in all, more than {LARGEST_METADATA}"), hint());
    }
    Invalid::unless_empty(SUBJECT, fields.finish()).map_err(Invalid::shortened)
}

/// Looks at the four keys that name what the server's file names, and at no other.
fn rights(server: &Server, namespace: &str, metadata: &BTreeMap<String, String>) -> Result<(), Refusal> {
    let tenants = &server.tenants;
    if matches!(tenants, Tenants::Open) {
        return Ok(());
    }
    let text = |key: &Key| metadata.get(key.name).map(|text| text.trim());
    for key in [&keys::CONNECTION, &keys::WORKERS_CONNECTION, &keys::PROMETHEUS_CONNECTION] {
        let Some(name) = text(key) else { continue };
        // It may hold credentials, which no error repeats.
        if name.contains("://") {
            return Err(address_refused(key).into());
        }
        tenants.permit_connection(namespace, name)?;
    }
    tenants.permit_at_all(namespace)?;
    let limit = text(&keys::LLM_LIMIT);
    if let Some(name) = limit {
        match tenants.permit_limit(namespace, name) {
            Err(_) if credential::is_likely(name) => return Err(workers::key_refused().into()),
            permitted => permitted?,
        }
    }
    // Where the trigger names no connection of its workers, others did, and their name is not the tenant's to know.
    let default = server.defaults.get(keys::WORKERS_CONNECTION.name).map(|text| text.trim());
    match (text(&keys::WORKERS_CONNECTION), default, limit.and_then(|name| server.limits.get(name))) {
        (Some(_), _, _) | (None, None, None) => Ok(()),
        (None, Some(name), _) => {
            tenants.permit_implied(namespace, name, || "the server's `defaults.workersConnection`".to_owned())
        }
        (None, None, Some(limit)) => tenants.permit_implied(namespace, &limit.connection.name, || {
            format!("the connection of the LLM limit `{}`", limit.name)
        }),
    }
    .map_err(Refusal::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::ALL;
    use crate::sources::prometheus::QUERY_KEYS;

    #[test]
    fn every_key_that_a_trigger_can_have_fits() {
        for source in ALL {
            let names = keys::ALL.iter().chain(QUERY_KEYS).chain(source.keys).map(|key| key.name);
            let names: Vec<&str> = names.chain(keys::KEDAS.iter().copied()).collect();
            assert!(names.len() <= MOST_KEYS, "{}: {}", source.name, names.len());
            assert!(names.iter().all(|name| name.len() <= LONGEST_KEY / 2), "{}", source.name);
        }
    }

    #[test]
    fn a_name_is_one_that_kubernetes_gives() {
        let (label, subdomain) = ("x".repeat(63), ["x".repeat(120), "y".repeat(132)].join("."));
        for (namespace, name) in [("acme", "support-bot"), ("a-1", "v1.2.support"), (&label, &subdomain)] {
            assert_eq!(identity(namespace, name), Ok(()), "{namespace} {name}");
        }
        let long = "x".repeat(30_000);
        for bad in ["", "-a", "a-", "Acme", "a_b", "a b", "a\n", "a\u{1b}[2J", "ä", "a/b", ".", "a..b", &long]
        {
            for (namespace, name, path) in [(bad, "jobs", "namespace"), ("acme", bad, "name")] {
                let text = identity(namespace, name).unwrap_err().to_string();
                let line = text.lines().nth(1).unwrap();
                assert!(line.starts_with(&format!("  {path}: `")), "{text}");
                assert!(text.len() < 300 && !line.contains(char::is_control), "{text}");
            }
        }
        assert!(identity("a.b", "jobs").is_err(), "a namespace is one label");
        assert!(identity(&"x".repeat(64), "jobs").is_err() && identity("acme", &"x".repeat(254)).is_err());
    }
}
