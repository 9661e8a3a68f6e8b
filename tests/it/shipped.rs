//! The Redis rights in the example Secrets are exactly those that the scaler beside them uses.

use std::fs;

use agent_scaler::scaler::proto::ScaledObjectRef;
use agent_scaler::workers::keys;

use crate::support::harness::{eventually, trigger};
use crate::support::keda_client::Keda;
use crate::support::program::Program;
use crate::support::servers::Redis;
use crate::support::tree::{files, root};

/// The scope of the limit in the shipped server file.
const SCOPE: &str = "anthropic/prod/sonnet";

#[tokio::test]
async fn the_user_of_the_example_reads_hears_and_publishes_all_that_is_shipped() {
    let (line, on_top) = rights();
    for (rights, publishes) in [(line.clone(), false), (format!("{line} {on_top}"), true)] {
        let redis = Redis::plain();
        let_in(&redis, &rights);
        redis.command(&["XGROUP", "CREATE", "acme:jobs", "workers", "0", "MKSTREAM"]);
        let password = redis.file("password");
        fs::write(&password, "hunter2\n").unwrap();
        let program = Program::start(&server_file(&redis, password.to_str().unwrap(), publishes));
        let keda = Keda::dial(&[program.grpc]).await;
        let triggers = triggers();
        assert!(triggers.len() >= 4, "{triggers:?}");
        let mut push = keda.push(triggers.iter().find(|trigger| trigger.name == "agent-worker").unwrap());
        for trigger in &triggers {
            let value = async || keda.poll(trigger).await.ok();
            eventually(format!("a value for {}", trigger.name), value).await;
        }
        assert!(!push.event().await, "nothing waits");
        redis.command(&["LPUSH", "acme:tasks", "a"]);
        assert!(push.event().await);
        if publishes {
            let published = async || (exists(&redis, &keys::share(SCOPE))).then_some(());
            eventually("a share", published).await;
        }
        for trigger in triggers.iter().filter(|trigger| trigger.name == "agent-worker") {
            let active = async || keda.poll(trigger).await.ok().filter(|polled| polled.active);
            eventually("its task, read", active).await;
        }
        let refused = format!("{:?}", redis.command(&["ACL", "LOG"]));
        // The library names itself, which Redis 7.2 takes for a command like any other.
        assert_eq!(
            refused.matches("\"scaler\"").count(),
            refused.matches("client|setinfo").count(),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn the_user_of_the_example_can_write_nothing_and_run_nothing() {
    let redis = Redis::plain();
    let_in(&redis, &rights().0);
    let client = redis::Client::open(format!("redis://scaler:hunter2@127.0.0.1:{}", redis.port())).unwrap();
    let mut scaler = client.get_connection().unwrap();
    for words in [
        &["LPUSH", "acme:tasks", "a"][..],
        &["DEL", "acme:tasks"],
        &["HSET", "agent-scaler:share:x", "a", "b"],
        &["EVAL", "return 1", "0"],
        &["LLEN", "other:tasks"],
        &["KEYS", "*"],
        &["CONFIG", "GET", "*"],
    ] {
        let refused = redis::cmd(words[0]).arg(&words[1..]).exec(&mut scaler).unwrap_err();
        assert_eq!(refused.code(), Some("NOPERM"), "{words:?}");
    }
}

#[test]
fn rights_are_said_alike_everywhere() {
    let read = |path: &str| fs::read_to_string(root().join(path)).unwrap();
    let line = |text: &str, user: &str| {
        let begin = format!("user {user} on >PASSWORD ");
        let line = text.lines().find_map(|line| line.split_once(&begin)).unwrap();
        line.1.to_owned()
    };
    let (scaler, on_top) = rights();
    let readme = read("README.md");
    assert!(readme.contains(&format!("`user scaler {scaler}`")) && readme.contains(&format!("`{on_top}`")));
    let example = read("deploy/manifests/worker/secrets.example.yaml");
    assert_eq!(line(&example, "agent-worker"), line(&read("examples/worker/README.md"), "agent-worker"));
    let example = line(&read("deploy/manifests/agent/secret.example.yaml"), "agent-api");
    let program = read("examples/agent/main.rs");
    let commands = program.lines().find_map(|line| line.strip_prefix("//! -@all")).unwrap();
    assert!(example.ends_with(&format!(" -@all{commands}")), "{example}");
}

/// The rights in the example, and those that come on top where shares are published.
fn rights() -> (String, String) {
    let text = fs::read_to_string(root().join("deploy/manifests/secret.example.yaml")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("#   user scaler ")).unwrap().to_owned();
    let words: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# ")).collect();
    let words = words.join(" ");
    let (_, after) = words.split_once("needs at the end: ").unwrap();
    (line, after.split_once(". ").unwrap().0.to_owned())
}

/// Creates the scaler's user, with the password `hunter2`. Text in parentheses is one word.
fn let_in(redis: &Redis, rights: &str) {
    let rights = rights.replace("PASSWORD", "hunter2");
    let (plain, selector) = rights.split_once('(').map_or((rights.as_str(), None), |(a, b)| (a, Some(b)));
    let selector = selector.map(|rest| format!("({rest}"));
    let words: Vec<&str> = ["ACL", "SETUSER", "scaler"]
        .into_iter()
        .chain(plain.split_whitespace())
        .chain(selector.as_deref())
        .collect();
    redis.command(&words);
}

/// The shipped file, on this Redis: without its addresses and its TLS.
fn server_file(redis: &Redis, password: &str, publishes: bool) -> String {
    let text = fs::read_to_string(root().join("deploy/manifests/agent-scaler.yaml")).unwrap();
    let line = |line: &str| match (line.trim_start().split(':').next()?, line.len() - line.trim_start().len())
    {
        ("listen" | "admin", 0) | ("ca", 4) => None,
        ("url", 4) => Some(format!("    url: {}\n", redis.url())),
        ("password", 4) => Some(format!("    password: {{ file: {password} }}\n")),
        ("tick", 0) => Some("tick: 100ms\n".to_owned()),
        ("scope", 4) if publishes => Some(format!("{line}\n    publishShares: true\n")),
        _ => Some(format!("{line}\n")),
    };
    text.lines().filter_map(line).collect()
}

/// Every trigger in `deploy/`.
fn triggers() -> Vec<ScaledObjectRef> {
    let mut found = Vec::new();
    for (_, text) in files("deploy", "yaml") {
        let documents: Vec<serde_json::Value> = serde_saphyr::from_multiple(&text).unwrap();
        let scaled =
            |object: &&serde_json::Value| object["kind"] == "ScaledObject" || object["kind"] == "ScaledJob";
        for object in documents.iter().filter(scaled) {
            let keys = object["spec"]["triggers"][0]["metadata"].as_object().unwrap();
            let keys: Vec<_> =
                keys.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap())).collect();
            found.push(trigger(object["metadata"]["name"].as_str().unwrap(), &keys));
        }
    }
    found
}

fn exists(redis: &Redis, key: &str) -> bool {
    redis::from_redis_value(redis.command(&["EXISTS", key])).unwrap()
}
