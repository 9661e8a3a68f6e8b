//! What `POST /tasks` takes in, and what it refuses.

use serde_json::json;

use super::process::{Agent, KINDS, Kind, QUEUE, answer, program, records};
use crate::support::harness::{PATIENCE, eventually};
use crate::support::servers::Redis;

#[tokio::test]
async fn a_task_is_put_in_together_with_its_record() {
    for kind in KINDS {
        let redis = Redis::plain();
        let agent = Agent::start(&redis, &[kind.flag()]);
        let accepted = answer(agent.post("say \"hello\"")).await;
        let id = accepted.id();
        let url = format!("/tasks/{id}");
        assert_eq!(accepted.header("location"), Some(&*url), "{kind:?}");
        assert_eq!(accepted.body, json!({ "id": id, "status": "queued", "statusUrl": url }));

        let messages = kind.messages(&redis);
        let enqueued = messages[0]["enqueued_ms"].as_u64().unwrap();
        assert_eq!(messages, [json!({ "id": id, "prompt": "say \"hello\"", "enqueued_ms": enqueued })]);
        let record = [("attempts", "0"), ("enqueued_ms", &enqueued.to_string()), ("status", "queued")];
        let record = record.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        assert_eq!(records(&redis), [(id, record)].into(), "{kind:?}");
    }
}

#[tokio::test]
async fn tasks_are_taken_in_the_order_in_which_they_came() {
    for kind in KINDS {
        let redis = Redis::plain();
        let agent = Agent::start(&redis, &[kind.flag()]);
        for prompt in ["first", "second", "third"] {
            answer(agent.post(prompt)).await.id();
        }
        let messages = kind.messages(&redis);
        let prompts: Vec<&str> = messages.iter().map(|task| task["prompt"].as_str().unwrap()).collect();
        assert_eq!(prompts, ["first", "second", "third"], "{kind:?}");
    }
}

#[tokio::test]
async fn one_answer_names_everything_that_is_wrong_with_a_request() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &[]);
    let request =
        agent.post("x").json(&json!({ "prompt": 7, "promt": "x" })).header("Idempotency-Key", "a b");
    let refused = answer(request).await;
    let key = "must be 1 to 255 visible ASCII characters";
    assert_eq!(
        refused.body,
        json!({
            "title": "Bad Request",
            "status": 400,
            "detail": format!("Idempotency-Key: {key}; prompt: must be a string; promt: is unknown"),
            "errors": [
                { "field": "Idempotency-Key", "message": key },
                { "field": "prompt", "message": "must be a string" },
                { "field": "promt", "message": "is unknown" },
            ],
        })
    );
    assert_eq!(records(&redis).len(), 0);
}

#[tokio::test]
async fn a_body_is_bounded_in_size_and_kind() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &["--max-body", "64"]);
    // {"prompt":"…"} around 51 letters is 64 bytes.
    assert_eq!(answer(agent.post(&"x".repeat(51))).await.status, 202);
    let large = answer(agent.post(&"x".repeat(52))).await;
    assert_eq!((large.status, &large.body["detail"]), (413, &json!("the body is larger than 64 bytes")));
    let text = agent.client.post(format!("{}/tasks", agent.api)).body("hello");
    assert_eq!(answer(text).await.status, 415);
    assert_eq!(records(&redis).len(), 1);
}

#[tokio::test]
async fn pages_and_methods_that_do_not_exist_say_so_in_json() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &[]);
    for path in ["/", "/task", "/tasks/7", "/tasks/7/result", "/tasks/7/8", "/tasks/a%20b", "/tasks/%ff"] {
        assert_eq!(agent.get(path).await.status, 404, "{path}");
    }
    let deleted = answer(agent.client.delete(format!("{}/tasks", agent.api))).await;
    assert_eq!((deleted.status, deleted.header("allow")), (405, Some("POST")));
}

