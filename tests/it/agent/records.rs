//! What the pages say of a task while workers go on with it.

use serde_json::json;

use super::process::{Agent, QUEUE, answer};
use crate::support::servers::Redis;

#[tokio::test]
async fn a_task_is_followed_from_the_queue_to_its_result() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &[]);
    let id = answer(agent.post("hello")).await.id();
    let (url, result_url) = (format!("/tasks/{id}"), format!("/tasks/{id}/result"));

    let waiting = agent.get(&url).await;
    assert_eq!((waiting.status, &waiting.body["status"]), (200, &json!("queued")));
    assert_eq!((&waiting.body["attempts"], &waiting.body["startedAt"]), (&json!(0), &json!(null)));
    assert!(waiting.body["queueWaitSeconds"].as_f64().unwrap() < 10.0, "{waiting:?}");
    let none_yet = agent.get(&result_url).await;
    assert_eq!((none_yet.status, none_yet.retry_after()), (202, 5));

    let times = [("enqueued_ms", "1800000000000"), ("started_ms", "1800000001500")];
    write(&redis, &id, &[("status", "running"), ("attempts", "1"), ("steps", "2"), times[0], times[1]]);
    assert_eq!(
        agent.get(&url).await.body,
        json!({
            "id": id, "status": "running", "attempts": 1, "steps": 2, "queueWaitSeconds": 1.5,
            "enqueuedAt": "2027-01-15T08:00:00.000Z", "startedAt": "2027-01-15T08:00:01.500Z",
            "statusUrl": url, "resultUrl": result_url,
        })
    );
    assert_eq!(agent.get(&result_url).await.status, 202);

    write(&redis, &id, &[("status", "done"), ("ended_ms", "1800000060000"), ("result", "\"hi\"")]);
    assert_eq!(agent.get(&url).await.body["endedAt"], "2027-01-15T08:01:00.000Z");
    let done = agent.get(&result_url).await;
    assert_eq!((done.status, done.body), (200, json!({ "id": id, "status": "done", "result": "\"hi\"" })));
}

#[tokio::test]
async fn a_failed_task_has_no_result_and_never_will() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &[]);
    let id = answer(agent.post("hello")).await.id();
    write(&redis, &id, &[("status", "failed"), ("attempts", "3"), ("error", "the model refused")]);
    let status = agent.get(&format!("/tasks/{id}")).await;
    assert_eq!((status.status, &status.body["error"]), (200, &json!("the model refused")));
    let gone = agent.get(&format!("/tasks/{id}/result")).await;
    assert_eq!((gone.status, gone.header("retry-after")), (410, None));
    assert_eq!(gone.body["detail"], "the task failed: the model refused");
    assert_eq!(gone.body["reason"], "failed");
}

#[tokio::test]
async fn what_a_record_does_not_say_sensibly_is_left_out() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &[]);
    write(
        &redis,
        "7",
        &[("status", "running"), ("attempts", "many"), ("started_ms", "-1"), ("enqueued_ms", "5")],
    );
    let body = agent.get("/tasks/7").await.body;
    let known = json!({
        "id": "7", "status": "running", "enqueuedAt": "1970-01-01T00:00:00.005Z",
        "statusUrl": "/tasks/7", "resultUrl": "/tasks/7/result",
    });
    assert_eq!(body, known);
    // No status at all is no task; a status that nobody knows is no answer.
    write(&redis, "8", &[("attempts", "1")]);
    write(&redis, "9", &[("status", "asleep")]);
    assert_eq!(agent.get("/tasks/8").await.status, 404);
    assert_eq!(agent.get("/tasks/9").await.status, 503);
}

fn write(redis: &Redis, id: &str, fields: &[(&str, &str)]) {
    let key = format!("{QUEUE}:task:{id}");
    let words = ["HSET", &key].into_iter().chain(fields.iter().flat_map(|(name, value)| [*name, *value]));
    redis.command(&words.collect::<Vec<_>>());
}
