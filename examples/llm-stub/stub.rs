//! The provider as a whole: who calls, whether it is admitted, how long it takes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use agent_scaler::clock::{Clock, SystemClock};
use agent_scaler::timestamp::Timestamp;
use axum::response::Response;
use tokio::time::Instant;

use crate::account::{Account, Limits, Need, Refused, Shown};
use crate::conditions::{Command, Conditions, Down};
use crate::counts::{Counts, Tally};
use crate::script::Turn;
use crate::settings::Settings;

/// All accounts, and what they have in common.
pub(crate) struct Stub {
    pub(crate) settings: Settings,
    limits: Limits,
    clock: SystemClock,
    started: Instant,
    state: Mutex<State>,
}

struct State {
    accounts: BTreeMap<String, Account>,
    /// Conditions of accounts that have not called yet.
    future: Conditions,
    dice: fastrand::Rng,
    calls: u64,
}

/// Who calls.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The API key.
    pub(crate) account: String,
    /// The worker's name.
    pub(crate) agent: Option<String>,
}

/// What becomes of a call.
pub(crate) enum Verdict {
    Admitted(Running),
    Refused(Refused),
    Down(Down),
}

/// An admitted call. If it is dropped before its end, the client has gone away.
pub(crate) struct Running {
    stub: Arc<Stub>,
    caller: Caller,
    need: Need,
    settled: bool,
    /// A number of its own, for ids.
    pub(crate) number: u64,
    /// Until the first token.
    pub(crate) first: Duration,
    /// From the first token to the last.
    pub(crate) rest: Duration,
}

impl Stub {
    /// Runs the commands of its settings.
    ///
    /// # Errors
    /// When one of them names a recorded answer that is not there.
    pub(crate) fn new(settings: Settings) -> Result<Arc<Self>, String> {
        let limits = Limits {
            amounts: settings.amounts(),
            concurrency: settings.concurrency,
            burst: settings.burst,
            minute: settings.minute,
        };
        let mut future = Conditions::default();
        for command in settings.commands.iter().filter(|command| command.account.is_none()) {
            future.begin(command, Duration::ZERO);
        }
        let state = State {
            accounts: BTreeMap::new(),
            future,
            dice: fastrand::Rng::with_seed(settings.seed),
            calls: 0,
        };
        let stub = Self {
            limits,
            clock: SystemClock::start(),
            started: Instant::now(),
            state: Mutex::new(state),
            settings,
        };
        for command in &stub.settings.commands {
            stub.has_answers(command)?;
            if command.account.is_some() {
                stub.obey(command);
            }
        }
        Ok(Arc::new(stub))
    }

    /// Admits a call or not, and counts it.
    pub(crate) fn admit(self: &Arc<Self>, caller: &Caller, turn: &Turn) -> Verdict {
        let (now, minute) = (self.now(), self.minute());
        let mut guard = self.lock();
        let State { accounts, future, dice, calls } = &mut *guard;
        let account = self.account(accounts, future, &caller.account, now);
        account.advance(now);
        let agent = caller.agent.as_deref();
        if let Some(outage) = account.conditions.outage().filter(|outage| dice.f64() < outage.part) {
            account.counts.count(minute, agent, |tally| tally.failed += 1);
            account.counts.because(outage.answer.label());
            return Verdict::Down(outage.answer);
        }
        let need = turn.need;
        if let Err(refused) = account.admit(need, now) {
            account.counts.count(minute, agent, |tally| tally.refused += 1);
            account.counts.because(refused.label());
            return Verdict::Refused(refused);
        }
        account.counts.count(minute, agent, |tally| {
            tally.admitted += 1;
            tally.input_tokens += need.input_tokens;
        });
        *calls += 1;
        let (first, rest) = self.latency(turn, account.conditions.slow_down(), dice);
        let (stub, caller, number) = (self.clone(), caller.clone(), *calls);
        Verdict::Admitted(Running { stub, caller, need, settled: false, number, first, rest })
    }

    /// What headers say of an account.
    pub(crate) fn shown(&self, account: &str) -> (Vec<Shown>, Timestamp) {
        let now = self.now();
        let mut guard = self.lock();
        let State { accounts, future, .. } = &mut *guard;
        (self.account(accounts, future, account, now).shown(now), self.clock.now())
    }

