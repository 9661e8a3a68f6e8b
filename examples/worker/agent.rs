//! The agent loop: the model is asked, calls tools, is asked again, until there is a result or a bound is reached.
//! Every step is kept in the task's record, so that another worker can go on from there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_scaler::engine::limit::{Block, LimitSeen, Why};
use agent_scaler::engine::minutes::Used;
use tokio::time::{Instant, sleep};

use crate::books::Books;
use crate::breaker::Breaker;
use crate::clock::RedisClock;
use crate::conversation::{Call, Conversation, Next};
use crate::desk::Running;
use crate::limiter::{Admission, Limiter, jittered};
use crate::metrics::Metrics;
use crate::model::{Model, Reply};
use crate::pause;
use crate::queue::Queue;
use crate::reports::Reports;
use crate::settings::Caps;
use crate::tools::{self, TOOLS, Tools};
use crate::wire::Answer;

/// Tries of one request while the endpoint answers others.
const TRIES: u32 = 8;

/// Longest wait after a refusal where there is no limiter to wait in: a block may end earlier than it was said.
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Weight of the newest answer in the expected length of the next.
const NEWEST: f64 = 0.2;

/// What all tasks of a worker share.
pub(crate) struct Agent {
    pub(crate) queue: Arc<dyn Queue>,
    pub(crate) model: Model,
    pub(crate) tools: Tools,
    pub(crate) limiter: Option<Arc<Limiter>>,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) books: Arc<Books>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) reports: Arc<Reports>,
    pub(crate) clock: Arc<RedisClock>,
    pub(crate) caps: Caps,
    pub(crate) expected: Expected,
}

/// What a request uses, going by the last ones of this worker.
pub(crate) struct Expected(Mutex<(f64, f64)>);

/// What became of a task.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It has a result.
    Done(String),
    /// It failed, and would again.
    Failed(String),
    /// It failed, and may not another time.
    Retry(String),
    /// It belongs to somebody else.
    Lost,
}

/// What a task took until its end.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Effort {
    /// Time in slots.
    pub(crate) time: Duration,
    /// Answers of the model.
    pub(crate) steps: u32,
}

/// One run of a task.
struct Run<'a> {
    running: &'a Running,
    conversation: Conversation,
    /// What earlier runs took.
    before: (u64, u64),
    started: Instant,
    throttled: Duration,
}

impl Run<'_> {
    /// How long the task has been in slots.
    fn ran(&self) -> Duration {
        Duration::from_millis(self.before.0) + self.started.elapsed()
    }

    /// Part of it that a rate limit cost.
    fn throttled(&self) -> Duration {
        Duration::from_millis(self.before.1) + self.throttled
    }
}

impl Agent {
    /// Runs a task to its end; says what became of it and what it took.
    pub(crate) async fn run(&self, running: &Running, conversation: Conversation) -> (Outcome, Effort) {
        let before = (conversation.ran_ms, conversation.throttled_ms);
        let started = Instant::now();
        let mut run = Run { running, conversation, before, started, throttled: Duration::ZERO };
        let outcome = self.steps(&mut run).await.unwrap_or_else(|outcome| outcome);
        (outcome, Effort { time: run.ran(), steps: run.conversation.steps })
    }

    async fn steps(&self, run: &mut Run<'_>) -> Result<Outcome, Outcome> {
        loop {
            match run.conversation.next() {
                Next::Done(result) => return Ok(Outcome::Done(result.to_owned())),
                Next::Call(call) => {
                    let call = call.clone();
                    let text = self.call(run, &call).await?;
                    run.conversation.tool_said(call.id, text);
                }
                Next::Ask => {
                    self.within_caps(run)?;
                    let (text, calls, used) = self.ask(run).await?;
                    run.conversation.model_said(text, calls, used);
                    if let Next::Done(result) = run.conversation.next() {
                        return Ok(Outcome::Done(result.to_owned()));
                    }
                }
            }
            run.running.got_on(self.clock.now());
            self.keep(run).await?;
        }
    }

    /// Whether the task may go on.
    fn within_caps(&self, run: &mut Run<'_>) -> Result<(), Outcome> {
        let Caps { steps, tokens, cost, price, time: _, conversation: most } = &self.caps;
        self.in_time(run)?;
        let failed = |reason: String| Err(Outcome::Failed(reason));
        if run.conversation.steps >= *steps {
            return failed(format!("no result after {steps} steps"));
        }
        let Conversation { input_tokens, output_tokens, .. } = run.conversation;
        let next = run.conversation.estimate();
        if input_tokens.saturating_add(output_tokens).saturating_add(next) > *tokens {
            return failed(format!("the next step would take it over {tokens} tokens"));
        }
        let dollars = dollars(*price, input_tokens.saturating_add(next), output_tokens);
        if cost.is_some_and(|most| dollars > most) {
            return failed(format!("the next step would take it over {} dollars", cost.unwrap_or_default()));
        }
        if !run.conversation.fit(*most) {
            return failed(format!("the conversation is longer than {most} bytes"));
        }
        Ok(())
    }

