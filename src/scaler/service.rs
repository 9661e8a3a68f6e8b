//! KEDA's five RPCs, answered from the board. A handler never reads a backend and never moves a memory.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, stream};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;
use tonic::{Code, Request, Response, Status};

use crate::clock::Clock;
use crate::config::server::{Connection, Server};
use crate::config::tenants::Tenants;
use crate::config::trigger::{self, Trigger};
use crate::engine::decision::{Answer, Unknown};
use crate::engine::policy::Policy;
use crate::engine::signals::Cause;
use crate::scaler::board::{Board, Evaluation, OpenStream, Purpose, Watched};
use crate::scaler::convert;
use crate::scaler::proto::external_scaler_server::ExternalScaler;
use crate::scaler::proto::{
    GetMetricSpecResponse, GetMetricsRequest, GetMetricsResponse, IsActiveResponse, ScaledObjectRef,
};
use crate::scaler::refusals::Refusals;
use crate::telemetry::metrics::Metrics;

/// How long the first calls for a new trigger wait for its first evaluation. A read takes milliseconds, and
/// KEDA sets no deadline of its own, so a call must end by itself.
const FIRST_ANSWER: Duration = Duration::from_millis(500);

/// How long the value of a ScaledJob waits for a reading that began after the question: at most 1 s between two
/// such reads, and 1 s for a slow answer. KEDA asks again at its next poll.
const NEW_READING: Duration = Duration::from_secs(2);

/// Age at which a stream ends with OK, give or take a fifth: only a clean end resets KEDA's back-off, and
/// streams that all end at once would all come back at once.
const STREAM_AGE: Duration = Duration::from_secs(30 * 60);

