//! The reference worker on Kafka: a partition is one task at a time, and records and leases lie in Redis.

use std::ops::Deref;

use rdkafka::Message as _;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::Headers as _;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};

use super::*;
use crate::support::kafka::{Kafka, Listener};

/// A place whose queue is a topic, which is also the name of the group.
struct Topic {
    place: Place,
    name: &'static str,
    partitions: i32,
}

impl Deref for Topic {
    type Target = Place;

    fn deref(&self) -> &Place {
        &self.place
    }
}

impl Topic {
    /// A topic of this name, with one for dead letters.
    async fn new(name: &'static str, partitions: i32) -> Self {
        Kafka::shared().create_topic(name, partitions, 1).await;
        Kafka::shared().create_topic(&format!("{name}.dead"), 1, 1).await;
        Self { place: Place::new(Kind::Elsewhere, &[]), name, partitions }
    }

    fn worker(&self, name: &str, settings: &[&str]) -> Worker {
        let brokers = Kafka::shared().bootstrap(Listener::Plain);
        let kafka =
            ["--queue-kind", "kafka", "--brokers", &brokers, "--topic", self.name, "--group", self.name];
        self.place.worker(name, &[&kafka[..], settings].concat())
    }

    /// Puts tasks into partitions, in order.
    fn put(&self, tasks: &[(i32, &str, &str)]) {
        let producer: BaseProducer = Kafka::shared().config().create().unwrap();
        for (partition, id, prompt) in tasks {
            let payload = task(id, prompt);
            let record = BaseRecord::to(self.name).partition(*partition).key(*id).payload(&payload);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Messages behind what the group has committed, for each partition.
    fn lags(&self) -> Vec<i64> {
        let consumer: BaseConsumer = Kafka::shared().config().set("group.id", self.name).create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_range(self.name, 0, self.partitions - 1);
        let committed = consumer.committed_offsets(list, PATIENCE).unwrap();
        let lag = |partition| {
            let (_, end) = consumer.fetch_watermarks(self.name, partition, PATIENCE).unwrap();
            let committed = committed.find_partition(self.name, partition).unwrap().offset();
            if let Offset::Offset(committed) = committed { end - committed } else { end }
        };
        (0..self.partitions).map(lag).collect()
    }

    /// Waits until the group has committed everything.
    async fn is_done(&self) {
        let none = vec![0; usize::try_from(self.partitions).unwrap()];
        within(PATIENCE, "no lag", async || (self.lags() == none).then_some(())).await;
    }

    /// So many dead letters: key, reason and attempts.
    fn dead_letters(&self, count: usize) -> Vec<[String; 3]> {
        let consumer: BaseConsumer = Kafka::shared().config().set("group.id", "nobody").create().unwrap();
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&format!("{}.dead", self.name), 0, Offset::Beginning).unwrap();
        consumer.assign(&list).unwrap();
        let letter = || {
            let letter = consumer.poll(PATIENCE).unwrap().unwrap();
            let text = |bytes: Option<&[u8]>| String::from_utf8(bytes.unwrap_or_default().to_vec()).unwrap();
            let headers = letter.headers().unwrap();
            [text(letter.key()), text(headers.get(0).value), text(headers.get(1).value)]
        };
        (0..count).map(|_| letter()).collect()
    }
}

#[tokio::test]
async fn tasks_of_a_topic_are_done_once_and_in_the_order_of_their_partition() {
    let topic = Topic::new("worker-done", 3).await;
    let tasks = ids(9);
    let prompt = "[steps=2 think=0.2 tool=0] go";
    // Each twice, as a producer that repeats itself does.
    let put: Vec<(i32, &str, &str)> =
        (0..).zip(&tasks).flat_map(|(number, id)| [(number % 3, id.as_str(), prompt); 2]).collect();
    topic.put(&put);
    let mut worker = topic.worker("first", &[]);
    topic.all(&tasks, "done").await;
    topic.is_done().await;
    assert_eq!(count(&topic.counts().await, &["admitted"]), 18);
    assert!(tasks.iter().all(|id| topic.field(id, "attempts") == "1"));
    let time = |id: &str, field| topic.field(id, field).parse::<u64>().unwrap();
    for (before, after) in tasks.iter().zip(&tasks[3..]) {
        assert!(time(before, "ended_ms") <= time(after, "started_ms"), "{before} runs beside {after}");
    }
    worker.leaves(PATIENCE);
    nothing_is_left(&topic);
}

#[tokio::test]
async fn a_killed_workers_partition_goes_on_elsewhere_from_its_last_step() {
    let topic = Topic::new("worker-killed", 1).await;
    topic.put(&[(0, "task-0", "[steps=5 think=0.3 tool=0.05] go"), (0, "task-1", "[steps=1 think=0] go")]);
    let mut first = topic.worker("first", &[]);
    within(PATIENCE, "two steps", async || (topic.steps("task-0") >= 2).then_some(())).await;
    first.process.kill();
    let paid = topic.steps("task-0");
    assert_eq!(topic.lags(), [2], "nothing is committed before its end");
    let _second = topic.worker("second", &[]);
    topic.all(&ids(2), "done").await;
    topic.is_done().await;
    let counts = topic.counts().await;
    assert_eq!(count(&counts, &["agents", "second", "admitted"]), 6 - paid, "{counts}");
    assert_eq!(topic.field("task-0", "attempts"), "2");
}

#[tokio::test]
async fn a_rebalance_takes_no_running_task_away_and_nothing_runs_twice() {
    let topic = Topic::new("worker-rebalance", 4).await;
    let long = "[steps=6 think=1 tool=0] go";
    let first_of_each: Vec<String> = (0..4).map(|partition| format!("first-of-{partition}")).collect();
    let second_of_each: Vec<String> = (0..4).map(|partition| format!("second-of-{partition}")).collect();
    for ids in [&first_of_each, &second_of_each] {
        let put: Vec<(i32, &str, &str)> = (0..).zip(ids).map(|(at, id)| (at, id.as_str(), long)).collect();
        topic.put(&put);
    }
    let mut first = topic.worker("first", &["--young", "0s"]);
    topic.all(&first_of_each, "running").await;
    // While all four run, half of the partitions go to another worker.
    let mut second = topic.worker("second", &["--young", "0s"]);
    second.process.printed("Partitions are ours.");
    topic.all(&first_of_each, "done").await;
    assert!(first_of_each.iter().all(|id| topic.field(id, "ended_by").starts_with("first-")));
    topic.all(&second_of_each, "done").await;
    topic.is_done().await;
    assert!(second_of_each.iter().any(|id| topic.field(id, "ended_by").starts_with("second-")));
    assert_eq!(count(&topic.counts().await, &["admitted"]), 48, "a step was paid for twice");
    assert!([first_of_each, second_of_each].concat().iter().all(|id| topic.field(id, "attempts") == "1"));
    first.leaves(PATIENCE);
    second.leaves(PATIENCE);
}

#[tokio::test]
async fn a_worker_that_leaves_keeps_no_partition_and_finishes_what_it_has_begun() {
    let topic = Topic::new("worker-drain", 2).await;
    topic.put(&[(0, "old", "[steps=10 think=1 tool=0] go")]);
    let lease = ["--lease", "6s", "--young", "4s"];
    let mut first = topic.worker("first", &lease);
    within(PATIENCE, "some steps", async || (topic.steps("old") >= 5).then_some(())).await;
    topic.put(&[(1, "young", "[steps=3 think=1 tool=0] go"), (0, "next", "[steps=1 think=0] go")]);
    within(PATIENCE, "its first step", async || (topic.steps("young") >= 1).then_some(())).await;
    first.process.signal("TERM");
    let _second = topic.worker("second", &lease);
    topic.all(&["young".to_owned()], "done").await;
    assert_eq!(topic.field("old", "status"), "running", "it was to be seen whether others wait for it");
    topic.all(&["old".to_owned(), "next".to_owned()], "done").await;
    assert_eq!(first.process.ended_within(PATIENCE).code(), Some(0));
    topic.is_done().await;
    let (old, young, next) = (topic.record("old"), topic.record("young"), topic.record("next"));
    assert!(old["ended_by"].starts_with("first-") && old["attempts"] == "1", "{old:?}");
    assert!(young["ended_by"].starts_with("second-") && young["attempts"] == "1", "{young:?}");
    assert!(next["ended_by"].starts_with("second-"), "{next:?}");
    assert!(old["ended_ms"] <= next["started_ms"], "{old:?} {next:?}");
}

#[tokio::test]
async fn a_task_that_is_longer_than_the_poll_interval_costs_no_partition() {
    let topic = Topic::new("worker-long", 1).await;
    topic.put(&[(0, "task-0", "[steps=1 think=14] go"), (0, "task-1", "[steps=1 think=0] go")]);
    let properties = topic.files.path().join("properties");
    std::fs::write(&properties, "# Shorter than the task.\nmax.poll.interval.ms = 6000\n").unwrap();
    let mut worker = topic.worker("first", &["--kafka-properties-file", properties.to_str().unwrap()]);
    topic.all(&ids(2), "done").await;
    topic.is_done().await;
    assert_eq!(count(&topic.counts().await, &["admitted"]), 2);
    worker.leaves(PATIENCE);
    let said = worker.process.printed_so_far();
    assert_eq!(said.matches("Partitions are ours.").count(), 1, "{said}");
}

#[tokio::test]
async fn poison_and_what_is_no_task_end_in_the_dead_letter_topic_and_the_partition_goes_on() {
    let topic = Topic::new("worker-poison", 1).await;
    topic.put(&[(0, "task-0", "[steps=2 think=30] go")]);
    for attempt in 1..=2 {
        let mut worker = topic.worker(&format!("victim-{attempt}"), &["--attempts", "2"]);
        let begun = attempt.to_string();
        within(PATIENCE, "its beginning", async || {
            (topic.field("task-0", "attempts") == begun).then_some(())
        })
        .await;
        worker.process.kill();
    }
    let producer: BaseProducer = Kafka::shared().config().create().unwrap();
    let nonsense = BaseRecord::to(topic.name).partition(0).key("nonsense").payload(&[0xff_u8, 0xfe][..]);
    producer.send(nonsense).map_err(|(error, _)| error).unwrap();
    producer.flush(PATIENCE).unwrap();
    topic.put(&[(0, "task-1", "[steps=1 think=0] go")]);
    let _last = topic.worker("last", &["--attempts", "2"]);
    topic.all(&["task-1".to_owned()], "done").await;
    topic.is_done().await;
    assert_eq!(topic.field("task-0", "status"), "failed");
    assert_eq!(
        topic.dead_letters(2),
        [["task-0", "begun 2 times without an end", "3"], ["nonsense", "it is no task", "1"]]
    );
    assert_eq!(count(&topic.counts().await, &["agents", "last", "admitted"]), 1);
}

#[tokio::test]
async fn a_task_that_is_put_back_holds_its_partition_until_it_has_ended() {
    let topic = Topic::new("worker-retry", 2).await;
    topic.put(&[
        (0, "task-0", "[steps=2 think=0 tool=10] go"),
        (0, "task-1", "[steps=1 think=0] go"),
        // A tool server that answers nobody would be waited for.
        (1, "beside", "[steps=2000 think=0.02 tool=0] go"),
    ]);
    let caps = ["--max-steps", "2000", "--max-tokens", "1000000000"];
    let _worker = topic.worker("first", &[&caps[..], &["--attempts", "2", "--tool-timeout", "1s"]].concat());
    topic.all(&["task-1".to_owned()], "done").await;
    within(PATIENCE, "its partition's end", async || (topic.lags()[0] == 0).then_some(())).await;
    let (failed, next) = (topic.record("task-0"), topic.record("task-1"));
    assert_eq!((failed["status"].as_str(), failed["attempts"].as_str()), ("failed", "2"), "{failed:?}");
    assert!(failed["ended_ms"] <= next["started_ms"], "{failed:?} {next:?}");
    assert_eq!(topic.dead_letters(1)[0][2], "2");
}

#[tokio::test]
async fn a_worker_of_a_job_runs_one_task_of_a_topic_and_ends() {
    let topic = Topic::new("worker-once", 2).await;
    topic.put(&[(0, "task-0", "[steps=1 think=0.2] go"), (1, "task-1", "[steps=1 think=0.2] go")]);
    for left in [1, 0] {
        let mut worker = topic.worker("job", &["--once", "--once-wait", "30s"]);
        assert_eq!(worker.process.ended_within(PATIENCE).code(), Some(0));
        within(PATIENCE, "its commit", async || (topic.lags().iter().sum::<i64>() == left).then_some(()))
            .await;
    }
    assert!(ids(2).iter().all(|id| topic.field(id, "status") == "done"));
    nothing_is_left(&topic);
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_named() {
    let topic = Topic { place: Place::new(Kind::Elsewhere, &[]), name: "worker-nowhere", partitions: 1 };
    let mut worker = topic.worker("first", &[]);
    worker.process.printed("there is no topic worker-nowhere: create it");
    Kafka::shared().create_topic(topic.name, 1, 1).await;
    worker
        .process
        .printed("there is no topic worker-nowhere.dead: create it, or name another one with --dead-letters");
    worker.answers("startupz", 503).await;
    Kafka::shared().create_topic(&format!("{}.dead", topic.name), 1, 1).await;
    worker.answers("readyz", 200).await;
    worker.leaves(PATIENCE);
}
