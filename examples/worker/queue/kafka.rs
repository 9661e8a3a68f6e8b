//! Tasks in a Kafka topic, read by a consumer group. A partition is one task at a time, in order: it is paused while
//! its message is in our hands, and its offset is committed when the task has ended.
//!
//! A rebalance takes no running task away. Whoever is given the partition is given the same message, finds in the
//! record that somebody runs its task, and waits: until that has ended, or the lease of a dead worker has. So a worker
//! that is told to go leaves the group at once, and still finishes what it has begun.

mod client;
mod hands;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext as _;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, ThreadedProducer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

use self::client::{Deliveries, Group, Orders, poll};
use self::hands::{Hands, Place, Record, Whose};
use super::held::{Held, Verdict};
use super::{Back, Begun, End, Error, Hold, LOOK, Message, Queue, Result};
use crate::settings::KafkaSettings;

/// Time for the brokers to say what topics there are.
const PATIENCE: Duration = Duration::from_secs(5);

/// Time for a dead letter to be stored.
const STORED_WITHIN: Duration = Duration::from_secs(10);

/// When a message is looked at again that another worker has, or that could not be put aside.
const AGAIN: Duration = Duration::from_secs(1);

/// A topic, our group, and what of it is in our hands.
pub(super) struct Kafka {
    held: Held,
    topic: String,
    dead: String,
    config: ClientConfig,
    consumer: Arc<BaseConsumer<Group>>,
    hands: Arc<Hands>,
    orders: Arc<Orders>,
    polling: Mutex<Option<JoinHandle<()>>>,
    /// Made for the first dead letter.
    producer: Mutex<Option<Arc<ThreadedProducer<Deliveries>>>>,
}

impl Kafka {
    /// Makes the client, which connects by itself.
    pub(super) fn open(
        held: Held,
        settings: KafkaSettings,
    ) -> std::result::Result<Self, Box<dyn std::error::Error>> {
        let KafkaSettings { topic, dead, .. } = &settings;
        let (config, group) = client::configured(&settings, &held.common.worker, held.common.lease)?;
        let hands = Arc::new(Hands::default());
        let consumer = BaseConsumer::from_config_and_context(&group, Group::new(Arc::clone(&hands)))?;
        Ok(Self {
            topic: topic.clone(),
            dead: dead.clone(),
            held,
            config,
            consumer: Arc::new(consumer),
            hands,
            orders: Arc::default(),
            polling: Mutex::default(),
            producer: Mutex::default(),
        })
    }

    /// Whether brokers are there, and know these topics.
    async fn look_for(&self, topics: &[&str]) -> Result<()> {
        for topic in topics {
            let (consumer, name) = (Arc::clone(&self.consumer), (*topic).to_owned());
            let asking = tokio::task::spawn_blocking(move || {
                let found =
                    consumer.fetch_metadata(Some(&name), PATIENCE).map_err(|error| error.to_string())?;
                Ok(found.topics().iter().any(|topic| topic.name() == name && !topic.partitions().is_empty()))
            });
            let asked: std::result::Result<bool, String> =
                asking.await.unwrap_or_else(|error| Err(error.to_string()));
            match asked {
                Ok(true) => {}
                Ok(false) if *topic == self.dead => {
                    return Err(Error::Gone(format!(
                        "there is no topic {topic}: create it, or name another one with --dead-letters"
                    )));
                }
                Ok(false) => return Err(Error::Gone(format!("there is no topic {topic}: create it"))),
                Err(error) => return Err(Error::Broker(format!("Kafka does not answer: {error}"))),
            }
        }
        Ok(())
    }

    /// The message of a place has come to its end: the partition goes on.
    fn settle(&self, handle: &str) {
        let Some(place) = Place::parse(handle) else { return };
        let whose = self.hands.settled(place);
        if whose == Whose::Others {
            // They find the end in the record, and commit.
            return;
        }
        let mut next = TopicPartitionList::new();
        // After we have left, brokers take it only if nobody else is in the group.
        if next.add_partition_offset(&self.topic, place.partition, Offset::Offset(place.offset + 1)).is_ok()
            && let Err(error) = self.consumer.commit(&next, CommitMode::Async)
        {
            tracing::debug!(%error, "An offset could not be committed.");
        }
        if whose == Whose::Ours {
            client::resume(&self.consumer, &self.topic, place.partition);
        }
    }

    /// Puts a message into the dead-letter topic, and then goes on behind it.
    async fn put_aside(&self, message: &Message, reason: &str, attempts: u32) -> Result<()> {
        let record = Place::parse(&message.handle).and_then(|place| self.hands.record(place));
        let Record { key, payload } = record.unwrap_or_else(|| Record::of(&message.text));
        let attempts = attempts.to_string();
        let headers = OwnedHeaders::new()
            .insert(Header { key: "reason", value: Some(reason) })
            .insert(Header { key: "attempts", value: Some(&attempts) });
        let (sender, stored) = oneshot::channel();
        let mut letter = BaseRecord::with_opaque_to(&self.dead, Box::new(sender)).headers(headers);
        letter = letter.payload(&payload);
        if let Some(key) = &key {
            letter = letter.key(key);
        }
        let failed = |error: String| Error::Broker(format!("{} takes no dead letter: {error}", self.dead));
        self.producer()?.send(letter).map_err(|(error, _)| failed(error.to_string()))?;
        match timeout(STORED_WITHIN, stored).await {
            Ok(Ok(None)) => {}
            Ok(Ok(Some(error))) => return Err(failed(error)),
            Ok(Err(_)) | Err(_) => return Err(failed("it was not stored in time".to_owned())),
        }
        self.settle(&message.handle);
        Ok(())
    }

