//! Keys that say who we are, and those that say where the cluster is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::fields::{Fields, Value};
use crate::secret::Secret;
use crate::sources::Endpoint;
use crate::sources::kafka::endpoint::parse;

#[test]
fn an_address_is_every_broker_and_no_credentials() {
    for (servers, address) in [
        ("kafka.data.svc:9092", "kafka://kafka.data.svc:9092"),
        ("a:9092, b:9092,[::1]:9093", "kafka://a:9092,b:9092,[::1]:9093"),
    ] {
        assert_eq!(parsed(&[("bootstrapServers", text(servers))]).unwrap().address(), address);
    }
}

#[test]
fn an_address_that_is_none_is_refused_without_repeating_what_may_be_a_password() {
    let scheme = "bootstrapServers: an address is `host:port`, without a scheme and credentials";
    let none = "bootstrapServers: `%` is not `host:port`";
    for (servers, problem) in [
        ("kafka", none),
        ("kafka:0", none),
        ("kafka:70000", none),
        (":9092", none),
        ("", none),
        ("kafka://a:9092", scheme),
    ] {
        let problem = problem.replace('%', servers);
        assert_eq!(parsed(&[("bootstrapServers", text(servers))]).unwrap_err(), [problem]);
    }
    let problems = parsed(&[("bootstrapServers", text("scaler:hunter2@a:9092"))]).unwrap_err();
    assert_eq!(problems, ["bootstrapServers: an address is `host:port`, without a scheme and credentials"]);
}

#[test]
fn keys_that_belong_together_are_asked_for_together() {
    for (keys, problems) in [
        (
            vec![("mechanism", text("GSSAPI"))],
            vec!["mechanism: `GSSAPI`: must be PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER"],
        ),
        (
            vec![("username", text("scaler")), ("scope", text("x"))],
            vec!["username: needs `mechanism`", "scope: needs `mechanism`"],
        ),
        (
            vec![("mechanism", text("PLAIN")), ("token", file())],
            vec![
                "token: needs `mechanism: OAUTHBEARER`",
                "username: is required with PLAIN",
                "password: is required with PLAIN",
            ],
        ),
        (
            vec![("mechanism", text("PLAIN")), ("username", text("a")), ("password", text("hunter2"))],
            vec!["password: must be a reference: the configuration is no place for a secret"],
        ),
        (
            vec![("mechanism", text("OAUTHBEARER"))],
            vec!["token: is required with OAUTHBEARER, or else `tokenEndpoint`"],
        ),
        (
            vec![("mechanism", text("OAUTHBEARER")), ("tokenEndpoint", text("https://a/token"))],
            vec![
                "clientId: is required with `tokenEndpoint`",
                "clientSecret: is required with `tokenEndpoint`",
            ],
        ),
        (
            vec![
                ("mechanism", text("OAUTHBEARER")),
                ("token", file()),
                ("clientId", text("a")),
                ("username", text("a")),
            ],
            vec![
                "username: needs a `mechanism` with a password, not OAUTHBEARER",
                "clientId: cannot stand beside `token`",
            ],
        ),
        (
            vec![
                ("mechanism", text("OAUTHBEARER")),
                ("tokenEndpoint", text("https://scaler:hunter2@a/token")),
                ("clientId", text("a")),
                ("clientSecret", file()),
            ],
            vec!["tokenEndpoint: holds credentials"],
        ),
        (vec![("ca", text("/ca"))], vec!["tls: must be true where `ca` or `certificate` is given"]),
        (vec![("tls", text("true")), ("certificate", text("/c"))], vec!["certificate: needs `key`"]),
        (vec![("tls", text("true")), ("key", text("/k"))], vec!["key: needs `certificate`"]),
    ] {
        let servers = [("bootstrapServers", text("a:9092"))];
        assert_eq!(parsed(&[&servers[..], &keys].concat()).unwrap_err(), problems);
    }
}

#[test]
fn debug_names_where_the_secret_is() {
    let endpoint = parsed(&[
        ("bootstrapServers", text("a:9092")),
        ("mechanism", text("PLAIN")),
        ("username", text("scaler")),
        ("password", file()),
    ]);
    assert_eq!(
        format!("{:?}", endpoint.unwrap()),
        "KafkaEndpoint { brokers: Servers(\"a:9092\"), tls: None, login: Some(Password { mechanism: \"PLAIN\", \
         username: \"scaler\", password: file /secrets/kafka }) }"
    );
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

fn file() -> Value {
    Value::Secret(Secret::File("/secrets/kafka".into()))
}

/// The endpoint, or every problem without its hint.
fn parsed(values: &[(&str, Value)]) -> Result<Arc<dyn Endpoint>, Vec<String>> {
    let values: BTreeMap<String, Value> =
        values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    let mut fields = Fields::new("x", &values);
    let endpoint = parse(&mut fields);
    let problems = fields.finish();
    assert!(problems.iter().all(|problem| !problem.to_string().contains("hunter2")), "{problems:?}");
    let texts: Vec<String> = problems.iter().map(|p| format!("{}: {}", &p.path[2..], p.message)).collect();
    assert_eq!(endpoint.is_some(), texts.is_empty(), "{texts:?}");
    endpoint.ok_or(texts)
}
