//! Rights before work: what a caller can size is bounded, and a tenant is told of nothing but its own.

use std::collections::BTreeMap;

use agent_scaler::config::server::Server;
use agent_scaler::config::trigger::{self, Refusal, Trigger};
use agent_scaler::sources::ALL;
use proptest::prelude::*;

const CONNECTIONS: &str = "\
connections:
  main: { type: redis, url: \"redis://127.0.0.1:1\" }
  secret-zeta: { type: redis, url: \"redis://127.0.0.1:2\" }
  prom: { type: prometheus, url: \"http://127.0.0.1:3\" }
llmLimits:
  prod: { workersConnection: secret-zeta, scope: prod, requestsPerMinute: 60 }
  zeta-prod: { workersConnection: main, scope: zeta, requestsPerMinute: 60 }
  sk-zeta: { workersConnection: main, scope: zeta2, requestsPerMinute: 60 }
";

const TENANTS: &str = "tenants: { acme: { connections: { main: [\"acme:*\"] }, llmLimits: [prod] } }";

const LIST: [(&str, &str); 3] = [("source", "redis"), ("connection", "main"), ("listName", "acme:tasks")];

#[test]
fn what_a_namespace_may_not_use_is_refused_before_anything_else_is_read() {
    let server = closed();
    let steps = (1..200).map(|step| step.to_string()).collect::<Vec<_>>().join(",");
    let wrong = [("tasksPerReplica", "ten"), ("quue", "x"), ("source", "celery"), ("prioritySteps", &steps)];
    for key in ["connection", "workersConnection", "prometheusConnection"] {
        let refusal = refused(&server, "acme", &[&LIST[..], &wrong, &[(key, "secret-zeta")]].concat());
        assert_eq!(refusal, "namespace `acme` may not use the connection `secret-zeta`", "{key}");
    }
    let refusal = refused(&server, "acme", &[&LIST[..], &wrong, &[("llmLimit", "zeta-prod")]].concat());
    assert_eq!(refusal, "namespace `acme` may not use the LLM limit `zeta-prod`");
    let refusal = refused(&server, "zeta", &[&LIST[..], &wrong].concat());
    assert_eq!(refusal, "namespace `zeta` may not use the connection `main`");
    let refusal = refused(&server, "zeta", &wrong);
    assert_eq!(
        refusal,
        "namespace `zeta` may not use this server (hint: name it under `tenants` in the server's file)"
    );
}

#[test]
fn a_connection_of_others_and_one_that_does_not_exist_are_refused_alike() {
    let server = closed();
    for key in ["connection", "workersConnection", "prometheusConnection", "llmLimit"] {
        let others = if key == "llmLimit" { "zeta-prod" } else { "secret-zeta" };
        for (namespace, nobodys) in [("acme", "nobodys"), ("zeta", "nobodys")] {
            let told = |name: &str| {
                let refusal = parse(&server, namespace, &[&LIST[..], &[(key, name)]].concat()).unwrap_err();
                assert!(matches!(refusal, Refusal::Forbidden(_)), "{refusal:?}");
                refusal.to_string().replace(name, "NAME")
            };
            assert_eq!(told(others), told(nobodys), "{key} in {namespace}");
            assert_eq!(told(&others[1..]), told(nobodys), "nearly {key} in {namespace}");
        }
    }
    // What looks like a key is refused as one, whether somebody has a limit of that name or not.
    let told = |name: &str| refused(&server, "acme", &[&LIST[..], &[("llmLimit", name)]].concat());
    assert_eq!(told("sk-zeta"), told("sk-nobody"));
    assert!(told("sk-zeta").contains("looks like an API key"), "{}", told("sk-zeta"));
}

#[test]
fn a_tenant_is_hinted_at_its_own_names_only() {
    let server = closed();
    for (key, name, refusal) in [
        (
            "connection",
            "mian",
            "namespace `acme` may not use the connection `mian` (hint: did you mean `main`?)",
        ),
        ("llmLimit", "prd", "namespace `acme` may not use the LLM limit `prd` (hint: did you mean `prod`?)"),
        ("llmLimit", "zeta-prd", "namespace `acme` may not use the LLM limit `zeta-prd`"),
        ("connection", "secret-zet", "namespace `acme` may not use the connection `secret-zet`"),
    ] {
        assert_eq!(refused(&server, "acme", &[&LIST[..], &[(key, name)]].concat()), refusal);
    }
}

#[test]
fn a_connection_that_a_trigger_did_not_name_is_not_named_to_its_author() {
    let limited = [&LIST[..], &[("llmLimit", "prod")]].concat();
    assert_eq!(
        refused(&closed(), "acme", &limited),
        "namespace `acme` may not use the connection of the LLM limit `prod` (hint: name a `workersConnection` that \
         it may use)"
    );
    parse(&closed(), "acme", &[&limited[..], &[("workersConnection", "main")]].concat()).unwrap();
    let server = server(&format!("{TENANTS}\ndefaults: {{ workersConnection: secret-zeta }}"));
    assert_eq!(
        refused(&server, "acme", &LIST),
        "namespace `acme` may not use the server's `defaults.workersConnection` (hint: name a `workersConnection` \
         that it may use)"
    );
}

#[test]
fn an_address_is_refused_on_a_closed_server_without_repeating_it() {
    let server = Server { allow_inline_connections: true, ..closed() };
    for key in ["connection", "workersConnection", "prometheusConnection"] {
        let text = refused(&server, "acme", &[&LIST[..], &[(key, "redis://:hunter2@10.0.0.1")]].concat());
        assert!(text.contains("an address in a trigger is refused") && !text.contains("hunter2"), "{text}");
    }
}

#[test]
fn the_size_of_the_metadata_is_bounded() {
    let server = open();
    let keys: Vec<String> = (0..64).map(|number| format!("key{number}")).collect();
    let many: Vec<(&str, &str)> = keys.iter().map(|key| (&**key, "x")).collect();
    let long = "x".repeat(60_000);
    for (extra, problem) in [
        (many, "metadata: 67 keys, more than 64"),
        (vec![(&long[..40_000], "x")], "…: a key of 40000 bytes, more than 128"),
        (vec![("listName", &long[..40_000])], "metadata.listName: a value of 40000 bytes, more than 16384"),
        (
            vec![("query", &long[..16_384]), ("topic", &long[..16_384]), ("stream", &long[..16_384])],
            "metadata: 49211 bytes in all, more than 49152",
        ),
    ] {
        let text = refused(&server, "acme", &[&LIST[..], &extra].concat());
        assert!(text.starts_with("1 problem in the trigger metadata:\n  metadata"), "{text}");
        assert!(text.contains(problem) && text.len() < 300, "{text}");
    }
}

#[test]
fn lists_and_what_they_multiply_to_are_bounded() {
    let list = |count: usize| (0..count).map(|number| number.to_string()).collect::<Vec<_>>().join(",");
    let (most, more) = (list(256), list(257));
    for (source, key, others) in [
        ("redis", "listName", &[][..]),
        ("redis", "processingListName", &[("listName", "x")]),
        ("redis-sorted-set", "sortedSetName", &[("scoreUnit", "seconds")]),
        ("celery", "queue", &[("prioritySteps", "3")]),
        ("celery", "prioritySteps", &[("queue", "x")]),
        ("dramatiq", "queue", &[]),
    ] {
        let of = |names| [&[("source", source), ("connection", "main"), (key, names)][..], others].concat();
        let parsed = parse(&open(), "acme", &of(&*most)).unwrap();
        assert!(parsed.plan.names().len() >= 256, "{source} {key}");
        let text = refused(&open(), "acme", &of(&*more));
        assert!(text.contains(&format!("metadata.{key}: `0,1,2,")), "{text}");
        assert!(text.contains("257 names, more than 256 (hint: "), "{text}");
    }
    let celery = [("source", "celery"), ("connection", "main"), ("queue", &*most), ("prioritySteps", &*most)];
    let text = refused(&open(), "acme", &celery);
    assert!(text.contains("metadata.queue: takes 65794 commands a read, more than 2000"), "{text}");
    assert!(text.contains("(hint: divide them among several objects)"), "{text}");
}

#[test]
fn a_name_with_a_control_character_is_refused_by_every_source_and_queries_may_have_lines() {
    for (source, keys) in NAMED {
        for key in *keys {
            let text =
                refused(&open(), "acme", &[("source", source), ("connection", "main"), (key, "a\u{1b}[2Jb")]);
            let line = text.lines().find(|line| line.contains(&format!("metadata.{key}: ")));
            let line = line.unwrap_or_else(|| panic!("{source} {key}: {text}"));
            assert!(line.contains(r"`a\u{1b}[2Jb`") && !line.contains('\u{1b}'), "{line}");
        }
    }
    let query = [("source", "prometheus"), ("connection", "prom"), ("query", "sum(\n\tup\r\n)")];
    parse(&open(), "acme", &query).unwrap();
    let lines = [("source", "redis"), ("connection", "main"), ("listName", "acme:a,\n  acme:b\n")];
    assert_eq!(parse(&open(), "acme", &lines).unwrap().plan.names(), ["acme:a", "acme:b"]);
}

#[test]
fn check_refuses_what_the_server_refuses() {
    let folder = tempfile::tempdir().unwrap();
    let (config, manifest) = (folder.path().join("server.yaml"), folder.path().join("objects.yaml"));
    std::fs::write(&config, format!("{CONNECTIONS}{TENANTS}\n")).unwrap();
    let object = |namespace: &str, name: &str, connection: &str| {
        format!(
            "---\napiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{ name: {name}, namespace: {namespace} }}\nspec: {{ triggers: [ {{ \
             type: external-push, metadata: {{ source: redis, connection: {connection}, listName: x }} }} ] }}\n"
        )
    };
    let objects =
        [object("acme", "Jobs", "main"), object("acme", "jobs", "nobodys"), object("zeta", "jobs", "main")];
    std::fs::write(&manifest, objects.concat()).unwrap();
    let mut check = std::process::Command::new(env!("CARGO_BIN_EXE_agent-scaler"));
    let output = check.arg("check").arg("-f").arg(&manifest).arg("--config").arg(&config).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for line in [
        "name: `Jobs` is not a name that Kubernetes gives",
        "namespace `acme` may not use the connection `nobodys`",
        "namespace `zeta` may not use the connection `main`",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
    assert_eq!(output.status.code(), Some(2), "{text}");
}

/// Keys of each source that hold the names of what it reads.
const NAMED: &[(&str, &[&str])] = &[
    ("redis", &["listName", "processingListName"]),
    ("redis-streams", &["stream", "consumerGroup"]),
    ("redis-sorted-set", &["sortedSetName", "processingListName"]),
    ("celery", &["queue", "prioritySteps"]),
    ("bullmq", &["queue"]),
    ("rq", &["queue"]),
    ("sidekiq", &["queue"]),
    ("dramatiq", &["queue"]),
    ("taskiq", &["queue", "consumerGroupName"]),
    #[cfg(feature = "kafka")]
    ("kafka", &["topic", "consumerGroup"]),
    ("aws-sqs-queue", &["queueURL"]),
    ("prometheus", &["queryQueue", "queryPreset"]),
    ("http", &["path"]),
];

/// A key of some trigger, or any other.
fn key() -> impl Strategy<Value = String> {
    let known = ALL.iter().flat_map(|source| source.keys).map(|key| key.name.to_owned());
    let common = ["source", "connection", "workersConnection", "llmLimit", "workerScope", "maxQueueWait"];
    let known: Vec<String> = known.chain(common.map(str::to_owned)).collect();
    prop_oneof![8 => proptest::sample::select(known), 1 => "\\PC{0,50}", 1 => "[a-z\\x00-\\x1f]{0,200}"]
}

fn value() -> impl Strategy<Value = String> {
    let sources: Vec<String> = ALL.iter().map(|source| source.name.to_owned()).collect();
    prop_oneof![
        3 => proptest::sample::select(sources),
        3 => Just("main".to_owned()),
        2 => "[0-9]{1,4}(s|m|h|)",
        2 => "[a-z0-9:*{}\\\\x,-]{0,60}",
        1 => "\\PC{0,80}",
        1 => "[\\x00-\\x20a]{0,20}",
        1 => (1_usize..400, "[a-z]{1,40}").prop_map(|(count, name)| {
            (0..count).map(|number| format!("{name}{number}")).collect::<Vec<_>>().join(",")
        }),
        1 => (0_usize..20_000).prop_map(|length| "x".repeat(length)),
    ]
}

proptest! {
    #[test]
    fn whatever_the_metadata_holds_the_trigger_is_small_or_the_refusal_is(
        source in 0..ALL.len(),
        metadata in proptest::collection::btree_map(key(), value(), 0..70),
        is_closed: bool,
    ) {
        let mut metadata = metadata;
        metadata.entry("source".to_owned()).or_insert_with(|| ALL[source].name.to_owned());
        metadata.entry("connection".to_owned()).or_insert_with(|| "main".to_owned());
        let server = if is_closed { closed() } else { open() };
        match trigger::parse(&server, "acme", "support", &metadata) {
            Ok(trigger) => {
                let names = trigger.plan.names();
                prop_assert!(names.len() <= 2_000, "{} names", names.len());
                let bytes: usize = names.iter().map(|name| name.len()).sum();
                prop_assert!(bytes <= 256 * 1_024, "{bytes} bytes");
            }
            Err(refusal) => {
                let text = refusal.to_string();
                prop_assert!(text.len() <= 32 * 1_024, "{} bytes", text.len());
                let is_line = |text: &str| !text.contains(char::is_control);
                prop_assert!(text.lines().all(is_line), "{text:?}");
            }
        }
    }
}

fn refused(server: &Server, namespace: &str, keys: &[(&str, &str)]) -> String {
    parse(server, namespace, keys).unwrap_err().to_string()
}

/// Later keys replace earlier ones.
fn parse(server: &Server, namespace: &str, keys: &[(&str, &str)]) -> Result<Trigger, Refusal> {
    let metadata: BTreeMap<String, String> =
        keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    trigger::parse(server, namespace, "support", &metadata)
}

fn open() -> Server {
    server("")
}

fn closed() -> Server {
    server(TENANTS)
}

fn server(more: &str) -> Server {
    Server::parse(&format!("{CONNECTIONS}{more}\n"), ALL).unwrap()
}
