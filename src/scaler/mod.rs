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
mod serving;
mod supervise;
mod threads;
mod tls;
mod watchlist;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::service::Routes;

use crate::clock::Clock;
use crate::config::server::Server;
use crate::telemetry::admin::{self, Pages};
use crate::telemetry::metrics::{self, Metrics};
use crate::telemetry::pages::Readers;
use crate::telemetry::report::Report;

use observer::{Observer, Voice};
use refusals::Refusals;
use service::Service;
use serving::connections::Connections;
use serving::descriptors::{Places, Reserve};
use serving::grpc::Grpc;
use threads::Threads;
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

/// Connections that the listener's queue holds while the accept loop is busy.
const BACKLOG: u32 = 1024;

/// File descriptors that the probes have for themselves when all others are in use.
const PROBES: usize = 8;

/// How long calls may go on after a shutdown has begun: the process must be gone after ten seconds.
const DRAIN: Duration = Duration::from_secs(8);

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
    /// The end of every connection, whatever its peer does.
    end: CancellationToken,
    tasks: TaskTracker,
    /// KEDA's calls and streams that are under way.
    calls: TaskTracker,
    /// Threads that end with the server.
    threads: [Threads; 2],
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
    /// The server's threads cannot be started.
    #[error("the threads of the server cannot be started")]
    Threads(#[source] std::io::Error),
}

impl Scaler {
    /// Starts a server: when this returns, both ports answer.
    ///
    /// # Errors
    /// When a port or a certificate cannot be used.
    #[expect(clippy::unused_async, reason = "it spawns tasks, so it must be called on a runtime")]
    pub async fn start(server: Server, clock: Arc<dyn Clock>) -> Result<Self, StartError> {
        let server = Arc::new(server);
        let certificates = server.tls.clone().map(Certificates::load).transpose()?;
        let admin_threads = Threads::admin().map_err(StartError::Threads)?;
        let listener = listen(server.listen)?;
        let admin_listener = {
            let _on_its_threads = admin_threads.handle().enter();
            listen(server.admin)?
        };
        let (grpc, admin) = (address(&listener, server.listen), address(&admin_listener, server.admin));

        let (tasks, calls) = (TaskTracker::new(), TaskTracker::new());
        let (shutdown, end) = (CancellationToken::new(), CancellationToken::new());
        let registry = || Registry::with_prefix(metrics::PREFIX);
        let (mut registry, mut named) = (registry(), registry());
        let metrics = Metrics::register(&mut registry);
        metrics.register_named(&mut named);
        let work_threads = Threads::work().map_err(StartError::Threads)?;
        let on_work_threads = work_threads.handle().enter();
        let observer = Observer::start(
            &server,
            Voice::TellsWorkers,
            Arc::clone(&clock),
            metrics.clone(),
            &tasks,
            shutdown.clone(),
        );
        drop(on_work_threads);
        let pages = pages(&server, &observer, (registry, named), &shutdown);
        let service = Service {
            server: Arc::clone(&server),
            board: Arc::clone(observer.board()),
            clock: Arc::clone(&clock),
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
            calls: calls.clone(),
            refusals: Refusals::default(),
        };
        let in_use = certificates.as_ref().map(Certificates::in_use);
        if let Some(certificates) = certificates {
            tasks.spawn(certificates.follow(clock, metrics.clone(), shutdown.clone()));
        }
        let streams = streams(&server);
        let ends = (shutdown.clone(), end.clone());
        let routes = routes(service, &shutdown)?;
        let served = Grpc::new(routes, streams, in_use, server.max_connection_age, ends);
        let places = Places::of_process();
        // All streams of all triggers fit through one connection; more than that many are nobody's on any number.
        let most_calls = usize::try_from(streams).unwrap_or(usize::MAX);
        let connections = Connections::new("grpc", (places.grpc, most_calls), metrics.clone());
        tasks.spawn(serve_grpc(listener, connections, Arc::new(served), tasks.clone(), shutdown.clone()));
        let connections = Connections::new("admin", (places.admin, usize::MAX), metrics);
        let admin_port = serve_admin(admin_listener, connections, pages, tasks.clone(), shutdown.clone());
        tasks.spawn_on(admin_port, admin_threads.handle());
        tasks.close();
        Ok(Self {
            grpc,
            admin,
            observer,
            shutdown,
            end,
            tasks,
            calls,
            threads: [admin_threads, work_threads],
        })
    }

    /// The last evaluation of every trigger.
    pub fn reports(&self) -> Vec<Report> {
        self.observer.reports(None).0
    }

    /// Waits for a failure that ends the server by itself.
    pub async fn failed(&self) {
        self.shutdown.cancelled().await;
    }

    /// Ends: no new calls, streams end with OK, running calls have eight seconds.
    pub async fn stop(self) {
        let Self { shutdown, end, tasks, calls, threads: _until_the_end, .. } = self;
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
        end.cancel();
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, StartError> {
    let bound = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|source| StartError::Listen { address, source })
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

/// Most streams of a connection. One carries all of KEDA's: two streams a trigger, and room for calls.
fn streams(server: &Server) -> u32 {
    server.max_triggers.saturating_mul(2).saturating_add(1_000)
}

fn routes(service: Service, shutdown: &CancellationToken) -> Result<Routes, StartError> {
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
        .max_decoding_message_size(serving::LARGEST_REQUEST);
    Ok(Routes::new(scaler)
        .add_service(health_service)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?))
}

async fn serve_grpc(
    listener: TcpListener,
    connections: Arc<Connections>,
    grpc: Arc<Grpc>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    // A port that ends before it was told to takes the whole server with it: half of one would look healthy.
    let _with_it = shutdown.clone().drop_guard();
    let serve = |socket, place| drop(tasks.spawn(Arc::clone(&grpc).serve(socket, place)));
    serving::accept::accept(listener, connections, Reserve::of(0), shutdown, serve).await;
}

async fn serve_admin(
    listener: TcpListener,
    connections: Arc<Connections>,
    pages: Arc<Pages>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
) {
    let _with_it = shutdown.clone().drop_guard();
    let router = admin::routes(pages);
    let end = shutdown.clone();
    let serve = |socket, place| {
        drop(tasks.spawn(serving::admin::serve(router.clone(), socket, place, end.clone())));
    };
    serving::accept::accept(listener, connections, Reserve::of(PROBES), shutdown, serve).await;
}