    fn producer(&self) -> Result<Arc<ThreadedProducer<Deliveries>>> {
        let mut producer = self.producer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(producer) = producer.as_ref() {
            return Ok(Arc::clone(producer));
        }
        let made = ThreadedProducer::from_config_and_context(&self.config, Deliveries);
        let made = Arc::new(made.map_err(|error| Error::Broker(error.to_string()))?);
        *producer = Some(Arc::clone(&made));
        Ok(made)
    }

    /// A message will be looked at again.
    fn again(&self, handle: &str, after: Duration) {
        if let Some(place) = Place::parse(handle) {
            self.hands.again(place, Instant::now() + after);
        }
    }
}

#[async_trait]
impl Queue for Kafka {
    async fn prepare(&self) -> Result<()> {
        self.held.prepare().await?;
        self.look_for(&[&self.topic, &self.dead]).await?;
        let mut polling = self.polling.lock().unwrap_or_else(PoisonError::into_inner);
        if polling.is_none() {
            let joined = self.consumer.subscribe(&[&self.topic]);
            joined.map_err(|error| Error::Broker(format!("the group cannot be joined: {error}")))?;
            let (consumer, hands, orders) =
                (Arc::clone(&self.consumer), Arc::clone(&self.hands), Arc::clone(&self.orders));
            let topic = self.topic.clone();
            let thread = std::thread::Builder::new().name("kafka".to_owned());
            let thread = thread.spawn(move || poll(&consumer, &topic, &hands, &orders));
            *polling = Some(thread.map_err(|error| Error::Broker(error.to_string()))?);
        }
        Ok(())
    }

    async fn take(&self) -> Result<Option<Message>> {
        if let Some(trouble) = self.hands.trouble() {
            if trouble.code == Some(RDKafkaErrorCode::Fatal) {
                return Err(Error::Broker(trouble.text));
            }
            // It may be over: the client does not say so.
            self.look_for(&[&self.topic]).await.map_err(|error| match error {
                Error::Broker(text) => Error::Broker(format!("{text} ({})", trouble.text)),
                gone @ (Error::Gone(_) | Error::Redis(_)) => gone,
            })?;
            self.hands.trouble_is_over();
        }
        Ok(timeout(LOOK, self.hands.next()).await.ok().flatten())
    }

    async fn begin(&self, message: &Message, id: &str, token: &str) -> Result<Begun> {
        match self.held.begin(message, id, token).await? {
            Verdict::Run(begun) => {
                self.hands.renewed(Place::parse(&message.handle));
                Ok(begun)
            }
            Verdict::Remove(reason) => {
                self.settle(&message.handle);
                Ok(Begun::Skip(reason))
            }
            Verdict::Dead { reason, attempts } => {
                self.put_aside(message, &reason, attempts).await?;
                Ok(Begun::Skip("it was given up already"))
            }
            Verdict::Elsewhere => {
                self.again(&message.handle, AGAIN);
                Ok(Begun::Skip("another worker still has it"))
            }
        }
    }

    async fn renew(&self, holds: &[Hold]) -> Result<Vec<bool>> {
        self.hands.renewed(holds.iter().filter_map(|hold| Place::parse(&hold.message.handle)));
        self.held.renew(holds).await
    }

    async fn checkpoint(&self, hold: &Hold, text: &str, steps: u32) -> Result<bool> {
        self.held.common.checkpoint(hold, text, steps).await
    }

    async fn finish(&self, hold: &Hold, end: &End, steps: u32) -> Result<bool> {
        let _closing = self.held.close(hold);
        if !self.held.finish(hold, end, steps).await? {
            return Ok(false);
        }
        match end {
            End::Done(_) => self.settle(&hold.message.handle),
            End::Failed(reason) => {
                if let Err(error) = self.put_aside(&hold.message, reason, hold.attempts).await {
                    // The record has the end: the message is looked at again until it is put aside.
                    tracing::warn!(task = %hold.id, %error, "A task that has failed is not put aside yet.");
                    self.again(&hold.message.handle, AGAIN);
                }
            }
        }
        Ok(true)
    }

    async fn hand_back(&self, hold: &Hold, how: Back) -> Result<bool> {
        let _closing = self.held.close(hold);
        if !self.held.hand_back(hold, how).await? {
            return Ok(false);
        }
        match how {
            // Whoever has the partition looks at it every second.
            Back::Unharmed => self.again(&hold.message.handle, Duration::ZERO),
            // The partition waits with it: its tasks run in order.
            Back::Later(pause) => self.again(&hold.message.handle, pause),
        }
        Ok(true)
    }

    async fn bury(&self, message: &Message, reason: &str) -> Result<()> {
        let buried = self.put_aside(message, reason, 1).await;
        if buried.is_err() {
            self.again(&message.handle, AGAIN);
        }
        buried
    }

    async fn sweep(&self) -> Result<()> {
        self.hands.sweep(Instant::now(), self.held.common.lease);
        Ok(())
    }

    fn stop(&self) {
        self.hands.stop();
        self.orders.leave();
    }

    async fn leave(&self) -> Result<()> {
        self.stop();
        self.orders.end();
        let thread = self.polling.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            // A panic there has nothing to tell any more.
            drop(tokio::task::spawn_blocking(move || thread.join()).await);
        }
        Ok(())
    }
}
