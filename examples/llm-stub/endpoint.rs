//! What both APIs have in common: who calls, admission, latency, headers, streams.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use serde_json::Value;

use crate::account::Refused;
use crate::conditions::Down;
use crate::script::{Conversation, Turn};
use crate::settings::Style;
use crate::stub::{Caller, Running, Stub, Verdict};
use crate::{errors, headers};

/// Most pieces of a streamed answer.
const PIECES: usize = 20;

/// One of the two APIs: how it writes questions and answers.
pub(crate) trait Api: Sized + Send {
    /// Whose headers and errors it sends if nobody says otherwise.
    const STYLE: Style;

    /// Reads a question; the error is for people.
    fn read(headers: &HeaderMap, body: &Value) -> Result<Asked<Self>, String>;

    /// An answer in one piece.
    fn whole(&self, number: u64, turn: &Turn) -> Value;

    /// The events of a streamed answer: those before the pieces of its content, those, and those after.
    fn events(&self, number: u64, turn: &Turn) -> [Vec<String>; 3];
}

/// A question.
pub(crate) struct Asked<A> {
    pub(crate) conversation: Conversation,
    pub(crate) model: String,
    /// The worker's name, where the API has a field for it.
    pub(crate) user: Option<String>,
    pub(crate) stream: bool,
    /// What only the API needs to know.
    pub(crate) api: A,
}

/// Answers one call.
pub(crate) async fn answer<A: Api>(stub: &Arc<Stub>, headers: &HeaderMap, body: &Bytes) -> Response {
    if let Some(response) = stub.replayed(&caller(headers, None), &String::from_utf8_lossy(body)) {
        return response;
    }
    let style = stub.settings.provider_headers.unwrap_or(A::STYLE);
    // Without anybody's headers, errors are still those of the API.
    let words = if style == Style::None { A::STYLE } else { style };
    let value = serde_json::from_slice(body).map_err(|error| error.to_string());
    let asked = match value.and_then(|value| A::read(headers, &value)) {
        Ok(asked) => asked,
        Err(message) => {
            return (StatusCode::BAD_REQUEST, Json(errors::invalid(words, &message))).into_response();
        }
    };
    let turn = asked.conversation.turn();
    let caller = caller(headers, asked.user);
    match stub.admit(&caller, &turn) {
        Verdict::Admitted(running) => {
            let mut response = if asked.stream {
                streamed(running, &asked.api, &turn).await
            } else {
                whole(running, &asked.api, &turn).await
            };
            let (shown, now) = stub.shown(&caller.account);
            let tokens = turn.need.input_tokens + turn.need.output_tokens;
            add(&mut response, headers::rate_limits(style, &shown, tokens, now));
            response
        }
        Verdict::Refused(refused) => refuse(stub, &caller, style, words, &asked.model, &refused),
        Verdict::Down(down) => fail(words, down),
    }
}

async fn whole<A: Api>(running: Running, api: &A, turn: &Turn) -> Response {
    tokio::time::sleep(running.first + running.rest).await;
    let answer = api.whole(running.number, turn);
    running.finish();
    Json(answer).into_response()
}

/// The answer's head comes with the first token.
async fn streamed<A: Api>(running: Running, api: &A, turn: &Turn) -> Response {
    tokio::time::sleep(running.first).await;
    let [before, pieces, after] = api.events(running.number, turn);
    let pause = running.rest / u32::try_from(pieces.len().max(1)).unwrap_or(u32::MAX);
    let paused = pieces.into_iter().map(move |piece| (pause, piece));
    let at_once = |events: Vec<String>| events.into_iter().map(|event| (Duration::ZERO, event));
    let events: Vec<_> = at_once(before).chain(paused).chain(at_once(after)).collect();
    let state = (events.into_iter(), Some(running));
    let events = stream::unfold(state, |(mut events, mut running)| async move {
        let (pause, event) = events.next()?;
        tokio::time::sleep(pause).await;
        // It is over before the client can know, so that counts are right when it asks for them. One that
        // goes away drops the stream, and the call with it.
        if events.len() == 0
            && let Some(running) = running.take()
        {
            running.finish();
        }
        Some((Ok::<_, std::convert::Infallible>(event), (events, running)))
    });
    let body = Body::from_stream(events);
    ([("content-type", "text/event-stream"), ("cache-control", "no-cache")], body).into_response()
}

