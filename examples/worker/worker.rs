//! The worker: what its parts share, the heart that renews leases and reports, and the slots that run tasks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_scaler::engine::limit::Why;
use agent_scaler::engine::signals::{Worker as Said, WorkerState};
use agent_scaler::timestamp::Timestamp;
use agent_scaler::workers::writer::Beat;
use tokio::sync::{Notify, OwnedSemaphorePermit};
use tokio::time::{Instant, sleep, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::agent::{Agent, Effort, Outcome};
use crate::books::Books;
use crate::clock::RedisClock;
use crate::conversation::Conversation;
use crate::desk::{CalledOff, Desk, Running};
use crate::metrics::Metrics;
use crate::pause;
use crate::probes::Health;
use crate::queue::{self, Back, Begun, End, Hold, Message, Queue};
use crate::reports::{News, Reports};
use crate::settings::Settings;
use crate::task::Task;

/// How long the renewal of leases may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Attempts from which on a task is suspected of killing its workers.
const POISON: u32 = 3;

/// What becomes of a task whose lease is lost.
const LOST: Fate = Fate::Left("its lease was lost");

/// Everything that the parts of a worker share.
pub(crate) struct Worker {
    pub(crate) settings: Settings,
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) agent: Agent,
    pub(crate) desk: Arc<Desk>,
    pub(crate) books: Arc<Books>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) clock: Arc<RedisClock>,
    pub(crate) health: Arc<Health>,
    pub(crate) metrics: Arc<Metrics>,
    /// Wakes the heart when the worker's state has changed.
    pub(crate) changed: Notify,
    /// Stops the heart.
    pub(crate) ended: CancellationToken,
    /// Whether no more tasks are taken.
    pub(crate) draining: AtomicBool,
    /// Whether the limit's budget is used up, so that a task that was taken could only wait.
    pub(crate) used_up: AtomicBool,
    /// Whether the budget was used up and one task has to try whether it still is.
    pub(crate) may_be_used_up: AtomicBool,
}

/// What became of a message that was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Its task has ended, with a result or for good without one; or it was no task.
    Ended,
    /// There was nothing to run.
    Passed,
    /// Its task has not ended, for this reason. The queue has it, or another worker.
    Left(&'static str),
}

impl Worker {
    /// Beats until the end: at its pace, and soon after a change.
    pub(crate) async fn heart(&self) {
        let (every, spacing) = (self.settings.beat(), self.settings.minute / 60);
        loop {
            let started = Instant::now();
            self.beat().await;
            let soon = async {
                self.changed.notified().await;
                sleep_until(started + spacing.min(every)).await;
            };
            tokio::select! {
                () = self.ended.cancelled() => return,
                () = sleep_until(started + every) => {}
                () = soon => {}
            }
        }
    }

    async fn beat(&self) {
        self.health.beats();
        self.renew().await;
        let tasks: Vec<_> = self.desk.all().into_iter().filter(|running| running.is_held()).collect();
        self.metrics.active(tasks.len());
        let running: Vec<String> = tasks.iter().map(|running| running.hold.id.clone()).collect();
        let tally = self.books.take();
        let beaten =
            self.reports.beat(&Beat { worker: self.said(&tasks), running: &running, tally: &tally }).await;
        if !beaten {
            self.books.put_back(&tally);
        }
        self.reached(beaten);
        if !beaten {
            return;
        }
        if let Some(news) = self.reports.news().await {
            self.hear(news);
        }
        if let Err(error) = self.queue.sweep().await {
            tracing::debug!(%error, "The queue could not be swept.");
        }
    }

    /// Renews the leases of everything that runs.
    async fn renew(&self) {
        let asked = Instant::now();
        let tasks = self.desk.all();
        if tasks.is_empty() {
            return;
        }
        let holds: Vec<Hold> = tasks.iter().map(|running| running.hold.clone()).collect();
        match timeout(PATIENCE, self.queue.renew(&holds)).await {
            Ok(Ok(kept)) => {
                for (running, kept) in tasks.iter().zip(kept) {
                    if kept { running.renewed(asked + self.settings.lease) } else { running.lose() }
                }
            }
            Ok(Err(error)) => tracing::warn!(%error, "Leases could not be renewed."),
            Err(_) => tracing::warn!("Leases could not be renewed in time."),
        }
    }

