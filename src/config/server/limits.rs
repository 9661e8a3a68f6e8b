//! `llmLimits`: rate limits that the workers of several triggers share.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Node};

use super::connections::{Connection, reporting};
use super::headroom::{self, HeadroomAt};
use crate::config::credential;
use crate::config::numbers::{Amount, Scope, Weight};
use crate::config::yaml::Walk;
use crate::engine::limit::Dimension;
use crate::engine::limit::policy::{LimitPolicy, UsePerTask};
use crate::fields::{Fields, Key, Need, Value};
use crate::sources::{Plan, Spec};

/// One rate-limit budget under a name that triggers use: a provider, an account, a class of models.
#[derive(Clone, Debug)]
pub struct Limit {
    /// The name.
    pub name: Arc<str>,
    /// Where workers report what they see of it.
    pub connection: Arc<Connection>,
    /// Under which name.
    pub scope: Arc<str>,
    /// How to read what they saw.
    pub plan: Arc<dyn Plan>,
    /// Who tells of it beside them.
    pub headroom: Option<HeadroomAt>,
    /// What is known of it beforehand; no amount at all where only the provider's answers tell.
    pub policy: LimitPolicy,
    /// Namespace → its part, where the limit does not suffice for all; see [`Limit::weight_of`].
    pub weights: BTreeMap<String, f64>,
    /// Whether workers are told their shares.
    pub publish_shares: bool,
}

impl Limit {
    /// What follows where [`LimitPolicy::amounts`] is empty.
    pub const NO_AMOUNT: &'static str =
        "no amount is given, so nothing is held back until a provider's answer tells one";

    /// A limit of which only the name is known, and where workers report; `None` where they cannot, and for a
    /// name that looks like an API key.
    pub fn named(name: &str, connection: Arc<Connection>) -> Option<Self> {
        let reports = connection.kind.reports.filter(|_| !credential::is_likely(name))?;
        Some(Self {
            name: name.into(),
            connection,
            scope: name.into(),
            plan: (reports.limit)(name),
            headroom: None,
            policy: LimitPolicy::default(),
            weights: BTreeMap::new(),
            publish_shares: false,
        })
    }

    /// The part of `namespace` in relation to other namespaces: 1 unless the file says otherwise.
    pub fn weight_of(&self, namespace: &str) -> f64 {
        self.weights.get(namespace).copied().unwrap_or(1.0)
    }
}

const WORKERS_CONNECTION: Key = Key {
    name: "workersConnection",
    need: Need::Required,
    unit: "name",
    help: "connection that workers report through what they use and what the provider answers",
    example: "redis-main",
};
const SCOPE: Key = Key {
    name: "scope",
    need: Need::Required,
    unit: "name",
    help: "name that they report under: one for each provider, account and class of models",
    example: "anthropic/prod/sonnet",
};
const PUBLISH_SHARES: Key = Key {
    name: "publishShares",
    need: Need::Default("false"),
    unit: "true | false",
    help: "tell workers their shares, for their own limiters; needs the right to write on the connection",
    example: "true",
};
const USE_PER_TASK: Key = Key {
    name: "usePerTask",
    need: Need::Optional,
    unit: "see below",
    help: "what a task uses, until that is measured",
    example: "{ requests: 12 }",
};
const WEIGHTS: Key = Key {
    name: "weights",
    need: Need::Optional,
    unit: "namespace: number",
    help: "parts of namespaces where the limit does not suffice for all, 0.01 to 1000; others 1",
    example: "{ acme: 3 }",
};

/// What a provider admits, by dimension.
static AMOUNTS: [(Dimension, Key); Dimension::ALL.len()] = [
    (Dimension::RequestsPerMinute, amount("requestsPerMinute", "requests", "requests a minute", "4000")),
    (
        Dimension::InputTokensPerMinute,
        amount("inputTokensPerMinute", "tokens", "tokens sent a minute", "2000000"),
    ),
    (
        Dimension::OutputTokensPerMinute,
        amount("outputTokensPerMinute", "tokens", "tokens generated a minute", "400000"),
    ),
    (
        Dimension::TokensPerMinute,
        amount("tokensPerMinute", "tokens", "both a minute, where the provider limits their sum", "2000000"),
    ),
    (Dimension::RequestsPerDay, amount("requestsPerDay", "requests", "requests a day", "100000")),
    (Dimension::InputTokensPerDay, amount("inputTokensPerDay", "tokens", "tokens sent a day", "500000000")),
    (
        Dimension::OutputTokensPerDay,
        amount("outputTokensPerDay", "tokens", "tokens generated a day", "100000000"),
    ),
    (
        Dimension::TokensPerDay,
        amount("tokensPerDay", "tokens", "both a day, where the provider limits their sum", "500000000"),
    ),
    (Dimension::Concurrency, amount("concurrency", "requests", "requests at a time", "50")),
];

const fn amount(name: &'static str, unit: &'static str, help: &'static str, example: &'static str) -> Key {
    Key { name, need: Need::Optional, unit, help, example }
}

static FRAME: [Key; 5] = [WORKERS_CONNECTION, SCOPE, USE_PER_TASK, WEIGHTS, PUBLISH_SHARES];

/// The keys under `llmLimits.NAME`, in the order in which people should read them.
pub fn limit_keys() -> Vec<&'static Key> {
    let (where_from, what_else) = FRAME.split_at(2);
    let amounts = AMOUNTS.iter().map(|(_, key)| key);
    where_from.iter().chain(amounts).chain(what_else).chain(headroom::keys()).collect()
}

