//! The calls of one batch: one for each queue, some at a time.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::call;
use super::counts::{Answer, Counts};
use super::endpoint::Access;
use super::fault::{Fault, Place};
use super::identity::{self, Session};
use super::memory::Memory;
use super::queue::{Queue, Queues};
use crate::engine::signals::Reading;
use crate::sources::round::Round;
use crate::sources::{Client, Plan, ReadError, Sighting};

/// Most calls at a time: a thousand queues take a second at 30 ms a call, and three at the 100 ms of another continent.
const AT_A_TIME: usize = 32;

/// Longest time for all calls of a batch, however long the tick is: credentials and counts are as of one moment.
const ALL_WITHIN: Duration = Duration::from_millis(3_500);

/// How long credentials that AWS refused are not looked for anew, however often queues are read for waking.
const REFUSED_FOR: Duration = Duration::from_secs(4);

/// A client of SQS in one region.
pub(super) struct SqsClient {
    access: Arc<Access>,
    session: Session,
    /// Since when AWS has refused the credentials, and with what words: a later read looks for others.
    refused: Option<(Instant, Fault)>,
    round: Round,
    memory: Arc<Mutex<Memory>>,
}

/// What the calls of one batch said.
type Answers = BTreeMap<Queue, Result<Answer, Fault>>;

#[async_trait]
impl Client for SqsClient {
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        let address = self.access.address();
        let now = Instant::now();
        if let Err(fault) = self.renew(now).await {
            return vec![Err(fault.at(&address)); plans.len()];
        }
        let asked: Vec<Result<&Queues, Fault>> = plans.iter().map(|plan| self.may_ask(plan, now)).collect();
        // In the order of the plans, which is fair to those whom they are of.
        let mut known = BTreeSet::new();
        let named = asked.iter().flatten().flat_map(|queues| &queues.queues);
        let queues: Vec<Queue> = named.filter(|queue| known.insert(*queue)).cloned().collect();
        let answers = self.ask(queues).await;
        let refusal =
            answers.values().find_map(|answer| answer.as_ref().err().filter(|fault| fault.is_refusal()));
        self.refused = refusal.map(|fault| (now, fault.clone()));
        let mut memory = lock(&self.memory);
        memory.forget(now);
        let readings = asked.into_iter().map(|queues| take(&mut memory, queues?, &answers, now));
        readings.map(|reading| reading.map(Sighting::from).map_err(|fault| fault.at(&address))).collect()
    }

    fn answer_by(&mut self, deadline: Instant) {
        self.round.answer_by(deadline);
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
        // A call keeps its place until it is answered: AWS answers for all queues alike.
        let round = Round::new(AT_A_TIME, AT_A_TIME).no_longer_than(ALL_WITHIN);
        Ok(Self { access, session, refused: None, round, memory })
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
        if let Some(why) = self.access.refuses(queue) {
            return Err(Fault::Unexpected(why));
        }
        let accounts = &self.access.accounts;
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
        match (&queue.place, account) {
            (None, Some(account)) => format!("{}/{account}/{}", self.access.origin(), queue.name),
            (Some(_), _) | (None, None) => queue.url(),
        }
    }

    /// Asks for each of `queues`, and gives up on those that have not been answered in time.
    async fn ask(&mut self, queues: Vec<Queue>) -> Answers {
        let calls: BTreeMap<Queue, (Option<String>, String)> = queues
            .iter()
            .map(|queue| {
                let account = self.account_of(queue);
                (queue.clone(), (account.map(str::to_owned), self.url_of(queue, account)))
            })
            .collect();
        let Self { access, session, round, .. } = self;
        let (access, session, calls) = (&*access, &*session, &calls);
        let answered = round.ask(queues, |queue| async move {
            let Some((account, url)) = calls.get(&queue) else { return Err(Fault::Late) };
            let place = Place { name: &queue.name, region: &access.region, account: account.as_deref() };
            call::count(&session.client, url.clone(), &place).await
        });
        let answered = answered.await;
        let mut answers: Answers =
            answered.into_iter().map(|(queue, counts)| (queue, counts.unwrap_or(Err(Fault::Late)))).collect();
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

/// What the answers say of one plan.
fn take(memory: &mut Memory, queues: &Queues, answers: &Answers, now: Instant) -> Result<Reading, Fault> {
    let answers: Result<Vec<Answer>, Fault> = queues
        .queues
        .iter()
        .map(|queue| {
            answers.get(queue).cloned().unwrap_or_else(|| Err(Fault::nonsense(&queue.name, "any attribute")))
        })
        .collect();
    match answers {
        Ok(answers) => {
            let counts: Vec<Counts> = answers.iter().map(|answer| answer.counts).collect();
            Ok(Answer::known(&answers, memory.take(queues, &counts, now)))
        }
        Err(fault) => {
            memory.fail(queues, &fault, now);
            Err(fault)
        }
    }
}

fn lock(memory: &Mutex<Memory>) -> MutexGuard<'_, Memory> {
    memory.lock().unwrap_or_else(PoisonError::into_inner)
}