#[tokio::test]
async fn a_request_keeps_its_id_and_its_prompt_is_never_logged() {
    let redis = Redis::plain();
    let mut agent = Agent::start(&redis, &["--log", "trace"]);
    let given = answer(agent.post("swordfish").header("X-Request-Id", "trace-7")).await;
    assert_eq!(given.header("x-request-id"), Some("trace-7"));
    let broken = agent.client.post(format!("{}/tasks", agent.api)).header("content-type", "application/json");
    assert_eq!(answer(broken.body("{\"prompt\": \"swordfish")).await.status, 400);
    // The log has a thread of its own, and is in order.
    answer(agent.post("swordfish").header("X-Request-Id", "trace-8")).await;
    agent.process.printed("trace-8");
    let log = agent.process.printed_so_far();
    assert!(log.contains("trace-7"), "{log}");
    assert!(log.contains(&given.id()), "{log}");
    assert!(!log.contains("swordfish"), "{log}");
}

#[test]
fn one_error_names_every_bad_setting() {
    let flags = [
        "--redis-url=redis://user:hunter2@localhost",
        "--queue-kind=heap",
        "--max-backlog=0",
        "--max-wait=soon",
        "--drain=8d",
    ];
    let mut process = program().arguments(flags).environment([("ADMIN", "here")]).start();
    assert_eq!(process.ended_within(PATIENCE).code(), Some(2));
    let said = process.printed_so_far();
    let lines: Vec<&str> = said.lines().map(|line| line.split(": ").next().unwrap().trim()).collect();
    let named =
        ["--admin", "--redis-url", "--queue-kind", "--queue", "--max-backlog", "--max-wait", "--drain"];
    assert_eq!(lines[0], "error", "{said}");
    assert_eq!(&lines[1..], named, "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[tokio::test]
async fn a_user_with_the_documented_rights_is_enough() {
    let redis = Redis::plain();
    let rights = rights();
    let user = ["ACL", "SETUSER", "agent", "on", ">hunter2", "resetchannels", "~acme:tasks", "~acme:tasks:*"];
    let words: Vec<&str> = user.into_iter().chain(["%R~agent-scaler:*"]).chain(rights.split(' ')).collect();
    redis.command(&words);
    redis.command(&["ACL", "SETUSER", "admin", "on", ">hunter3", "~*", "+@all"]);
    redis.command(&["ACL", "SETUSER", "default", "off"]);
    let password = redis.file("password");
    std::fs::write(&password, "hunter2\n").unwrap();
    let login = ["--redis-username", "agent", "--redis-password-file", password.to_str().unwrap()];
    for kind in KINDS {
        redis_as_admin(&redis, &["DEL", QUEUE]);
        if kind == Kind::Stream {
            redis_as_admin(&redis, &["XGROUP", "CREATE", QUEUE, "workers", "0", "MKSTREAM"]);
        }
        let flags = [&login[..], &[kind.flag(), "--max-backlog=1", "--limit=anthropic/prod"]].concat();
        let agent = Agent::start(&redis, &flags);
        let key = format!("{kind:?}");
        let id = answer(agent.post_as(&key, "hello")).await.id();
        assert_eq!(answer(agent.post_as(&key, "hello")).await.id(), id);
        assert_eq!(answer(agent.post("hello")).await.status, 429);
        assert_eq!(agent.get(&format!("/tasks/{id}/result")).await.status, 202);
        eventually("the backlog", async || (agent.metric("backlog").await == Some(1.0)).then_some(())).await;
        eventually("its age", async || agent.metric("oldest_wait_seconds").await).await;
        assert_eq!(
            agent.metric("look_failures_total").await,
            Some(0.0),
            "{}",
            agent.process.printed_so_far()
        );
    }
}

fn redis_as_admin(redis: &Redis, words: &[&str]) {
    let client = redis::Client::open(format!("redis://admin:hunter3@127.0.0.1:{}", redis.port()));
    let _: redis::Value = redis::cmd(words[0]).arg(&words[1..]).query(&mut client.unwrap()).unwrap();
}

/// The line in the documentation of the example.
fn rights() -> String {
    let text = include_str!("../../../examples/agent/main.rs");
    text.lines().find_map(|line| line.strip_prefix("//! -@all")).map(|rest| format!("-@all{rest}")).unwrap()
}
