//! A call: it has a time to arrive, and is charged for what it holds until it is answered and its answer taken.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper::body::{Body as _, Frame, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName};
use hyper::{Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, timeout};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;
use tower::ServiceExt;

use super::answer::Answer;
use super::connections::{Connection, Fresh, NoRoom};

/// Largest message of a request. KEDA's metadata is some hundred bytes; what is larger is a mistake or an attack.
pub(in crate::scaler) const LARGEST_REQUEST: usize = 64 * 1024;

/// How long a request may take from its headers to its end. KEDA sends both at once.
const ARRIVAL: Duration = Duration::from_secs(10);

/// What an unfinished call is charged with beside its bytes, about half of what its stream, its task and its headers
/// really are: KEDA opens thousands at once after a restart.
const COST: usize = 3 * 1024;

/// What gRPC puts before a message: a flag and the length.
const PREFIX: usize = 5;

/// Longest path; the longest of ours has 62 characters.
const LONGEST_PATH: usize = 256;

/// Streams of reflection at a time. Their requests stay open, so they cannot wait for the end of them.
const REFLECTIONS: usize = 16;

/// The headers of a request that gRPC reads. The others are dropped before the request is waited for.
const READ: [HeaderName; 3] =
    [CONTENT_TYPE, HeaderName::from_static("grpc-encoding"), HeaderName::from_static("grpc-accept-encoding")];

/// What all connections share.
#[derive(Clone, Debug)]
pub(super) struct Shared {
    routes: Routes,
    reflections: Arc<Semaphore>,
}

impl Shared {
    pub(super) fn new(routes: Routes) -> Self {
        Self { routes: routes.prepare(), reflections: Arc::new(Semaphore::new(REFLECTIONS)) }
    }
}

/// Answers the calls of one connection.
#[derive(Clone, Debug)]
pub(super) struct Calls {
    pub(super) shared: Shared,
    pub(super) connection: Arc<Connection>,
}

impl hyper::service::Service<Request<Incoming>> for Calls {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (call, fresh) = (Call::open(&self.connection), Fresh::of(&self.connection));
        let shared = self.shared.clone();
        // Headers go before the request is waited for: they may be many times larger than it.
        let (mut parts, body) = request.into_parts();
        parts.headers = read_headers(&parts.headers);
        let request = Request::from_parts(parts, body);
        Box::pin(async move {
            drop(fresh);
            let answer = match call {
                Ok(mut call) => match answer(shared, request, &mut call).await {
                    Ok((response, permit)) => response.map(|body| Answer::new(body, call, permit)),
                    Err(status) => {
                        call.settle();
                        status.into_http::<Body>().map(|body| Answer::new(body, call, None))
                    }
                },
                Err(NoRoom) => no_room().into_http::<Body>().map(Answer::refusal),
            };
            Ok(answer)
        })
    }
}

async fn answer(
    Shared { routes, reflections }: Shared,
    request: Request<Incoming>,
    call: &mut Call,
) -> Result<(Response<Body>, Option<OwnedSemaphorePermit>), Status> {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path();
    if path.len() > LONGEST_PATH {
        return Err(Status::unimplemented("no such method"));
    }
    let (body, permit) = if path.starts_with("/grpc.reflection.") {
        let permit = reflections.try_acquire_owned().map_err(|_| no_room())?;
        (Body::new(Talk::new(body)), Some(permit))
    } else {
        let arrived = timeout(ARRIVAL, whole(body, call)).await;
        let bytes = arrived.map_err(|_| Status::deadline_exceeded(too_late()))??;
        (Body::new(axum::body::Body::from(bytes)), None)
    };
    let response = match routes.oneshot(Request::from_parts(parts, body)).await {
        Ok(response) => response,
        Err(never) => match never {},
    };
    call.settle();
    Ok((response, permit))
}

