//! A small HTTP server that says what a test tells it, and keeps what it was asked: for faults, and for
//! services that no emulator has.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderMap, Method, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What it was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// What it does then.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Answers with this status and body.
    Say(u16, String),
    /// Never answers.
    Hang,
}

/// A server on a port of its own. Ends with its handle.
pub(crate) struct Answerer {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    _task: JoinSet<()>,
}

impl Asked {
    /// A header; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl Answerer {
    /// Starts to answer.
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&asked), Arc::new(answer));
        let handle = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let body = String::from_utf8(body.to_vec()).unwrap();
            let question = Asked { method, path: uri.path().to_owned(), headers, body };
            kept.lock().unwrap().push(question.clone());
            respond(answer(&question), question)
        };
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, Router::new().fallback(handle)).await.unwrap() });
        Self { port, asked, _task: task }
    }

    /// The port that it listens on.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Where it listens.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything that it was asked since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.asked.lock().unwrap())
    }

    /// How often it was asked since the last call of [`Self::asked`].
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

async fn respond(answer: Answer, question: Asked) -> Response {
    match answer {
        Answer::Hang => std::future::pending().await,
        Answer::Say(status, body) => {
            let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
            // IMDSv2 tells with the same header how long its token holds.
            const LIFE: &str = "x-aws-ec2-metadata-token-ttl-seconds";
            if let Some(life) = question.headers.get(LIFE) {
                response.headers_mut().insert(LIFE, life.clone());
            }
            response
        }
    }
}