    fn in_time(&self, run: &Run<'_>) -> Result<(), Outcome> {
        let most = self.caps.time;
        if run.ran().saturating_sub(run.throttled()) < most {
            return Ok(());
        }
        Err(Outcome::Failed(format!("no result within {}", humantime::format_duration(most))))
    }

    /// Keeps the conversation in the record. While Redis is away it tries again, for as long as the lease lasts:
    /// whoever runs the task calls it off then.
    async fn keep(&self, run: &mut Run<'_>) -> Result<(), Outcome> {
        run.conversation.ran_ms = millis(run.ran());
        run.conversation.throttled_ms = millis(run.throttled());
        let (checkpoint, steps) = (run.conversation.checkpoint(), run.conversation.steps);
        loop {
            match self.queue.checkpoint(&run.running.hold, &checkpoint, steps).await {
                Ok(true) => return Ok(()),
                Ok(false) => return Err(Outcome::Lost),
                Err(error) => {
                    tracing::debug!(%error, "A checkpoint could not be written.");
                    sleep(pause::after(1)).await;
                }
            }
        }
    }

    /// Calls a tool.
    async fn call(&self, run: &Run<'_>, call: &Call) -> Result<String, Outcome> {
        let task = &run.running.hold.id;
        let called = tokio::time::timeout(self.left(run), self.tools.call(task, call)).await;
        let name = TOOLS.iter().find(|tool| tool.name == call.tool).map_or("unknown", |tool| tool.name);
        match called {
            Ok(Ok(tools::Answer::Found(text))) => {
                self.metrics.tool(name, "success");
                tracing::info!(task = %task, call = %call.id, tool = name, "Tool called.");
                Ok(text)
            }
            Ok(Ok(tools::Answer::Refused(reason))) => {
                self.metrics.tool(name, "refused");
                tracing::warn!(task = %task, call = %call.id, tool = name, reason, "A tool refused a call.");
                Ok(format!("error: {reason}"))
            }
            Ok(Err(reason)) => {
                self.metrics.tool(name, "error");
                Err(Outcome::Retry(reason))
            }
            Err(_) => {
                self.metrics.tool(name, "error");
                self.in_time(run).map(|()| "error: the tool took too long".to_owned())
            }
        }
    }

    /// What is left of the task's time.
    fn left(&self, run: &Run<'_>) -> Duration {
        self.caps.time.saturating_sub(run.ran().saturating_sub(run.throttled()))
    }

    /// Asks the model until it answers.
    async fn ask(&self, run: &mut Run<'_>) -> Result<(String, Vec<Call>, Used), Outcome> {
        let estimate = self.expected.of(&run.conversation);
        let most = Used { output_tokens: self.model.answer_tokens(), ..estimate };
        let (mut tries, mut refusals) = (0, 0);
        loop {
            self.in_time(run)?;
            // A provider that is out keeps the slot waiting as a rate limit does: what a slot uses while it gets on
            // is not less for that.
            let waiting = self.books.waits();
            let Ok(pass) = tokio::time::timeout(self.left(run), self.breaker.pass()).await else { continue };
            drop(waiting);
            let admission = match &self.limiter {
                Some(limiter) => limiter.admit(estimate, most).await,
                None => Admission::free(),
            };
            self.throttled(run, admission.waited);
            let asked = Instant::now();
            let calling = self.books.calls();
            let reply = self.model.ask(&run.conversation, &self.clock).await;
            drop(calling);
            let took = asked.elapsed();
            match reply {
                Reply::Answer { answer: Answer { text, calls, is_cut }, used, seen } => {
                    pass.succeeded();
                    self.answered(run, used, &seen, took);
                    admission.settle(used).await;
                    if is_cut {
                        // Half a result is none, and half a call would do something else.
                        let most = self.model.answer_tokens();
                        return Err(Outcome::Failed(format!("an answer is longer than {most} tokens")));
                    }
                    return Ok((text, calls, used));
                }
                Reply::Refused { seen, again } => {
                    // It answers, and it is right.
                    pass.succeeded();
                    self.metrics.request("rate_limited", took);
                    self.books.refused();
                    // It used nothing, but it was sent: without its place in the pace the next would follow at once.
                    admission.settle(Used { requests: 1, ..Used::default() }).await;
                    refusals += 1;
                    let waited = self.refused(seen, again, refusals).await;
                    self.throttled(run, waited);
                }
                Reply::Failed { reason, seen, is_admitted } => {
                    self.metrics.request("error", took);
                    if is_admitted {
                        self.books.admitted(Used { requests: 1, ..Used::default() });
                    }
                    // Failures that opened the breaker, or happened while it was open, are the endpoint's and not
                    // the request's.
                    tries += u32::from(self.breaker.is_closed());
                    pass.failed();
                    drop(admission);
                    if tries >= TRIES {
                        return Err(Outcome::Retry(format!("the model does not answer: {reason}")));
                    }
                    tracing::warn!(task = %run.running.hold.id, reason, tries, "A request to the model failed.");
                    if seen.blocked.is_some() {
                        self.reports.limits(&seen).await;
                    }
                    let _waiting = self.books.waits();
                    sleep(pause::after(tries)).await;
                }
                Reply::Wrong(reason) => {
                    pass.succeeded();
                    self.metrics.request("error", took);
                    self.books.admitted(Used { requests: 1, ..Used::default() });
                    return Err(Outcome::Failed(format!("the model refuses the request: {reason}")));
                }
            }
        }
    }

