//! A provider that refuses, fails or gets another key.

use super::*;

#[tokio::test]
async fn a_refusal_pauses_all_workers_and_the_books_equal_the_providers() {
    // The workers believe in twice as much as there is.
    let place =
        Place::new(Kind::Stream, &["--requests-per-minute", "60", "--minute", "6s", "--burst", "0.1"]);
    let tasks = ids(16);
    tasks.iter().for_each(|id| place.put(id, "[steps=4 think=0.05 tool=0] go"));
    let settings = ["--limit", LIMIT, "--requests-per-minute", "120"];
    let mut workers = ["first", "second"].map(|name| place.worker(name, &settings));
    place.all(&tasks, "done").await;
    workers.iter_mut().for_each(|worker| worker.leaves(PATIENCE));
    let counts = place.counts().await;
    assert_eq!(count(&counts, &["admitted"]), 64, "{counts}");
    // Eight slots that all ran into it each time would be refused more often than admitted.
    assert!((1..32).contains(&count(&counts, &["refused"])), "{counts}");
    for (field, path) in
        [("req", "admitted"), ("r429", "refused"), ("itok", "input_tokens"), ("otok", "output_tokens")]
    {
        assert_eq!(place.reported(field), count(&counts, &[path]), "{field}");
    }
    assert_eq!((place.reported("done"), place.reported("fail")), (16, 0));
    let (busy, throttled) = (place.reported("busy_ms"), place.reported("throttle_ms"));
    assert!(0 < throttled && throttled < busy, "{throttled} of {busy} ms");
    let why = place.redis.command(&["HGET", &format!("agent-scaler:limit:{{{LIMIT}}}"), "why"]);
    assert_eq!(redis::from_redis_value::<Option<String>>(why).unwrap().unwrap_or("rate".into()), "rate");
}

#[tokio::test]
async fn a_provider_that_fails_for_a_while_costs_time_and_no_task() {
    let place = Place::new(Kind::Stream, &[]);
    let tasks = ids(4);
    tasks.iter().for_each(|id| place.put(id, "[steps=3 think=0.1 tool=0] go"));
    place.control(json!({"outage": {"answer": "503"}, "for": "3s"})).await;
    let mut worker = place.worker("first", &[]);
    worker.process.printed("The endpoint fails and is left alone");
    place.all(&tasks, "done").await;
    worker.process.printed("The endpoint answers again");
    assert!(tasks.iter().all(|id| place.field(id, "attempts") == "1"));
    // Left alone means that it is hardly asked: five failures that opened the breaker, those that were under way, and
    // a trial now and then.
    assert!(count(&place.counts().await, &["failed"]) <= 16);
}

#[tokio::test]
async fn a_budget_that_is_used_up_stops_the_taking_and_fails_nothing() {
    let place = Place::new(Kind::Stream, &[]);
    place.put("task-0", "[steps=1 think=0] go");
    place.control(json!({"exhausted": "quota"})).await;
    let mut worker = place.worker("first", &["--limit", LIMIT, "--slots", "2"]);
    worker.process.printed("Whether the limit's budget is used up has changed");
    // A look that was under way may still find something.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    place.put("task-1", "[steps=1 think=0] go");
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(
        (place.field("task-0", "status"), place.field("task-1", "status")),
        ("running".into(), String::new())
    );
    assert!(count(&place.counts().await, &["refused"]) <= 2);
    // Told to go, it hands back what it cannot run.
    worker.leaves(Duration::from_secs(5));
    assert_eq!(place.field("task-0", "status"), "queued");
}

#[tokio::test]
async fn bounds_of_a_task_end_it_for_good_and_say_why() {
    let place = Place::new(Kind::Stream, &[]);
    place.put("steps", "[steps=5 think=0 tool=0] go");
    place.put("tokens", "[steps=2 think=0 tool=0 input=5000] go");
    place.put("cost", "[steps=2 think=0 tool=0 output=1000] go");
    let _worker = place.worker(
        "first",
        &[
            "--max-steps",
            "2",
            "--max-tokens",
            "4000",
            "--max-cost",
            "0.01",
            "--input-price",
            "1",
            "--output-price",
            "20",
        ],
    );
    let tasks = ["steps", "tokens", "cost"].map(str::to_owned);
    place.all(&tasks, "failed").await;
    assert_eq!(place.field("steps", "error"), "no result after 2 steps");
    assert_eq!(place.field("tokens", "error"), "the next step would take it over 4000 tokens");
    assert_eq!(place.field("cost", "error"), "the next step would take it over 0.01 dollars");
    let dead: Vec<(String, Vec<String>)> =
        redis::from_redis_value(place.redis.command(&["XRANGE", "tasks:dead", "-", "+"])).unwrap();
    assert_eq!(dead.len(), 3);
    assert!(dead.iter().any(|(_, fields)| fields.contains(&"no result after 2 steps".to_owned())));
    assert_eq!(place.messages(), 0);
}

#[tokio::test]
async fn a_key_that_changes_on_disk_is_used_by_the_next_request() {
    let place = Place::new(Kind::Stream, &[]);
    place.put("task-0", "[steps=6 think=0.3 tool=0] go");
    let _worker = place.worker("first", &[]);
    within(PATIENCE, "two steps", async || (place.steps("task-0") >= 2).then_some(())).await;
    std::fs::write(place.files.path().join("key"), "second\n").unwrap();
    place.all(&ids(1), "done").await;
    let (first, second) = (place.counts_of("first").await, place.counts_of("second").await);
    let (first, second) = (count(&first, &["admitted"]), count(&second, &["admitted"]));
    assert!(first >= 2 && second >= 2 && first + second == 6, "{first} and {second}");
}

#[tokio::test]
async fn a_tool_that_refuses_a_call_tells_the_model_and_the_log() {
    let place = Place::new(Kind::Stream, &[]);
    place.put("task-0", "[steps=2 think=0 tool=0] go");
    // Without its last part the address leads to no tool.
    let key = place.files.path().join("key");
    let url = place.redis.url();
    let worker = Example::new("worker")
        .arguments(["--listen", "127.0.0.1:0", "--model", "model", "--queue", "tasks", "--redis-url", &url])
        .arguments(["--base-url", &place.stub_url, "--tools-url", &place.stub_url])
        .environment([("API_KEY_FILE", key)]);
    let (mut worker, url) = worker.start_listening();
    worker.printed("A tool refused a call");
    place.all(&ids(1), "done").await;
    let page = reqwest::get(format!("{url}/metrics")).await.unwrap().text().await.unwrap();
    assert!(page.contains(r#"tool="lookup",status="refused"} 1"#), "{page}");
}
