//! HTTP with bounds: a body is read up to its bound and no further.

use std::time::Duration;

use reqwest::header::HeaderMap;

/// Time to a connection, within the time of the request.
const CONNECT: Duration = Duration::from_secs(10);

/// What came back.
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
    /// Whether the body ends where its bound is, and not where it ended.
    pub(crate) is_cut: bool,
}

/// One client for all endpoints: it keeps their connections.
pub(crate) fn client() -> reqwest::Result<reqwest::Client> {
    // A redirect would carry the API key to wherever it points.
    reqwest::Client::builder().connect_timeout(CONNECT).redirect(reqwest::redirect::Policy::none()).build()
}

/// Sends a request and reads at most `most` bytes of its answer.
pub(crate) async fn send(request: reqwest::RequestBuilder, most: usize) -> reqwest::Result<Reply> {
    let mut response = request.send().await?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let mut body = Vec::new();
    let mut is_cut = false;
    while let Some(chunk) = response.chunk().await? {
        let room = most - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if chunk.len() > room {
            is_cut = true;
            break;
        }
    }
    let body = String::from_utf8(body)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    Ok(Reply { status, headers, body, is_cut })
}