const REQUESTS: Key = amount("requests", "requests", "requests of one task", "12");
const INPUT_TOKENS: Key = amount("inputTokens", "tokens", "tokens that one task sends", "60000");
const OUTPUT_TOKENS: Key = amount("outputTokens", "tokens", "tokens that are generated for it", "4000");

/// The keys under `llmLimits.NAME.usePerTask`.
pub const USE_KEYS: &[Key] = &[REQUESTS, INPUT_TOKENS, OUTPUT_TOKENS];

/// Reads the named limits.
pub(super) fn limits(
    walk: &mut Walk,
    map: Map<String, Node>,
    connections: &BTreeMap<String, Arc<Connection>>,
    sources: &[Spec],
) -> BTreeMap<String, Arc<Limit>> {
    let mut limits = BTreeMap::new();
    for (name, node) in map {
        let path = format!("llmLimits.{name}");
        let map = walk.map(node, &path);
        if let Some(limit) = limit(walk, &name, map, connections, sources) {
            refuse_twin(walk, &path, &limit, &limits);
            limits.insert(name, Arc::new(limit));
        }
    }
    limits
}

fn limit(
    walk: &mut Walk,
    name: &str,
    mut map: Map<String, Node>,
    connections: &BTreeMap<String, Arc<Connection>>,
    sources: &[Spec],
) -> Option<Limit> {
    let path = format!("llmLimits.{name}");
    let uses = walk.section(&mut map, USE_PER_TASK.name, &format!("{path}.usePerTask"));
    let use_per_task = use_per_task(walk, uses, &format!("{path}.usePerTask"));
    let weights = walk.section(&mut map, WEIGHTS.name, &format!("{path}.weights"));
    let weights = self::weights(walk, weights, &format!("{path}.weights"));
    let values = walk.values(map, &path);
    let mut fields = Fields::new(path, &values);
    fields.know(&[USE_PER_TASK, WEIGHTS]);
    let connection: Option<String> = fields.read(&WORKERS_CONNECTION);
    let scope: Option<Scope> = fields.read(&SCOPE);
    let amount = |(dimension, key)| Some((dimension, fields.read::<Amount>(key)?.0));
    let amounts = AMOUNTS.iter().map(|(dimension, key)| (*dimension, key)).filter_map(amount).collect();
    let publish_shares: Option<bool> = fields.read(&PUBLISH_SHARES);
    let headroom = headroom::parse(&mut fields, connections);
    let reporting =
        connection.and_then(|name| reporting(&mut fields, &WORKERS_CONNECTION, &name, connections, sources));
    fields.refuse_unknown(&[], &[]);
    walk.problems.extend(fields.finish());
    let ((connection, reports), Scope(scope), headroom) = (reporting?, scope?, headroom?);
    Some(Limit {
        name: name.into(),
        connection,
        plan: (reports.limit)(&scope),
        scope: scope.into(),
        headroom,
        policy: LimitPolicy { amounts, use_per_task },
        weights,
        publish_shares: publish_shares?,
    })
}

/// Two limits under one name would each take what workers report for the whole of it.
fn refuse_twin(walk: &mut Walk, path: &str, limit: &Limit, others: &BTreeMap<String, Arc<Limit>>) {
    let place = |limit: &Limit| (limit.connection.endpoint.address(), Arc::clone(&limit.scope));
    if let Some(twin) = others.values().find(|other| place(other) == place(limit)) {
        let message = format!("`{}` is also the scope of `{}` there", limit.scope, twin.name);
        walk.problem(&format!("{path}.scope"), message, Some("one limit that several triggers name"));
    }
}

fn use_per_task(walk: &mut Walk, map: Map<String, Node>, path: &str) -> UsePerTask {
    let values = walk.values(map, path);
    let mut fields = Fields::new(path, &values);
    let mut amount = |key| fields.read::<Amount>(key).map(|Amount(amount)| amount);
    let requests = amount(&REQUESTS);
    let input_tokens = amount(&INPUT_TOKENS);
    let output_tokens = amount(&OUTPUT_TOKENS);
    fields.refuse_unknown(&[], &[]);
    walk.problems.extend(fields.finish());
    UsePerTask { requests, input_tokens, output_tokens }
}

fn weights(walk: &mut Walk, map: Map<String, Node>, path: &str) -> BTreeMap<String, f64> {
    let mut weights = BTreeMap::new();
    for (namespace, value) in walk.values(map, path) {
        let parsed = match value {
            Value::Text(text) => text.parse::<Weight>().map_err(|error| format!("`{text}`: {error}")),
            Value::Secret(_) => Err("must be a number".to_owned()),
        };
        match parsed {
            Ok(Weight(weight)) => {
                weights.insert(namespace, weight);
            }
            Err(message) => walk.problem(&format!("{path}.{namespace}"), message, None),
        }
    }
    weights
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_dimension_has_a_key_of_its_own() {
        let dimensions: Vec<Dimension> = AMOUNTS.iter().map(|(dimension, _)| *dimension).collect();
        assert_eq!(dimensions, Dimension::ALL);
        let names: BTreeSet<&str> = limit_keys().iter().map(|key| key.name).collect();
        assert_eq!(names.len(), limit_keys().len());
    }
}
