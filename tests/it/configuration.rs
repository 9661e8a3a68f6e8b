//! The server's file: defaults, examples, and one error that names every problem.

use std::fs;
use std::time::Duration;

use agent_scaler::config::server::{KEYS, Server, TLS_KEYS};
use agent_scaler::config::tenants::Tenants;
use agent_scaler::config::{keys, trigger};
use agent_scaler::sources::ALL;

use crate::support::tree::{files, root};

#[test]
fn an_empty_file_is_a_server_with_defaults() {
    let server = Server::parse("", ALL).unwrap();
    assert_eq!(server.listen.to_string(), "0.0.0.0:9090");
    assert_eq!(server.admin.to_string(), "0.0.0.0:8080");
    assert_eq!(server.tick, Duration::from_secs(5));
    assert_eq!(server.max_triggers, 20_000);
    assert_eq!(server.max_connection_age, Duration::from_secs(300));
    assert_eq!(server.minute, Duration::from_secs(60));
    assert!(server.limits.is_empty());
    assert!(server.tls.is_none() && server.admin_token.is_none() && server.connections.is_empty());
    assert!(matches!(server.tenants, Tenants::Open));
}

#[test]
fn one_error_names_every_bad_key_with_its_path() {
    let text = refused(
        "listen: 9090\n\
         tick: 1ms\n\
         Tls: {}\n\
         tls: { mode: mutual, certificate: /tls/tls.crt, clientCA: /tls/ca.crt }\n\
         connections:\n  \
           a: { type: reddis }\n  \
           b: { url: \"redis://b\" }\n  \
           c: { type: redis, url: \"redis://:hunter2@c\" }\n  \
           d: { type: redis, url: \"redis://d\", password: hunter2 }\n  \
           e: { type: redis, url: \"redis://e\", password: { env: NO_SUCH_VARIABLE } }\n\
         tenants: { acme: { connections: { f: [\"x\"] }, limits: [] }, zeta: { connections: [a] } }\n\
         defaults: { maxQueueWait: soon, listName: jobs }",
    );
    for line in [
        "listen: `9090`: ",
        "tick: must be within 100ms to 30s",
        "Tls: unknown key (hint: did you mean `tls`?)",
        "tls.key: is required in this mode",
        "tls.clientCa: is required in this mode",
        "tls.clientCA: unknown key (hint: did you mean `clientCa`?)",
        "connections.a.type: no kind of connection named `reddis` (hint: did you mean `redis`?)",
        "connections.b.type: is required (hint: one of redis)",
        "connections.c.url: ",
        "connections.d.password: must be a reference",
        "connections.e.password: the environment variable NO_SUCH_VARIABLE is not set",
        "tenants.acme.connections.f: no connection of that name",
        "tenants.acme.limits: unknown key",
        "tenants.zeta.connections: must be a map of keys to values",
        "defaults.maxQueueWait: `soon`: ",
        "defaults.listName: unknown key",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
    assert!(text.starts_with("16 problems in the server's file:"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_file_that_is_no_yaml_says_where() {
    let text = refused("listen: 0.0.0.0:9090\nadmin: [\n");
    assert!(text.contains("line 3") || text.contains("line 2"), "{text}");
    let text = refused("tick: 5s\ntick: 6s\n");
    assert_eq!(text, "the file: is no YAML: line 2 column 1: duplicate mapping key: tick");
}

#[test]
fn a_file_that_is_no_yaml_is_not_repeated() {
    let text = refused("connections:\n  main: { type: redis, password: hunter2\n  url: x\n");
    assert!(text.contains("line ") && !text.contains("hunter2"), "{text}");
}

#[test]
fn an_empty_map_of_tenants_is_closed_to_everybody() {
    let server = Server::parse("tenants: {}", ALL).unwrap();
    assert!(server.tenants.permit("acme", "main", &[]).is_err());
}

/// A bare `off` is false in YAML 1.1.
#[test]
fn tls_can_be_off_with_and_without_quotation_marks() {
    for file in ["tls: { mode: off }", "tls: { mode: \"off\" }", "tls:", ""] {
        assert!(Server::parse(file, ALL).unwrap().tls.is_none(), "{file}");
    }
}

#[test]
fn the_example_shows_every_key_and_equals_the_defaults() {
    let text = read("examples/agent-scaler.yaml");
    let (live, bare) = (Server::parse(&text, ALL).unwrap(), Server::parse("", ALL).unwrap());
    let scalars = |server: &Server| {
        let Server { listen, admin, tls, tick, max_triggers, max_connection_age, minute, .. } =
            server.clone();
        (listen, admin, tls, tick, max_triggers, max_connection_age, minute)
    };
    assert_eq!(scalars(&live), scalars(&bare));
    assert!(live.connections.is_empty() && live.defaults.is_empty() && live.admin_token.is_none());

    let connections = ALL.iter().flat_map(|spec| spec.connection.keys);
    for key in KEYS.iter().chain(TLS_KEYS).chain(connections).chain(keys::DEFAULTABLE) {
        assert!(text.contains(&format!("{}:", key.name)), "{} is missing", key.name);
    }
    // What is commented out must be right too.
    let everything = uncommented(&text);
    let full = Server::parse(&everything, ALL).unwrap_or_else(|error| panic!("{error}\n{everything}"));
    assert_eq!(full.connections.len(), 1);
    assert!(matches!(full.tenants, Tenants::Closed(_)) && full.tls.is_some() && full.admin_token.is_some());
    assert_eq!(full.defaults.len(), keys::DEFAULTABLE.len());
}

#[test]
fn every_scaled_object_that_we_ship_is_served() {
    let file = "connections: { redis-main: { type: redis, url: \"rediss://redis.data.svc\" } }";
    let server = Server::parse(file, ALL).unwrap();
    let mut checked = 0;
    for (path, text) in ["deploy", "examples"].into_iter().flat_map(|folder| files(folder, "yaml")) {
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
        for object in documents.iter().filter(|object| object["kind"] == "ScaledObject") {
            for scaled in object["spec"]["triggers"].as_array().unwrap() {
                let metadata = serde_json::from_value(scaled["metadata"].clone()).unwrap();
                let parsed = trigger::parse(&server, "acme", "support", &metadata);
                assert!(parsed.is_ok(), "{}: {}", path.display(), parsed.unwrap_err());
                checked += 1;
            }
        }
    }
    assert!(checked >= 6, "only {checked} ScaledObjects were found");
}

#[test]
fn the_server_file_that_we_deploy_is_accepted() {
    Server::parse(&read("deploy/manifests/agent-scaler.yaml"), ALL).unwrap_or_else(|error| panic!("{error}"));
}

/// YAML that is commented out begins with `#` and no single space; prose has one.
fn uncommented(text: &str) -> String {
    let is_yaml = |rest: &str| !rest.is_empty() && (!rest.starts_with(' ') || rest.starts_with("  "));
    text.lines()
        .filter_map(|line| match line.strip_prefix('#') {
            Some(rest) if is_yaml(rest) => Some(rest),
            Some(_) => None,
            // A section that is spelled out below takes the place of its default.
            None if line.starts_with("tls:") => None,
            None => Some(line),
        })
        .flat_map(|line| [line, "\n"])
        .collect()
}

fn refused(file: &str) -> String {
    Server::parse(file, ALL).unwrap_err().to_string()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}
