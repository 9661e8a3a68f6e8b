//! Workers that are told to go: what has hardly begun goes back, the rest is finished, and nothing stays behind.

use super::*;

async fn a_worker_that_leaves_finishes_the_old_and_hands_back_the_young(kind: Kind) {
    let place = Place::new(kind, &[]);
    let (old, young) = (ids(1), vec!["young".to_owned()]);
    place.put(&old[0], "[steps=8 think=0.8 tool=0] go");
    let mut first = place.worker("first", &["--young", "4s"]);
    within(PATIENCE, "some steps", async || (place.steps(&old[0]) >= 4).then_some(())).await;
    // A step takes longer than the last look for a task, after which it is handed back.
    place.put("young", "[steps=3 think=1.5 tool=0] go");
    within(PATIENCE, "its first step", async || (place.steps("young") >= 1).then_some(())).await;
    first.process.signal("TERM");
    place.all(&young, "queued").await;
    let handed_back = place.record("young");
    assert_eq!((handed_back["attempts"].as_str(), handed_back["steps"].as_str()), ("0", "1"));
    assert!(handed_back.contains_key("checkpoint") && !handed_back.contains_key("token"));
    assert_eq!((first.status("readyz").await, first.status("livez").await), (503, 200));
    assert_eq!(place.field(&old[0], "status"), "running");
    assert_eq!(first.process.ended_within(PATIENCE).code(), Some(0));
    assert_eq!(
        (place.field(&old[0], "status"), place.field(&old[0], "attempts")),
        ("done".into(), "1".into())
    );
    nothing_is_left(&place);
    assert_eq!(place.messages(), 1);

    let mut second = place.worker("second", &[]);
    place.all(&young, "done").await;
    assert_eq!(place.field("young", "attempts"), "1");
    assert_eq!(
        count(&place.counts().await, &["agents", "second", "admitted"]),
        2,
        "one step was done before"
    );
    second.leaves(PATIENCE);
    nothing_is_left(&place);
    assert_eq!(place.reported("done"), 2);
}

#[tokio::test]
async fn a_worker_that_leaves_finishes_the_old_and_hands_back_the_young_of_a_stream() {
    a_worker_that_leaves_finishes_the_old_and_hands_back_the_young(Kind::Stream).await;
}

#[tokio::test]
async fn a_worker_that_leaves_finishes_the_old_and_hands_back_the_young_of_a_list() {
    a_worker_that_leaves_finishes_the_old_and_hands_back_the_young(Kind::List).await;
}

#[tokio::test]
async fn what_still_runs_when_the_grace_period_ends_is_handed_back() {
    let place = Place::new(Kind::Stream, &[]);
    place.put("task-0", "[steps=3 think=1 tool=30] go");
    let mut worker = place.worker("first", &["--young", "0s", "--grace", "4s"]);
    within(PATIENCE, "a step", async || (place.steps("task-0") == 1).then_some(())).await;
    worker.leaves(Duration::from_secs(6));
    let record = place.record("task-0");
    assert_eq!(
        (record["status"].as_str(), record["attempts"].as_str(), record["steps"].as_str()),
        ("queued", "0", "1")
    );
    assert_eq!(place.messages(), 1);
    nothing_is_left(&place);
}

#[tokio::test]
async fn a_second_signal_ends_the_worker_at_once_and_loses_nothing() {
    let place = Place::new(Kind::Stream, &[]);
    place.put("task-0", "[steps=3 think=1 tool=30] go");
    let mut worker = place.worker("first", &["--young", "0s"]);
    within(PATIENCE, "a step", async || (place.steps("task-0") == 1).then_some(())).await;
    worker.process.signal("INT");
    worker.answers("readyz", 503).await;
    assert_eq!(place.field("task-0", "status"), "running");
    worker.leaves(Duration::from_secs(4));
    assert_eq!(place.field("task-0", "status"), "queued");
    nothing_is_left(&place);
}

#[tokio::test]
async fn a_worker_that_holds_nothing_leaves_at_once_and_takes_its_consumer_with_it() {
    let place = Place::new(Kind::Stream, &[]);
    let mut worker = place.worker("first", &[]);
    worker.answers("readyz", 200).await;
    place.put("task-0", "[steps=1 think=0] go");
    place.all(&ids(1), "done").await;
    worker.leaves(Duration::from_secs(4));
    let consumers: Vec<redis::Value> =
        redis::from_redis_value(place.redis.command(&["XINFO", "CONSUMERS", "tasks", "workers"])).unwrap();
    assert!(consumers.is_empty(), "{consumers:?}");
}

#[tokio::test]
async fn what_was_counted_last_is_reported_at_the_end() {
    let place = Place::new(Kind::Stream, &[]);
    place.put("task-0", "[steps=1 think=1] go");
    let slow = ["--minute", "60s", "--lease", "30s", "--young", "0s", "--slots", "1"];
    let mut worker = place.worker("first", &slow);
    within(PATIENCE, "its beginning", async || (place.field("task-0", "status") == "running").then_some(()))
        .await;
    // Long before the next beat.
    worker.leaves(Duration::from_secs(4));
    assert_eq!((place.reported("done"), place.reported("req")), (1, 1));
    assert!(place.reported("busy_ms") >= 1_000);
    nothing_is_left(&place);
}
