//! One open connection: a batch of queues is one pipeline, and one more for a hundred streams without a lag.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{Pipeline, Value};

use super::answer;
use super::entry_id::EntryId;
use super::fault::Fault;
use super::layout::{Layout, Look};
use super::stream::Uncounted;
use crate::engine::signals::Reading;
use crate::sources::{Client, Plan, ReadError, Sighting};
use crate::timestamp::Timestamp;

/// Most queues in one pipeline: Redis keeps all its answers in memory until they are sent.
const MOST_PLANS: usize = 1_000;

/// Most streams whose entries are counted in one pipeline: their payloads come with the answers, up to 101
/// a stream, and are gone before the next pipeline.
const MOST_UNCOUNTED: usize = 100;

/// Most streams whose position is remembered: as many as a server has triggers. Beyond it all are
/// forgotten, which costs the age of the oldest entry in one reading.
const MOST_POSITIONS: usize = 20_000;

/// An open connection to Redis.
pub(super) struct RedisClient {
    endpoint: String,
    connection: MultiplexedConnection,
    /// Streams that had unread entries when they were last read, and the entry after which these lie.
    unread_after: HashMap<Layout, EntryId>,
}

#[async_trait]
impl Client for RedisClient {
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        let mut results = Vec::with_capacity(plans.len());
        for batch in plans.chunks(MOST_PLANS) {
            let readings = self.read_batch(batch).await;
            let readings = readings.unwrap_or_else(|fault| vec![Err(fault); batch.len()]);
            results.extend(
                readings
                    .into_iter()
                    .map(|reading| reading.map(Sighting::from).map_err(|fault| fault.at(&self.endpoint))),
            );
        }
        results
    }
}

impl RedisClient {
    /// Reads through `connection`, which is logged in.
    pub(super) fn new(endpoint: String, connection: MultiplexedConnection) -> Self {
        Self { endpoint, connection, unread_after: HashMap::new() }
    }

    /// One result for each plan, or one fault for all of them.
    async fn read_batch(&mut self, plans: &[Arc<dyn Plan>]) -> Result<Vec<Result<Reading, Fault>>, Fault> {
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
            Look::Complete { reading, unread_after: _ } => Ok(reading),
            Look::Uncounted(_) => counted.next().unwrap_or_else(|| Err(Fault::nonsense("XRANGE"))),
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
            if let Some(layout) = layout {
                layout.ask(self.unread_after.get(layout).copied(), &mut pipeline);
            }
            asked.push((layout, first..pipeline.len()));
        }
        let answers = self.send(pipeline).await?;
        let now = time(answers.first().unwrap_or(&Value::Nil))?;
        let looks = asked.into_iter().map(|(layout, range)| {
            let layout = layout.ok_or_else(|| Fault::Unexpected("the queue is none of Redis".to_owned()))?;
            let look = layout.look(answers.get(range).unwrap_or_default(), now);
            self.remember(layout, look.as_ref().ok());
            look
        });
        Ok((looks.collect(), now))
    }

    /// Remembers where the unread entries of a stream begin, for the next read.
    fn remember(&mut self, layout: &Layout, look: Option<&Look>) {
        let Some(Look::Complete { unread_after: Some(id), .. }) = look else {
            self.unread_after.remove(layout);
            return;
        };
        if self.unread_after.len() >= MOST_POSITIONS {
            self.unread_after.clear();
        }
        self.unread_after.insert(layout.clone(), *id);
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
