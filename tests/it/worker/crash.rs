//! Workers that die, hang or lose their Redis: nothing is lost, and steps that are done are not paid for twice.

use super::*;

async fn a_killed_workers_tasks_go_on_elsewhere(kind: Kind) {
    let place = Place::new(kind, &[]);
    let tasks = ids(4);
    tasks.iter().for_each(|id| place.put(id, "[steps=5 think=0.3 tool=0.05] go"));
    let mut first = place.worker("first", &[]);
    within(PATIENCE, "two steps of each", async || tasks.iter().all(|id| place.steps(id) >= 2).then_some(()))
        .await;
    first.process.kill();
    // Nobody has the tasks now, so their records stand.
    let paid: u64 = tasks.iter().map(|id| place.steps(id)).sum();
    let _second = place.worker("second", &[]);
    place.all(&tasks, "done").await;
    let counts = place.counts().await;
    assert_eq!(count(&counts, &["agents", "second", "admitted"]), 20 - paid, "{counts}");
    assert!(tasks.iter().all(|id| place.field(id, "attempts") == "2" && place.steps(id) == 5));
    assert_eq!(place.messages(), 0);
}

#[tokio::test]
async fn a_killed_workers_tasks_go_on_elsewhere_from_their_last_step_in_a_stream() {
    a_killed_workers_tasks_go_on_elsewhere(Kind::Stream).await;
}

#[tokio::test]
async fn a_killed_workers_tasks_go_on_elsewhere_from_their_last_step_in_a_list() {
    a_killed_workers_tasks_go_on_elsewhere(Kind::List).await;
}

