//! A worker's shift: it opens the queue, takes tasks for as long as it may, and leaves in good order.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::limiter::jittered;
use crate::queue::{self, Message};
use crate::worker::{Fate, Worker};

/// Pause between tries to open the queue or to look into it.
const RETRY: Duration = Duration::from_millis(500);

/// Kept free at the end of the grace period to hand back what still runs: a few commands to a Redis that may be slow.
const RESERVE: Duration = Duration::from_secs(5);

/// How long Redis may refuse our password, as while its users are set up anew.
const PATIENT_AT_THE_DOOR: Duration = Duration::from_secs(10);

/// Time for the last tidying up.
const PATIENCE: Duration = Duration::from_secs(2);

/// The signals that end a shift.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Works until a signal, or until one task has ended where only one is wanted.
///
/// # Errors
/// When signals cannot be listened to, when Redis does not let us in any more, or when the one task that was wanted
/// was taken and has not ended.
pub(crate) async fn run(worker: Arc<Worker>) -> Result<(), Box<dyn Error>> {
    let mut signals =
        Signals { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? };
    let heart = {
        let worker = Arc::clone(&worker);
        tokio::spawn(async move { worker.heart().await })
    };
    let mut tasks = JoinSet::new();
    let ended = tokio::select! {
        () = signals.next() => Ok(()),
        opened = open(&worker) => match opened {
            Ok(()) => work(&worker, &mut tasks, &mut signals).await,
            Err(locked_out) => Err(locked_out.into()),
        },
    };
    worker.ended.cancel();
    // Waits for its end: it may be in the middle of a beat.
    drop(heart.await);
    worker.reports.leave(&worker.books.take()).await;
    drop(timeout(PATIENCE, worker.queue.leave()).await);
    tracing::info!("The worker has left.");
    ended
}

async fn work(
    worker: &Arc<Worker>,
    tasks: &mut JoinSet<Fate>,
    signals: &mut Signals,
) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    loop {
        let told = take(worker, tasks, signals, began).await;
        let fate = drain(worker, tasks, signals, *told.as_ref().unwrap_or(&None)).await;
        told?;
        return match (worker.settings.once, fate) {
            // That was no task for us, and there may be another.
            (Some(_), Some(Fate::Passed)) if !worker.is_draining() => continue,
            (Some(_), Some(Fate::Left(reason))) => Err(NotEnded(reason).into()),
            _ => Ok(()),
        };
    }
}