/// The service that KEDA calls.
pub(super) struct Service {
    pub(super) server: Arc<Server>,
    pub(super) board: Arc<Board>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Metrics,
    pub(super) shutdown: CancellationToken,
    pub(super) calls: TaskTracker,
    pub(super) refusals: Refusals,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl ExternalScaler for Service {
    async fn is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<IsActiveResponse>, Status> {
        self.counted("IsActive", async {
            let watched = self.watch(&request.into_inner(), Purpose::Answer)?;
            convert::activity(&self.answer(&watched).await?, || watched.trigger.to_show_running())
        })
        .await
    }

    type StreamIsActiveStream = Answers<IsActiveResponse>;

    async fn stream_is_active(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamIsActiveStream>, Status> {
        self.counted("StreamIsActive", async {
            let watched = self.watch(&request.into_inner(), Purpose::Answer)?;
            self.activations(watched)
        })
        .await
    }

    async fn get_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<GetMetricSpecResponse>, Status> {
        self.counted("GetMetricSpec", async {
            drop(self.begin(&request.into_inner())?);
            Ok(convert::metric_spec())
        })
        .await
    }

    async fn get_metrics(
        &self,
        request: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        self.counted("GetMetrics", async {
            let GetMetricsRequest { scaled_object_ref, metric_name } = request.into_inner();
            let watched = self.watch(&scaled_object_ref.unwrap_or_default(), Purpose::Answer)?;
            if !metric_name.eq_ignore_ascii_case(convert::METRIC) {
                return Err(convert::unknown_metric(&metric_name));
            }
            convert::metrics(&self.value(&watched).await?, || watched.trigger.to_show_running())
        })
        .await
    }

    type StreamMetricSpecStream = Answers<GetMetricSpecResponse>;

    async fn stream_metric_spec(
        &self,
        request: Request<ScaledObjectRef>,
    ) -> Result<Response<Self::StreamMetricSpecStream>, Status> {
        self.counted("StreamMetricSpec", async {
            let watched = self.begin(&request.into_inner())?;
            let open = self.board.open_spec(watched).map_err(convert::too_many_streams)?;
            // The spec never changes: it is sent once, and the stream stays open.
            let end = (self.end_of_stream(), open);
            let specs = stream::unfold((end, true), |(end, first)| async move {
                if !first {
                    end.0.reached().await;
                    return None;
                }
                Some((Ok(convert::metric_spec()), (end, false)))
            });
            Ok(Box::pin(specs) as Answers<_>)
        })
        .await
    }
}

impl Service {
    /// Begins to watch a trigger, if it can be.
    ///
    /// The next call says what is wrong with it. KEDA only logs an error of `GetMetricSpec`, and asks for nothing
    /// else then; an error of `GetMetrics` becomes an event of the ScaledObject, where its author looks.
    fn begin(&self, object: &ScaledObjectRef) -> Result<Option<Arc<Watched>>, Status> {
        if self.shutdown.is_cancelled() {
            return Err(convert::shutting_down());
        }
        Ok(self.watch(object, Purpose::Spec).ok())
    }

    /// The trigger of a call. Only a call that says something new is parsed.
    fn watch(&self, object: &ScaledObjectRef, purpose: Purpose) -> Result<Arc<Watched>, Status> {
        if self.shutdown.is_cancelled() {
            return Err(convert::shutting_down());
        }
        let ScaledObjectRef { name, namespace, scaler_metadata } = object;
        let now = self.clock.now();
        let request = self.board.request(namespace, name, scaler_metadata);
        if let Some(watched) = self.board.known(namespace, name, request, purpose, now) {
            return Ok(watched);
        }
        let trigger = self.parse(object)?;
        self.board.watch(trigger, request, purpose, now).map_err(|full| {
            self.refusals.log(namespace, "*", &full);
            convert::full(full)
        })
    }

    fn parse(&self, object: &ScaledObjectRef) -> Result<Trigger, Status> {
        let ScaledObjectRef { name, namespace, scaler_metadata } = object;
        trigger::parse(&self.server, namespace, name, scaler_metadata).map_err(|refusal| {
            self.refusals.log(namespace, name, &refusal);
            convert::refusal(&refusal)
        })
    }

    /// The evaluation that a value comes from.
    ///
    /// KEDA subtracts the running Jobs from the value of a ScaledJob, and counts them when it has the value. A
    /// task that ends between the reading and that count gets a second Job. So a value that could start Jobs
    /// comes from a reading that began after the question, and without such a reading the call fails.
    async fn value(&self, watched: &Arc<Watched>) -> Result<Answer, Status> {
        let asked = Instant::now();
        let answer = self.answer(watched).await?;
        let may_start = matches!(answer, Answer::Fresh(size) if size.active);
        if watched.trigger.policy.workload.is_held() || !may_start {
            return Ok(answer);
        }
        match timeout(NEW_READING, self.board.ask(watched, asked)).await {
            Ok(Some(last)) => Ok(self.answer_of(&last, watched)),
            Ok(None) | Err(_) => Err(convert::not_read_since()),
        }
    }

    fn answer_of(&self, last: &Evaluation, watched: &Watched) -> Answer {
        let answer = last.decision.answer_at(&watched.trigger.policy, self.clock.now());
        self.without_address(answer, &watched.trigger.connection)
    }

    /// The answer of the last evaluation; waits for the first one, while the trigger is new.
    async fn answer(&self, watched: &Watched) -> Result<Answer, Status> {
        if let Some(last) = watched.evaluation() {
            return Ok(self.answer_of(&last, watched));
        }
        let wait = FIRST_ANSWER.saturating_sub(self.clock.now().since(watched.since));
        match timeout(wait, watched.evaluated()).await {
            Ok(Some(first)) => Ok(self.answer_of(&first, watched)),
            Ok(None) | Err(_) => Err(convert::not_yet()),
        }
    }

    /// Where there are tenants, they learn the name of their connection and not where it leads: the log says that.
    fn without_address(&self, answer: Answer, connection: &Connection) -> Answer {
        let Tenants::Closed(_) = &self.server.tenants else { return answer };
        let name = format!("`{}`", connection.name);
        let named =
            |cause: Cause| Cause::new(cause.to_string().replace(&connection.endpoint.address(), &name));
        match answer {
            Answer::Unknown(Unknown::NeverRead(cause)) => Answer::Unknown(Unknown::NeverRead(named(cause))),
            Answer::Unknown(Unknown::Lost { read_at, cause }) => {
                Answer::Unknown(Unknown::Lost { read_at, cause: cause.map(named) })
            }
            Answer::Fresh(_) | Answer::Held(_) | Answer::Unknown(Unknown::UnseenTasks { .. }) => answer,
        }
    }

    /// The state once it is known, then every change from inactive to active. Failed reads are no change.
    fn activations(&self, watched: Arc<Watched>) -> Result<Answers<IsActiveResponse>, Status> {
        let state = Activations {
            policy: watched.trigger.policy,
            stream: self.board.open_stream(watched).map_err(convert::too_many_streams)?,
            clock: Arc::clone(&self.clock),
            told: None,
        };
        Ok(Box::pin(stream::unfold((state, self.end_of_stream()), |(mut state, end)| async move {
            let active = tokio::select! {
                () = end.reached() => return None,
                active = state.next() => active?,
            };
            Some((Ok(IsActiveResponse { result: active }), (state, end)))
        })))
    }

    fn end_of_stream(&self) -> EndOfStream {
        let age = STREAM_AGE.mul_f64(0.8 + 0.4 * fastrand::f64());
        let at = Instant::now() + age;
        EndOfStream { at, shutdown: self.shutdown.clone(), _call: self.calls.token() }
    }

    async fn counted<T>(
        &self,
        method: &'static str,
        work: impl Future<Output = Result<T, Status>>,
    ) -> Result<Response<T>, Status> {
        let _call = self.calls.token();
        let started = Instant::now();
        let result = work.await;
        let code = result.as_ref().map_or_else(Status::code, |_| Code::Ok);
        self.metrics.request(method, convert::code_name(code), started.elapsed());
        result.map(Response::new)
    }
}

/// When a stream ends by itself.
struct EndOfStream {
    at: Instant,
    shutdown: CancellationToken,
    _call: TaskTrackerToken,
}

impl EndOfStream {
    async fn reached(&self) {
        tokio::select! {
            () = sleep_until(self.at) => {}
            () = self.shutdown.cancelled() => {}
        }
    }
}

/// An open `StreamIsActive`.
struct Activations {
    stream: OpenStream,
    policy: Policy,
    clock: Arc<dyn Clock>,
    /// The state that the other side knows of; `None` before the first message.
    told: Option<bool>,
}

impl Activations {
    /// The next state to tell; `None` when the trigger is watched no more.
    async fn next(&mut self) -> Option<bool> {
        loop {
            let last = self.stream.next().await?;
            let known = match last.decision.answer_at(&self.policy, self.clock.now()) {
                Answer::Fresh(size) => Some(size.active),
                Answer::Held(size) => size.active.then_some(true),
                Answer::Unknown(_) => None,
            };
            let tell = match (self.told, known) {
                (None, Some(active)) => Some(active),
                (Some(false), Some(true)) => Some(true),
                (None | Some(_), _) => None,
            };
            self.told = known.or(self.told);
            if tell.is_some() {
                return tell;
            }
        }
    }
}
