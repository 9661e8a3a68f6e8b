//! A connection on the admin port, from its first byte to its last.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::connections::{Connection, Place};
use super::stall::Watched;
use crate::telemetry::metrics::Closed;

/// How long the head of a request may take, and how long a connection may be silent between two.
const HEAD: Duration = Duration::from_secs(10);

/// How long a page may take, from its request to its last byte.
const PAGE: Duration = Duration::from_secs(60);

/// What is kept of a head. Browsers and Prometheus send some hundred bytes.
const BUFFER: usize = 16 * 1024;

/// How often a connection is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Serves a connection until it ends, or until another needs its place.
pub(in crate::scaler) async fn serve(
    router: Router,
    socket: TcpStream,
    place: Place,
    shutdown: CancellationToken,
) {
    let connection = &place.connection;
    tokio::select! {
        () = connection.closed() => {}
        () = carry(router, socket, connection, shutdown) => {}
    }
}

async fn carry(router: Router, socket: TcpStream, connection: &Arc<Connection>, shutdown: CancellationToken) {
    drop(socket.set_nodelay(true));
    let pages = service_fn(|request: Request<Incoming>| {
        connection.note_request();
        router.clone().oneshot(request)
    });
    let socket = TokioIo::new(Watched::new(socket, Arc::clone(connection)));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(BUFFER);
    let mut http = pin!(http.serve_connection(socket, pages));
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut leaving = false;
    loop {
        tokio::select! {
            result = http.as_mut() => {
                if result.is_err_and(|error| error.is_timeout()) {
                    connection.port.count(Closed::Silent);
                }
                return;
            }
            () = shutdown.cancelled(), if !leaving => {
                leaving = true;
                http.as_mut().graceful_shutdown();
            }
            now = look.tick() => {
                if connection.is_used() && connection.silent_for(now) > PAGE {
                    connection.port.count(Closed::Untaken);
                    return;
                }
            }
        }
    }
}
