//! One open connection to a cluster.

use std::any::Any;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::endpoint::KafkaEndpoint;
use super::fault::Fault;
use super::groups::Groups;
use super::lag::{self, Offsets};
use super::memory::{Event, Memory};
use super::opening::opening;
use super::process::Process;
use super::queue::Queue;
use super::round::Partitions;
use super::starts::Starts;
use super::topics::Topics;
use super::wire::{Place, Question};
use crate::engine::signals::Reading;
use crate::sources::{Client, Endpoint, Plan, ReadError, Sighting};

/// Longest time for all questions of a read: within the four seconds that the usual tick of 5 s leaves, so that what
/// is wrong can still be said.
const READ_WITHIN: Duration = Duration::from_millis(3_500);

/// How long a queue's memory is kept that nobody reads.
const KEPT_UNREAD: Duration = Duration::from_secs(120);

/// An open connection to a cluster.
pub(super) struct KafkaClient {
    endpoint: String,
    /// Holds the clients of the library.
    pub(super) process: Process,
    pub(super) groups: Groups,
    pub(super) topics: Topics,
    pub(super) starts: Starts,
    /// Topics that groups have committed to, of those groups whose topics nobody names.
    pub(super) committed_to: HashMap<Arc<str>, BTreeSet<Arc<str>>>,
    memories: HashMap<Queue, (Memory, Instant)>,
}

#[async_trait]
impl Client for KafkaClient {
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        let until = Instant::now() + READ_WITHIN;
        let queues: Vec<Option<&Queue>> =
            plans.iter().map(|plan| (plan.as_ref() as &dyn Any).downcast_ref::<Queue>()).collect();
        let known: Vec<&Queue> = queues.iter().copied().flatten().collect();
        let mut offsets = self.offsets(&known, until).await.into_iter();
        let now = Instant::now();
        let mut results = Vec::with_capacity(plans.len());
        for queue in queues {
            let result = match queue {
                Some(queue) => {
                    let offsets = offsets.next().unwrap_or(Err(Fault::Late));
                    offsets.map(|Partitions { offsets, unknown }| {
                        Reading { unknown, ..self.interpret(queue, offsets, now) }.into()
                    })
                }
                None => Err(Fault::Unexpected("the queue is none of Kafka".to_owned())),
            };
            results.push(result.map_err(|fault: Fault| fault.after_login().at(&self.endpoint)));
        }
        self.memories.retain(|_, (_, read)| now < *read + KEPT_UNREAD);
        results
    }
}

impl KafkaClient {
    /// Opens a connection, and waits until a broker has let us in.
    ///
    /// # Errors
    /// When a file cannot be read, no process can be started, no broker can be reached, or none lets us in.
    pub(super) async fn connect(endpoint: &KafkaEndpoint) -> Result<Self, Fault> {
        let until = Instant::now() + READ_WITHIN;
        let opening = opening(endpoint).await?;
        let mut process = Process::start()?;
        let within = until.saturating_duration_since(Instant::now());
        process.ask::<()>(&Question::Open { opening, within }, until).await?;
        Ok(Self {
            endpoint: endpoint.address(),
            process,
            groups: Groups::default(),
            topics: Topics::default(),
            starts: Starts::default(),
            committed_to: HashMap::new(),
            memories: HashMap::new(),
        })
    }

    fn interpret(&mut self, queue: &Queue, offsets: Vec<(Place, Offsets)>, now: Instant) -> Reading {
        let (memory, read) = self.memories.entry(queue.clone()).or_insert_with(|| (Memory::default(), now));
        *read = now;
        let (reading, events) = lag::reading(queue, offsets, memory, now);
        for ((topic, partition), event) in events {
            let group = &queue.group;
            match event {
                Event::CommitGone => tracing::warn!(
                    %group, %topic, partition,
                    "The group's commit has expired or was deleted: its workers begin as `offsetResetPolicy` says."
                ),
                Event::Beyond => tracing::warn!(
                    %group, %topic, partition,
                    "The group has committed more than there is: the topic was made anew, or has lost records."
                ),
            }
        }
        reading
    }
}
