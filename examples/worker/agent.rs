//! The agent loop: the model is asked, calls tools, is asked again, until there is a result or a bound is reached.
//! Every step is kept in the task's record, so that another worker can go on from there.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_scaler::engine::minutes::Used;
use tokio::time::{Instant, sleep};

use crate::books::Books;
use crate::breaker::Breaker;
use crate::clock::RedisClock;
use crate::conversation::{Call, Conversation, Next};
use crate::desk::Running;
use crate::limiter::Limiter;
use crate::metrics::Metrics;
use crate::model::Model;
use crate::pause;
use crate::queue::Queue;
use crate::reports::Reports;
use crate::settings::Caps;
use crate::tools::{self, TOOLS, Tools};

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
pub(crate) struct Run<'a> {
    pub(crate) running: &'a Running,
    pub(crate) conversation: Conversation,
    /// What earlier runs took.
    before: (u64, u64),
    started: Instant,
    /// The part of this run in which a request waited because of the limit.
    pub(crate) throttled: Duration,
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

    pub(crate) fn in_time(&self, run: &Run<'_>) -> Result<(), Outcome> {
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
    pub(crate) fn left(&self, run: &Run<'_>) -> Duration {
        self.caps.time.saturating_sub(run.ran().saturating_sub(run.throttled()))
    }
}

impl Expected {
    pub(crate) fn new(answer_tokens: u64) -> Self {
        // Until the first answer: as much as most answers are shorter than.
        Self(Mutex::new((0.0, decimal(answer_tokens).min(500.0))))
    }

    pub(crate) fn of(&self, conversation: &Conversation) -> Used {
        let (input, output) = self.0.lock().map(|expected| *expected).unwrap_or_default();
        let input = if conversation.last_input_tokens.is_none() { whole(input) } else { 0 };
        Used { requests: 1, input_tokens: conversation.estimate().max(input), output_tokens: whole(output) }
    }

    /// An answer came: `used` for a request to which this conversation led.
    pub(crate) fn learn(&self, conversation: &Conversation, used: Used) {
        if let Ok(mut expected) = self.0.lock() {
            let (input, output) = &mut *expected;
            if conversation.last_input_tokens.is_none() {
                *input += NEWEST * (decimal(used.input_tokens) - *input);
            }
            *output += NEWEST * (decimal(used.output_tokens) - *output);
        }
    }
}

pub(crate) fn dollars((input, output): (f64, f64), input_tokens: u64, output_tokens: u64) -> f64 {
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
