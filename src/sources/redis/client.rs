//! One open connection: its queues are read in few round trips, and each answer has an end.
//!
//! Queues come first, then what workers report, then those whose answers are long, each alone, and then the questions
//! whose answers hold tasks. Whatever is not reached in time lacks its own answer only.

use std::sync::Arc;

use async_trait::async_trait;
use redis::Pipeline;
use tokio::time::{Duration, Instant, timeout_at};

use super::endpoint::RedisEndpoint;
use super::fault::Fault;
use super::memory::Memory;
use super::oversized::Oversized;
use super::round::Round;
use super::wire::{self, Answer, Question, Wire};
use crate::sources::{Client, Endpoint, Plan, Published, ReadError, Sighting};
use crate::timestamp::Timestamp;
use crate::workers::{keys, share};

/// How long a batch may take whose reader sees to the deadline by itself.
const A_LONG_TIME: Duration = Duration::from_secs(86_400);

/// How often a connection that ended with a long answer is opened again within one batch.
const MOST_REOPENINGS: u32 = 64;

/// An open connection to Redis.
pub(super) struct RedisClient {
    endpoint: RedisEndpoint,
    pub(super) address: String,
    /// `None` after a connection has ended.
    wire: Option<Wire>,
    pub(super) memory: Memory,
    pub(super) oversized: Oversized,
    answer_by: Option<Instant>,
    /// Whether the last batch had any answer.
    is_answered: bool,
}

#[async_trait]
impl Client for RedisClient {
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        let now = Instant::now();
        // What is left is for handing it over.
        let by = self.answer_by.take().map(|by| now + by.saturating_duration_since(now) * 9 / 10);
        let mut round = Round::new(plans, by.unwrap_or(now + A_LONG_TIME));
        self.is_answered = false;
        round.run(self).await;
        round.results(&self.address)
    }

    fn answer_by(&mut self, deadline: Instant) {
        self.answer_by = Some(deadline);
    }

    fn mends_itself(&self) -> bool {
        self.is_answered || self.wire.as_ref().is_some_and(Wire::mends_itself)
    }

    async fn publish(&mut self, shares: &[Published]) -> Result<(), ReadError> {
        let published = self.write_shares(shares).await;
        if matches!(published, Err(Fault::Late | Fault::Lost(_))) {
            self.drop_wire();
        }
        published.map_err(|fault| fault.at(&self.address))
    }
}

impl RedisClient {
    /// Reads through `wire`, at the other end of which it is `now`.
    pub(super) fn new(endpoint: RedisEndpoint, wire: Wire, now: Timestamp) -> Self {
        Self {
            address: endpoint.address(),
            endpoint,
            wire: Some(wire),
            memory: Memory::new(now),
            oversized: Oversized::default(),
            answer_by: None,
            is_answered: false,
        }
    }

    /// Asks `questions` in one round trip, opening the connection where it has ended.
    ///
    /// # Errors
    /// When there is no answer at all.
    pub(super) async fn ask(
        &mut self,
        questions: &[Question],
        by: Instant,
        reopenings: &mut u32,
    ) -> Result<Vec<Answer>, Fault> {
        let mut wire = match self.wire.take() {
            Some(wire) => wire,
            None if *reopenings >= MOST_REOPENINGS => return Err(Fault::Late),
            None => {
                *reopenings += 1;
                timeout_at(by, wire::open(&self.endpoint)).await.unwrap_or(Err(Fault::Late))?.0
            }
        };
        let answers = wire.ask(questions, by, &self.address).await?;
        let times = answers.iter().filter_map(|answer| answer.as_ref().ok()).map(|given| given.now);
        if let Some(now) = times.min() {
            self.memory.tell(now);
            self.is_answered = true;
        }
        if wire.mends_itself() || answers.iter().all(Result::is_ok) {
            self.wire = Some(wire);
        }
        Ok(answers)
    }

    fn drop_wire(&mut self) {
        self.wire = self.wire.take().filter(Wire::mends_itself);
    }

    /// Writes what every limit allows as a transaction: whoever reads sees the old or the new.
    async fn write_shares(&mut self, shares: &[Published]) -> Result<(), Fault> {
        if shares.is_empty() {
            return Ok(());
        }
        let write = |Published { limit, allowances }: &Published| {
            let key = keys::share(limit);
            let mut commands = Pipeline::new();
            commands.cmd("DEL").arg(&key);
            if !allowances.is_empty() {
                let write = commands.cmd("HSET").arg(&key);
                for (scope, allowance) in allowances {
                    write.arg(scope).arg(share::written(allowance));
                }
                commands.cmd("EXPIRE").arg(&key).arg(share::KEPT.as_secs());
            }
            (key, commands)
        };
        let Some(wire) = &mut self.wire else {
            return Err(Fault::Lost("the connection broke".to_owned()));
        };
        wire.transact(shares.iter().map(write).collect()).await
    }
}
