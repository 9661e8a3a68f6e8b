//! The server's file: defaults, examples, and one error that names every problem.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use agent_scaler::config::server::{KEYS, Server, TENANT_KEYS, TLS_KEYS, USE_KEYS, limit_keys};
use agent_scaler::config::tenants::Tenants;
use agent_scaler::config::{keys, trigger};
use agent_scaler::engine::limit::Dimension;
use agent_scaler::engine::limit::policy::{LimitPolicy, UsePerTask};
use agent_scaler::sources::ALL;

use crate::support::scripted::SOURCES;
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
        "connections.b.type: is required (hint: one of aws, ",
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

    let connections = ALL.iter().flat_map(|spec| spec.connections).flat_map(|kind| kind.keys);
    let sections = [USE_KEYS, TENANT_KEYS, keys::DEFAULTABLE].into_iter().flatten().chain(limit_keys());
    for key in KEYS.iter().chain(TLS_KEYS).chain(connections).chain(sections) {
        assert!(text.contains(&format!("{}:", key.name)), "{} is missing", key.name);
    }
    // What is commented out must be right too.
    let everything = uncommented(&text);
    let full = Server::parse(&everything, ALL).unwrap_or_else(|error| panic!("{error}\n{everything}"));
    assert_eq!(full.connections.len(), everything.matches("\n    type: ").count());
    let limit = &full.limits["anthropic-prod"];
    assert_eq!(limit.policy.amounts.len(), Dimension::ALL.len());
    assert!(!limit.publish_shares, "the default");
    assert!(
        Dimension::ALL.iter().all(|&one| one.label() == "concurrency" || limit.policy.use_of(one).is_some())
    );
    assert!(matches!(full.tenants, Tenants::Closed(_)) && full.tls.is_some() && full.admin_token.is_some());
    assert_eq!(full.defaults.len(), keys::DEFAULTABLE.len());
}

#[test]
fn every_scaled_object_that_we_ship_is_served() {
    let file = "connections:\n\
                \x20 redis-main: { type: redis, url: \"rediss://redis.data.svc\" }\n\
                \x20 kafka-main: { type: kafka, bootstrapServers: [\"kafka.data.svc:9092\"] }\n\
                \x20 sqs-eu: { type: aws, region: eu-west-1 }\n\
                \x20 prometheus-main: { type: prometheus, url: \"http://prometheus\" }\n\
                \x20 tasks-api: { type: http, url: \"http://tasks\" }\n\
                llmLimits: { anthropic-prod: { workersConnection: redis-main, scope: anthropic/prod } }";
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
    assert!(checked >= 7, "only {checked} ScaledObjects were found");
}

#[test]
fn the_server_file_that_we_deploy_is_accepted() {
    Server::parse(&read("deploy/manifests/agent-scaler.yaml"), ALL).unwrap_or_else(|error| panic!("{error}"));
}

/// The design's own example, and three connections of a test.
const LIMITS: &str = "\
connections: { main: { type: scripted }, mute: { type: mute } }
llmLimits:
  anthropic-prod:
    workersConnection: main
    scope: anthropic/prod/sonnet
    requestsPerMinute: 4000
    inputTokensPerMinute: 2000000
    outputTokensPerMinute: 4e5
    concurrency: 50
    usePerTask: { requests: 12, inputTokens: 60000, outputTokens: 4000 }
    weights: { acme: 3, zeta: 0.5 }
    publishShares: true
  by-headers: { workersConnection: main, scope: openai }
