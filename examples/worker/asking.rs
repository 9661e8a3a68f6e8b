//! One request to the model until it has its answer: its waits, its tries, and the scope of a refusal.

use std::time::Duration;

use agent_scaler::engine::limit::{Block, LimitSeen, Why};
use agent_scaler::engine::minutes::Used;
use tokio::time::{Instant, sleep};

use crate::admission::Admission;
use crate::agent::{Agent, Outcome, Run, dollars};
use crate::breaker::Pass;
use crate::conversation::Call;
use crate::limiter::Concerns;
use crate::model::{Failure, Refused, Reply};
use crate::pause;
use crate::wire::Answer;

/// Tries of one request that fails, or is refused, while the provider answers others.
const TRIES: u32 = 8;

/// Failures of one request that may be the endpoint's fault while others are under way.
const OWN_FAULT: u32 = 2;

/// Longest waits after a refusal without a limiter. A block may end earlier than the provider said, and the
/// protocol has a budget tried again every five minutes.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
const LONGEST_WAIT_FOR_A_BUDGET: Duration = Duration::from_secs(300);

/// Longest random addition to a wait, so that requests that were refused together do not start again together.
const SPREAD: Duration = Duration::from_secs(5);

/// One request, over all its tries.
struct Request {
    /// Its name among the requests of its scope.
    name: String,
    /// Tries that failed, or were refused, while the provider answered others.
    tries: u32,
    refusals: u32,
    /// Refusals that are not counted yet, because they may concern this request alone. They are counted if it passes.
    uncounted: u64,
}

