//! An HTTP server that says what a test tells it, and remembers what it was asked.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use axum::response::Response;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// What one request was.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) uri: Uri,
    pub(crate) headers: HeaderMap,
}

/// What the server says to a request.
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

type Answer = dyn Fn(&Asked) -> Said + Send + Sync;

/// A server on a port of its own. Ends with its handle.
pub(crate) struct Web {
    pub(crate) port: u16,
    state: Arc<Scene>,
    _tasks: JoinSet<()>,
}

struct Scene {
    answer: Box<Answer>,
    asked: Mutex<Vec<Asked>>,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

impl Web {
    pub(crate) async fn start(answer: impl Fn(&Asked) -> Said + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Scene {
            answer: Box::new(answer),
            asked: Mutex::default(),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let router = axum::Router::new().fallback(handle).with_state(Arc::clone(&state));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { port, state, _tasks: tasks }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Everything that it was asked since the last call.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.state.asked.lock().unwrap())
    }

    /// Most requests that were under way at a time.
    pub(crate) fn most_at_a_time(&self) -> usize {
        self.state.most.load(Ordering::SeqCst)
    }
}

async fn handle(State(scene): State<Arc<Scene>>, request: Request) -> Response {
    let asked = Asked { uri: request.uri().clone(), headers: request.headers().clone() };
    scene.most.fetch_max(scene.under_way.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    let Said { status, headers, body, after } = (scene.answer)(&asked);
    scene.asked.lock().unwrap().push(asked);
    tokio::time::sleep(after).await;
    scene.under_way.fetch_sub(1, Ordering::SeqCst);
    let mut response = Response::builder().status(StatusCode::from_u16(status).unwrap());
    for (name, value) in headers {
        response = response.header(name, value);
    }
    response.body(Body::from(body)).unwrap()
}
