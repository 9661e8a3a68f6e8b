//! One open connection: a batch of queues is one pipeline, and one more for a hundred streams without a lag.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use redis::Pipeline;

use super::fault::Fault;
use super::layout::{Layout, Look};
use super::memory::Memory;
use super::stream::Uncounted;
use super::wire::Wire;
use crate::sources::{Client, Plan, Published, ReadError, Sighting};
use crate::timestamp::Timestamp;
use crate::workers::{keys, share};

/// Most queues in one pipeline: Redis keeps all its answers in memory until they are sent.
const MOST_PLANS: usize = 1_000;

/// Most streams whose entries are counted in one pipeline: their payloads come with the answers, up to 101
/// a stream, and are gone before the next pipeline.
const MOST_UNCOUNTED: usize = 100;

/// An open connection to Redis.
pub(super) struct RedisClient {
    endpoint: String,
    wire: Wire,
    memory: Memory,
}

#[async_trait]
impl Client for RedisClient {
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        let mut results = Vec::with_capacity(plans.len());
        for batch in plans.chunks(MOST_PLANS) {
            let readings = self.read_batch(batch).await;
            results.extend(readings.unwrap_or_else(|fault| vec![Err(fault.at(&self.endpoint)); batch.len()]));
        }
        results
    }

    fn mends_itself(&self) -> bool {
        self.wire.mends_itself()
    }

    async fn publish(&mut self, shares: &[Published]) -> Result<(), ReadError> {
        self.write_shares(shares).await.map_err(|fault| fault.at(&self.endpoint))
    }
}

impl RedisClient {
    /// Reads through `wire`, at the other end of which it is `now`.
    pub(super) fn new(endpoint: String, wire: Wire, now: Timestamp) -> Self {
        Self { endpoint, wire, memory: Memory::new(now) }
    }

    /// One result for each plan, or one fault for all of them.
    async fn read_batch(
        &mut self,
        plans: &[Arc<dyn Plan>],
    ) -> Result<Vec<Result<Sighting, ReadError>>, Fault> {
        let looks = self.look(plans).await?;
        let mut uncounted: Vec<(&Uncounted, Timestamp)> = Vec::new();
        for (look, now) in &looks {
            if let Ok(Look::Uncounted(stream)) = look {
                uncounted.push((stream, *now));
            }
        }
        let mut counted = Vec::with_capacity(uncounted.len());
        for streams in uncounted.chunks(MOST_UNCOUNTED) {
            let mut pipeline = self.wire.pipeline();
            let first = pipeline.len();
            streams.iter().for_each(|(stream, _)| stream.ask(&mut pipeline));
            let answers = self.wire.ask(pipeline).await?;
            for (index, (stream, now)) in streams.iter().enumerate() {
                let answer = answers.of(first + index..first + index + 1);
                counted.push(answer.and_then(|answer| {
                    let [answer] = answer else { return Err(self.nonsense("XRANGE")) };
                    stream.read(answer, *now).map_err(|fault| fault.at(&self.endpoint))
                }));
            }
        }
        let mut counted = counted.into_iter();
        let readings = looks.into_iter().map(|(look, _)| match look? {
            Look::Complete { reading, unread_after: _ } => Ok(reading.into()),
            Look::Reported(sighting) => Ok(sighting),
            Look::Uncounted(_) => {
                counted.next().unwrap_or_else(|| Err(self.nonsense("XRANGE"))).map(Sighting::from)
            }
        });
        Ok(readings.collect())
    }

    /// Asks all the first questions in one pipeline, and says of each when it was answered.
    async fn look(
        &mut self,
        plans: &[Arc<dyn Plan>],
    ) -> Result<Vec<(Result<Look, ReadError>, Timestamp)>, Fault> {
        let mut pipeline = self.wire.pipeline();
        let mut asked = Vec::with_capacity(plans.len());
        for plan in plans {
            let layout = (plan.as_ref() as &dyn Any).downcast_ref::<Layout>();
            let first = pipeline.len();
            let question = layout.map(|layout| (layout, layout.ask(&self.memory, &mut pipeline)));
            asked.push((question, first..pipeline.len()));
        }
        let answers = self.wire.ask(pipeline).await?;
        if let Some(now) = answers.earliest() {
            self.memory.tell(now);
        }
        let mut looks = Vec::with_capacity(plans.len());
        for (question, range) in asked {
            let now = answers.time(range.start);
            let look = answers.of(range).and_then(|answers| {
                let looked = match question {
                    Some((layout, asked)) => layout.look(asked.as_ref(), answers, &mut self.memory, now),
                    None => Err(Fault::Unexpected("the queue is none of Redis".to_owned())),
                };
                looked.map_err(|fault| fault.at(&self.endpoint))
            });
            looks.push((look, now));
        }
        Ok(looks)
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
        self.wire.transact(shares.iter().map(write).collect()).await
    }

    fn nonsense(&self, command: &str) -> ReadError {
        Fault::nonsense(command).at(&self.endpoint)
    }
}