impl Agent {
    /// Asks the model until it answers.
    pub(crate) async fn ask(&self, run: &mut Run<'_>) -> Result<(String, Vec<Call>, Used), Outcome> {
        let estimate = self.expected.of(&run.conversation);
        let most = Used { output_tokens: self.model.answer_tokens(), ..estimate };
        // The name is the same in another attempt and at another worker.
        let name = format!("{}/{}", run.running.hold.id, run.conversation.steps);
        let mut request = Request { name, tries: 0, refusals: 0, uncounted: 0 };
        loop {
            self.in_time(run)?;
            // An outage of the provider counts as waiting, as a rate limit does, so it does not lower the use
            // per busy slot.
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
                    self.books.refused(request.uncounted);
                    self.answered(run, used, &seen, took);
                    admission.answered(used).await;
                    if is_cut {
                        // A cut result is not a result, and a cut call could do something else.
                        let most = self.model.answer_tokens();
                        return Err(Outcome::Failed(format!("an answer is longer than {most} tokens")));
                    }
                    return Ok((text, calls, used));
                }
                Reply::Refused(refused) => {
                    // The provider answered, so the breaker stays closed.
                    pass.succeeded();
                    self.metrics.request("rate_limited", took);
                    self.refused(run, &mut request, refused, admission).await?;
                }
                Reply::Failed(failure) => {
                    self.metrics.request("error", took);
                    self.failed(run, &mut request, failure, pass, admission).await?;
                }
                Reply::Wrong(reason) => {
                    pass.succeeded();
                    self.metrics.request("error", took);
                    admission.refused().await;
                    return Err(Outcome::Failed(format!("the model refuses the request: {reason}")));
                }
            }
        }
    }

    fn throttled(&self, run: &mut Run<'_>, time: Duration) {
        run.throttled += time;
        self.metrics.throttled(time);
    }

    /// Waits because of a limit.
    async fn waits(&self, run: &mut Run<'_>, time: Duration) {
        let waiting = self.books.waits();
        sleep(time).await;
        drop(waiting);
        self.throttled(run, time);
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

    /// The provider refused because of a limit.
    async fn refused(
        &self,
        run: &mut Run<'_>,
        request: &mut Request,
        refused: Refused,
        admission: Admission,
    ) -> Result<(), Outcome> {
        request.refusals += 1;
        let Refused { seen, why, wait, others_go_on, reason } = refused;
        let task = &run.running.hold.id;
        if others_go_on {
            admission.refused().await;
            let wait = wait.unwrap_or_else(|| pause::after(request.refusals));
            tracing::warn!(%task, why = why.label(), reason, "A request was refused for a budget of its own.");
            self.waits(run, spread(wait.min(longest(why)))).await;
            return Ok(());
        }
        let now = self.clock.now();
        let concerns = match &self.limiter {
            Some(limiter) if why == Why::Rate => {
                limiter.concerns(&request.name, &seen, &admission, now).await
            }
            // Nobody paces this worker: a pause that grows keeps it from coming back too soon again and again.
            None if why == Why::Rate => {
                Concerns::All(now + wait.unwrap_or_default().max(pause::after(request.refusals)))
            }
            _ => Concerns::All(now + wait.unwrap_or_else(|| pause::after(request.refusals))),
        };
        match concerns {
            Concerns::Alone => {
                // Counted only if it passes after all: then it was the rate.
                request.uncounted += 1;
                request.tries += 1;
                admission.refused().await;
                if request.tries >= TRIES {
                    let reason = format!("the provider refuses this request and answers others: {reason}");
                    return Err(Outcome::Retry(reason));
                }
                tracing::warn!(%task, reason, tries = request.tries, "A request is refused, and others are not.");
                let wait = wait.unwrap_or_default().max(pause::after(request.tries));
                self.waits(run, wait.min(LONGEST_WAIT)).await;
            }
            Concerns::First(until) => {
                request.uncounted += 1;
                admission.refused().await;
                let until = seen.blocked.map_or(until, |block| block.until.max(until));
                self.waits(run, until.since(now)).await;
            }
            Concerns::All(until) => {
                let until = match (seen.blocked, why) {
                    // The provider's bucket fills up during the limiter's pause, which is at most a few seconds
                    // long.
                    (Some(block), Why::Rate) => block.until.max(until),
                    (Some(block), Why::Spend | Why::Quota | Why::Overload) => block.until,
                    (None, _) => until,
                };
                self.books.refused(1 + std::mem::take(&mut request.uncounted));
                self.blocked(run, request, seen, Block { until, why }, admission).await;
            }
        }
        Ok(())
    }

    /// All workers of the limit pause until a block ends, and not longer.
    async fn blocked(
        &self,
        run: &mut Run<'_>,
        request: &Request,
        seen: LimitSeen,
        block: Block,
        admission: Admission,
    ) {
        let left = block.until.since(self.clock.now());
        tracing::warn!(
            why = block.why.label(),
            seconds = left.as_secs_f64(),
            "The provider refused a request."
        );
        let is_told = self.reports.limits(&LimitSeen { blocked: Some(block), ..seen }).await;
        // Only after the block is written: the free place would let another request start at once.
        admission.refused().await;
        match &self.limiter {
            // Other requests go first. If they get answers, the refusal concerns this request alone.
            Some(limiter) if is_told && block.why == Why::Rate => {
                self.waits(run, left.min(LONGEST_WAIT) + limiter.step_back(request.refusals)).await;
            }
            Some(_) if is_told => {}
            _ => self.waits(run, spread(left.min(longest(block.why)))).await,
        }
    }

    /// The endpoint gave no answer.
    async fn failed(
        &self,
        run: &Run<'_>,
        request: &mut Request,
        failure: Failure,
        pass: Pass,
        admission: Admission,
    ) -> Result<(), Outcome> {
        let Failure { reason, seen, wait, is_told } = failure;
        // Failures that opened the breaker, or happened while it was open, are the endpoint's and not the request's.
        request.tries += u32::from(self.breaker.is_closed());
        // Repeated failures of one request do not show a fault of the endpoint while others are under way.
        if is_told && request.tries > OWN_FAULT && self.books.is_calling() {
            drop(pass);
        } else {
            pass.failed();
        }
        if seen.blocked.is_some() {
            self.reports.limits(&seen).await;
        }
        if is_told {
            admission.refused().await;
        } else {
            drop(admission);
        }
        let tries = request.tries;
        if tries >= TRIES {
            return Err(Outcome::Retry(format!("the model does not answer: {reason}")));
        }
        tracing::warn!(task = %run.running.hold.id, reason, tries, "A request to the model failed.");
        let _waiting = self.books.waits();
        sleep(pause::after(tries).max(spread(wait.unwrap_or_default().min(LONGEST_WAIT)))).await;
        Ok(())
    }
}

/// The longest wait for one reason.
const fn longest(why: Why) -> Duration {
    match why {
        Why::Rate | Why::Overload => LONGEST_WAIT,
        Why::Spend | Why::Quota => LONGEST_WAIT_FOR_A_BUDGET,
    }
}

/// The wait and a random addition of up to a tenth, at most `SPREAD`.
fn spread(wait: Duration) -> Duration {
    wait + (wait / 10).min(SPREAD).mul_f64(fastrand::f64())
}
