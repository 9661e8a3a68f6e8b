//! The calls of one batch: one for each queue, some at a time.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use tokio::time::{Instant, timeout_at};

use super::call;
use super::counts::Counts;
use super::endpoint::Access;
use super::fault::{Fault, Place};
use super::identity::{self, Session};
use super::memory::Memory;
use super::queue::{Queue, Queues};
use crate::engine::signals::Reading;
use crate::sources::{Client, Plan, ReadError, Sighting};

/// Most calls at a time: a thousand queues take a second at 30 ms a call, and three at the 100 ms of another continent.
const AT_A_TIME: usize = 32;

/// Longest time for all calls of a batch: within four fifths of a tick of 5 s, so that what was answered counts.
const ALL_WITHIN: Duration = Duration::from_millis(3_500);

/// How long credentials that AWS refused are not looked for anew, however often queues are read for waking.
const REFUSED_FOR: Duration = Duration::from_secs(4);

/// A client of SQS in one region.
pub(super) struct SqsClient {
    access: Arc<Access>,
    session: Session,
    /// Since when AWS has refused the credentials, and with what words: a later read looks for others.
    refused: Option<(Instant, Fault)>,
    /// How many queues the last batches had time for, until one had time for all.
    turn: usize,
    memory: Arc<Mutex<Memory>>,
}

/// What the calls of one batch said.
type Answers = BTreeMap<Queue, Result<Counts, Fault>>;

#[async_trait]
impl Client for SqsClient {
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        let address = self.access.address();
        let now = Instant::now();
        if let Err(fault) = self.renew(now).await {
            return vec![Err(fault.at(&address)); plans.len()];
        }
        let asked: Vec<Result<&Queues, Fault>> = plans.iter().map(|plan| self.may_ask(plan, now)).collect();
        let queues: BTreeSet<Queue> =
            asked.iter().flatten().flat_map(|queues| &queues.queues).cloned().collect();
        let answers = self.ask(queues, now + ALL_WITHIN).await;
        let refusal =
            answers.values().find_map(|answer| answer.as_ref().err().filter(|fault| fault.is_refusal()));
        self.refused = refusal.map(|fault| (now, fault.clone()));
        let mut memory = lock(&self.memory);
        memory.forget(now);
        let readings = asked.into_iter().map(|queues| take(&mut memory, queues?, &answers, now));
        readings.map(|reading| reading.map(Sighting::from).map_err(|fault| fault.at(&address))).collect()
    }

    fn rests(&self, plan: &dyn Plan) -> bool {
        let queues = (plan as &dyn Any).downcast_ref::<Queues>();
        queues.is_some_and(|queues| lock(&self.memory).rests(queues, Instant::now()))
    }
}

impl SqsClient {
    /// A client with credentials that were found.
    ///
    /// # Errors
    /// When there are none.
    pub(super) async fn open(access: Arc<Access>, memory: Arc<Mutex<Memory>>) -> Result<Self, Fault> {
        let session = identity::open(&access).await?;
        Ok(Self { access, session, refused: None, turn: 0, memory })
    }

    /// Looks for other credentials where AWS refused those that there are.
    async fn renew(&mut self, now: Instant) -> Result<(), Fault> {
        let Some((since, fault)) = &self.refused else { return Ok(()) };
        if now.duration_since(*since) < REFUSED_FOR {
            return Err(fault.clone());
        }
        match identity::open(&self.access).await {
            Ok(session) => (self.session, self.refused) = (session, None),
            Err(fault) => {
                self.refused = Some((now, fault.clone()));
                return Err(fault);
            }
        }
        Ok(())
    }

