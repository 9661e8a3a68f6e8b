//! The Kafka client: how it is set up, and the thread that polls it. A client that is not polled is taken for dead and
//! loses its partitions, so it is polled at all times, and partitions are paused instead.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::message::{DeliveryResult, Message as _};
use rdkafka::producer::ProducerContext;
use rdkafka::{ClientConfig, ClientContext, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::hands::{Hands, Place, Record, Trouble};
use crate::settings::KafkaSettings;

/// Longest poll: a thread that is told to end ends after it.
const POLL: Duration = Duration::from_millis(100);

/// Shortest time after which a silent worker loses its partitions: brokers allow no shorter one.
const SHORTEST_SESSION: Duration = Duration::from_secs(6);

/// Time for the last commits, and for the brokers to hear that we leave.
const PARTING: Duration = Duration::from_secs(1);

/// Settings for any client, and with the group's for the consumer.
///
/// # Errors
/// When the file cannot be read, or has a line that is no property.
pub(super) fn configured(
    settings: &KafkaSettings,
    worker: &str,
    lease: Duration,
) -> Result<(ClientConfig, ClientConfig), Box<dyn std::error::Error>> {
    let mut config = ClientConfig::new();
    config.set("log.connection.close", "false");
    for (name, value) in settings.properties.as_deref().map(properties).transpose()?.unwrap_or_default() {
        config.set(name, value);
    }
    config.set("bootstrap.servers", &settings.brokers).set("client.id", worker);
    let session = lease.max(SHORTEST_SESSION);
    let mut group = config.clone();
    group
        .set("group.id", &settings.group)
        // Only what has ended is committed, and by us.
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        // What was put in before the first worker came is not lost.
        .set("auto.offset.reset", "earliest")
        // Partitions that stay where they are go on.
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("session.timeout.ms", session.as_millis().to_string())
        .set("heartbeat.interval.ms", (session.as_millis() / 3).to_string())
        // One message of each partition is in our hands; there is no need to read many ahead.
        .set("queued.min.messages", "1")
        .set("queued.max.messages.kbytes", "4096")
        .set("fetch.message.max.bytes", "262144");
    Ok((config, group))
}

/// The lines of a file, without comments. Its values may be secrets, so a bad line is named by its number.
fn properties(path: &Path) -> Result<Vec<(String, String)>, String> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let lines = (1..).zip(text.lines().map(str::trim));
    lines
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'))
        .map(|(number, line)| match line.split_once('=') {
            Some((name, value)) => Ok((name.trim().to_owned(), value.trim().to_owned())),
            None => Err(format!("{}, line {number}: is not `name=value`", path.display())),
        })
        .collect()
}

/// What the thread is told.
#[derive(Debug, Default)]
pub(super) struct Orders {
    leave: AtomicBool,
    end: AtomicBool,
}

impl Orders {
    /// To leave the group.
    pub(super) fn leave(&self) {
        self.leave.store(true, Ordering::Relaxed);
    }

    /// To end.
    pub(super) fn end(&self) {
        self.end.store(true, Ordering::Relaxed);
    }
}

/// Hears of the group.
pub(super) struct Group {
    hands: Arc<Hands>,
}

impl Group {
    pub(super) fn new(hands: Arc<Hands>) -> Self {
        Self { hands }
    }
}

impl ClientContext for Group {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka is in trouble.");
        self.hands
            .is_in_trouble(Trouble { code: error.rdkafka_error_code(), text: format!("{error}: {reason}") });
    }
}

impl ConsumerContext for Group {
    fn pre_rebalance(&self, _consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(partitions) => {
                self.hands.revoked(partitions.elements().iter().map(|element| element.partition()));
                tracing::info!(partitions = partitions.count(), "Partitions go to other workers.");
            }
            Rebalance::Assign(partitions) => {
                tracing::info!(partitions = partitions.count(), "Partitions are ours.");
            }
            Rebalance::Error(error) => tracing::warn!(%error, "The group could not be balanced."),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        // It may have been ours before, and paused.
        if let Rebalance::Assign(partitions) = rebalance
            && let Err(error) = consumer.resume(partitions)
        {
            tracing::warn!(%error, "Partitions could not be resumed.");
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        // Whoever has the partition then finds the end in the record, and commits.
        if let Err(error) = result {
            tracing::debug!(%error, "An offset was not committed.");
        }
    }
}

/// Hears what became of dead letters: nothing is wrong, or what is.
pub(super) struct Deliveries;

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<oneshot::Sender<Option<String>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, sender: Self::DeliveryOpaque) {
        // Whoever asked may not wait any more.
        drop(sender.send(result.as_ref().err().map(|(error, _)| error.to_string())));
    }
}

/// Polls until it is told to end.
pub(super) fn poll(consumer: &BaseConsumer<Group>, topic: &str, hands: &Hands, orders: &Orders) {
    let (mut left, mut told) = (false, None);
    loop {
        match consumer.poll(POLL) {
            None => {}
            Some(Ok(message)) => {
                pause(consumer, topic, message.partition());
                let place = Place { partition: message.partition(), offset: message.offset() };
                let bytes = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                let record = Record {
                    key: bytes(message.key()),
                    payload: bytes(message.payload()).unwrap_or_default(),
                };
                hands.arrived(place, record, Instant::now());
            }
            Some(Err(error)) => hands.is_in_trouble(trouble(&error)),
        }
        if orders.leave.load(Ordering::Relaxed) && !left {
            consumer.unsubscribe();
            left = true;
        }
        if orders.end.load(Ordering::Relaxed) {
            let told: &mut Instant = told.get_or_insert_with(Instant::now);
            let is_out = consumer.assignment().is_ok_and(|partitions| partitions.count() == 0);
            if is_out || told.elapsed() > PARTING {
                return;
            }
        }
    }
}

fn pause(consumer: &BaseConsumer<Group>, topic: &str, partition: i32) {
    if let Err(error) = consumer.pause(&one(topic, partition)) {
        tracing::warn!(partition, %error, "A partition could not be paused.");
    }
}

/// Lets a partition go on.
pub(super) fn resume(consumer: &BaseConsumer<Group>, topic: &str, partition: i32) {
    if let Err(error) = consumer.resume(&one(topic, partition)) {
        tracing::warn!(partition, %error, "A partition could not be resumed.");
    }
}

fn one(topic: &str, partition: i32) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    list.add_partition(topic, partition);
    list
}

fn trouble(error: &KafkaError) -> Trouble {
    Trouble { code: error.rdkafka_error_code(), text: error.to_string() }
}