    fn throttled(&self, run: &mut Run<'_>, time: Duration) {
        run.throttled += time;
        self.metrics.throttled(time);
    }

    /// Counts an answer and passes on what it says of the limit.
    fn answered(&self, run: &Run<'_>, used: Used, seen: &LimitSeen, took: Duration) {
        self.metrics.request("success", took);
        self.metrics.used(used, dollars(self.caps.price, used.input_tokens, used.output_tokens));
        self.books.admitted(used);
        self.expected.learn(&run.conversation, used);
        if self.model.tells_use_by_others() {
            seen.headroom.iter().for_each(|(dimension, headroom)| self.books.left(*dimension, headroom));
        }
        self.reports.sample(seen);
    }

    /// The provider refused because of a limit: all workers of the limit pause, for as long as it asks for.
    /// Answers how long this one waited here, without a limiter to wait in.
    async fn refused(&self, seen: LimitSeen, again: bool, refusals: u32) -> Duration {
        let now = self.clock.now();
        let least = match &self.limiter {
            Some(limiter) => limiter.pause().await,
            None => pause::after(refusals),
        };
        let asked = seen.blocked.map_or(Duration::ZERO, |block| block.until.since(now));
        let asked = jittered(asked.max(least));
        let why = seen.blocked.map_or(if again { Why::Rate } else { Why::Quota }, |block| block.why);
        let block = Block { until: now + asked, why };
        tracing::warn!(why = why.label(), seconds = asked.as_secs_f64(), "The provider refused a request.");
        let is_told = self.reports.limits(&LimitSeen { blocked: Some(block), ..seen }).await;
        if is_told && self.limiter.is_some() {
            return Duration::ZERO;
        }
        let _waiting = self.books.waits();
        let wait = asked.min(LONGEST_WAIT);
        sleep(wait).await;
        wait
    }
}

impl Expected {
    pub(crate) fn new(answer_tokens: u64) -> Self {
        // Until the first answer: as much as most answers are shorter than.
        Self(Mutex::new((0.0, decimal(answer_tokens).min(500.0))))
    }

    fn of(&self, conversation: &Conversation) -> Used {
        let (input, output) = self.0.lock().map(|expected| *expected).unwrap_or_default();
        let input = if conversation.last_input_tokens.is_none() { whole(input) } else { 0 };
        Used { requests: 1, input_tokens: conversation.estimate().max(input), output_tokens: whole(output) }
    }

    /// An answer came: `used` for a request to which this conversation led.
    fn learn(&self, conversation: &Conversation, used: Used) {
        if let Ok(mut expected) = self.0.lock() {
            let (input, output) = &mut *expected;
            if conversation.last_input_tokens.is_none() {
                *input += NEWEST * (decimal(used.input_tokens) - *input);
            }
            *output += NEWEST * (decimal(used.output_tokens) - *output);
        }
    }
}

fn dollars((input, output): (f64, f64), input_tokens: u64, output_tokens: u64) -> f64 {
    input * decimal(input_tokens) + output * decimal(output_tokens)
}

#[expect(clippy::cast_precision_loss, reason = "tokens of a task are far below 2^52")]
fn decimal(tokens: u64) -> f64 {
    tokens as f64
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a mean of what was whole and positive"
)]
fn whole(tokens: f64) -> u64 {
    tokens.ceil() as u64
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
