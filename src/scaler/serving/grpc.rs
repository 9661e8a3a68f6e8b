//! A connection on the port that KEDA uses, from its first byte to its last.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;

use super::call::{Calls, LARGEST_REQUEST, Shared};
use super::connections::{Connection, Place};
use super::stall::Watched;
use crate::telemetry::Chain;
use crate::telemetry::metrics::Closed;

/// How long a peer may take to begin with TLS. Nothing but the socket is held for it until then.
const CLIENT_HELLO: Duration = Duration::from_secs(2);

/// How long the rest of a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// How long the beginning of HTTP/2 may take.
const PREFACE: Duration = Duration::from_secs(10);

/// The shortest beginning: 24 bytes of preface and an empty frame of settings (RFC 9113, 3.4).
const PREFACE_BYTES: u64 = 24 + 9;

/// How long a connection may wait for its first call.
const FIRST_CALL: Duration = Duration::from_secs(60);

/// How long an answer may wait for the peer to take it.
const UNTAKEN: Duration = Duration::from_secs(30);

/// How long a connection without calls may take to close after it was asked to.
const LEAVING: Duration = Duration::from_secs(5);

/// How long one with calls may: a stream ends by itself after 36 minutes at most.
const LEAVING_WITH_CALLS: Duration = Duration::from_secs(37 * 60);

/// How often a connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often a silent connection is asked whether it is still there, because KEDA never asks.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);

/// How long it may take to say so.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Window for one small frame: half of it counts, and a frame is charged with 256 bytes at most.
const SMALL_FRAME: u32 = 512;

/// Largest window of HTTP/2 (RFC 9113, 6.9.1).
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// Window of one stream: a largest request and what frames it.
const STREAM_WINDOW: u32 = 65_535;

/// Largest list of headers. KEDA's have some hundred bytes, a proxy adds a few thousand.
const HEADERS: u32 = 16 * 1024;

/// What HTTP/2 keeps of one answer while the peer does not take it. Ours have some ten bytes.
const SENT_AHEAD: usize = 16 * 1024;

/// Serves the connections of KEDA's port.
#[derive(Debug)]
pub(in crate::scaler) struct Grpc {
    http: http2::Builder<TokioExecutor>,
    shared: Shared,
    certificates: Option<watch::Receiver<Arc<ServerConfig>>>,
    /// Age at which a connection is asked to be opened anew.
    age: Duration,
    /// No new calls; open ones may end.
    shutdown: CancellationToken,
    /// The end, for whatever is open.
    end: CancellationToken,
}

impl Grpc {
    /// Serves `routes`, with at most `streams` at a time on a connection.
    pub(in crate::scaler) fn new(
        routes: Routes,
        streams: u32,
        certificates: Option<watch::Receiver<Arc<ServerConfig>>>,
        age: Duration,
        (shutdown, end): (CancellationToken, CancellationToken),
    ) -> Self {
        let mut http = http2::Builder::new(TokioExecutor::new());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(streams)
            // The HTTP/2 library takes many small frames without an end for an attack. Its patience grows with the
            // window, and must last for one such frame on every stream that is allowed.
            .initial_connection_window_size(streams.saturating_mul(SMALL_FRAME).clamp(65_535, LARGEST_WINDOW))
            .initial_stream_window_size(STREAM_WINDOW)
            .max_header_list_size(HEADERS)
            .max_send_buf_size(SENT_AHEAD)
            .keep_alive_interval(KEEPALIVE_EVERY)
            .keep_alive_timeout(KEEPALIVE);
        Self { http, shared: Shared::new(routes), certificates, age, shutdown, end }
    }

    /// Serves a connection until it ends, or until another needs its place.
    pub(in crate::scaler) async fn serve(self: Arc<Self>, socket: TcpStream, place: Place) {
        let connection = &place.connection;
        tokio::select! {
            () = connection.closed() => {}
            () = self.end.cancelled() => {}
            () = self.carry(socket, connection) => {}
        }
    }

