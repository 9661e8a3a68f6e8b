//! A bad trigger → one error that names every problem.

use std::collections::BTreeMap;

use agent_scaler::config::server::Server;
use agent_scaler::config::trigger::{self, Refusal, Trigger};
use agent_scaler::sources::ALL;

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
fn the_servers_defaults_hold_where_a_trigger_says_nothing() {
    let file = "connections: { main: { type: redis, url: \"redis://127.0.0.1\" } }\n\
                defaults: { tasksPerReplica: 4, maxQueueWait: 10m }";
    let server = Server::parse(file, ALL).unwrap();
    let trigger = parse(&server, &[&LIST[..], &[("maxQueueWait", "1m")]].concat()).unwrap();
    assert_eq!((trigger.policy.tasks_per_replica.get(), trigger.policy.max_queue_wait.as_secs()), (4, 60));
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