tenants:
  acme: { connections: { main: [\"acme:*\"] }, llmLimits: [anthropic-prod] }
  zeta: { connections: { main: [\"*\"] } }
";

#[test]
fn a_limit_is_what_its_file_says_and_nothing_more() {
    let server = Server::parse(LIMITS, SOURCES).unwrap();
    let limit = &server.limits["anthropic-prod"];
    assert_eq!((&*limit.name, &*limit.connection.name), ("anthropic-prod", "main"));
    assert_eq!(
        (&*limit.scope, limit.plan.queue().as_str()),
        ("anthropic/prod/sonnet", "limit anthropic/prod/sonnet")
    );
    let amounts = [
        (Dimension::RequestsPerMinute, 4_000.0),
        (Dimension::InputTokensPerMinute, 2_000_000.0),
        (Dimension::OutputTokensPerMinute, 400_000.0),
        (Dimension::Concurrency, 50.0),
    ];
    let use_per_task =
        UsePerTask { requests: Some(12.0), input_tokens: Some(60_000.0), output_tokens: Some(4_000.0) };
    assert_eq!(limit.policy, LimitPolicy { amounts: amounts.into(), use_per_task });
    assert_eq!(["acme", "zeta", "other"].map(|namespace| limit.weight_of(namespace)), [3.0, 0.5, 1.0]);
    assert!(limit.publish_shares);

    let bare = &server.limits["by-headers"];
    assert_eq!(bare.policy, LimitPolicy::default());
    assert!(bare.weights.is_empty() && !bare.publish_shares);
}

#[test]
fn every_amount_is_known_by_its_own_key() {
    for dimension in Dimension::ALL {
        let key = limit_keys().into_iter().find(|key| key.name == camel_case(dimension)).unwrap();
        let file = format!("{ONE_LIMIT}    {}: {}\n", key.name, key.example);
        let server = Server::parse(&file, SOURCES).unwrap();
        let amounts = BTreeMap::from([(dimension, key.example.parse().unwrap())]);
        assert_eq!(server.limits["prod"].policy.amounts, amounts, "{}", key.name);
    }
}

const ONE_LIMIT: &str = "\
connections: { main: { type: scripted } }
llmLimits:
  prod:
    workersConnection: main
    scope: prod
";

#[test]
fn headroom_takes_a_prometheus_a_preset_and_a_model() {
    let problems = |keys: &str| {
        let connections =
            "{ main: { type: redis, url: \"redis://x\" }, prom: { type: prometheus, url: \"http://x\" } }";
        let limit = format!("workersConnection: main, scope: prod{keys}");
        let file = format!("connections: {connections}\nllmLimits: {{ prod: {{ {limit} }} }}");
        let server = Server::parse(&file, ALL).map_err(|error| error.to_string())?;
        let told = server.limits["prod"].headroom.as_ref();
        Ok(told.map(|at| format!("{} on {}", at.plan.queue(), at.connection.name)))
    };
    let all = ", prometheusConnection: prom, headroomPreset: vllm, headroomModel: llama";
    assert_eq!(problems(all), Ok(Some("headroom of vllm llama on prom".to_owned())));
    assert_eq!(problems(""), Ok(None));
    for (keys, lines) in [
        (
            ", headroomPreset: envoy",
            &[
                "headroomPreset: `envoy`: neither `litellm` nor `vllm`",
                "headroomModel: is required: headroom takes all three keys",
                "prometheusConnection: is required: headroom takes all three keys",
            ][..],
        ),
        (", prometheusConnection: prom", &["headroomPreset: is required", "headroomModel: is required"]),
        (
            ", prometheusConnection: prmo, headroomPreset: vllm, headroomModel: llama",
            &["prometheusConnection: no connection named `prmo` (hint: did you mean `prom`?)"],
        ),
        (
            ", prometheusConnection: main, headroomPreset: vllm, headroomModel: llama",
            &["prometheusConnection: `main` is a connection of type redis, not prometheus"],
        ),
    ] {
        let text: String = problems(keys).unwrap_err();
        for line in lines {
            assert!(text.contains(&format!("llmLimits.prod.{line}")), "{line} is not in\n{text}");
        }
    }
}

/// `input_tokens_day` → `inputTokensPerDay`.
fn camel_case(dimension: Dimension) -> String {
    let mut words = dimension.label().split('_').filter(|word| *word != "day");
    let first = words.next().unwrap().to_owned();
    let name = words.fold(first, |name, word| name + &word[..1].to_uppercase() + &word[1..]);
    let period = if dimension.is_daily() { "PerDay" } else { "PerMinute" };
    if dimension == Dimension::Concurrency { name } else { name + period }
}

#[test]
fn one_error_names_everything_that_is_wrong_with_limits() {
    let file = "connections: { main: { type: scripted }, again: { type: scripted }, mute: { type: mute } }\n\
        llmLimits:\n  \
          a: { workersConnection: mian, scope: a, requestsPerMinute: 0, tokensPerDay: -1, concurrency: many }\n  \
          b: { workersConnection: mute, scope: b, requestPerMinute: 5, publishShares: maybe }\n  \
          c: {}\n  \
          d: { workersConnection: main, scope: d, usePerTask: { requests: 0, tokens: 5 }, weights: { acme: 0 } }\n  \
          e: { workersConnection: again, scope: d }\n  \
          f: { workersConnection: main, scope: f, usePerTask: 5, weights: [acme] }\n\
        llmLimit: {}\n\
        protocolMinute: 2m\n\
        tenants: { acme: { llmLimits: [g] }, zeta: { llmLimits: d } }\n\
        defaults: { workersConnection: mute, latencyTarget: soon, stuckAfter: 0 }";
    let text = Server::parse(file, SOURCES).unwrap_err().to_string();
    for line in [
        "llmLimits.a.workersConnection: no connection named `mian` (hint: did you mean `main`?)",
        "llmLimits.a.requestsPerMinute: `0`: leave it out if it is not known",
        "llmLimits.a.tokensPerDay: `-1`: must be positive",
        "llmLimits.a.concurrency: `many`: not a number",
        "llmLimits.b.workersConnection: workers cannot report through `mute`, a connection of type mute (hint: ",
        "llmLimits.b.requestPerMinute: unknown key (hint: did you mean `requestsPerMinute`?)",
        "llmLimits.b.publishShares: `maybe`: ",
        "llmLimits.c.workersConnection: is required",
        "llmLimits.c.scope: is required",
        "llmLimits.d.usePerTask.requests: `0`: leave it out if it is not known",
        "llmLimits.d.usePerTask.tokens: unknown key",
        "llmLimits.d.weights.acme: `0`: must be within 0.01 to 1000",
        "llmLimits.e.scope: `d` is also the scope of `d` there (hint: one limit that several triggers name)",
        "llmLimits.f.usePerTask: must be a map of keys to values",
        "llmLimits.f.weights: must be a map of keys to values",
        "llmLimit: unknown key (hint: did you mean `llmLimits`?)",
        "protocolMinute: must be within 1s to 1m",
        "tenants.acme.llmLimits: no LLM limit named `g`",
        "tenants.zeta.llmLimits: must be a list",
        "defaults.workersConnection: workers cannot report through `mute`, a connection of type mute",
        "defaults.latencyTarget: `soon`: ",
        "defaults.stuckAfter: `0`: shorter than a second",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
    assert!(text.starts_with("22 problems in the server's file:"), "{text}");
}

#[test]
fn a_scope_belongs_to_one_limit_on_a_server_whatever_its_connections_are_called() {
    let file = |second: &str| {
        format!(
            "connections: {{ a: {{ type: redis, url: \"redis://one\" }}, b: {{ type: redis, url: \"{second}\" }} }}\n\
             llmLimits:\n  \
               x: {{ workersConnection: a, scope: s }}\n  \
               y: {{ workersConnection: b, scope: s }}"
        )
    };
    assert_eq!(Server::parse(&file("redis://two"), ALL).unwrap().limits.len(), 2);
    assert_eq!(
        refused(&file("redis://one:6379/0")),
        "1 problem in the server's file:\n  llmLimits.y.scope: `s` is also the scope of `x` there \
         (hint: one limit that several triggers name)"
    );
}

#[test]
fn the_workers_minute_is_a_minute_unless_a_test_says_otherwise() {
    for (text, seconds) in [("1s", 1), ("1m", 60), ("6s", 6)] {
        let server = Server::parse(&format!("protocolMinute: {text}"), SOURCES).unwrap();
        assert_eq!(server.minute, Duration::from_secs(seconds));
    }
    for text in ["999ms", "61s"] {
        assert!(Server::parse(&format!("protocolMinute: {text}"), SOURCES).is_err(), "{text}");
    }
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
