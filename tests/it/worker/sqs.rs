//! The reference worker on SQS: messages lie there, records and leases in Redis.

use std::ops::Deref;

use aws_sdk_sqs::types::{Message, QueueAttributeName};

use super::*;
use crate::support::moto::{self, ACCOUNT, Moto, REGION};
use crate::support::proxy::{Mode, Proxy};

/// A place whose queue is in SQS, with a dead-letter queue.
struct Queue {
    place: Place,
    url: String,
    dead: String,
    endpoint: String,
}

impl Deref for Queue {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Queue {
    /// A queue of this name, whose redrive policy names its dead-letter queue.
    async fn new(name: &str) -> Self {
        let (moto, place) = (Moto::shared(), Place::new(Kind::Elsewhere, &[]));
        let ending = if name.ends_with(".fifo") { ".fifo" } else { "" };
        let dead = format!("{}-dead{ending}", name.trim_end_matches(".fifo"));
        let (url, dead_url) = (moto.create_queue(name).await, moto.create_queue(&dead).await);
        let policy = json!({"deadLetterTargetArn": format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{dead}"), "maxReceiveCount": 100});
        let set = moto.client().set_queue_attributes().queue_url(&url);
        set.attributes(QueueAttributeName::RedrivePolicy, policy.to_string()).send().await.unwrap();
        Self { place, url, dead: dead_url, endpoint: moto.url() }
    }

    fn worker(&self, name: &str, settings: &[&str]) -> Worker {
        let sqs = ["--queue-kind", "sqs", "--queue-url", &self.url, "--region", REGION];
        let settings = [&sqs[..], &["--endpoint-url", &self.endpoint], settings].concat();
        self.place.worker(name, &settings)
    }

    async fn put(&self, id: &str, prompt: &str) {
        let mut send = moto::client(&Moto::shared().url()).send_message().queue_url(&self.url);
        if self.url.ends_with(".fifo") {
            let message = format!("{id}-{}", now_ms());
            send = send.message_group_id("one").message_deduplication_id(message);
        }
        send.message_body(task(id, prompt)).send().await.unwrap();
    }

    /// Messages that wait and messages that somebody has.
    async fn counts(&self) -> (u32, u32) {
        use QueueAttributeName::{ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible};
        let asked = Moto::shared().client().get_queue_attributes().queue_url(&self.url);
        let asked = asked.attribute_names(ApproximateNumberOfMessages);
        let found = asked.attribute_names(ApproximateNumberOfMessagesNotVisible).send().await.unwrap();
        let count = |name| found.attributes().unwrap()[&name].parse().unwrap();
        (count(ApproximateNumberOfMessages), count(ApproximateNumberOfMessagesNotVisible))
    }

    /// Waits until SQS has no message any more.
    async fn is_empty(&self) {
        within(PATIENCE, "an empty queue", async || (self.counts().await == (0, 0)).then_some(())).await;
    }

    /// The dead letters: what they say, and why they are there.
    async fn dead_letters(&self) -> Vec<(String, String)> {
        let receive = Moto::shared().client().receive_message().queue_url(&self.dead);
        let receive = receive.max_number_of_messages(10).message_attribute_names("All");
        let found = receive.visibility_timeout(0).send().await.unwrap();
        let letter = |message: &Message| {
            let reason = &message.message_attributes.as_ref().unwrap()["reason"];
            (message.body.clone().unwrap(), reason.string_value.clone().unwrap())
        };
        found.messages().iter().map(letter).collect()
    }
}

#[tokio::test]
async fn tasks_of_an_sqs_queue_are_done_once_and_leave_nothing_behind() {
    let queue = Queue::new("worker-done").await;
    let tasks = ids(6);
    for id in &tasks {
        // Once more each, as a producer that repeats itself does.
        queue.put(id, "[steps=2 think=0.2 tool=0] go").await;
        queue.put(id, "[steps=2 think=0.2 tool=0] go").await;
    }
    let mut worker = queue.worker("first", &[]);
    queue.all(&tasks, "done").await;
    queue.is_empty().await;
    assert_eq!(count(&queue.place.counts().await, &["admitted"]), 12);
    assert!(tasks.iter().all(|id| queue.field(id, "attempts") == "1"));
    assert!(queue.dead_letters().await.is_empty());
    worker.leaves(PATIENCE);
    nothing_is_left(&queue);
}

#[tokio::test]
async fn a_killed_workers_task_comes_back_from_sqs_and_goes_on_from_its_last_step() {
    let queue = Queue::new("worker-killed").await;
    queue.put("task-0", "[steps=5 think=0.3 tool=0.05] go").await;
    let mut first = queue.worker("first", &[]);
    within(PATIENCE, "two steps", async || (queue.steps("task-0") >= 2).then_some(())).await;
    first.process.kill();
    let paid = queue.steps("task-0");
    let _second = queue.worker("second", &[]);
    queue.all(&ids(1), "done").await;
    let counts = queue.place.counts().await;
    assert_eq!(count(&counts, &["agents", "second", "admitted"]), 5 - paid, "{counts}");
    assert_eq!(queue.field("task-0", "attempts"), "2");
    queue.is_empty().await;
}

#[tokio::test]
async fn a_live_workers_message_is_given_to_nobody_else_however_long_it_runs() {
    let queue = Queue::new("worker-long").await;
    // Longer than two leases without a step.
    queue.put("task-0", "[steps=1 think=5] go").await;
    let mut workers = [queue.worker("first", &[]), queue.worker("second", &[])];
    queue.all(&ids(1), "done").await;
    queue.is_empty().await;
    for worker in &mut workers {
        worker.leaves(PATIENCE);
        let said = worker.process.printed_so_far();
        assert!(!said.contains("passed over") && !said.contains("lease"), "{said}");
    }
    assert_eq!(count(&queue.place.counts().await, &["admitted"]), 1);
}

#[tokio::test]
async fn a_worker_that_leaves_finishes_the_old_and_hands_the_young_back_to_sqs_at_once() {
    let queue = Queue::new("worker-drain").await;
    queue.put("old", "[steps=12 think=1 tool=0] go").await;
    // Whoever waited for the lease would wait too long.
    let lease = ["--lease", "10m", "--young", "6s"];
    let mut first = queue.worker("first", &lease);
    within(PATIENCE, "some steps", async || (queue.steps("old") >= 7).then_some(())).await;
    // A step takes longer than the last look for a task, after which it is handed back.
    queue.put("young", "[steps=3 think=2.5 tool=0] go").await;
    within(PATIENCE, "its first step", async || (queue.steps("young") >= 1).then_some(())).await;
    first.process.signal("TERM");
    let _second = queue.worker("second", &lease);
    queue.all(&["old".to_owned(), "young".to_owned()], "done").await;
    assert!(queue.field("old", "ended_by").starts_with("first-"), "{:?}", queue.record("old"));
    let young = queue.record("young");
    assert!(young["ended_by"].starts_with("second-") && young["attempts"] == "1", "{young:?}");
    assert_eq!(first.process.ended_within(PATIENCE).code(), Some(0));
    queue.is_empty().await;
}

#[tokio::test]
async fn a_task_that_kills_its_workers_ends_in_the_dead_letter_queue_of_sqs() {
    let queue = Queue::new("worker-poison").await;
    queue.put("task-0", "[steps=2 think=30] go").await;
    for attempt in 1..=2 {
        let mut worker = queue.worker(&format!("victim-{attempt}"), &["--attempts", "2"]);
        let begun = attempt.to_string();
        within(PATIENCE, "its beginning", async || {
            (queue.field("task-0", "attempts") == begun).then_some(())
        })
        .await;
        worker.process.kill();
    }
    let _last = queue.worker("last", &["--attempts", "2"]);
    queue.all(&ids(1), "failed").await;
    queue.is_empty().await;
    let dead = queue.dead_letters().await;
    assert_eq!(dead.len(), 1);
    assert!(dead[0].0.contains("\"task-0\""), "{dead:?}");
    assert_eq!(dead[0].1, "begun 2 times without an end");
    assert_eq!(count(&queue.place.counts().await, &["agents", "last", "admitted"]), 0);
    // Whoever puts it back gives it all its attempts again.
    queue.put("task-0", "[steps=1 think=0] go").await;
    queue.all(&ids(1), "done").await;
    assert_eq!(queue.field("task-0", "attempts"), "1");
}

#[tokio::test]
async fn what_is_no_task_goes_to_the_queue_that_the_settings_name() {
    let queue = Queue::new("worker-nonsense").await;
    let named = Moto::shared().create_queue("worker-nonsense-named").await;
    let send = Moto::shared().client().send_message().queue_url(&queue.url).message_body("no task");
    send.send().await.unwrap();
    let _worker = queue.worker("first", &["--dead-letters", &named]);
    queue.is_empty().await;
    let queue = Queue { dead: named, ..queue };
    assert_eq!(queue.dead_letters().await, [("no task".to_owned(), "it is no task".to_owned())]);
}

#[tokio::test]
async fn tasks_of_a_fifo_group_run_one_after_the_other_and_die_into_a_fifo_queue() {
    let queue = Queue::new("worker-order.fifo").await;
    let tasks = ids(3);
    for id in &tasks {
        queue.put(id, "[steps=1 think=0.3] go").await;
    }
    queue.put("endless", "[steps=9 think=0 tool=0] go").await;
    let _workers =
        [queue.worker("first", &["--max-steps", "2"]), queue.worker("second", &["--max-steps", "2"])];
    queue.all(&["endless".to_owned()], "failed").await;
    queue.is_empty().await;
    let time = |id: &String, field| queue.field(id, field).parse::<u64>().unwrap();
    assert!(
        tasks.windows(2).all(|pair| time(&pair[0], "ended_ms") <= time(&pair[1], "started_ms")),
        "{:?}",
        tasks.iter().map(|id| queue.record(id)).collect::<Vec<_>>()
    );
    assert_eq!(queue.dead_letters().await[0].1, "no result after 2 steps");
}

#[tokio::test]
async fn an_end_that_sqs_did_not_hear_of_stands_and_the_message_is_removed_when_it_comes_again() {
    let queue = Queue::new("worker-deaf").await;
    let proxy = Proxy::start(Moto::shared().port()).await;
    let queue = Queue { endpoint: format!("http://127.0.0.1:{}", proxy.port()), ..queue };
    queue.put("task-0", "[steps=3 think=1 tool=0] go").await;
    let worker = queue.worker("first", &[]);
    within(PATIENCE, "a step", async || (queue.steps("task-0") >= 1).then_some(())).await;
    proxy.switch(Mode::Cut);
    queue.all(&ids(1), "done").await;
    worker.answers("readyz", 503).await;
    assert_ne!(queue.counts().await, (0, 0), "SQS was told");
    proxy.switch(Mode::Pass);
    queue.is_empty().await;
    worker.answers("readyz", 200).await;
    assert_eq!(count(&queue.place.counts().await, &["admitted"]), 3);
    assert_eq!(queue.field("task-0", "attempts"), "1");
}

#[tokio::test]
async fn a_queue_that_is_not_there_or_has_no_dead_letter_queue_is_named() {
    let mut queue = Queue::new("worker-named").await;
    let gone = queue.url.replace("worker-named", "worker-gone");
    let bare = Moto::shared().create_queue("worker-bare").await;
    let lacks = "has no dead-letter queue: give it a redrive policy, or name one with --dead-letters";
    for (url, said) in [(&gone, format!("SQS has no queue {gone}")), (&bare, format!("{bare} {lacks}"))] {
        queue.url.clone_from(url);
        let mut worker = queue.worker("first", &[]);
        worker.process.printed(&said);
        worker.answers("startupz", 503).await;
        // Told to go, it goes.
        worker.leaves(PATIENCE);
    }
}
