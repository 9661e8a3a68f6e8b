//! What callers are told when they do not get what they asked for: JSON problems (RFC 9457).

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// One answer that is no success.
#[derive(Debug)]
pub(crate) struct Problem {
    status: StatusCode,
    detail: String,
    reason: Option<&'static str>,
    faults: Vec<Fault>,
    retry_after: Option<Duration>,
}

/// What is wrong with one field of a request.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    /// A key of the body, a header, or `body`.
    pub(crate) field: String,
    pub(crate) message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Body<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    errors: &'a [Fault],
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
}

impl Problem {
    pub(crate) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self { status, detail: detail.into(), reason: None, faults: Vec::new(), retry_after: None }
    }

    /// A request with these faults.
    pub(crate) fn invalid(faults: Vec<Fault>) -> Self {
        let detail = faults.iter().map(|Fault { field, message }| format!("{field}: {message}"));
        let detail = detail.collect::<Vec<_>>().join("; ");
        Self { faults, ..Self::new(StatusCode::BAD_REQUEST, detail) }
    }

    pub(crate) fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, detail)
    }

    /// The service cannot do its work at present.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        const RETRY_AFTER: Duration = Duration::from_secs(5);
        Self::new(StatusCode::SERVICE_UNAVAILABLE, detail).retry_after(RETRY_AFTER)
    }

    /// Adds the time after which another try is worth it, and up to a quarter of it, so that callers that were
    /// refused together do not come back together.
    pub(crate) fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait + wait.mul_f64(fastrand::f64() / 4.0));
        self
    }

    /// Adds a word for programs.
    pub(crate) fn reason(mut self, reason: &'static str) -> Self {
        self.reason = Some(reason);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let Self { status, detail, reason, faults, retry_after } = self;
        // In whole seconds, and never too early.
        let retry_after = retry_after.map(|wait| wait.as_secs() + u64::from(wait.subsec_nanos() > 0));
        let body = Body {
            title: status.canonical_reason().unwrap_or_default(),
            status: status.as_u16(),
            detail: &detail,
            reason,
            errors: &faults,
            retry_after_seconds: retry_after,
        };
        let kind = [(header::CONTENT_TYPE, "application/problem+json")];
        let mut response = (status, kind, serde_json::to_string(&body).unwrap_or_default()).into_response();
        if let Some(seconds) = retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