    /// What the worker says of itself.
    fn said(&self, tasks: &[Arc<Running>]) -> Said {
        let state = match (self.is_draining(), tasks.is_empty()) {
            (true, _) => WorkerState::Draining,
            (false, true) => WorkerState::Idle,
            (false, false) => WorkerState::Busy,
        };
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Said {
            state,
            slots: self.settings.slots,
            running: count(tasks.len()),
            oldest: tasks.iter().map(|running| running.taken_at).min(),
            progress: tasks.iter().map(|running| running.progress()).max(),
            paces: self.agent.limiter.as_ref().is_some_and(|limiter| limiter.paces()),
            poison: count(tasks.iter().filter(|running| running.hold.attempts >= POISON).count()),
        }
    }

    fn hear(&self, news: News) {
        if let (Some(allowance), Some(limiter)) = (news.allowance, &self.agent.limiter) {
            limiter.keep_to(&allowance.rates);
        }
        let budget = news.block.filter(|said| matches!(said.block.why, Why::Spend | Why::Quota));
        let is_used_up = budget.is_some_and(|said| said.is_kept);
        self.may_be_used_up.store(budget.is_some(), Ordering::Relaxed);
        if is_used_up != self.used_up.swap(is_used_up, Ordering::Relaxed) {
            let until = budget.map(|said| said.block.until.to_string());
            tracing::warn!(until, "Whether the limit's budget is used up has changed.");
        }
    }

