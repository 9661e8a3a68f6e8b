//! What a worker says of a limit, and hears of it.

use std::time::Duration;

use redis::{Pipeline, RedisError, Value, cmd, pipe};

use super::Reporter;
use crate::engine::limit::{Allowance, Block, LimitSeen, Why};
use crate::timestamp::Timestamp;
use crate::workers::{answer, keys, limit, share};

/// Headers are written at most this often: the scaler reads every few seconds.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// How often a block is tried to be written while others write to the same limit.
const MOST_ATTEMPTS: usize = 10;

/// End and reason of a block, and when somebody was last refused, as they stand in the hash.
type BlockSaid = (Option<String>, Option<String>, Option<String>);

/// A block that has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The block.
    pub block: Block,
    /// Whether workers keep to it. If they do not, one request tries whether it is over.
    pub is_kept: bool,
}

impl Reporter {
    /// What a response said of the limit. Sampled: at most once a second, unless it says that the limit is
    /// blocked. The end of a block only ever moves on; but a response that is none of a block ends one
    /// of [`Why::Rate`], so a request that was sent before the block should not be reported.
    ///
    /// # Errors
    /// When Redis could not be reached or does not take it.
    pub async fn limits(&mut self, seen: &LimitSeen, now: Timestamp) -> Result<(), RedisError> {
        let Some(scope) = &self.settings.limit else { return Ok(()) };
        let key = keys::limit(scope);
        if let Some(block) = seen.blocked {
            if !seen.headroom.is_empty() {
                self.write_headers(&key, seen, now).await?;
            }
            return self.set_block(&key, block, now).await;
        }
        let recently = |last: Timestamp| last <= now && now.since(last) < SAMPLE_EVERY;
        if self.sampled.is_some_and(recently) {
            return Ok(());
        }
        let block = self.write_headers(&key, seen, now).await?;
        if block.is_some_and(|block| block.why == Why::Rate) {
            self.end_block(&key, now).await?;
        }
        Ok(())
    }

    /// What the scaler allows this scope; `None` if it has never said. What it said last stands while it is
    /// silent.
    ///
    /// # Errors
    /// When Redis could not be reached.
    pub async fn allowance(&mut self) -> Result<Option<Allowance>, RedisError> {
        if let Some(limit) = &self.settings.limit {
            let mut ask = cmd("HGET");
            ask.arg(keys::share(limit)).arg(&self.settings.scope);
            let said: Option<String> = ask.query_async(&mut self.connection).await?;
            let said = said.as_deref().and_then(share::read);
            self.allowance = said.or(self.allowance.take());
        }
        Ok(self.allowance.clone())
    }

    /// Whether the limit is blocked, for all workers, by Redis's clock. A block is none any more five minutes after
    /// somebody was last refused: one more request finds out whether it is over.
    ///
    /// # Errors
    /// When Redis could not be reached.
    pub async fn blocked(&mut self) -> Result<Option<Block>, RedisError> {
        let standing = self.standing().await?;
        Ok(standing.filter(|standing| standing.is_kept).map(|standing| standing.block))
    }

    /// The block of the limit, by Redis's clock, also after workers no longer keep to it.
    ///
    /// # Errors
    /// When Redis could not be reached.
    pub async fn standing(&mut self) -> Result<Option<Standing>, RedisError> {
        let Some(scope) = &self.settings.limit else { return Ok(None) };
        let mut pipeline = pipe();
        pipeline.cmd("TIME");
        ask_block(&keys::limit(scope), &mut pipeline);
        let ((seconds, micros), said): ((u64, u64), BlockSaid) =
            pipeline.query_async(&mut self.connection).await?;
        let now = Timestamp::from_millis(seconds.saturating_mul(1_000).saturating_add(micros / 1_000));
        Ok(standing_of(&said, now))
    }