    /// The recorded answer to a request, if it gets one. It is counted, and takes nothing from the buckets.
    pub(crate) fn replayed(&self, caller: &Caller, request: &str) -> Option<Response> {
        let recorded = self.settings.answers.as_ref()?;
        let now = self.now();
        let mut guard = self.lock();
        let State { accounts, future, .. } = &mut *guard;
        let account = self.account(accounts, future, &caller.account, now);
        account.advance(now);
        let replay = account.conditions.replay()?;
        let (name, answer) = recorded.to(&replay, request)?;
        *account.counts.replayed.entry(name.to_owned()).or_default() += 1;
        Some(answer.response(replay.reset(self.clock.now())))
    }

    /// Obeys a command.
    ///
    /// # Errors
    /// When it names a recorded answer that is not there.
    pub(crate) fn try_obey(&self, command: &Command) -> Result<(), String> {
        self.has_answers(command)?;
        self.obey(command);
        Ok(())
    }

    fn has_answers(&self, command: &Command) -> Result<(), String> {
        let Some(replay) = &command.replay else { return Ok(()) };
        let recorded = self.settings.answers.clone().unwrap_or_default();
        recorded.has(replay)
    }

    fn obey(&self, command: &Command) {
        let now = self.now();
        let mut guard = self.lock();
        let State { accounts, future, .. } = &mut *guard;
        if let Some(name) = &command.account {
            self.account(accounts, future, name, now).obey(command, now);
        } else {
            future.end(now);
            future.begin(command, now);
            accounts.values_mut().for_each(|account| account.obey(command, now));
        }
    }

    /// What every account did.
    pub(crate) fn counts(&self) -> BTreeMap<String, Counts> {
        let guard = self.lock();
        guard.accounts.iter().map(|(name, account)| (name.clone(), account.counts.clone())).collect()
    }

    fn account<'a>(
        &self,
        accounts: &'a mut BTreeMap<String, Account>,
        future: &mut Conditions,
        name: &str,
        now: Duration,
    ) -> &'a mut Account {
        future.end(now);
        accounts.entry(name.to_owned()).or_insert_with(|| Account::new(&self.limits, future.clone(), now))
    }

    /// Until the first token, and from there to the last.
    fn latency(&self, turn: &Turn, slow_down: f64, dice: &mut fastrand::Rng) -> (Duration, Duration) {
        let Settings { first_token, tokens_per_second, jitter, .. } = &self.settings;
        if let Some(think) = turn.think {
            let first = think.min(*first_token);
            return (first.mul_f64(slow_down), (think - first).mul_f64(slow_down));
        }
        #[expect(clippy::cast_precision_loss, reason = "tokens are far below 2^53")]
        let generating = Duration::from_secs_f64(turn.need.output_tokens as f64 / tokens_per_second);
        let factor = slow_down * (1.0 + jitter * (2.0 * dice.f64() - 1.0));
        (first_token.mul_f64(factor), generating.mul_f64(factor))
    }

    /// Time since the start.
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Number of the present minute since the Unix epoch.
    fn minute(&self) -> u64 {
        let length = u64::try_from(self.settings.minute.as_millis()).unwrap_or(u64::MAX).max(1);
        self.clock.now().as_millis() / length
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends a call that came to its end.
    fn finish(&self, caller: &Caller, need: Need) {
        let (now, minute) = (self.now(), self.minute());
        let mut guard = self.lock();
        let Some(account) = guard.accounts.get_mut(&caller.account) else { return };
        account.finish(need, now);
        let count = |tally: &mut Tally| tally.output_tokens += need.output_tokens;
        account.counts.count(minute, caller.agent.as_deref(), count);
    }

    /// Ends a call whose client has gone away.
    fn abandon(&self, caller: &Caller, need: Need) {
        let now = self.now();
        if let Some(account) = self.lock().accounts.get_mut(&caller.account) {
            account.abandon(need, now);
        }
    }
}

impl Running {
    /// Ends it well.
    pub(crate) fn finish(mut self) {
        self.settled = true;
        self.stub.finish(&self.caller, self.need);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.settled {
            self.stub.abandon(&self.caller, self.need);
        }
    }
}