    /// Queue or Redis did what it was asked, or did not. The log has each change.
    pub(crate) fn reached(&self, reached: bool) {
        match (self.health.reached(reached), reached) {
            (true, true) => tracing::info!("The queue is reached."),
            (true, false) => tracing::warn!("The queue is not reached."),
            (false, _) => {}
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// Whether another task beside this many running ones could only wait, because the limit's budget is used
    /// up.
    pub(crate) fn is_used_up(&self, running: usize) -> bool {
        self.used_up.load(Ordering::Relaxed) || (running > 0 && self.may_be_used_up.load(Ordering::Relaxed))
    }

    /// Begins to leave.
    pub(crate) fn drains(&self) {
        self.draining.store(true, Ordering::Relaxed);
        self.queue.stop();
        self.health.drains();
        self.changed.notify_one();
    }

    /// Runs what a message says, from its beginning to its end.
    pub(crate) async fn serve(self: Arc<Self>, message: Message, _slot: OwnedSemaphorePermit) -> Fate {
        let Ok(task) = serde_json::from_str::<Task>(&message.text) else {
            tracing::warn!(message = %message.handle, "A message that is no task was put aside.");
            if let Err(error) = self.queue.bury(&message, "it is no task").await {
                tracing::warn!(%error, "A message that is no task could not be put aside.");
                return Fate::Left("it is no task, and could not be put aside");
            }
            return Fate::Ended;
        };
        let asked = Instant::now();
        let (hold, checkpoint, first) = match self.begin(&message, &task).await {
            Ok(begun) => begun,
            Err(fate) => return fate,
        };
        let running = Running::new(hold, asked + self.settings.lease, self.clock.now());
        let seat = self.desk.seat(&running);
        let busy = self.books.runs();
        if first {
            self.books.taken(self.clock.now().since(Timestamp::from_millis(task.enqueued_ms)));
        }
        if self.is_draining() {
            running.hand_back();
        }
        self.changed.notify_one();
        let fate = self.work(&running, &task, checkpoint.as_deref()).await;
        drop((seat, busy));
        self.reports.release(&task.id).await;
        self.changed.notify_one();
        fate
    }

    /// Begins a task: its lease, where an earlier worker got to, and whether nobody ran it before.
    async fn begin(&self, message: &Message, task: &Task) -> Result<(Hold, Option<String>, bool), Fate> {
        let token = format!("{}-{:016x}", self.settings.worker, fastrand::u64(..));
        for failures in 1..=3 {
            match self.queue.begin(message, &task.id, &token).await {
                Ok(Begun::Run { hold, checkpoint, first }) => {
                    let (attempts, resumed) = (hold.attempts, checkpoint.is_some());
                    tracing::info!(task = %task.id, attempts, resumed, "Task begun.");
                    return Ok((hold, checkpoint, first));
                }
                Ok(Begun::Skip(reason)) => {
                    tracing::info!(task = %task.id, reason, "A message was passed over.");
                    return Err(Fate::Passed);
                }
                Err(error) => {
                    tracing::warn!(task = %task.id, %error, "A task could not be begun.");
                    sleep(pause::after(failures)).await;
                }
            }
        }
        // Whoever finds it without a lease takes it.
        Err(Fate::Left("it could not be begun"))
    }

    async fn work(&self, running: &Running, task: &Task, checkpoint: Option<&str>) -> Fate {
        let Hold { attempts, .. } = running.hold;
        let conversation = checkpoint.and_then(Conversation::restore);
        let conversation = conversation.unwrap_or_else(|| Conversation::new(&task.prompt));
        if attempts > self.settings.attempts {
            let effort =
                Effort { time: Duration::from_millis(conversation.ran_ms), steps: conversation.steps };
            let reason = format!("begun {} times without an end", self.settings.attempts);
            return self.fail(running, reason, effort).await;
        }
        let (outcome, effort) = tokio::select! {
            biased;
            reason = running.called_off() => return self.leave_off(running, reason).await,
            ended = self.agent.run(running, conversation) => ended,
        };
        match outcome {
            Outcome::Done(result) => {
                let end = End::Done(result);
                if !self.written(running, || self.queue.finish(&running.hold, &end, effort.steps)).await {
                    return LOST;
                }
                self.books.done(effort.time);
                self.metrics.ended(effort.time);
                self.metrics.task("success");
                tracing::info!(task = %task.id, seconds = effort.time.as_secs_f64(), "Task done.");
                Fate::Ended
            }
            Outcome::Failed(reason) => self.fail(running, reason, effort).await,
            Outcome::Retry(reason) if attempts >= self.settings.attempts => {
                self.fail(running, format!("{reason} (attempt {attempts}, the last one)"), effort).await
            }
            Outcome::Retry(reason) => {
                let longest = Duration::from_secs(1).saturating_mul(2_u32.saturating_pow(attempts));
                let back = Back::Later(longest.min(self.settings.lease).mul_f64(0.5 + fastrand::f64() / 2.0));
                tracing::warn!(task = %task.id, attempts, reason, "Task put back for another attempt.");
                if !self.written(running, || self.queue.hand_back(&running.hold, back)).await {
                    return LOST;
                }
                self.metrics.task("retried");
                Fate::Left("it was put back for another attempt")
            }
            Outcome::Lost => self.leave_off(running, CalledOff::Lost).await,
        }
    }

    /// Ends a task without a result.
    async fn fail(&self, running: &Running, reason: String, effort: Effort) -> Fate {
        tracing::warn!(task = %running.hold.id, reason, "Task failed for good.");
        let end = End::Failed(reason);
        if !self.written(running, || self.queue.finish(&running.hold, &end, effort.steps)).await {
            return LOST;
        }
        self.books.failed(effort.time);
        self.metrics.ended(effort.time);
        self.metrics.task("failed");
        Fate::Ended
    }

    /// Leaves a task to others.
    async fn leave_off(&self, running: &Running, why: CalledOff) -> Fate {
        let task = &running.hold.id;
        match why {
            CalledOff::Lost => {
                tracing::warn!(task = %task, "The lease is lost: the task is left to others.");
                self.metrics.task("lost");
                LOST
            }
            CalledOff::HandBack => {
                if !self.written(running, || self.queue.hand_back(&running.hold, Back::Unharmed)).await {
                    return LOST;
                }
                tracing::info!(task = %task, "Task handed back.");
                self.metrics.task("handed_back");
                Fate::Left("it was handed back")
            }
        }
    }

    /// Writes until the queue has taken it, or the lease is lost; says whether it was taken.
    async fn written<F>(&self, running: &Running, write: impl Fn() -> F) -> bool
    where
        F: Future<Output = queue::Result<bool>>,
    {
        let writing = async {
            loop {
                match write().await {
                    Ok(taken) => return taken,
                    Err(error) => tracing::debug!(%error, "The end of a task could not be written."),
                }
                sleep(pause::after(1)).await;
            }
        };
        let taken = tokio::select! {
            taken = writing => taken,
            () = running.lost() => false,
        };
        if !taken {
            tracing::warn!(task = %running.hold.id, "The lease was lost at the end of the task.");
            self.metrics.task("lost");
        }
        taken
    }
}
