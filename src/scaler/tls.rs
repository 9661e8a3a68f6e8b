//! Certificates that reload from disk while serving, and a warning before they expire.

mod expiry;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio::sync::watch;
use tokio::time::interval;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::config::server::TlsFiles;
use crate::telemetry::Chain;
use crate::telemetry::metrics::Metrics;

use expiry::Expiry;

/// How often the files are looked at. Kubernetes itself takes up to a minute to bring a Secret to a pod.
const RELOAD_EVERY: Duration = Duration::from_secs(5);

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
    expiry: Expiry,
}

impl Certificates {
    /// Loads `files`.
    ///
    /// # Errors
    /// When one of them cannot be used.
    pub(super) fn load(files: TlsFiles) -> Result<Self, BadCertificates> {
        let contents = Contents::read(&files)?;
        let config = watch::Sender::new(Arc::new(contents.config(&files)?));
        let expiry = Expiry::of(&contents.certificate, contents.client_ca.as_deref());
        Ok(Self { files, contents, config, expiry })
    }

    /// What new connections are served with.
    pub(super) fn in_use(&self) -> watch::Receiver<Arc<ServerConfig>> {
        self.config.subscribe()
    }

    /// Follows the files until shutdown. What cannot be used is reported, and the former goes on.
    pub(super) async fn follow(
        mut self,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        shutdown: CancellationToken,
    ) {
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
            self.expiry.tell(&metrics, clock.now());
        }
    }

    fn reload(&mut self) -> Result<bool, BadCertificates> {
        let contents = Contents::read(&self.files)?;
        if contents == self.contents {
            return Ok(false);
        }
        let config = contents.config(&self.files)?;
        self.expiry = Expiry::of(&contents.certificate, contents.client_ca.as_deref());
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
