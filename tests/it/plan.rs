//! The dry run, as a user starts it: real Redis, real files, exit codes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use crate::support::harness::{Harness, eventually, trigger};
use crate::support::servers::Redis;

const LIST: &[(&str, &str)] = &[
    ("source", "redis"),
    ("connection", "main"),
    ("listName", "acme:tasks"),
    ("processingListName", "acme:busy"),
    ("tasksPerReplica", "4"),
    ("maxReplicaCount", "100"),
];

#[test]
fn one_look_shows_what_is_seen_wanted_limiting_and_next() {
    let redis = Redis::plain();
    fill(&redis, "acme:tasks", 40);
    fill(&redis, "acme:busy", 8);
    let folder = folder(&redis.url(), LIST);
    let output = plan(&folder, &["--output", "json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let planned: Value = serde_json::from_slice(&output.stdout).unwrap();
    let trigger = &planned["triggers"][0];
    assert_eq!(trigger["decision"]["replicas"], 12);
    assert_eq!(trigger["decision"]["limitedBy"], "demand");
    assert_eq!(trigger["decision"]["terms"]["serviceSeconds"], Value::Null, "one look cannot know it");
    let steps: Vec<_> =
        trigger["next"]["then"].as_array().unwrap().iter().map(|step| &step["replicas"]).collect();
    assert_eq!((&trigger["next"]["next"], steps), (&1.into(), vec![&4.into(), &8.into(), &12.into()]));

    let table = text(&plan(&folder, &["--current-replicas", "12"]));
    for words in ["40 waiting, 8 running, S", "unknown", "12 replicas", "demand", "12 → 12"] {
        assert!(table.contains(words), "{words}\nis not in\n{table}");
    }
    assert!(!table.contains('\u{1b}'), "no colours outside of a terminal");
    assert!(table.lines().all(|line| line.chars().count() <= 140), "{table}");
}

#[test]
fn the_commands_that_it_names_are_those_that_redis_was_sent() {
    let redis = Redis::plain();
    let folder = folder(&redis.url(), LIST);
    let named = text(&plan(&folder, &["--verbose"]));
    assert!(named.contains("sent to main ("), "{named}");
    assert!(named.contains("): TIME; LLEN acme:tasks; LLEN acme:busy\n"), "{named}");
    let answer: String = redis::from_redis_value(redis.command(&["INFO", "commandstats"])).unwrap();
    let mut sent: Vec<&str> = answer
        .lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split(':').next())
        // What this test, its harness and every client's login send.
        .filter(|name| !["info", "ping", "client|setinfo", "client", "select", "hello"].contains(name))
        .collect();
    sent.sort_unstable();
    assert_eq!(sent, ["llen", "time"]);
}

#[test]
fn delayed_tasks_wake_a_workload_when_they_are_due_or_will_be_before_a_replica_is_there() {
    let redis = Redis::plain();
    let (seconds, _): (u64, u64) = redis::from_redis_value(redis.command(&["TIME"])).unwrap();
    for (member, score) in [("a", seconds - 10), ("b", seconds + 240), ("c", seconds + 3_600)] {
        redis.command(&["ZADD", "rq:scheduled:acme", &score.to_string(), member]);
    }
    let rq = [("source", "rq"), ("connection", "main"), ("queue", "acme")];
    for (start_up, seen, wants) in
        [("30s", "1 waiting, 0 running", "1 replica"), ("10m", "1 waiting", "2 replicas")]
    {
        let folder = folder(&redis.url(), &[&rq[..], &[("podStartupTime", start_up)]].concat());
        let text = text(&plan(&folder, &["--verbose"]));
        assert!(text.contains(seen) && text.contains(wants), "{text}");
        let ahead = format!("ZCOUNT rq:scheduled:acme (NOW NOW+{start_up}");
        assert!(text.contains(&ahead), "{ahead}: {text}");
    }
    redis.command(&["SET", "rq:suspended", "1"]);
    let text = text(&plan(&folder(&redis.url(), &rq), &[]));
    assert!(text.contains("0 waiting, 0 running") && text.contains("delayed 3"), "{text}");
    assert!(text.contains("0 replicas"), "{text}");
}

#[test]
fn a_limit_is_looked_at_and_nobody_is_told_a_share() {
    let redis = Redis::plain();
    fill(&redis, "acme:tasks", 120);
    let keys = [LIST, &[("llmLimit", "prod"), ("expectedTaskDuration", "2m")]].concat();
    let folder = folder(&redis.url(), &keys);
    let limit = "{ workersConnection: main, scope: prod, requestsPerMinute: 60, usePerTask: { requests: 12 }, publishShares: true }";
    let file = server(&redis.url(), &format!("tick: 100ms\nllmLimits: {{ prod: {limit} }}"));
    fs::write(folder.path().join("server.yaml"), file).unwrap();
    let output = plan(&folder, &["--observe", "1s", "--verbose"]);
    let text = text(&output);
    assert!(text.contains("limited by prod (requests/min)"), "{text}");
    for commands in
        ["HSCAN agent-scaler:limit:{prod}", "ZCOUNT agent-scaler:{acme:tasks}:leases", "LLEN acme:tasks"]
    {
        assert!(text.contains(commands), "{commands}: {text}");
    }
    let reports: Vec<String> = redis::from_redis_value(redis.command(&["KEYS", "agent-scaler:*"])).unwrap();
    assert!(reports.is_empty(), "{reports:?}");
}

#[test]
fn a_dead_redis_is_unknown_and_changes_nothing() {
    let folder = folder("redis://127.0.0.1:1", LIST);
    let output = plan(&folder, &["--current-replicas", "7", "--output", "json"]);
    assert_eq!(output.status.code(), Some(3));
    let planned: Value = serde_json::from_slice(&output.stdout).unwrap();
    let trigger = &planned["triggers"][0];
    assert_eq!(trigger["decision"]["state"], "unknown");
    assert_eq!((&trigger["decision"]["replicas"], &trigger["next"]["next"]), (&Value::Null, &7.into()));
    let why = trigger["decision"]["why"].as_str().unwrap();
    assert!(
        why.starts_with("not known: the queue was never read: redis://127.0.0.1:1/0 cannot be reached"),
        "{why}"
    );
}

#[test]
fn a_wrong_trigger_and_a_wrong_file_have_an_exit_code_of_their_own() {
    let wrong = folder("redis://127.0.0.1:1", &[LIST, &[("tasksPerReplica", "ten")]].concat());
    assert_eq!(plan(&wrong, &[]).status.code(), Some(2));
    fs::write(wrong.path().join("server.yaml"), "conections: {}").unwrap();
    let output = plan(&wrong, &[]);
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output).contains("conections: unknown key (hint: did you mean `connections`?)"));
}

