//! A stand-in for an LLM provider: OpenAI's and Anthropic's API, true token buckets, each provider's own
//! headers, and bad times by command. What it counts is the truth that tests compare with.

mod account;
mod bucket;
mod chat;
mod conditions;
mod counts;
mod endpoint;
mod errors;
mod headers;
mod messages;
mod recorded;
mod script;
mod settings;
mod stub;
mod tools;

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser as _;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::chat::Chat;
use crate::conditions::Command;
use crate::messages::Messages;
use crate::settings::Settings;
use crate::stub::Stub;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let settings = Settings::parse();
    let listener = TcpListener::bind(settings.listen).await?;
    let mut terminate = signal(SignalKind::terminate())?;
    announce(&listener)?;
    let app = routes(Stub::new(settings).map_err(std::io::Error::other)?);
    tokio::select! {
        served = axum::serve(listener, app) => served,
        // As the first process of a container it must ask for the signal, or it would not get it.
        _ = terminate.recv() => Ok(()),
        interrupted = tokio::signal::ctrl_c() => interrupted,
    }
}

fn routes(stub: Arc<Stub>) -> Router {
    Router::new()
        .route("/v1/chat/completions", post(chat))
        // Where Groq and Azure have it.
        .route("/openai/v1/chat/completions", post(chat))
        .route("/openai/deployments/{deployment}/chat/completions", post(chat))
        .route("/v1/messages", post(messages))
        .route("/tools/lookup", post(tools::lookup))
        .route("/control", post(control))
        .route("/counts", get(counts))
        .route("/livez", get(|| async { "ok" }))
        // The path of other providers.
        .fallback(elsewhere)
        .with_state(stub)
}

async fn chat(State(stub): State<Arc<Stub>>, headers: HeaderMap, body: Bytes) -> Response {
    endpoint::answer::<Chat>(&stub, &headers, &body).await
}

async fn elsewhere(
    State(stub): State<Arc<Stub>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if method == Method::POST && uri.path().ends_with("/chat/completions") {
        return endpoint::answer::<Chat>(&stub, &headers, &body).await;
    }
    StatusCode::NOT_FOUND.into_response()
}

async fn messages(State(stub): State<Arc<Stub>>, headers: HeaderMap, body: Bytes) -> Response {
    endpoint::answer::<Messages>(&stub, &headers, &body).await
}

async fn control(State(stub): State<Arc<Stub>>, body: String) -> Response {
    match Command::read(&body).and_then(|command| stub.try_obey(&command)) {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(message) => (StatusCode::BAD_REQUEST, message).into_response(),
    }
}

async fn counts(State(stub): State<Arc<Stub>>) -> Response {
    Json(serde_json::json!({ "accounts": stub.counts() })).into_response()
}

#[expect(clippy::print_stdout, reason = "who starts it waits for this line")]
fn announce(listener: &TcpListener) -> std::io::Result<()> {
    println!("listening on http://{}", listener.local_addr()?);
    Ok(())
}
