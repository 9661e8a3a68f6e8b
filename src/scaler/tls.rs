//! Connections that are accepted: TCP, or TLS with certificates that reload from disk while serving.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::config::server::TlsFiles;
use crate::telemetry::Chain;
use crate::telemetry::metrics::Metrics;

/// How often the files are looked at. Kubernetes itself takes up to a minute to bring a Secret to a pod.
const RELOAD_EVERY: Duration = Duration::from_secs(5);

/// Longest handshake: one that hangs holds a socket and nothing else.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Handshakes at a time; further connections wait in the listener's queue.
const HANDSHAKES: usize = 256;

/// Handshakes that are done and wait for the server to take them.
const ACCEPTED_AHEAD: usize = 64;

/// Certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BadCertificates {
    /// A file could not be read.
    #[error("cannot read {}", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file holds no PEM of the expected kind.
    #[error("{} holds no {expected} in PEM", path.display())]
    NotPem {
        /// Which.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// The parts do not fit each other.
    #[error("the certificate, its key and the CA do not fit each other")]
    Unfit(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// The bytes of all files: what changes when a certificate is renewed.
#[derive(PartialEq, Eq)]
struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// Certificates in use, and the files they came from.
pub(super) struct Certificates {
    files: TlsFiles,
    contents: Contents,
    config: watch::Sender<Arc<ServerConfig>>,
}

impl Certificates {
    /// Loads `files`.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub(super) fn load(files: TlsFiles) -> Result<Self, BadCertificates> {
        let contents = Contents::read(&files)?;
        let config = watch::Sender::new(Arc::new(contents.config(&files)?));
        Ok(Self { files, contents, config })
    }

    /// Follows the files until shutdown. What cannot be used is reported, and the former goes on.
    pub(super) async fn follow(mut self, metrics: Metrics, shutdown: CancellationToken) {
        let mut look = interval(RELOAD_EVERY);
        let mut complaint: Option<String> = None;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return,
                _ = look.tick() => {}
            }
            match self.reload() {
                Ok(changed) => {
                    complaint = None;
                    if changed {
                        tracing::info!("Certificates reloaded.");
                    }
                }
                Err(error) => {
                    let error = Chain(&error).to_string();
                    // One bad renewal is one line and one count, however long it stays.
                    if complaint.as_ref() != Some(&error) {
                        metrics.certificate_errors.inc();
                        tracing::warn!(
                            error,
                            "Certificates changed and cannot be used; the former stay in use."
                        );
                        complaint = Some(error);
                    }
                }
            }
        }
    }

    fn reload(&mut self) -> Result<bool, BadCertificates> {
        let contents = Contents::read(&self.files)?;
        if contents == self.contents {
            return Ok(false);
        }
        let config = contents.config(&self.files)?;
        self.contents = contents;
        self.config.send_replace(Arc::new(config));
        Ok(true)
    }
}

impl Contents {
    fn read(files: &TlsFiles) -> Result<Self, BadCertificates> {
        let read = |path: &PathBuf| {
            std::fs::read(path).map_err(|source| BadCertificates::Unreadable { path: path.clone(), source })
        };
        Ok(Self {
            certificate: read(&files.certificate)?,
            key: read(&files.key)?,
            client_ca: files.client_ca.as_ref().map(read).transpose()?,
        })
    }

    fn config(&self, files: &TlsFiles) -> Result<ServerConfig, BadCertificates> {
        let chain = certificates(&self.certificate, &files.certificate)?;
        let key = PrivateKeyDer::from_pem_slice(&self.key)
            .map_err(|_| BadCertificates::NotPem { path: files.key.clone(), expected: "private key" })?;
        let builder = match (&self.client_ca, &files.client_ca) {
            (Some(bytes), Some(path)) => {
                let mut roots = RootCertStore::empty();
                for ca in certificates(bytes, path)? {
                    roots.add(ca).map_err(|error| BadCertificates::Unfit(error.into()))?;
                }
                let verifier = WebPkiClientVerifier::builder(Arc::new(roots))
                    .build()
                    .map_err(|error| BadCertificates::Unfit(error.into()))?;
                ServerConfig::builder().with_client_cert_verifier(verifier)
            }
            (None, _) | (_, None) => ServerConfig::builder().with_no_client_auth(),
        };
        let mut config =
            builder.with_single_cert(chain, key).map_err(|error| BadCertificates::Unfit(error.into()))?;
        config.alpn_protocols = vec![b"h2".to_vec()];
        Ok(config)
    }
}

fn certificates(pem: &[u8], path: &Path) -> Result<Vec<CertificateDer<'static>>, BadCertificates> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    found
        .ok()
        .filter(|found| !found.is_empty())
        .ok_or_else(|| BadCertificates::NotPem { path: path.to_owned(), expected: "certificate" })
}

/// Connections whose handshake is done.
pub(super) type Handshaken = mpsc::Receiver<io::Result<TlsStream<TcpStream>>>;

/// Accepts TLS connections on `listener`, each handshake in a task of its own.
pub(super) fn accept(
    listener: TcpListener,
    certificates: &Certificates,
    shutdown: CancellationToken,
) -> Handshaken {
    let config = certificates.config.subscribe();
    let (sender, receiver) = mpsc::channel(ACCEPTED_AHEAD);
    let places = Arc::new(Semaphore::new(HANDSHAKES));
    tokio::spawn(async move {
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
            let (stream, peer) = tokio::select! {
                () = shutdown.cancelled() => return,
                accepted = listener.accept() => match accepted {
                    Ok(accepted) => accepted,
                    // Out of file descriptors, or the peer has gone: neither gets better by haste.
                    Err(error) => {
                        tracing::warn!(%error, "A connection could not be accepted.");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                        continue;
                    }
                },
            };
            let acceptor = TlsAcceptor::from(Arc::clone(&config.borrow()));
            let handshake = shake_hands(acceptor, stream, peer, sender.clone());
            tokio::spawn(async move {
                handshake.await;
                drop(place);
            });
        }
    });
    receiver
}

async fn shake_hands(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    peer: SocketAddr,
    sender: mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
) {
    match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        // A server that takes no more connections is shutting down.
        Ok(Ok(stream)) => drop(sender.send(Ok(stream)).await),
        Ok(Err(error)) => tracing::debug!(%peer, %error, "A TLS handshake failed."),
        Err(_) => tracing::debug!(%peer, "A TLS handshake took too long."),
    }
}