    /// Writes what the provider said, and tells whether the limit is blocked.
    async fn write_headers(
        &mut self,
        key: &str,
        seen: &LimitSeen,
        now: Timestamp,
    ) -> Result<Option<Block>, RedisError> {
        let mut pipeline = pipe();
        pipeline.atomic();
        limit::write(key, &seen.headroom, &mut pipeline);
        pipeline.cmd("EXPIRE").arg(key).arg(self.limit_is_kept(seen.blocked, now));
        ask_block(key, &mut pipeline);
        let mut answers: Vec<Value> = pipeline.query_async(&mut self.connection).await?;
        self.sampled = Some(now);
        let said = redis::from_redis_value(answers.pop().unwrap_or_default())?;
        Ok(block_of(&said, now))
    }

    /// Writes the block unless a longer one stands that was renewed lately. A block with the same end is
    /// renewed.
    async fn set_block(&mut self, key: &str, block: Block, now: Timestamp) -> Result<(), RedisError> {
        let kept = self.limit_is_kept(Some(block), now);
        self.change_block(key, |said| {
            let stands = block_of(said, now).map(|block| block.until);
            (stands <= Some(block.until)).then(|| {
                let mut pipeline = pipe();
                pipeline.cmd("HSET").arg(key).arg(keys::BLOCKED).arg(block.until.as_millis());
                pipeline.arg(keys::WHY).arg(block.why.label());
                pipeline.arg(keys::BLOCKED_SEEN).arg(now.as_millis());
                pipeline.cmd("EXPIRE").arg(key).arg(kept);
                pipeline
            })
        })
        .await
    }

    /// Ends a block of [`Why::Rate`].
    async fn end_block(&mut self, key: &str, now: Timestamp) -> Result<(), RedisError> {
        self.change_block(key, |said| {
            block_of(said, now).is_some_and(|block| block.why == Why::Rate).then(|| {
                let mut pipeline = pipe();
                pipeline.cmd("HDEL").arg(key).arg(keys::BLOCKED).arg(keys::WHY).arg(keys::BLOCKED_SEEN);
                pipeline
            })
        })
        .await
    }

    /// Reads the block, and sends what `change` makes of it unless somebody wrote in between.
    async fn change_block(
        &mut self,
        key: &str,
        change: impl Fn(&BlockSaid) -> Option<Pipeline>,
    ) -> Result<(), RedisError> {
        for attempt in 1..=MOST_ATTEMPTS {
            // The last attempt does not mind others: a block that may be too short is better than none.
            if attempt < MOST_ATTEMPTS {
                let () = cmd("WATCH").arg(key).query_async(&mut self.connection).await?;
            }
            let mut pipeline = pipe();
            ask_block(key, &mut pipeline);
            let (said,): (BlockSaid,) = pipeline.query_async(&mut self.connection).await?;
            let Some(mut change) = change(&said) else {
                return cmd("UNWATCH").query_async(&mut self.connection).await;
            };
            let done: Option<Vec<Value>> = change.atomic().query_async(&mut self.connection).await?;
            if done.is_some() {
                return Ok(());
            }
        }
        Ok(())
    }
}

fn ask_block(key: &str, pipeline: &mut Pipeline) {
    pipeline.cmd("HMGET").arg(key).arg(keys::BLOCKED).arg(keys::WHY).arg(keys::BLOCKED_SEEN);
}

/// The block that workers are to keep to.
fn block_of(said: &BlockSaid, now: Timestamp) -> Option<Block> {
    standing_of(said, now).filter(|standing| standing.is_kept).map(|standing| standing.block)
}

fn standing_of((until, why, seen): &BlockSaid, now: Timestamp) -> Option<Standing> {
    let number = |said: &Option<String>| said.as_deref().and_then(answer::number);
    let block = limit::block(number(until), why.as_deref(), now)?;
    Some(Standing { block, is_kept: limit::is_kept(block, limit::refused(number(seen), now), now) })
}