/// The whole request. One that announces more than is allowed is passed on as it is, for gRPC to refuse.
async fn whole(mut body: Incoming, call: &mut Call) -> Result<Bytes, Status> {
    // Copied, because a frame of one byte would hold the whole buffer that it was read into.
    let mut bytes = Vec::new();
    while let Some(frame) = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
        let frame = frame.map_err(|_| Status::cancelled("the request was not sent to its end"))?;
        let Ok(data) = frame.into_data() else { continue };
        call.charge(data.len()).map_err(|NoRoom| no_room())?;
        bytes.extend_from_slice(&data);
        if bytes.len() > PREFIX + LARGEST_REQUEST || announced(&bytes) > LARGEST_REQUEST {
            break;
        }
    }
    Ok(bytes.into())
}

/// The length that the first message of a request announces.
fn announced(bytes: &[u8]) -> usize {
    match bytes {
        [_, a, b, c, d, ..] => usize::try_from(u32::from_be_bytes([*a, *b, *c, *d])).unwrap_or(usize::MAX),
        [] | [_] | [_, _] | [_, _, _] | [_, _, _, _] => 0,
    }
}

fn read_headers(headers: &HeaderMap) -> HeaderMap {
    READ.into_iter().filter_map(|name| Some((name.clone(), headers.get(&name)?.clone()))).collect()
}

fn no_room() -> Status {
    Status::resource_exhausted("too many unfinished calls")
}

fn too_late() -> String {
    format!("the request did not arrive within {} s", ARRIVAL.as_secs())
}

/// The requests of a stream of reflection: each has a time to arrive, and all together are bounded.
struct Talk {
    body: Incoming,
    left: usize,
    late: Pin<Box<Sleep>>,
}

impl Talk {
    fn new(body: Incoming) -> Self {
        Self { body, left: LARGEST_REQUEST, late: Box::pin(sleep(ARRIVAL)) }
    }
}

impl hyper::body::Body for Talk {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) else {
            return match self.late.as_mut().poll(cx) {
                Poll::Ready(()) => Poll::Ready(Some(Err(Status::deadline_exceeded(too_late())))),
                Poll::Pending => Poll::Pending,
            };
        };
        self.late.as_mut().reset(Instant::now() + ARRIVAL);
        let Some(frame) = frame else { return Poll::Ready(None) };
        let frame = frame.map_err(|_| Status::cancelled("the request was not sent to its end"))?;
        let length = frame.data_ref().map_or(0, Buf::remaining);
        let Some(left) = self.left.checked_sub(length) else {
            return Poll::Ready(Some(Err(Status::resource_exhausted("too many requests on one stream"))));
        };
        self.left = left;
        Poll::Ready(Some(Ok(frame)))
    }
}

/// An open call, and what it is charged with. Both end with it.
#[derive(Debug)]
pub(super) struct Call {
    connection: Arc<Connection>,
    charged: usize,
    /// The part of the answer that the peer has not taken yet.
    waits: Option<u64>,
}

impl Call {
    fn open(connection: &Arc<Connection>) -> Result<Self, NoRoom> {
        connection.open_call()?;
        let mut call = Self { connection: Arc::clone(connection), charged: 0, waits: None };
        call.charge(COST)?;
        Ok(call)
    }

    fn charge(&mut self, bytes: usize) -> Result<(), NoRoom> {
        self.connection.hold(bytes)?;
        self.charged += bytes;
        Ok(())
    }

    /// The request is answered: its bytes are gone, the stream stays until the answer is taken.
    fn settle(&mut self) {
        self.connection.release(self.charged.saturating_sub(COST));
        self.charged = self.charged.min(COST);
    }

    /// The answer has a part, which waits for the peer from now on.
    pub(super) fn waits(&mut self) {
        self.waits = Some(self.connection.answer_waits());
    }

    /// The last part was taken.
    pub(super) fn taken(&mut self) {
        if let Some(id) = self.waits.take() {
            self.connection.answer_taken(id);
        }
    }

    /// The answer goes on later, as a stream does: while nothing waits, it costs nobody anything.
    pub(super) fn rests(&mut self) {
        self.connection.release(std::mem::take(&mut self.charged));
    }

    /// A stream that rested has something to say again.
    pub(super) fn resumes(&mut self) -> Result<(), NoRoom> {
        if self.charged == 0 { self.charge(COST) } else { Ok(()) }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.taken();
        self.connection.release(self.charged);
        self.connection.end_call();
    }
}
