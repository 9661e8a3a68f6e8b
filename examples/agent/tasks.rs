//! The pages of tasks: put one in, ask for its status, fetch its result.

use std::sync::Arc;
use std::time::Duration;

use agent_scaler::timestamp::Timestamp;
use axum::Json;
use axum::body::Body;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Serialize;

use crate::api::Api;
use crate::pressure::{Pressure, Reason};
use crate::problem::Problem;
use crate::random;
use crate::request::Wanted;
use crate::store::{Enqueued, NewTask, Record};
use crate::task::{Status, Task};

/// When a caller should ask again for a result that is not there yet. Tasks take half a minute and more.
const ASK_AGAIN: HeaderValue = HeaderValue::from_static("5");

/// What `POST /tasks` answers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted<'a> {
    id: &'a str,
    status: Status,
    status_url: String,
}

/// What `GET /tasks/{id}` answers.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Shown<'a> {
    id: &'a str,
    status: Status,
    /// How often a worker has begun with it.
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u64>,
    /// Steps that are done.
    #[serde(skip_serializing_if = "Option::is_none")]
    steps: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    enqueued_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended_at: Option<String>,
    /// Until it was taken; of a task that waits for the first time, until the present.
    #[serde(skip_serializing_if = "Option::is_none")]
    queue_wait_seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a str>,
    status_url: String,
    result_url: String,
}

/// What `GET /tasks/{id}/result` answers when there is one.
#[derive(Serialize)]
struct Finished<'a> {
    id: &'a str,
    status: Status,
    result: &'a str,
}

pub(crate) async fn put_in(State(api): State<Arc<Api>>, request: Request<Body>) -> Result<Response, Problem> {
    let Wanted { prompt, key } = Wanted::read(request, api.settings.max_body).await?;
    let fingerprint = random::fingerprint(&prompt);
    let task = Task { id: random::id(), prompt, enqueued_ms: api.now().as_millis() };
    let new = NewTask { task: &task, key: key.as_deref(), fingerprint: &fingerprint };
    let pressure = api.pressure();
    let enqueued = match &pressure {
        None => api.store.enqueue(&new).await,
        // A repetition is no new task, and is answered whatever the pressure.
        Some(_) if new.key.is_some() => api.store.find(&new).await,
        Some(_) => Ok(Enqueued::Refused),
    };
    let enqueued = enqueued.map_err(|fault| {
        api.metrics.enqueue_error(fault.label());
        Api::without_redis(&fault)
    })?;
    match enqueued {
        Enqueued::New => {
            api.metrics.enqueued.inc();
            tracing::info!(task = task.id, "Task put in.");
            Ok(accepted(&task.id, Status::Queued))
        }
        Enqueued::Known { fingerprint: other, .. } if other != fingerprint => {
            let detail = "the Idempotency-Key belongs to a task with another prompt";
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, detail))
        }
        Enqueued::Known { id, status, .. } => {
            let mut response = accepted(&id, status);
            response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
            Ok(response)
        }
        Enqueued::Full => Err(refused(&api, api.full())),
        Enqueued::Refused => Err(refused(&api, pressure.unwrap_or_else(|| api.full()))),
    }
}

fn accepted(id: &str, status: Status) -> Response {
    let status_url = status_url(id);
    let location = HeaderValue::from_str(&status_url).ok();
    let mut response = (StatusCode::ACCEPTED, Json(Accepted { id, status, status_url })).into_response();
    response.headers_mut().extend(location.map(|location| (header::LOCATION, location)));
    response
}

fn refused(api: &Api, pressure: Pressure) -> Problem {
    let Pressure { reason, retry_after } = pressure;
    api.metrics.rejected(reason.label());
    let detail = match reason {
        Reason::Blocked => "the model's provider refuses all requests at present",
        Reason::Saturated => "the limit of the model's provider is used up, and tasks wait for it",
        Reason::Backlog => "too many tasks wait",
    };
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).reason(reason.label()).retry_after(retry_after)
}

pub(crate) async fn status(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = id(path)?;
    let record = api.store.record(&id).await;
    let record = record.map_err(|fault| Api::without_redis(&fault))?.ok_or_else(|| unknown(&id))?;
    Ok(Json(shown(&id, &record, api.now())).into_response())
}

pub(crate) async fn result(
    State(api): State<Arc<Api>>,
    path: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let id = id(path)?;
    let record = api.store.record_with_result(&id).await;
    let record = record.map_err(|fault| Api::without_redis(&fault))?.ok_or_else(|| unknown(&id))?;
    match record.status {
        Status::Queued | Status::Running => {
            let page = Json(shown(&id, &record, api.now()));
            Ok((StatusCode::ACCEPTED, [(header::RETRY_AFTER, ASK_AGAIN)], page).into_response())
        }
        Status::Done => {
            let Some(result) = &record.result else {
                let detail = "the task is done, but its record has no result";
                return Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail));
            };
            Ok(Json(Finished { id: &id, status: record.status, result }).into_response())
        }
        Status::Failed => {
            let why = record.error.as_deref().unwrap_or("no reason is known");
            Err(Problem::new(StatusCode::GONE, format!("the task failed: {why}")).reason("failed"))
        }
    }
}

fn shown<'a>(id: &'a str, record: &'a Record, now: Timestamp) -> Shown<'a> {
    let Record { status, attempts, steps, enqueued, started, ended, error, result: _ } = record;
    let taken = match status {
        Status::Queued => started.or(Some(now)),
        Status::Running | Status::Done | Status::Failed => *started,
    };
    let wait = taken.zip(*enqueued).map(|(taken, enqueued)| taken.since(enqueued));
    let status_url = status_url(id);
    Shown {
        id,
        status: *status,
        attempts: *attempts,
        steps: *steps,
        enqueued_at: enqueued.map(|at| at.to_string()),
        started_at: started.map(|at| at.to_string()),
        ended_at: ended.map(|at| at.to_string()),
        queue_wait_seconds: wait.as_ref().map(Duration::as_secs_f64),
        error: error.as_deref(),
        result_url: format!("{status_url}/result"),
        status_url,
    }
}

fn status_url(id: &str) -> String {
    format!("/tasks/{id}")
}

fn unknown(id: &str) -> Problem {
    Problem::not_found(format!("there is no task {id}, or it ended more than a week ago"))
}

/// The id in a path. What cannot be one is not looked up; ids of others who put tasks in are let through.
fn id(path: Result<Path<String>, PathRejection>) -> Result<String, Problem> {
    const LONGEST: usize = 128;
    let sound = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    path.ok()
        .map(|Path(id)| id)
        .filter(|id| !id.is_empty() && id.len() <= LONGEST && id.bytes().all(sound))
        .ok_or_else(|| Problem::not_found("there is no such task"))
}
