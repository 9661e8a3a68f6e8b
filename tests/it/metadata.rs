//! A bad trigger → one error that names every problem.

use std::collections::BTreeMap;
use std::process::Command;

use agent_scaler::config::server::Server;
use agent_scaler::config::trigger::{self, Refusal, Trigger};
use agent_scaler::sources::ALL;

use crate::support::scripted::SOURCES;

const LIST: [(&str, &str); 3] = [("source", "redis"), ("connection", "main"), ("listName", "jobs")];

#[test]
fn nothing_at_all_names_what_is_required_of_every_trigger() {
    assert_eq!(
        refused(&[]),
        "2 problems in the trigger metadata:\n  \
         metadata.source: is required (hint: kind of queue (`agent-scaler keys` lists them), e.g. `redis`)\n  \
         metadata.connection: is required (hint: connection that the server's file names, e.g. `redis-main`)"
    );
}

#[test]
fn every_key_is_checked_and_none_hides_another() {
    let keys = [
        ("source", "redis"),
        ("connection", "main"),
        ("workload", "deamonset"),
        ("tasksPerReplica", "0"),
        ("maxQueueWait", "0"),
        ("expectedTaskDuration", "five minutes"),
        ("podStartupTime", "-1s"),
        ("maxReplicaCount", "20000"),
        ("activationBacklog", "-3"),
    ];
    let text = refused(&keys);
    for line in [
        "8 problems in the trigger metadata:",
        "metadata.workload: `deamonset`: neither `deployment` nor `job`",
        "metadata.tasksPerReplica: `0`: must be at least 1",
        "metadata.maxQueueWait: `0`: shorter than a second",
        "metadata.expectedTaskDuration: `five minutes`: ",
        "metadata.podStartupTime: `-1s`: ",
        "metadata.maxReplicaCount: 20000 is more than 10000, the most this server asks for",
        "metadata.activationBacklog: `-3`: invalid digit found in string",
        "metadata.listName: is required",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
}

#[test]
fn bounds_that_cross_are_one_problem() {
    let keys = [&LIST[..], &[("minReplicaCount", "9"), ("maxReplicaCount", "3")]].concat();
    assert_eq!(
        refused(&keys),
        "1 problem in the trigger metadata:\n  metadata.minReplicaCount: 9 is more than maxReplicaCount 3 \
         (hint: the ScaledObject's lower bound, which KEDA does not send, e.g. `0`)"
    );
}

#[test]
fn a_value_from_the_environment_is_refused_and_never_repeated() {
    let text = refused(&[&LIST[..], &[("passwordFromEnv", "hunter2")]].concat());
    assert_eq!(
        text,
        "1 problem in the trigger metadata:\n  metadata.passwordFromEnv: is refused, because KEDA sends a \
         secret with it (hint: credentials belong in the server's file: \
         `connections.NAME.password: { file: PATH }`)"
    );
}

#[test]
fn a_source_that_does_not_exist_hides_no_other_problem_and_invents_none() {
    let keys = [("source", "reddis"), ("connection", "main"), ("listName", "jobs"), ("tasksPerReplica", "x")];
    let text = refused(&keys);
    assert!(text.starts_with("2 problems"), "{text}");
    let slip = refused(&[("sorce", "redis"), ("connection", "main"), ("listName", "jobs")]);
    assert!(slip.contains("metadata.sorce: unknown key (hint: did you mean `source`?)"), "{slip}");
    assert!(
        text.contains("metadata.source: no source named `reddis` (hint: did you mean `redis`?)"),
        "{text}"
    );
    assert!(text.contains("metadata.tasksPerReplica"), "{text}");
}

#[test]
fn an_address_in_a_trigger_is_refused_without_repeating_it_unless_development_allows_it() {
    let keys = [("source", "redis"), ("connection", "redis://:hunter2@10.0.0.1:6379"), ("listName", "jobs")];
    let text = refused(&keys);
    assert!(
        text.contains("metadata.connection: an address in a trigger is refused: name a connection"),
        "{text}"
    );
    assert!(!text.contains("hunter2"), "{text}");

    let development = Server { allow_inline_connections: true, ..server() };
    let keys = [("source", "redis"), ("connection", "redis://127.0.0.1:6379"), ("listName", "jobs")];
    assert_eq!(&*parse(&development, &keys).unwrap().connection.name, "redis://127.0.0.1:6379/0");
}

#[test]
fn a_connection_of_another_kind_is_named() {
    let keys = [("source", "redis-streams"), ("connection", "mian"), ("stream", "s"), ("consumerGroup", "g")];
    assert_eq!(refused(&keys), "no connection named `mian` (hint: did you mean `main`?)");
}

#[test]
fn keys_of_kedas_own_scaler_say_where_they_went() {
    let text = refused(&[&LIST[..], &[("listLength", "5"), ("address", "redis:6379")]].concat());
    assert_eq!(
        text,
        "2 problems in the trigger metadata:\n  \
         metadata.address: unknown key (hint: name a `connection`: the server's file holds its address and \
         credentials)\n  \
         metadata.listLength: unknown key (hint: `tasksPerReplica`: tasks that one replica runs at a time)"
    );
}

#[test]
fn kedas_names_of_clusters_and_sentinels_lead_to_a_source_and_a_type_of_connection() {
    for (name, hint) in [
        ("redis-cluster", "`redis`, with a connection of type redis-cluster"),
        ("redis-cluster-streams", "`redis-streams`, with a connection of type redis-cluster"),
        ("redis-sentinel", "`redis`, with a connection of type redis-sentinel"),
        ("redis-sentinel-streams", "`redis-streams`, with a connection of type redis-sentinel"),
    ] {
        let text = refused(&[("source", name), ("connection", "main")]);
        assert!(text.contains(&format!("no source named `{name}` (hint: {hint})")), "{text}");
    }
    let keys = [("addresses", "a:1,b:2"), ("sentinelMaster", "main"), ("sentinelPassword", "hunter2")];
    let text = refused(&[&LIST[..], &keys].concat());
    assert_eq!(text.matches("the server's file holds its address and credentials").count(), 3, "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_part_of_a_sources_name_and_a_framework_on_lists_lead_to_the_source() {
    for (name, hint) in [
        ("sqs", "did you mean `aws-sqs-queue`?"),
        ("aws-sqs", "did you mean `aws-sqs-queue`?"),
        ("SQS", "did you mean `aws-sqs-queue`?"),
        ("redis-lists", "did you mean `redis`?"),
        ("laravel", "`redis`: the queues of Laravel are lists and sorted sets, see docs/redis.md"),
        ("Horizon", "`redis`: the queues of Laravel are lists and sorted sets, see docs/redis.md"),
    ] {
        let text = refused(&[("source", name), ("connection", "main")]);
        let problem = format!("no source named `{name}` (hint: {hint})");
        assert!(text.contains(&problem), "{text}");
        let mut keys = Command::new(env!("CARGO_BIN_EXE_agent-scaler"));
        let said = keys.args(["keys", name]).output().unwrap().stderr;
        assert_eq!(String::from_utf8_lossy(&said), format!("error: {problem}\n"));
    }
}

#[test]
fn a_queue_is_read_through_each_type_of_connection_that_can_hold_it() {
    let file = "connections:
  cluster: { type: redis-cluster, urls: [\"redis://a\", \"redis://b:7000\"] }
  sentinel: { type: redis-sentinel, urls: \"redis://a, redis://b:7000\", master: main, database: 3 }
  script: { type: scripted }
";
    let server = Server::parse(file, SOURCES).unwrap();
    let keys = |connection| [("source", "redis"), ("connection", connection), ("listName", "jobs")];
    let address = |connection| parse(&server, &keys(connection)).unwrap().connection.endpoint.address();
    assert_eq!(address("cluster"), "redis://a:6379,b:7000 (cluster)");
    assert_eq!(address("sentinel"), "redis://main/3 (by the sentinels a:26379,b:7000)");
    let refusal = parse(&server, &keys("script")).unwrap_err().to_string();
    let wrong = "`script` is a connection of type scripted, not redis or redis-cluster or redis-sentinel";
    assert!(refusal.contains(wrong), "{refusal}");
}

#[test]
fn the_servers_defaults_hold_where_a_trigger_says_nothing() {
    let file = "connections: { main: { type: redis, url: \"redis://127.0.0.1\" } }\n\
                defaults: { tasksPerReplica: 4, maxQueueWait: 10m }";
    let server = Server::parse(file, ALL).unwrap();
    let trigger = parse(&server, &[&LIST[..], &[("maxQueueWait", "1m")]].concat()).unwrap();
    assert_eq!((trigger.policy.tasks_per_replica.get(), trigger.policy.max_queue_wait.as_secs()), (4, 60));
}

const WITH_LIMITS: &str = "\
connections:
  main: { type: scripted }
  other: { type: scripted }
  mute: { type: mute }
llmLimits:
  anthropic-prod: { workersConnection: main, scope: prod, requestsPerMinute: 60 }
";

const SCRIPTED: [(&str, &str); 3] = [("source", "scripted"), ("connection", "main"), ("queueName", "jobs")];

/// Connection and scope of the workers; name, and part, of the limit.
type Workers = (Option<(String, String)>, Option<(String, f64)>);

fn workers(file: &str, keys: &[(&str, &str)]) -> Result<Workers, String> {
    let server = Server::parse(file, SOURCES).unwrap();
    let trigger = parse(&server, &[&SCRIPTED[..], keys].concat()).map_err(|error| error.to_string())?;
    let workers = trigger.workers.map(|workers| {
        assert_eq!(workers.plan.queue(), format!("workers of {}", workers.scope));
        (workers.connection.name.to_string(), workers.scope.to_string())
    });
    Ok((workers, trigger.limit.map(|used| (used.limit.name.to_string(), used.weight))))
}

#[test]
fn workers_report_where_the_trigger_says_or_else_where_the_limit_does() {
    let limited = |weight| Some(("anthropic-prod".to_owned(), weight));
    let at = |connection: &str, scope: &str| Some((connection.to_owned(), scope.to_owned()));
    let (limit, other) = (("llmLimit", "anthropic-prod"), ("workersConnection", "other"));
    for (keys, expected) in [
        (&[][..], (None, None)),
        (&[other], (at("other", "jobs"), None)),
        (&[other, ("workerScope", "acme:agents")], (at("other", "acme:agents"), None)),
        (&[limit], (at("main", "jobs"), limited(1.0))),
        (&[limit, other], (at("other", "jobs"), limited(1.0))),
        (&[limit, ("workerScope", "s"), ("llmWeight", "2.5")], (at("main", "s"), limited(2.5))),
    ] {
        assert_eq!(workers(WITH_LIMITS, keys), Ok(expected), "{keys:?}");
    }
}

#[test]
fn a_default_says_where_workers_report_unless_the_trigger_does() {
    let file = format!("{WITH_LIMITS}defaults: {{ workersConnection: other }}\n");
    let connection = |keys: &[(&str, &str)]| workers(&file, keys).unwrap().0.unwrap().0;
    assert_eq!(connection(&[]), "other");
    assert_eq!(connection(&[("llmLimit", "anthropic-prod")]), "other");
    assert_eq!(connection(&[("workersConnection", "main")]), "main");
}

#[test]
fn keys_of_workers_are_checked_and_those_without_effect_are_refused() {
    let keys = [("llmWeight", "0"), ("workerScope", ""), ("latencyTarget", "0"), ("stuckAfter", "0.5s")];
    let text = workers(WITH_LIMITS, &keys).unwrap_err();
    for line in [
        "metadata.llmWeight: `0`: must be within 0.01 to 1000",
        "metadata.llmWeight: says nothing without `llmLimit`",
        "metadata.workerScope: ``: an empty name",
        "metadata.workerScope: says nothing without `workersConnection` or `llmLimit`",
        "metadata.latencyTarget: `0`: shorter than a second",
        "metadata.stuckAfter: `0.5s`: ",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
    let text = workers(WITH_LIMITS, &[("workersConnection", "mute")]).unwrap_err();
    assert!(text.contains("metadata.workersConnection: workers cannot report through `mute`"), "{text}");
    assert!(text.contains("(hint: name a connection of type ") && text.ends_with("scripted)"), "{text}");
}

#[test]
fn a_limit_or_a_connection_that_does_not_exist_is_unknown() {
    assert_eq!(
        workers(WITH_LIMITS, &[("llmLimit", "antropic-prod")]).unwrap_err(),
        "no LLM limit named `antropic-prod` (hint: did you mean `anthropic-prod`?)"
    );
    assert_eq!(
        workers(WITH_LIMITS, &[("llmLimit", "gemini")]).unwrap_err(),
        "no LLM limit named `gemini` (hint: name it under `llmLimits` in the server's file)"
    );
    assert_eq!(
        workers(WITH_LIMITS, &[("workersConnection", "oter")]).unwrap_err(),
        "no connection named `oter` (hint: did you mean `other`?)"
    );
}

#[test]
fn an_api_key_in_place_of_a_limit_is_refused_without_repeating_it() {
    for key in ["sk-ant-hunter2", "q7Zk2mXw9LtB4vNcR8sYh3JdPf6GaEuT", "https://:hunter2@10.0.0.1"] {
        assert_eq!(
            workers(WITH_LIMITS, &[("llmLimit", key)]).unwrap_err(),
            "1 problem in the trigger metadata:\n  metadata.llmLimit: looks like an API key, which is not repeated \
             here (hint: the name of a limit under `llmLimits` in the server's file; the key stays with the workers)"
        );
    }
    // A name that the server's file gives is no secret, however it looks.
    let file = WITH_LIMITS.replace("anthropic-prod", "sk-team");
    assert!(workers(&file, &[("llmLimit", "sk-team")]).is_ok());
    let text = workers(WITH_LIMITS, &[("workersConnection", "redis://:hunter2@10.0.0.1")]).unwrap_err();
    assert!(text.contains("metadata.workersConnection: an address in a trigger is refused"), "{text}");
    assert!(!text.contains("hunter2"), "{text}");
}

#[test]
fn a_closed_tenant_gets_the_limits_and_the_workers_that_it_was_given() {
    let closed = |acme: &str| format!("{WITH_LIMITS}tenants: {{ acme: {{ {acme} }} }}\n");
    let limit = ("llmLimit", "anthropic-prod");
    let both = closed("connections: { main: [\"jobs\"] }, llmLimits: [anthropic-prod]");
    assert!(workers(&both, &[limit]).is_ok());
    assert_eq!(
        workers(&closed("connections: { main: [\"jobs\"] }"), &[limit]).unwrap_err(),
        "namespace `acme` may not use the LLM limit `anthropic-prod`"
    );
    assert_eq!(
        workers(&both, &[limit, ("workerScope", "zeta:tasks")]).unwrap_err(),
        "namespace `acme` may not read `zeta:tasks` on the connection `main`"
    );
    assert_eq!(
        workers(&both, &[limit, ("workersConnection", "other")]).unwrap_err(),
        "namespace `acme` may not use the connection `other`"
    );
}

#[test]
fn queries_are_checked_and_those_without_effect_are_refused() {
    let file = "connections: { main: { type: redis, url: \"redis://127.0.0.1\" }, \
                prom: { type: prometheus, url: \"http://127.0.0.1\" } }";
    let server = Server::parse(file, ALL).unwrap();
    let problems = |keys: &[(&str, &str)]| {
        let text = parse(&server, &[&LIST[..], keys].concat()).unwrap_err().to_string();
        let lines = text.lines().skip(1).map(|line| line.split(" (hint").next().unwrap().trim().to_owned());
        lines.collect::<Vec<_>>()
    };
    let prom = ("prometheusConnection", "prom");
    for (keys, expected) in [
        (
            vec![("inFlightQuery", "up")],
            vec!["metadata.prometheusConnection: is required by the trigger's queries"],
        ),
        (vec![prom], vec!["metadata.prometheusConnection: says nothing without a query or a `queryPreset`"]),
        (
            vec![prom, ("queueWaitP95Query", "up"), ("serviceTimeQueryUnit", "h"), ("arrivalsQuery", "")],
            vec![
                "metadata.serviceTimeQueryUnit: `h`: neither `s` nor `ms`",
                "metadata.arrivalsQuery: ``: an empty query",
                "metadata.queueWaitSamplesQuery: is required by `queueWaitP95Query`: fewer than 20 samples have no \
                 percentile",
            ],
        ),
        (vec![prom, ("queryPreset", "celery")], vec!["metadata.queryPreset: no preset named `celery`"]),
        (
            vec![prom, ("queryPreset", "vllm"), ("queryQueue", "jobs")],
            vec![
                "metadata.queryQueue: says nothing to this preset, or without one",
                "metadata.queryModel: is required by the preset",
            ],
        ),
        (
            vec![prom, ("queryModel", "x")],
            vec!["metadata.queryModel: says nothing to this preset, or without one"],
        ),
        (
            vec![("prometheusConnection", "main"), ("inFlightQuery", "up")],
            vec!["metadata.prometheusConnection: `main` is a connection of type redis, not prometheus"],
        ),
    ] {
        assert_eq!(problems(&keys), expected, "{keys:?}");
    }
    let trigger = parse(&server, &[&LIST[..], &[prom, ("inFlightQuery", "up")]].concat()).unwrap();
    assert_eq!(&*trigger.queries.as_ref().unwrap().connection.name, "prom");
    assert!(trigger.shows_running() && !trigger.plan.shows_running());
}

#[test]
fn the_keys_of_kedas_prometheus_scaler_say_where_they_went() {
    let server =
        Server::parse("connections: { prom: { type: prometheus, url: \"http://x\" } }", ALL).unwrap();
    let keys = [("source", "prometheus"), ("connection", "prom")];
    let kedas =
        ["serverAddress", "threshold", "activationThreshold", "ignoreNullValues", "namespace", "authModes"];
    let kedas: Vec<_> = kedas.into_iter().map(|key| (key, "x")).collect();
    let text = parse(&server, &[&keys[..], &kedas].concat()).unwrap_err().to_string();
    assert!(text.contains("metadata.query: is required"), "{text}");
    for (key, _) in kedas {
        let line =
            text.lines().find(|line| line.contains(&format!("metadata.{key}: unknown key (hint: "))).unwrap();
        assert!(!line.contains("did you mean"), "{line}");
    }
    let dramatiq = [&keys[..], &[("queryPreset", "dramatiq"), ("queryQueue", "jobs")]].concat();
    let text = parse(&server, &dramatiq).unwrap_err().to_string();
    assert!(text.contains("metadata.queryPreset: `dramatiq` does not know what waits"), "{text}");
}

fn refused(keys: &[(&str, &str)]) -> String {
    parse(&server(), keys).unwrap_err().to_string()
}

fn parse(server: &Server, keys: &[(&str, &str)]) -> Result<Trigger, Refusal> {
    let metadata: BTreeMap<String, String> =
        keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    trigger::parse(server, "acme", "support", &metadata)
}

fn server() -> Server {
    Server::parse("connections: { main: { type: redis, url: \"redis://127.0.0.1\" } }", ALL).unwrap()
}