async fn a_worker_that_lost_its_lease_writes_nothing(kind: Kind) {
    let place = Place::new(kind, &[]);
    place.put("task-0", "[steps=3 think=0.5 tool=0] go");
    let first = place.worker("first", &[]);
    within(PATIENCE, "one step", async || (place.steps("task-0") >= 1).then_some(())).await;
    first.process.signal("STOP");
    let _second = place.worker("second", &[]);
    place.all(&ids(1), "done").await;
    let record = place.record("task-0");
    first.process.signal("CONT");
    let mut first = first;
    first.process.printed("The lease is lost");
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(place.record("task-0"), record);
    assert!(record["ended_by"].starts_with("second-"), "{record:?}");
    assert_eq!(place.messages(), 0);
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_writes_nothing_to_a_streams_task() {
    a_worker_that_lost_its_lease_writes_nothing(Kind::Stream).await;
}

#[tokio::test]
async fn a_worker_that_lost_its_lease_writes_nothing_to_a_lists_task() {
    a_worker_that_lost_its_lease_writes_nothing(Kind::List).await;
}

async fn a_live_workers_task_is_nobody_elses(kind: Kind) {
    let place = Place::new(kind, &[]);
    let tasks = ids(2);
    // Longer than two leases without a step.
    tasks.iter().for_each(|id| place.put(id, "[steps=1 think=5] go"));
    let _workers = [place.worker("first", &[]), place.worker("second", &[])];
    place.all(&tasks, "done").await;
    assert_eq!(count(&place.counts().await, &["admitted"]), 2);
    assert!(tasks.iter().all(|id| place.field(id, "attempts") == "1"));
}

#[tokio::test]
async fn a_live_workers_task_is_nobody_elses_in_a_stream() {
    a_live_workers_task_is_nobody_elses(Kind::Stream).await;
}

#[tokio::test]
async fn a_live_workers_task_is_nobody_elses_in_a_list() {
    a_live_workers_task_is_nobody_elses(Kind::List).await;
}

async fn a_message_that_comes_several_times_is_one_task(kind: Kind) {
    let place = Place::new(kind, &[]);
    for _ in 0..3 {
        place.put("task-0", "[steps=3 think=0.3 tool=0] go");
    }
    let _workers = [place.worker("first", &[]), place.worker("second", &[])];
    place.all(&ids(1), "done").await;
    // Long after its end, too.
    place.put("task-0", "[steps=3 think=0.3 tool=0] go");
    within(PATIENCE, "an empty queue", async || (place.messages() == 0).then_some(())).await;
    assert_eq!(count(&place.counts().await, &["admitted"]), 3);
}

#[tokio::test]
async fn a_message_that_comes_several_times_is_one_task_of_a_stream() {
    a_message_that_comes_several_times_is_one_task(Kind::Stream).await;
}

#[tokio::test]
async fn a_message_that_comes_several_times_is_one_task_of_a_list() {
    a_message_that_comes_several_times_is_one_task(Kind::List).await;
}

async fn a_task_that_kills_its_workers_is_put_aside(kind: Kind) {
    let place = Place::new(kind, &[]);
    place.put("task-0", "[steps=2 think=30] go");
    for attempt in 1..=2 {
        let mut worker = place.worker(&format!("victim-{attempt}"), &["--attempts", "2"]);
        let begun = attempt.to_string();
        within(PATIENCE, "its beginning", async || {
            (place.field("task-0", "attempts") == begun).then_some(())
        })
        .await;
        worker.process.kill();
    }
    let _last = place.worker("last", &["--attempts", "2"]);
    place.all(&ids(1), "failed").await;
    assert_eq!(place.field("task-0", "error"), "begun 2 times without an end");
    assert_eq!(count(&place.counts().await, &["agents", "last", "admitted"]), 0);
    let dead = match kind {
        Kind::Stream => place.number(&["XLEN", "tasks:dead"]),
        Kind::List | Kind::Elsewhere => place.number(&["LLEN", "tasks:dead"]),
    };
    assert_eq!((dead, place.messages()), (1, 0));
}

#[tokio::test]
async fn a_task_that_kills_its_workers_is_put_aside_from_a_stream() {
    a_task_that_kills_its_workers_is_put_aside(Kind::Stream).await;
}

#[tokio::test]
async fn a_task_that_kills_its_workers_is_put_aside_from_a_list() {
    a_task_that_kills_its_workers_is_put_aside(Kind::List).await;
}

async fn a_redis_that_dies_and_comes_back_costs_no_task(kind: Kind) {
    let mut place = Place::new(kind, &[]);
    place.redis.command(&["CONFIG", "SET", "appendonly", "yes"]);
    place.redis.command(&["CONFIG", "REWRITE"]);
    within(PATIENCE, "the log", async || {
        let state: String = redis::from_redis_value(place.redis.command(&["INFO", "persistence"])).unwrap();
        (state.contains("aof_rewrite_in_progress:0") && state.contains("aof_enabled:1")).then_some(())
    })
    .await;
    let tasks = ids(24);
    tasks.iter().for_each(|id| place.put(id, "[steps=4 think=0.2 tool=0.05] go"));
    let mut workers = [place.worker("first", &[]), place.worker("second", &[])];
    for done in [3, 12] {
        within(PATIENCE, "some that are done", async || {
            let done_now = tasks.iter().filter(|id| place.field(id, "status") == "done").count();
            (done_now >= done).then_some(())
        })
        .await;
        place.redis.restart();
    }
    place.all(&tasks, "done").await;
    assert_eq!(place.messages(), 0);
    assert!(tasks.iter().all(|id| place.steps(id) == 4));
    workers.iter_mut().for_each(|worker| worker.leaves(PATIENCE));
}

#[tokio::test]
async fn a_redis_that_dies_and_comes_back_costs_no_task_of_a_stream() {
    a_redis_that_dies_and_comes_back_costs_no_task(Kind::Stream).await;
}

#[tokio::test]
async fn a_redis_that_dies_and_comes_back_costs_no_task_of_a_list() {
    a_redis_that_dies_and_comes_back_costs_no_task(Kind::List).await;
}