#[test]
fn observing_a_stream_measures_the_service_time() {
    let redis = Redis::plain();
    let keys = [("source", "redis-streams"), ("connection", "main"), ("stream", "s"), ("consumerGroup", "g")];
    let folder = folder(&redis.url(), &keys);
    fs::write(folder.path().join("server.yaml"), server(&redis.url(), "tick: 100ms")).unwrap();
    redis.command(&["XGROUP", "CREATE", "s", "g", "0", "MKSTREAM"]);
    let running = thread::spawn(move || plan(&folder, &["--observe", "3s", "--output", "json"]));
    while !running.is_finished() {
        redis.command(&["XADD", "s", "7-*", "n", "1"]);
        let taken = redis.command(&["XREADGROUP", "GROUP", "g", "c", "COUNT", "1", "STREAMS", "s", ">"]);
        assert_ne!(taken, redis::Value::Nil);
        // The task that is measured.
        thread::sleep(Duration::from_millis(30));
        let id = redis.command(&["XINFO", "STREAM", "s"]);
        let last: std::collections::HashMap<String, redis::Value> = redis::from_redis_value(id).unwrap();
        let id: String = redis::from_redis_value(last["last-generated-id"].clone()).unwrap();
        assert_eq!(redis.command(&["XACK", "s", "g", &id]), redis::Value::Int(1));
    }
    let planned: Value = serde_json::from_slice(&running.join().unwrap().stdout).unwrap();
    let service = &planned["triggers"][0]["decision"]["terms"]["serviceSeconds"];
    assert!(service.as_f64().is_some_and(|seconds| seconds > 0.0 && seconds < 1.0), "{service}");
}