/// The one task that was wanted was taken, and has not ended: another try makes sense.
#[derive(Debug, thiserror::Error)]
#[error("the task has not ended: {0}")]
struct NotEnded(&'static str);

/// Redis has refused our password for some time. It was read at the start, so a new process may have a better one.
#[derive(Debug, thiserror::Error)]
#[error("Redis does not let us in")]
struct LockedOut(#[source] queue::Error);

/// Since when Redis has refused our password.
#[derive(Default)]
struct Door(Option<Instant>);

impl Door {
    /// # Errors
    /// When it was shut for too long.
    fn tried(&mut self, error: queue::Error) -> Result<(), LockedOut> {
        if !error.is_refusal() {
            self.0 = None;
            return Ok(());
        }
        let shut = self.0.get_or_insert_with(Instant::now).elapsed();
        if shut < PATIENT_AT_THE_DOOR { Ok(()) } else { Err(LockedOut(error)) }
    }
}

/// Opens the queue, however long it takes to come.
async fn open(worker: &Worker) -> Result<(), LockedOut> {
    let mut door = Door::default();
    let mut last = String::new();
    while let Err(error) = worker.queue.prepare().await {
        let text = error.to_string();
        if text != last {
            tracing::warn!(%error, "The queue cannot be opened.");
            last = text;
        }
        door.tried(error)?;
        sleep(jittered(RETRY)).await;
    }
    worker.health.is_prepared();
    worker.reached(true);
    tracing::info!(queue = %worker.settings.queue, slots = worker.settings.slots, "The queue is open.");
    Ok(())
}

/// Takes tasks until a signal comes, and says when; or until the one that was wanted is taken, or is not there.
async fn take(
    worker: &Arc<Worker>,
    tasks: &mut JoinSet<Fate>,
    signals: &mut Signals,
    began: Instant,
) -> Result<Option<Instant>, LockedOut> {
    let mut door = Door::default();
    let slots = Arc::new(Semaphore::new(usize::try_from(worker.settings.slots).unwrap_or(1)));
    let once = worker.settings.once;
    loop {
        let slot = tokio::select! {
            biased;
            () = signals.next() => return Ok(Some(drains(worker))),
            slot = Arc::clone(&slots).acquire_owned() => slot,
        };
        let Ok(slot) = slot else { return Ok(None) };
        while let Some(ended) = tasks.try_join_next() {
            fate(ended);
        }
        if worker.is_used_up(tasks.len()) {
            tokio::select! {
                () = signals.next() => return Ok(Some(drains(worker))),
                () = sleep(jittered(RETRY)) => continue,
            }
        }
        let (taken, told) = look(worker, signals).await;
        match taken {
            Ok(Some(message)) => {
                worker.reached(true);
                tasks.spawn(Arc::clone(worker).serve(message, slot));
                if once.is_some() {
                    return Ok(told);
                }
            }
            Ok(None) if once.is_some_and(|wait| began.elapsed() >= wait) => {
                tracing::info!("There is no task, so there is nothing to do.");
                return Ok(told);
            }
            Ok(None) => {
                door = Door::default();
                worker.reached(true);
            }
            Err(error) if told.is_none() => {
                worker.reached(false);
                tracing::debug!(%error, "The queue cannot be looked into.");
                sleep(jittered(RETRY)).await;
                if error.is_gone() {
                    tokio::select! {
                        () = signals.next() => return Ok(Some(drains(worker))),
                        opened = open(worker) => opened?,
                    }
                }
                door.tried(error)?;
            }
            Err(_) => {}
        }
        if told.is_some() {
            return Ok(told);
        }
    }
}

/// Looks for a task, to the end of the look: it may have been given to us already when a signal comes. Says when it
/// came.
async fn look(worker: &Worker, signals: &mut Signals) -> (queue::Result<Option<Message>>, Option<Instant>) {
    let look = worker.queue.take();
    tokio::pin!(look);
    let mut told = None;
    loop {
        tokio::select! {
            biased;
            () = signals.next(), if told.is_none() => told = Some(drains(worker)),
            taken = &mut look => return (taken, told),
        }
    }
}

/// Begins to leave: nothing more is taken.
fn drains(worker: &Worker) -> Instant {
    worker.drains();
    tracing::info!("Told to go: draining.");
    Instant::now()
}

/// Hands back what has hardly begun, waits for the other tasks that still run, and hands those back too when the grace
/// period ends or a further signal comes. Says what became of the last one.
async fn drain(
    worker: &Worker,
    tasks: &mut JoinSet<Fate>,
    signals: &mut Signals,
    told: Option<Instant>,
) -> Option<Fate> {
    let mut last = None;
    if told.is_none() {
        // The one task that was wanted.
        tokio::select! {
            () = all_end(tasks, &mut last) => return last,
            () = signals.next() => {}
        }
    }
    let told = told.unwrap_or_else(|| drains(worker));
    // Not before the last look is over: it would take again what is handed back.
    let young = worker.settings.young + told.elapsed();
    let handed_back = worker.desk.hand_back_younger_than(young);
    tracing::info!(handed_back, "Young tasks are handed back.");
    let grace = worker.settings.grace;
    tokio::select! {
        () = all_end(tasks, &mut last) => return last,
        () = signals.next() => {}
        () = sleep_until(told + grace.saturating_sub(RESERVE.min(grace / 4))) => {}
    }
    let handed_back = worker.desk.hand_back_all();
    tracing::info!(handed_back, "The time is over: what still runs is handed back.");
    // What does not come back in this time comes back when its lease ends.
    if timeout(RESERVE, all_end(tasks, &mut last)).await.is_err() {
        last = Some(Fate::Left("there was no time to hand it back"));
    }
    last
}

async fn all_end(tasks: &mut JoinSet<Fate>, last: &mut Option<Fate>) {
    while let Some(ended) = tasks.join_next().await {
        *last = Some(fate(ended));
    }
}

/// A task that panicked is not renewed any more: another worker takes it.
fn fate(ended: Result<Fate, JoinError>) -> Fate {
    ended.unwrap_or_else(|error| {
        tracing::error!(%error, "A slot has failed.");
        Fate::Left("its slot has failed")
    })
}
