//! A small HTTP server that says what a test tells it, and keeps what it was asked: for faults, and for
//! services that no emulator has.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

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
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
    pub(crate) body: String,
}

/// What it does then.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// Answers with this status and body.
    Say(u16, String),
    /// Answers with more than a status and a body.
    With(Said),
    /// Never answers.
    Hang,
}

/// An answer in full.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: String,
    /// How long it thinks before.
    pub(crate) after: Duration,
}

impl Said {
    pub(crate) fn new(status: u16, body: impl Into<String>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), after: Duration::ZERO }
    }

    /// The answer of a Prometheus whose query has this result.
    pub(crate) fn number(number: &str) -> Self {
        let data = format!(r#"{{"resultType":"scalar","result":[1800000000,"{number}"]}}"#);
        let said = Self::new(200, format!(r#"{{"status":"success","data":{data}}}"#));
        Self { headers: vec![("date", "Fri, 15 Jan 2027 08:00:00 GMT".to_owned())], ..said }
    }
}

impl From<Said> for Answer {
    fn from(said: Said) -> Self {
        Self::With(said)
    }
}

/// A server on a port of its own. Ends with its handle.
pub(crate) struct Answerer {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    under_way: Arc<UnderWay>,
    _task: JoinSet<()>,
}

/// Requests under way: now, and at most.
#[derive(Debug, Default)]
struct UnderWay {
    now: AtomicUsize,
    most: AtomicUsize,
}

impl Asked {
    /// A header; empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(|value| value.to_str().unwrap()).unwrap_or_default()
    }
}

impl Answerer {
    /// Starts to answer.
    pub(crate) async fn start<A: Into<Answer>>(answer: impl Fn(&Asked) -> A + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (kept, answer) = (Arc::clone(&asked), Arc::new(answer));
        let under_way = Arc::<UnderWay>::default();
        let counted = Arc::clone(&under_way);
        let handle = move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| {
            let body = String::from_utf8(body.to_vec()).unwrap();
            let question = Asked { method, path: uri.path().to_owned(), uri, headers, body };
            kept.lock().unwrap().push(question.clone());
            let (counted, answer) = (Arc::clone(&counted), answer(&question).into());
            async move {
                let now = counted.now.fetch_add(1, Ordering::SeqCst) + 1;
                counted.most.fetch_max(now, Ordering::SeqCst);
                let response = respond(answer, question).await;
                counted.now.fetch_sub(1, Ordering::SeqCst);
                response
            }
        };
        let mut task = JoinSet::new();
        task.spawn(async move { axum::serve(listener, Router::new().fallback(handle)).await.unwrap() });
        Self { port, asked, under_way, _task: task }
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

    /// Most requests that were under way at a time.
    pub(crate) fn most_at_a_time(&self) -> usize {
        self.under_way.most.load(Ordering::SeqCst)
    }

    /// How often it was asked since the last call of [`Self::asked`].
    pub(crate) fn count(&self) -> usize {
        self.asked.lock().unwrap().len()
    }
}

async fn respond(answer: Answer, question: Asked) -> Response {
    match answer {
        Answer::Hang => std::future::pending().await,
        Answer::With(Said { status, headers, body, after }) => {
            tokio::time::sleep(after).await;
            let mut response = (StatusCode::from_u16(status).unwrap(), body).into_response();
            for (name, value) in headers {
                response.headers_mut().insert(name, value.parse().unwrap());
            }
            response
        }
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