    async fn carry(&self, socket: TcpStream, connection: &Arc<Connection>) {
        // Small answers must not wait for more to come.
        drop(socket.set_nodelay(true));
        match &self.certificates {
            None => self.http(socket, connection).await,
            Some(certificates) => {
                if let Some(socket) = handshake(socket, certificates, connection).await {
                    self.http(socket, connection).await;
                }
            }
        }
    }

    async fn http(&self, socket: impl AsyncRead + AsyncWrite + Unpin, connection: &Arc<Connection>) {
        let calls = Calls { shared: self.shared.clone(), connection: Arc::clone(connection) };
        let socket = TokioIo::new(Watched::new(socket, Arc::clone(connection)));
        let mut http = pin!(self.http.serve_connection(socket, calls));
        let mut look = interval(LOOK_EVERY);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut asked_to_leave: Option<Instant> = None;
        loop {
            let leave = tokio::select! {
                result = http.as_mut() => {
                    if let Err(error) = result {
                        tracing::debug!(error = %Chain(&error), "A connection has failed.");
                    }
                    return;
                }
                () = self.shutdown.cancelled(), if asked_to_leave.is_none() => true,
                now = look.tick() => match self.verdict(connection, asked_to_leave, now) {
                    Verdict::Stays => false,
                    Verdict::Leaves => true,
                    Verdict::Ends(why) => {
                        connection.port.count(why);
                        return;
                    }
                },
            };
            if leave {
                asked_to_leave.get_or_insert_with(Instant::now);
                http.as_mut().graceful_shutdown();
            }
        }
    }

    fn verdict(&self, connection: &Connection, asked_to_leave: Option<Instant>, now: Instant) -> Verdict {
        let age = now.saturating_duration_since(connection.opened);
        if connection.untaken_for(now).is_some_and(|untaken| untaken > UNTAKEN) {
            return Verdict::Ends(Closed::Untaken);
        }
        if connection.received.load(Ordering::Relaxed) < PREFACE_BYTES && age > PREFACE {
            return Verdict::Ends(Closed::Silent);
        }
        if let Some(asked) = asked_to_leave {
            let since = now.saturating_duration_since(asked);
            let patience = if connection.calls() == 0 { LEAVING } else { LEAVING_WITH_CALLS };
            return if since > patience { Verdict::Ends(Closed::Age) } else { Verdict::Stays };
        }
        if age >= self.age || (!connection.is_used() && age > FIRST_CALL) {
            return Verdict::Leaves;
        }
        Verdict::Stays
    }
}

/// What becomes of a connection.
enum Verdict {
    Stays,
    /// It is asked to be opened anew; open calls may end.
    Leaves,
    Ends(Closed),
}

async fn handshake(
    socket: TcpStream,
    certificates: &watch::Receiver<Arc<ServerConfig>>,
    connection: &Connection,
) -> Option<TlsStream<TcpStream>> {
    let hello = timeout(CLIENT_HELLO, LazyConfigAcceptor::new(Acceptor::default(), socket));
    let shaken = async {
        let hello = hello.await.ok()?;
        let config = |hello: tokio_rustls::StartHandshake<TcpStream>| {
            hello.into_stream(Arc::clone(&certificates.borrow()))
        };
        // A silent connection goes before one that has begun.
        connection.received.fetch_add(1, Ordering::Relaxed);
        match hello {
            Ok(hello) => timeout(HANDSHAKE, config(hello)).await.ok(),
            Err(error) => Some(Err(error)),
        }
    };
    match shaken.await {
        Some(Ok(socket)) => Some(socket),
        Some(Err(error)) => {
            tracing::debug!(%error, "A TLS handshake failed.");
            None
        }
        None => {
            connection.port.count(Closed::Silent);
            tracing::debug!("A TLS handshake took too long.");
            None
        }
    }
}

const _: () =
    assert!(LARGEST_REQUEST + 5 >= STREAM_WINDOW as usize, "a stream never holds more than a request");
