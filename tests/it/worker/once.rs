//! A worker of a Job: it runs one task to its end, and its exit code says whether another try makes sense.

use super::*;

/// With its Redis and a provider of these settings, and what was to be done.
fn with(kind: Kind, tasks: &[&str]) -> Place {
    let place = Place::new(kind, &[]);
    (0..).zip(tasks).for_each(|(number, prompt)| place.put(&format!("task-{number}"), prompt));
    place
}

fn a_worker_of_a_job_runs_one_task_and_ends(kind: Kind) {
    let place = with(kind, &["[steps=2 think=0.1 tool=0] go"; 2]);
    let mut worker = place.worker("job", &["--once"]);
    assert_eq!(worker.process.ended_within(PATIENCE).code(), Some(0));
    let done = ids(2).iter().filter(|id| place.field(id, "status") == "done").count();
    assert_eq!((done, place.messages()), (1, 1));
    nothing_is_left(&place);
}

#[tokio::test]
async fn a_worker_of_a_job_runs_one_task_of_a_stream_and_ends() {
    a_worker_of_a_job_runs_one_task_and_ends(Kind::Stream);
}

#[tokio::test]
async fn a_worker_of_a_job_runs_one_task_of_a_list_and_ends() {
    a_worker_of_a_job_runs_one_task_and_ends(Kind::List);
}

#[tokio::test]
async fn a_worker_of_a_job_without_a_task_says_so_and_ends_well() {
    let place = with(Kind::Stream, &[]);
    let mut worker = place.worker("job", &["--once", "--once-wait", "1s"]);
    assert_eq!(worker.process.ended_within(PATIENCE).code(), Some(0));
    let said = worker.process.printed_so_far();
    assert_eq!(said.matches("There is no task, so there is nothing to do.").count(), 1, "{said}");
    nothing_is_left(&place);
}

#[tokio::test]
async fn a_message_with_nothing_to_run_does_not_use_up_a_job() {
    let place = with(Kind::Stream, &["[steps=1 think=0] go"]);
    let mut first = place.worker("first", &["--once"]);
    assert_eq!(first.process.ended_within(PATIENCE).code(), Some(0));
    // Once more, although it is done; and then another one.
    place.put("task-0", "[steps=1 think=0] go");
    place.put("task-1", "[steps=1 think=0] go");
    let mut second = place.worker("second", &["--once"]);
    assert_eq!(second.process.ended_within(PATIENCE).code(), Some(0));
    assert_eq!((place.field("task-1", "status"), place.messages()), ("done".to_owned(), 0));
}

#[tokio::test]
async fn a_task_that_fails_for_good_has_ended() {
    let place = with(Kind::List, &["[steps=5 think=0.1 tool=0] go"]);
    let mut worker = place.worker("job", &["--once", "--max-steps", "1"]);
    assert_eq!(worker.process.ended_within(PATIENCE).code(), Some(0));
    assert_eq!((place.field("task-0", "status"), place.messages()), ("failed".to_owned(), 0));
    assert_eq!(place.number(&["LLEN", "tasks:dead"]), 1);
}

#[tokio::test]
async fn a_message_that_is_no_task_has_ended() {
    let place = with(Kind::List, &[]);
    place.redis.command(&["LPUSH", "tasks", "no task"]);
    let mut worker = place.worker("job", &["--once"]);
    assert_eq!(worker.process.ended_within(PATIENCE).code(), Some(0));
    assert_eq!((place.number(&["LLEN", "tasks:dead"]), place.messages()), (1, 0));
}

#[tokio::test]
async fn a_job_whose_task_goes_back_has_failed_and_its_retry_does_the_rest() {
    let place = with(Kind::Stream, &["[steps=3 think=1 tool=0] go"]);
    let mut first = place.worker("first", &["--once"]);
    within(PATIENCE, "a step", async || (place.steps("task-0") >= 1).then_some(())).await;
    first.process.signal("TERM");
    assert_eq!(first.process.ended_within(PATIENCE).code(), Some(1));
    let said = first.process.printed_so_far();
    assert!(said.ends_with("worker: the task has not ended: it was handed back\n"), "{said}");
    assert_eq!((place.field("task-0", "status"), place.messages()), ("queued".to_owned(), 1));
    let mut retry = place.worker("retry", &["--once"]);
    assert_eq!(retry.process.ended_within(PATIENCE).code(), Some(0));
    assert_eq!((place.field("task-0", "status"), place.messages()), ("done".to_owned(), 0));
    assert_eq!(place.field("task-0", "attempts"), "1", "what was handed back does not count");
}

#[tokio::test]
async fn a_job_that_is_told_to_go_finishes_a_task_that_is_not_young() {
    let place = with(Kind::Stream, &["[steps=3 think=1 tool=0] go"]);
    let mut worker = place.worker("job", &["--once", "--young", "0s"]);
    within(PATIENCE, "a step", async || (place.steps("task-0") >= 1).then_some(())).await;
    worker.leaves(PATIENCE);
    assert_eq!((place.field("task-0", "status"), place.messages()), ("done".to_owned(), 0));
    nothing_is_left(&place);
}

#[tokio::test]
async fn a_job_that_is_told_to_go_before_it_has_a_task_ends_well() {
    let place = with(Kind::Stream, &[]);
    let mut worker = place.worker("job", &["--once", "--once-wait", "1h"]);
    worker.answers("readyz", 200).await;
    worker.leaves(PATIENCE);
    nothing_is_left(&place);
}
