//! One open connection: a batch of queues is one pipeline, and one more for a hundred streams without a lag.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};

use super::answer;
use super::fault::Fault;
use super::layout::{Layout, Look};
use super::memory::Memory;
use super::stream::Uncounted;
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
    connection: MultiplexedConnection,
    memory: Memory,
}

#[async_trait]
impl Client for RedisClient {
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        let mut results = Vec::with_capacity(plans.len());
        for batch in plans.chunks(MOST_PLANS) {
            let readings = self.read_batch(batch).await;
            let readings = readings.unwrap_or_else(|fault| vec![Err(fault); batch.len()]);
            results.extend(
                readings.into_iter().map(|reading| reading.map_err(|fault| fault.at(&self.endpoint))),
            );
        }
        results
    }

    async fn publish(&mut self, shares: &[Published]) -> Result<(), ReadError> {
        self.write_shares(shares).await.map_err(|fault| fault.at(&self.endpoint))
    }
}

impl RedisClient {
    /// Reads through `connection`, which is logged in, and on which Redis has told the time.
    pub(super) fn new(endpoint: String, connection: MultiplexedConnection, now: Timestamp) -> Self {
        Self { endpoint, connection, memory: Memory::new(now) }
    }

    /// One result for each plan, or one fault for all of them.
    async fn read_batch(&mut self, plans: &[Arc<dyn Plan>]) -> Result<Vec<Result<Sighting, Fault>>, Fault> {
        let (looks, now) = self.look(plans).await?;
        let mut uncounted: Vec<&Uncounted> = Vec::new();
        for look in &looks {
            if let Ok(Look::Uncounted(stream)) = look {
                uncounted.push(stream);
            }
        }
        let mut counted = Vec::with_capacity(uncounted.len());
        for streams in uncounted.chunks(MOST_UNCOUNTED) {
            let mut pipeline = Pipeline::new();
            streams.iter().for_each(|stream| stream.ask(&mut pipeline));
            let answers = self.send(pipeline).await?;
            counted.extend(streams.iter().zip(&answers).map(|(stream, answer)| stream.read(answer, now)));
        }
        let mut counted = counted.into_iter();
        let readings = looks.into_iter().map(|look| match look? {
            Look::Complete { reading, unread_after: _ } => Ok(reading.into()),
            Look::Reported(sighting) => Ok(sighting),
            Look::Uncounted(_) => {
                counted.next().unwrap_or_else(|| Err(Fault::nonsense("XRANGE"))).map(Sighting::from)
            }
        });
        Ok(readings.collect())
    }

    /// Asks all the first questions in one pipeline. Redis's own time comes with the answers, so that ages
    /// do not depend on how well two clocks agree.
    async fn look(
        &mut self,
        plans: &[Arc<dyn Plan>],
    ) -> Result<(Vec<Result<Look, Fault>>, Timestamp), Fault> {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("TIME");
        let mut asked = Vec::with_capacity(plans.len());
        for plan in plans {
            let layout = (plan.as_ref() as &dyn Any).downcast_ref::<Layout>();
            let first = pipeline.len();
            let question = layout.map(|layout| (layout, layout.ask(&self.memory, &mut pipeline)));
            asked.push((question, first..pipeline.len()));
        }
        let answers = self.send(pipeline).await?;
        let now = time(answers.first().unwrap_or(&Value::Nil))?;
        self.memory.tell(now);
        let looks = asked.into_iter().map(|(question, range)| {
            let (layout, asked) =
                question.ok_or_else(|| Fault::Unexpected("the queue is none of Redis".to_owned()))?;
            layout.look(asked.as_ref(), answers.get(range).unwrap_or_default(), &mut self.memory, now)
        });
        Ok((looks.collect(), now))
    }

    /// Writes what every limit allows, one transaction for all: whoever reads sees the old or the new.
    async fn write_shares(&mut self, shares: &[Published]) -> Result<(), Fault> {
        if shares.is_empty() {
            return Ok(());
        }
        let mut pipeline = Pipeline::new();
        pipeline.cmd("MULTI");
        for Published { limit, allowances } in shares {
            let key = keys::share(limit);
            pipeline.cmd("DEL").arg(&key);
            if allowances.is_empty() {
                continue;
            }
            let write = pipeline.cmd("HSET").arg(&key);
            for (scope, allowance) in allowances {
                write.arg(scope).arg(share::written(allowance));
            }
            pipeline.cmd("EXPIRE").arg(&key).arg(share::KEPT.as_secs());
        }
        pipeline.cmd("EXEC");
        // One that fails within the transaction is an answer within the last answer.
        let mut answers = self.send(pipeline).await?;
        if let Some(Value::Array(executed)) = answers.pop_if(|answer| matches!(answer, Value::Array(_))) {
            answers.extend(executed);
        }
        for answer in &answers {
            if let Value::ServerError(error) = answer {
                return Err(Fault::of_share(error));
            }
        }
        Ok(())
    }

    /// One answer for each command, errors of single commands among them.
    async fn send(&mut self, mut pipeline: Pipeline) -> Result<Vec<Value>, Fault> {
        let answers = pipeline.ignore_errors().query_async(&mut self.connection).await;
        answers.map_err(|error| Fault::of_connection(&error))
    }
}

/// The time that Redis answers to `TIME`.
///
/// # Errors
/// When it refuses, or the answer makes no sense.
pub(super) fn time(answer: &Value) -> Result<Timestamp, Fault> {
    if let Value::ServerError(error) = answer {
        return Err(Fault::said(error));
    }
    answer::time(answer).ok_or_else(|| Fault::nonsense("TIME"))
}
