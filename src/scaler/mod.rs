//! The shell around the engine: it owns time, tasks and connections.
//!
//! One reader a connection reads, one decider decides, handlers answer from the board.

pub mod board;
pub mod codec;
pub mod observer;

mod convert;
mod decider;
mod fair_queue;
mod listener;
mod reader;
mod refusals;
mod service;
mod supervise;
mod tls;
mod watchlist;

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::transport::server::{Router, TcpIncoming};

use crate::clock::Clock;
use crate::config::server::Server;
use crate::telemetry::Chain;
use crate::telemetry::admin::{self, Pages};
use crate::telemetry::metrics::{self, Metrics};
use crate::telemetry::pages::Readers;
use crate::telemetry::report::Report;

use observer::{Observer, Voice};
use refusals::Refusals;
use service::Service;
use tls::{BadCertificates, Certificates};

/// KEDA's protocol, generated from `proto/externalscaler.proto`.
#[expect(
    missing_docs,
    unused_qualifications,
    clippy::too_many_lines,
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    reason = "generated"
)]
pub mod proto {
    tonic::include_proto!("externalscaler");

    /// The compiled proto, for reflection and for the comparison with KEDA's own.
    pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/externalscaler.bin"));
}

/// Largest request. KEDA's metadata is some hundred bytes; what is larger is a mistake or an attack.
const LARGEST_REQUEST: usize = 64 * 1024;

/// Window for one small frame: half of it counts, and a frame is charged with 256 bytes at most.
const SMALL_FRAME: u32 = 512;

/// Largest window of HTTP/2 (RFC 9113, 6.9.1).
const LARGEST_WINDOW: u32 = (1 << 31) - 1;

/// How often a silent connection is asked whether it is still there, because KEDA never asks.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(30);

/// How long calls may go on after a shutdown has begun.
const DRAIN: Duration = Duration::from_secs(10);

/// How long what was said last has to reach the other side.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// A decider that has not looked around for so long, or for ten ticks, has stopped.
const DECIDER_DEAD_AFTER: Duration = Duration::from_secs(60);

/// A server that runs.
pub struct Scaler {
    /// Where it listens for KEDA.
    pub grpc: SocketAddr,
    /// Where its admin pages are.
    pub admin: SocketAddr,
    observer: Observer,
    shutdown: CancellationToken,
    tasks: TaskTracker,
    /// KEDA's calls and streams that are under way.
    calls: TaskTracker,
}