    /// The queues of a plan, if we may ask for them.
    fn may_ask<'a>(&self, plan: &'a Arc<dyn Plan>, now: Instant) -> Result<&'a Queues, Fault> {
        let queues = (plan.as_ref() as &dyn Any)
            .downcast_ref::<Queues>()
            .ok_or_else(|| Fault::Unexpected("the queue is none of SQS".to_owned()))?;
        if let Some(fault) = lock(&self.memory).throttled(queues, now) {
            return Err(fault);
        }
        queues.queues.iter().try_for_each(|queue| self.is_ours(queue))?;
        Ok(queues)
    }

    /// Whether the connection may be used for this queue. Tenants are let in by the names of queues, and the
    /// account in a URL is the user's to write: a name must not open the queue of that name in every account.
    fn is_ours(&self, queue: &Queue) -> Result<(), Fault> {
        let Some(place) = &queue.place else { return Ok(()) };
        let Access { region, url, accounts, .. } = &*self.access;
        if let Some(other) = place.region.as_ref().filter(|other| *other != region && url.is_none()) {
            return Err(Fault::Unexpected(format!(
                "the URL of `{}` is of the region {other}: name a connection to that region",
                queue.name
            )));
        }
        let account = &place.account;
        let known = if accounts.is_empty() { self.session.account.as_slice() } else { accounts };
        if known.contains(account) {
            return Ok(());
        }
        let why = if known.is_empty() {
            "the credentials do not tell which account is theirs".to_owned()
        } else {
            format!("the connection is for {}", known.join(", "))
        };
        Err(Fault::Denied(format!(
            "the URL of `{}` is of the account {account}, and {why}: name the queue without its URL, or add the \
             account to the connection's `accounts`",
            queue.name
        )))
    }

    /// The account of a queue, if that is known. One that is named without any is of the account of whoever asks.
    fn account_of<'a>(&'a self, queue: &'a Queue) -> Option<&'a str> {
        let named = queue.place.as_ref().map(|place| &place.account);
        let own = named.or(self.session.account.as_ref());
        // Credentials that do not tell are taken for those of the one account that the connection is for.
        let only = self.access.accounts.first().filter(|_| self.access.accounts.len() == 1);
        own.or(only).map(String::as_str)
    }

    /// What a call names a queue by: its whole URL where that is known, otherwise the name, which AWS takes too.
    fn url_of(&self, queue: &Queue, account: Option<&str>) -> String {
        match (&queue.place, self.access.origin(), account) {
            (None, Some(origin), Some(account)) => format!("{origin}/{account}/{}", queue.name),
            (Some(_), ..) | (None, ..) => queue.url(),
        }
    }

    /// Asks for each of `queues`, and gives up on those that have not been answered by `until`.
    async fn ask(&mut self, queues: BTreeSet<Queue>, until: Instant) -> Answers {
        let queues = in_turn(queues, self.turn);
        let mut answers: Answers = queues.iter().map(|queue| (queue.clone(), Err(Fault::Late))).collect();
        let mut answered = 0;
        let this = &*self;
        let calls = queues.into_iter().map(|queue| async move {
            let account = this.account_of(&queue);
            let place = Place { name: &queue.name, region: &this.access.region, account };
            let counts = call::count(&this.session.client, this.url_of(&queue, account), &place).await;
            (queue, counts)
        });
        let mut calls = Box::pin(stream::iter(calls).buffer_unordered(AT_A_TIME));
        while let Ok(Some((queue, counts))) = timeout_at(until, calls.next()).await {
            answers.insert(queue, counts);
            answered += 1;
        }
        drop(calls);
        self.turn = if answered < answers.len() { self.turn.wrapping_add(answered) } else { 0 };
        // A connection on which others are answered is not lost.
        if answers.values().any(Result::is_ok) {
            for (queue, answer) in &mut answers {
                if matches!(answer, Err(Fault::Late)) {
                    let message = format!("there was no answer in time about `{}`", queue.name);
                    *answer = Err(Fault::Unexpected(message));
                }
            }
        }
        answers
    }
}

/// The queues, beginning with the one whose turn it is: those that a batch had no time for come first in the next.
fn in_turn(queues: BTreeSet<Queue>, turn: usize) -> Vec<Queue> {
    let mut queues: Vec<Queue> = queues.into_iter().collect();
    let first = turn.checked_rem(queues.len()).unwrap_or_default();
    queues.rotate_left(first);
    queues
}

/// What the answers say of one plan.
fn take(memory: &mut Memory, queues: &Queues, answers: &Answers, now: Instant) -> Result<Reading, Fault> {
    let counts: Result<Vec<Counts>, Fault> = queues
        .queues
        .iter()
        .map(|queue| {
            answers.get(queue).cloned().unwrap_or_else(|| Err(Fault::nonsense(&queue.name, "any attribute")))
        })
        .collect();
    match counts {
        Ok(counts) => Ok(memory.take(queues, &counts, now)),
        Err(fault) => {
            memory.fail(queues, &fault, now);
            Err(fault)
        }
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_batch_had_no_time_for_comes_first_in_the_next() {
        let names = |turn| {
            let queue = |name: &str| Queue { name: name.to_owned(), place: None };
            let queues = in_turn(["a", "b", "c"].map(queue).into(), turn);
            queues.into_iter().map(|queue| queue.name).collect::<String>()
        };
        assert_eq!([0, 1, 2, 3, 7].map(names), ["abc", "bca", "cab", "abc", "bca"]);
        assert!(in_turn(BTreeSet::new(), 5).is_empty());
    }
}
