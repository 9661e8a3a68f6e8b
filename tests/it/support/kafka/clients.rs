//! What tests do to a cluster, through clients of their own.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::time::Instant;

use super::{Kafka, Listener};

/// How long a client waits for what should come at once.
const PATIENCE: Duration = Duration::from_secs(60);

/// Kinds of resources, operations and permissions, by their numbers in Kafka's protocol.
pub(crate) const TOPIC: i8 = 2;
pub(crate) const GROUP: i8 = 3;
pub(crate) const DESCRIBE: i8 = 8;
pub(crate) const ALLOW: i8 = 3;

/// What a user may do.
pub(crate) struct Acl<'a> {
    pub(crate) user: &'a str,
    pub(crate) resource: i8,
    pub(crate) name: &'a str,
    pub(crate) operation: i8,
    pub(crate) permission: i8,
}

/// Whether a client sees so many brokers, within the time that a cluster takes to come up.
pub(super) fn sees_brokers(bootstrap: &str, brokers: usize) -> bool {
    let consumer: BaseConsumer = config(bootstrap).create().unwrap();
    for _ in 0..300 {
        let metadata = consumer.fetch_metadata(None, Duration::from_secs(2));
        if metadata.is_ok_and(|metadata| metadata.brokers().len() == brokers) {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

impl Kafka {
    /// Creates a topic on which every partition has a copy on so many brokers.
    pub(crate) async fn create_topic(&self, topic: &str, partitions: i32, copies: i32) {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(copies));
        let results = self.admin().create_topics([&new], &AdminOptions::new()).await.unwrap();
        results.into_iter().for_each(|result| assert_eq!(result.as_deref(), Ok(topic)));
        self.await_partitions(topic, usize::try_from(partitions).unwrap());
    }

    /// Gives a topic more partitions.
    pub(crate) async fn add_partitions(&self, topic: &str, partitions: usize) {
        let new = NewPartitions::new(topic, partitions);
        let results = self.admin().create_partitions([&new], &AdminOptions::new()).await.unwrap();
        results.into_iter().for_each(|result| assert_eq!(result.as_deref(), Ok(topic)));
        self.await_partitions(topic, partitions);
    }

    /// Deletes a topic.
    pub(crate) async fn delete_topic(&self, topic: &str) {
        let results = self.admin().delete_topics(&[topic], &AdminOptions::new()).await.unwrap();
        results.into_iter().for_each(|result| assert_eq!(result.as_deref(), Ok(topic)));
    }

    /// Deletes the records of a partition before `offset`, as the end of their retention would.
    pub(crate) async fn delete_records(&self, topic: &str, partition: i32, offset: i64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        self.admin().delete_records(&before, &AdminOptions::new()).await.unwrap();
    }

    /// Forgets a group and what it has committed.
    pub(crate) async fn delete_group(&self, group: &str) {
        let results = self.admin().delete_groups(&[group], &AdminOptions::new()).await.unwrap();
        results.into_iter().for_each(|result| assert_eq!(result.as_deref(), Ok(group)));
    }

    /// Writes `count` records into every one of `partitions`.
    pub(crate) fn send(&self, topic: &str, partitions: impl IntoIterator<Item = i32>, count: usize) {
        let producer: BaseProducer =
            config(&self.bootstrap(Listener::Plain)).set("linger.ms", "1").create().unwrap();
        for partition in partitions {
            for _ in 0..count {
                let record: BaseRecord<'_, str, str> =
                    BaseRecord::to(topic).partition(partition).payload("task");
                producer.send(record).map_err(|(error, _)| error).unwrap();
            }
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// Writes `count` records in a transaction that stays open as long as its producer, which is returned.
    pub(crate) fn send_in_transaction(&self, topic: &str, partition: i32, count: usize) -> BaseProducer {
        let producer: BaseProducer = self.config().set("transactional.id", topic).create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer.begin_transaction().unwrap();
        for _ in 0..count {
            let record: BaseRecord<'_, str, str> = BaseRecord::to(topic).partition(partition).payload("task");
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
        producer
    }

    /// Commits for `group` that it is done with all records before the given offset of each partition.
    pub(crate) fn commit(&self, group: &str, topic: &str, offsets: impl IntoIterator<Item = (i32, i64)>) {
        let mut list = TopicPartitionList::new();
        for (partition, offset) in offsets {
            list.add_partition_offset(topic, partition, Offset::Offset(offset)).unwrap();
        }
        let consumer: BaseConsumer = self.config().set("group.id", group).create().unwrap();
        // The first group of a cluster waits for the topic in which offsets are kept.
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let kept = consumer
                .commit(&list, CommitMode::Sync)
                .and_then(|()| consumer.committed_offsets(list.clone(), PATIENCE));
            if kept.is_ok_and(|kept| kept == list) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("{group} cannot commit to {topic}");
    }

    /// Allows something.
    pub(crate) fn allow(&self, acl: &Acl<'_>) {
        let Acl { user, resource, name, operation, permission } = acl;
        let text = |text: &str| [&u16::try_from(text.len()).unwrap().to_be_bytes(), text.as_bytes()].concat();
        let (kind, version, number) = (30_i16.to_be_bytes(), 1_i16.to_be_bytes(), [0; 4]);
        let acl = [
            &1_u32.to_be_bytes()[..],
            &resource.to_be_bytes(),
            &text(name),
            // Literally that name.
            &3_i8.to_be_bytes(),
            &text(&format!("User:{user}")),
            &text("*"),
            &operation.to_be_bytes(),
            &permission.to_be_bytes(),
        ];
        let request = [&kind[..], &version, &number, &text("test"), &acl.concat()].concat();
        let first = self.bootstrap(Listener::Plain);
        let mut stream = TcpStream::connect(first.split(',').next().unwrap()).unwrap();
        stream.write_all(&u32::try_from(request.len()).unwrap().to_be_bytes()).unwrap();
        stream.write_all(&request).unwrap();
        // Length, number, throttling, one result: no error.
        let mut answer = [0; 18];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(answer[12..], [0, 0, 0, 1, 0, 0], "the answer to CreateAcls");
    }

    /// What a test's own client is made of.
    pub(crate) fn config(&self) -> ClientConfig {
        config(&self.bootstrap(Listener::Plain))
    }

    fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.config().create().unwrap()
    }

    fn await_partitions(&self, topic: &str, partitions: usize) {
        let consumer: BaseConsumer = self.config().create().unwrap();
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
            let found = metadata.topics()[0].partitions();
            if found.len() == partitions && found.iter().all(|partition| partition.leader() >= 0) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("{topic} does not get its partitions");
    }
}

fn config(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", bootstrap)
        .set("enable.auto.commit", "false")
        .set("reconnect.backoff.max.ms", "500")
        // Of what goes wrong, the tests say what matters.
        .set("log_level", "0");
    config
}
