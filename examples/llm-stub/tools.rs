//! The tool server that the scripts' tool calls are for.

use std::time::Duration;

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;

/// Longest time that a tool may take.
const LONGEST: f64 = 3_600.0;

/// Arguments of `lookup`, as the stub's answers give them.
#[derive(Debug, Deserialize)]
pub(crate) struct Lookup {
    query: String,
    /// How long it is to take.
    #[serde(default)]
    seconds: f64,
}

/// `POST /tools/lookup`: takes its time, and answers with a text.
pub(crate) async fn lookup(Json(Lookup { query, seconds }): Json<Lookup>) -> Response {
    if !(0.0..=LONGEST).contains(&seconds) {
        return (StatusCode::BAD_REQUEST, "seconds: must be from 0 to 3600").into_response();
    }
    tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    Json(json!({ "query": query, "result": format!("What is known of {query}.") })).into_response()
}