#[tokio::test]
async fn a_running_server_is_asked_for_what_it_knows() {
    let redis = Redis::plain();
    fill(&redis, "acme:tasks", 9);
    let server =
        Harness::with(&format!("connections: {{ main: {{ type: redis, url: \"{}\" }} }}", redis.url())).await;
    let folder = folder("redis://127.0.0.1:1", LIST);
    let url = format!("http://{}", server.scaler.admin);
    let ask = || {
        let (folder, url) = (folder.path().to_owned(), url.clone());
        tokio::task::spawn_blocking(move || plan_in(&folder, &["--server", &url, "--output", "json"]))
    };
    assert_eq!(ask().await.unwrap().status.code(), Some(3), "KEDA has not asked for it yet");
    let support = trigger("support", LIST);
    eventually("an evaluation", async || server.value(&support).await.ok()).await;
    let output = ask().await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let planned: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(planned["triggers"][0]["decision"]["replicas"], 3);
}

fn fill(redis: &Redis, list: &str, tasks: usize) {
    let mut connection = redis.connection();
    for task in 0..tasks {
        let _: u64 = redis::cmd("RPUSH").arg(list).arg(task).query(&mut connection).unwrap();
    }
}

#[test]
fn credentials_that_cannot_be_had_are_told_in_our_words_only() {
    let folder = folder(
        "redis://127.0.0.1",
        &[("source", "aws-sqs-queue"), ("connection", "main"), ("queueURL", "acme")],
    );
    fs::write(folder.path().join("server.yaml"), "connections: { main: { type: aws, region: eu-west-1 } }")
        .unwrap();
    let output = command(folder.path())
        .env_clear()
        .env("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/reader")
        .env("AWS_WEB_IDENTITY_TOKEN_FILE", folder.path().join("token"))
        .output()
        .unwrap();
    let text = text(&output);
    let told = "the credentials cannot be had: No such file or directory (os error 2) \
                (the environment offers AWS_WEB_IDENTITY_TOKEN_FILE)";
    assert!(text.contains(told), "{text}");
    assert!(!text.contains("aws_config") && !text.contains("ProviderError"), "{text}");
}

/// A folder with a server's file and a ScaledObject of these keys.
fn folder(url: &str, keys: &[(&str, &str)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("server.yaml"), server(url, "")).unwrap();
    // A key that is given twice counts the second time.
    let keys: std::collections::BTreeMap<_, _> = keys.iter().copied().collect();
    let metadata: String = keys.iter().map(|(key, value)| format!("      {key}: \"{value}\"\n")).collect();
    let object = format!(
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{ name: support, namespace: acme }}\nspec:\n  triggers:\n  \
         - type: external-push\n    metadata:\n{metadata}"
    );
    fs::write(folder.path().join("object.yaml"), object).unwrap();
    folder
}

fn server(url: &str, more: &str) -> String {
    format!("connections: {{ main: {{ type: redis, url: \"{url}\" }} }}\n{more}\n")
}

fn plan(folder: &TempDir, flags: &[&str]) -> Output {
    plan_in(folder.path(), flags)
}

fn plan_in(folder: &Path, flags: &[&str]) -> Output {
    command(folder).args(flags).output().unwrap()
}

fn command(folder: &Path) -> Command {
    let path = |name: &str| -> PathBuf { folder.join(name) };
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-scaler"));
    command.arg("plan").arg("-f").arg(path("object.yaml")).arg("--config").arg(path("server.yaml"));
    command
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned()
}
