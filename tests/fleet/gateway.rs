//! A gateway between workers and the provider that writes down every call: a ledger that does not pass through Redis.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::{IntoResponse as _, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// One call of the model.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// The task that it is about.
    pub(crate) task: String,
    /// Which step of the task, from 1.
    pub(crate) step: usize,
    /// The worker that made it.
    pub(crate) worker: String,
    /// When it was answered with a success; `None` for a failure, and where nobody waited for the answer.
    pub(crate) answered: Option<Instant>,
}

/// A running gateway.
pub(crate) struct Gateway {
    /// Where it is.
    pub(crate) url: String,
    calls: Arc<Mutex<Vec<Call>>>,
}

#[derive(Clone)]
struct Desk {
    provider: String,
    client: reqwest::Client,
    calls: Arc<Mutex<Vec<Call>>>,
}

impl Gateway {
    /// Starts one in front of `provider`.
    pub(crate) async fn start(provider: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let calls = Arc::default();
        let desk =
            Desk { provider: provider.to_owned(), client: reqwest::Client::new(), calls: Arc::clone(&calls) };
        tokio::spawn(
            async move { axum::serve(listener, Router::new().fallback(pass).with_state(desk)).await },
        );
        Self { url, calls }
    }

    /// Every call so far, in the order in which they came.
    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn pass(State(desk): State<Desk>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let header =
        |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let number = {
        let (task, step) = asked(&body);
        let mut calls = desk.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.push(Call { task, step, worker: header("x-agent"), answered: None });
        calls.len() - 1
    };
    let request = desk
        .client
        .post(format!("{}{}", desk.provider, uri.path()))
        .header("authorization", header("authorization"))
        .header("x-agent", header("x-agent"))
        .header("content-type", "application/json")
        .body(body);
    let Ok(answer) = request.send().await else { return StatusCode::BAD_GATEWAY.into_response() };
    let status = StatusCode::from_u16(answer.status().as_u16()).unwrap();
    let Ok(text) = answer.text().await else { return StatusCode::BAD_GATEWAY.into_response() };
    if status.is_success() {
        desk.calls.lock().unwrap_or_else(PoisonError::into_inner)[number].answered = Some(Instant::now());
    }
    (status, [("content-type", "application/json")], text).into_response()
}

/// The task and the step of a conversation: its first message names the task, and every result of a tool is a step.
fn asked(body: &[u8]) -> (String, usize) {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    let messages = body["messages"].as_array().cloned().unwrap_or_default();
    let text = body.to_string();
    let task = text.split_once("task=").map_or("", |(_, rest)| rest);
    let task = task.split(' ').next().unwrap_or_default().to_owned();
    (task, 1 + messages.iter().filter(|message| message["role"] == "tool").count())
}
