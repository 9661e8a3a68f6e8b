//! What callers send: read whole, or refused with everything that is wrong with it.

use std::time::Duration;

use axum::body::{self, Body};
use axum::http::{HeaderMap, Request, StatusCode, header};
use serde_json::Value;
use tokio::time::timeout;

use crate::problem::{Fault, Problem};

/// How long a caller may take to send its body.
const SENDING: Duration = Duration::from_secs(10);

/// Longest idempotency key, in bytes.
const LONGEST_KEY: usize = 255;

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What `POST /tasks` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) prompt: String,
    /// The caller's name for this request, by which it may be repeated.
    pub(crate) key: Option<String>,
}

impl Wanted {
    /// Reads a request whose body has at most `most` bytes.
    ///
    /// # Errors
    /// 415, 413, 408, or 400 with every fault.
    pub(crate) async fn read(request: Request<Body>, most: usize) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if !is_json(&parts.headers) {
            let detail = "the content type must be application/json";
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
        let body = timeout(SENDING, body::to_bytes(body, most)).await.map_err(|_| {
            let detail = format!("the body did not arrive within {} s", SENDING.as_secs());
            Problem::new(StatusCode::REQUEST_TIMEOUT, detail)
        })?;
        // Too long, or cut off by the caller, who then does not read this.
        let body = body.map_err(|_| {
            let detail = format!("the body is larger than {most} bytes");
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail)
        })?;
        Self::parse(&parts.headers, &body).map_err(Problem::invalid)
    }

    fn parse(headers: &HeaderMap, body: &[u8]) -> Result<Self, Vec<Fault>> {
        let mut faults = Vec::new();
        let key = keep(key(headers), "Idempotency-Key", &mut faults);
        let prompt = prompt(body, &mut faults);
        match (key, prompt) {
            (Some(key), Some(prompt)) if faults.is_empty() => Ok(Self { prompt, key }),
            _ => Err(faults),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let kind = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    kind.is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"))
}

fn keep<T>(read: Result<T, &str>, field: &str, faults: &mut Vec<Fault>) -> Option<T> {
    read.map_err(|message| faults.push(Fault { field: field.to_owned(), message: message.to_owned() })).ok()
}

fn key(headers: &HeaderMap) -> Result<Option<String>, &'static str> {
    let mut keys = headers.get_all(IDEMPOTENCY_KEY).iter();
    let Some(key) = keys.next() else { return Ok(None) };
    if keys.next().is_some() {
        return Err("is given twice");
    }
    let visible = key.as_bytes().iter().all(u8::is_ascii_graphic);
    if key.is_empty() || LONGEST_KEY < key.len() || !visible {
        return Err("must be 1 to 255 visible ASCII characters");
    }
    Ok(key.to_str().ok().map(str::to_owned))
}

fn prompt(body: &[u8], faults: &mut Vec<Fault>) -> Option<String> {
    let mut fault = |field: &str, message: String| faults.push(Fault { field: field.to_owned(), message });
    let fields = match serde_json::from_slice(body) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) => {
            fault("body", "must be a JSON object".to_owned());
            return None;
        }
        // The place, and not the text, which may be a prompt.
        Err(error) => {
            let message = format!("is no JSON (line {}, column {})", error.line(), error.column());
            fault("body", message);
            return None;
        }
    };
    let prompt = match fields.get("prompt") {
        Some(Value::String(prompt)) if !prompt.trim().is_empty() => Some(prompt.clone()),
        Some(Value::String(_)) => {
            fault("prompt", "must not be empty".to_owned());
            None
        }
        Some(_) => {
            fault("prompt", "must be a string".to_owned());
            None
        }
        None => {
            fault("prompt", "is required".to_owned());
            None
        }
    };
    for name in fields.keys().filter(|name| *name != "prompt") {
        fault(&shortened(name), "is unknown".to_owned());
    }
    prompt
}

/// At most 60 characters of a caller's text: enough to recognise it.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 60;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn one_error_names_each_bad_field() {
        for (key, body, faults) in [
            ("k", r#"{"prompt": 7, "Prompt": "x"}"#, &["prompt must be a string", "Prompt is unknown"][..]),
            (
                "",
                "[]",
                &["Idempotency-Key must be 1 to 255 visible ASCII characters", "body must be a JSON object"],
            ),
            (
                "a b",
                r#"{"prompt": " \n"}"#,
                &["Idempotency-Key must be 1 to 255 visible ASCII characters", "prompt must not be empty"],
            ),
            ("k", "{", &["body is no JSON (line 1, column 1)"]),
            ("k", "{}", &["prompt is required"]),
        ] {
            assert_eq!(parsed(key, body).unwrap_err(), faults, "{body}");
        }
    }

    #[test]
    fn a_sound_request_is_taken_as_it_is() {
        let wanted = Wanted { prompt: " say hello ".to_owned(), key: Some("order-7".to_owned()) };
        assert_eq!(parsed("order-7", r#"{"prompt": " say hello "}"#), Ok(wanted));
    }

    #[test]
    fn only_json_is_json() {
        for (kind, json) in [
            ("application/json", true),
            ("Application/JSON; charset=utf-8", true),
            ("text/plain", false),
            ("application/json5", false),
        ] {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(kind))]);
            assert_eq!(is_json(&headers), json, "{kind}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }

    fn parsed(key: &str, body: &str) -> Result<Wanted, Vec<String>> {
        let mut headers = HeaderMap::new();
        headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(key).unwrap());
        Wanted::parse(&headers, body.as_bytes()).map_err(|faults| {
            faults.into_iter().map(|fault| format!("{} {}", fault.field, fault.message)).collect()
        })
    }
}