/// A server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A port cannot be had.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: std::io::Error,
    },
    /// The certificates cannot be used.
    #[error("TLS cannot be set up")]
    Certificates(#[from] BadCertificates),
    /// The reflection service cannot be built.
    #[error("reflection cannot be set up")]
    Reflection(#[from] tonic_reflection::server::Error),
}

impl Scaler {
    /// Starts a server: when this returns, both ports answer.
    ///
    /// # Errors
    /// When a port or a certificate cannot be used.
    pub async fn start(server: Server, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let server = Arc::new(server);
        let certificates = server.tls.clone().map(Certificates::load).transpose()?;
        let listener = listen(server.listen).await?;
        let admin_listener = listen(server.admin).await?;
        let (grpc, admin) = (address(&listener, server.listen), address(&admin_listener, server.admin));

        let (tasks, calls, shutdown) = (TaskTracker::new(), TaskTracker::new(), CancellationToken::new());
        let registry = || Registry::with_prefix(metrics::PREFIX);
        let (mut registry, mut named) = (registry(), registry());
        let metrics = Metrics::register(&mut registry);
        metrics.register_named(&mut named);
        let observer = Observer::start(
            &server,
            Voice::TellsWorkers,
            Arc::clone(&clock),
            metrics.clone(),
            &tasks,
            shutdown.clone(),
        );
        let pages = pages(&server, &observer, (registry, named), &shutdown);
        let service = Service {
            server: Arc::clone(&server),
            board: Arc::clone(observer.board()),
            clock,
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
            calls: calls.clone(),
            refusals: Refusals::default(),
        };
        let router = router(&server, service, &shutdown)?;
        tasks.spawn(serve_admin(admin_listener, pages, shutdown.clone()));
        match certificates {
            None => tasks.spawn(serve_plain(router, listener, shutdown.clone())),
            Some(certificates) => {
                let accepted = tls::accept(listener, &certificates, shutdown.clone());
                tasks.spawn(certificates.follow(metrics, shutdown.clone()));
                tasks.spawn(serve_tls(router, accepted, shutdown.clone()))
            }
        };
        tasks.close();
        Ok(Self { grpc, admin, observer, shutdown, tasks, calls })
    }

    /// The last evaluation of every trigger.
    pub fn reports(&self) -> Vec<Report> {
        self.observer.reports(None).0
    }

    /// Waits for a failure that ends the server by itself.
    pub async fn failed(&self) {
        self.shutdown.cancelled().await;
    }

    /// Ends: no new calls, streams end with OK, running calls have ten seconds.
    pub async fn stop(self) {
        let Self { shutdown, tasks, calls, .. } = self;
        shutdown.cancel();
        calls.close();
        let ours = async {
            calls.wait().await;
            sleep(LAST_WORDS).await;
        };
        tokio::select! {
            () = tasks.wait() => {}
            // Others may hold a connection for ever: a health check that watches, a client that is gone.
            () = ours => {}
            () = sleep(DRAIN) => tracing::warn!("Some calls did not end in time; they are dropped."),
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

/// The address in use: the port that was asked for may have been 0.
fn address(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

fn pages(
    server: &Server,
    observer: &Observer,
    (registry, named): (Registry, Registry),
    shutdown: &CancellationToken,
) -> Arc<Pages> {
    let (board, clock, beats) = (Arc::clone(observer.board()), observer.clone(), observer.clone());
    let shutdown = shutdown.clone();
    let dead_after = DECIDER_DEAD_AFTER.max(server.tick * 10);
    Arc::new(Pages {
        alive: Box::new(move || beats.since_heartbeat() <= dead_after),
        ready: Box::new(move || !shutdown.is_cancelled()),
        triggers: Box::new(move |of| Arc::new(board.triggers(of))),
        now: Box::new(move || clock.now()),
        registry,
        named,
        token: server.admin_token.clone(),
        hosts: server.admin_hosts.clone(),
        readers: Readers::default(),
    })
}

fn router(server: &Server, service: Service, shutdown: &CancellationToken) -> Result<Router, StartError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let shutdown = shutdown.clone();
    tokio::spawn(async move {
        type Served = proto::external_scaler_server::ExternalScalerServer<Service>;
        health.set_serving::<Served>().await;
        shutdown.cancelled().await;
        health.set_not_serving::<Served>().await;
        health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    });
    let scaler = proto::external_scaler_server::ExternalScalerServer::new(service)
        .max_decoding_message_size(LARGEST_REQUEST);
    // One connection carries all of KEDA's streams and calls: two streams a trigger, and room for calls.
    let streams = server.max_triggers.saturating_mul(2).saturating_add(1_000);
    Ok(tonic::transport::Server::builder()
        .max_concurrent_streams(streams)
        // The HTTP/2 library takes many small frames without an end for an attack. Its patience grows with the
        // window, and must last for one such frame on every stream that is allowed.
        .initial_connection_window_size(streams.saturating_mul(SMALL_FRAME).min(LARGEST_WINDOW))
        .max_connection_age(server.max_connection_age)
        .http2_keepalive_interval(Some(KEEPALIVE_EVERY))
        .tcp_nodelay(true)
        .add_service(scaler)
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}

async fn serve_plain(router: Router, listener: TcpListener, shutdown: CancellationToken) {
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let end = shutdown.clone().cancelled_owned();
    ended("gRPC", router.serve_with_incoming_shutdown(incoming, end).await, &shutdown);
}

async fn serve_tls(router: Router, accepted: tls::Handshaken, shutdown: CancellationToken) {
    let end = shutdown.clone().cancelled_owned();
    let incoming = ReceiverStream::new(accepted);
    ended("gRPC", router.serve_with_incoming_shutdown(incoming, end).await, &shutdown);
}

async fn serve_admin(listener: TcpListener, pages: Arc<Pages>, shutdown: CancellationToken) {
    let end = shutdown.clone().cancelled_owned();
    let result = axum::serve(listener, admin::routes(pages)).with_graceful_shutdown(end).await;
    ended("admin", result, &shutdown);
}

/// A port that ends before it was told to takes the whole server with it: half of one would look healthy.
fn ended(port: &str, result: Result<(), impl Error + 'static>, shutdown: &CancellationToken) {
    if let Err(error) = &result {
        tracing::error!(port, error = %Chain(error), "A port has failed.");
    }
    shutdown.cancel();
}
