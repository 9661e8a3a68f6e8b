//! Refuses keys that end in `FromEnv`. KEDA replaces them by a variable of the workers, which may be a secret.

use std::collections::BTreeMap;

use crate::config::keys;
use crate::fields::{Fields, Key, nearest};
use crate::sources::prometheus::QUERY_KEYS;
use crate::sources::{ConnectionKind, Spec};

/// The suffix of such a key.
const SUFFIX: &str = "FromEnv";

/// Unit of a connection's key that refers to a credential.
const SECRET: &str = "secret";

/// Parts of a name, in lower case, that only credentials have.
const SECRET_PARTS: &[&str] = &["password", "secret", "apikey", "accesskey", "connectionstring"];

/// How a name of a credential may end. Elsewhere in a name tokens are those of a model, or an address.
const SECRET_END: &str = "token";

/// Credentials of KEDA's scalers that go by another name in a connection.
const RENAMED: &[(&str, &str)] = &[("token", "bearerToken"), ("apiKey", "customAuthValue")];

/// The kind of value of such a key.
#[derive(Debug)]
enum Held {
    /// A credential, which the connection refers to.
    Secret,
    /// The value of a trigger key.
    Plain(&'static Key),
    /// A setting of another place, which the text names.
    Moved(&'static str),
    /// An unknown key.
    Unknown,
}

/// Where KEDA looks for what it needs itself to reach the server.
const OF_KEDA: &str =
    "KEDA reads it in the trigger or in its TriggerAuthentication, and never from a variable";

/// Whether KEDA replaces the value of the key by that of the named variable.
pub(super) fn is_one(name: &str) -> bool {
    name.ends_with(SUFFIX)
}

/// Adds a problem for each such key of `metadata`, with the place of its value. No problem repeats a value.
pub(super) fn refuse(
    fields: &mut Fields<'_>,
    metadata: &BTreeMap<String, String>,
    source: Option<&'static Spec>,
    sources: &'static [Spec],
) {
    for name in metadata.keys() {
        let Some(base) = name.strip_suffix(SUFFIX) else { continue };
        let sources = source.map_or(sources, std::slice::from_ref);
        let (message, hint) = match held(base, sources) {
            Held::Secret => ("is refused, because KEDA sends a secret with it", secret(base, sources)),
            Held::Plain(key) => {
                fields.excuse(key);
                ("is refused: variables of the workers are not read", written_out(key))
            }
            Held::Moved(place) => ("is refused: variables of the workers are not read", place.to_owned()),
            Held::Unknown => ("unknown key", elsewhere(base, sources)),
        };
        fields.problem_at(name, message, Some(hint));
    }
}

fn held(base: &str, sources: &'static [Spec]) -> Held {
    let lower = base.to_lowercase();
    let is_named_so = SECRET_PARTS.iter().any(|part| lower.contains(part)) || lower.ends_with(SECRET_END);
    if is_named_so || credential(base, sources).is_some() {
        return Held::Secret;
    }
    if keys::KEDAS.contains(&base) {
        return Held::Moved(OF_KEDA);
    }
    if let Some(key) = trigger_keys(sources).find(|key| key.name == base) {
        return Held::Plain(key);
    }
    let moved = sources.iter().map(|source| source.moved).chain(kinds(sources).map(|kind| kind.moved));
    let mut moved = moved.flatten();
    moved.find(|(old, _)| *old == base).map_or(Held::Unknown, |(_, place)| Held::Moved(place))
}

fn written_out(key: &Key) -> String {
    format!("write the value itself into the trigger: `{}: \"…\"`, e.g. `{}`", key.name, key.example)
}

fn secret(base: &str, sources: &'static [Spec]) -> String {
    let place = credential(base, sources).map_or_else(
        // Any one key would be a guess: a Kafka user's password is not that of its TLS key.
        || "name a `connection` that refers to them".to_owned(),
        |name| format!("`connections.NAME.{name}: {{ file: PATH }}`"),
    );
    format!("credentials belong in the server's file: {place}")
}

/// The hint for a name that no scaler of KEDA has. Its value may be a secret.
fn elsewhere(base: &str, sources: &'static [Spec]) -> String {
    let near = nearest(base, trigger_keys(sources).map(|key| key.name));
    let near = near.map(|near| format!("{near} "));
    let places = "queues are written out in the trigger; addresses and credentials are in the server's file, as a \
                  `connection`";
    format!("{}{places}", near.unwrap_or_default())
}

/// The key of a connection that refers to this credential.
fn credential(base: &str, sources: &'static [Spec]) -> Option<&'static str> {
    let renamed = RENAMED.iter().find(|(old, _)| *old == base).map(|(_, new)| *new);
    let is_same = |name: &&str| {
        name.eq_ignore_ascii_case(base)
            || base.strip_prefix("aws").is_some_and(|base| name.eq_ignore_ascii_case(base))
    };
    let mut exact = credentials(sources).filter(is_same);
    exact.next().or_else(|| credentials(sources).find(|name| renamed == Some(name)))
}

fn credentials(sources: &'static [Spec]) -> impl Iterator<Item = &'static str> {
    let keys = kinds(sources).flat_map(|kind| kind.keys);
    keys.filter(|key| key.unit == SECRET).map(|key| key.name)
}

fn kinds(sources: &'static [Spec]) -> impl Iterator<Item = &'static ConnectionKind> {
    sources.iter().flat_map(|source| source.connections.iter().copied())
}

fn trigger_keys(sources: &'static [Spec]) -> impl Iterator<Item = &'static Key> {
    let own = sources.iter().flat_map(|source| source.keys);
    own.chain(keys::ALL).chain(QUERY_KEYS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::ALL;

    /// The keys that KEDA's own scalers read from a variable, or may, by the source that takes their place.
    const KEDAS: &[(&str, &[&str], &[&str])] = &[
        (
            "redis",
            &[
                "address",
                "addresses",
                "host",
                "hosts",
                "port",
                "ports",
                "username",
                "databaseIndex",
                "listName",
                "sentinelUsername",
                "sentinelMaster",
            ],
            &["password", "sentinelPassword"],
        ),
        (
            "redis-streams",
            &[
                "address",
                "addresses",
                "host",
                "hosts",
                "port",
                "ports",
                "username",
                "stream",
                "consumerGroup",
            ],
            &["password", "sentinelPassword"],
        ),
        (
            "aws-sqs-queue",
            &["queueURL", "awsRegion", "awsEndpoint", "awsRoleArn", "awsExternalId"],
            &["awsAccessKeyID", "awsSecretAccessKey", "awsSessionToken"],
        ),
        #[cfg(feature = "kafka")]
        (
            "kafka",
            &[
                "bootstrapServers",
                "consumerGroup",
                "group",
                "topic",
                "partitionLimitation",
                "sasl",
                "tls",
                "username",
                "saslTokenProvider",
                "oauthTokenEndpointUri",
                "scopes",
                "ca",
                "cert",
                "awsRegion",
                "awsEndpoint",
                "awsRoleArn",
            ],
            &["password", "keyPassword", "clientSecret"],
        ),
        (
            "prometheus",
            &[
                "serverAddress",
                "query",
                "namespace",
                "authModes",
                "customHeaders",
                "queryParameters",
                "username",
            ],
            &["password", "bearerToken", "customAuthValue"],
        ),
        (
            "http",
            &["url", "valueLocation", "authMode", "keyParamName", "username", "method"],
            &["apiKey", "password", "token", "bearerToken"],
        ),
    ];

    #[test]
    fn only_credentials_are_called_secrets_and_the_other_hints_name_a_place() {
        for (name, plain, secret) in KEDAS {
            let sources = std::slice::from_ref(ALL.iter().find(|spec| spec.name == *name).unwrap());
            for base in *plain {
                assert!(matches!(held(base, sources), Held::Plain(_) | Held::Moved(_)), "{name}: {base}");
            }
            for base in *secret {
                assert!(matches!(held(base, sources), Held::Secret), "{name}: {base}");
            }
        }
    }

    #[test]
    fn the_hint_about_a_secret_names_a_key_that_the_connection_has() {
        for (name, _, secrets) in KEDAS {
            let sources = std::slice::from_ref(ALL.iter().find(|spec| spec.name == *name).unwrap());
            for base in *secrets {
                let hint = secret(base, sources);
                // A connection has no key for it.
                if *base == "keyPassword" {
                    assert!(!hint.contains("connections.NAME"), "{name}: {base}: {hint}");
                    continue;
                }
                let has = |key: &str| hint.contains(&format!("`connections.NAME.{key}: {{ file: PATH }}`"));
                assert!(credentials(sources).any(has), "{name}: {base}: {hint}");
            }
        }
    }

    #[test]
    fn numbers_of_tokens_are_no_secrets_and_a_secret_of_another_kind_is_not_sent_to_a_key_at_random() {
        for base in ["maxTokens", "inputTokens", "tokenBudget", "tokensPerMinute"] {
            assert!(matches!(held(base, ALL), Held::Unknown), "{base}");
        }
        for base in keys::KEDAS {
            assert!(matches!(held(base, ALL), Held::Moved(OF_KEDA)), "{base}");
        }
        for base in ["token", "authToken", "awsSessionToken"] {
            assert!(matches!(held(base, ALL), Held::Secret), "{base}");
        }
        let sqs = std::slice::from_ref(ALL.iter().find(|spec| spec.name == "aws-sqs-queue").unwrap());
        assert_eq!(
            secret("password", sqs),
            "credentials belong in the server's file: name a `connection` that refers to them"
        );
    }
}