fn refuse(
    stub: &Stub,
    caller: &Caller,
    style: Style,
    words: Style,
    model: &str,
    refused: &Refused,
) -> Response {
    let body = errors::refused(words, model, refused);
    let mut response = (StatusCode::TOO_MANY_REQUESTS, Json(body)).into_response();
    let (shown, now) = stub.shown(&caller.account);
    add(&mut response, headers::rate_limits(style, &shown, 0, now));
    let wait = match refused {
        Refused::Rate { wait, .. } => *wait,
        Refused::Concurrency { .. } => Some(Duration::from_secs(1)),
        // Budgets say nothing of when there will be a new one.
        Refused::Budget(_) => None,
    };
    add(&mut response, headers::retry_after(style, wait));
    response
}

fn fail(words: Style, down: Down) -> Response {
    let Some((status, body)) = errors::down(words, down) else {
        // A body that fails at once takes the connection with it, before the head is written.
        let failed = stream::once(async { Err::<Bytes, _>(std::io::Error::other("reset by command")) });
        return Body::from_stream(failed).into_response();
    };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::SERVICE_UNAVAILABLE);
    (status, Json(body)).into_response()
}

fn caller(headers: &HeaderMap, user: Option<String>) -> Caller {
    let text = |name: &str| headers.get(name)?.to_str().ok();
    let bearer = text("authorization").and_then(|value| value.strip_prefix("Bearer "));
    let key = text("x-api-key").or_else(|| text("api-key")).or(bearer);
    Caller {
        account: key.unwrap_or("anonymous").to_owned(),
        agent: text("x-agent").map(str::to_owned).or(user),
    }
}

fn add(response: &mut Response, headers: Vec<(String, String)>) {
    for (name, value) in headers {
        let (name, value) = (HeaderName::try_from(name), HeaderValue::try_from(value));
        if let (Ok(name), Ok(value)) = (name, value) {
            response.headers_mut().insert(name, value);
        }
    }
}

/// Cuts a text into pieces, as a stream sends it.
pub(crate) fn pieces(text: &str) -> Vec<String> {
    let words: Vec<_> = text.split_inclusive(' ').collect();
    words.chunks(words.len().div_ceil(PIECES).max(1)).map(<[&str]>::concat).collect()
}

/// Characters of all texts in a value.
pub(crate) fn characters(value: &Value) -> u64 {
    match value {
        Value::String(text) => u64::try_from(text.chars().count()).unwrap_or(u64::MAX),
        Value::Array(values) => values.iter().map(characters).sum(),
        Value::Object(fields) => fields.values().map(characters).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
    }
}

/// The text of a message's content: itself, or that of its parts.
pub(crate) fn text(content: &Value) -> String {
    let part = |part: &Value| Some(part.get("text")?.as_str()?.to_owned());
    match content {
        Value::String(text) => text.clone(),
        Value::Array(parts) => parts.iter().filter_map(part).collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => String::new(),
    }
}

/// The messages of a question, and its model.
pub(crate) fn messages(body: &Value) -> Result<(&Vec<Value>, String), String> {
    let model = body.get("model").and_then(Value::as_str).ok_or("model: is required")?;
    let messages = body.get("messages").and_then(Value::as_array).ok_or("messages: is required")?;
    if messages.is_empty() {
        return Err("messages: must not be empty".to_owned());
    }
    Ok((messages, model.to_owned()))
}
