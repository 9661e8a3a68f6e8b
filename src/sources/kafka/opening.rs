//! What a client is made of: settings, and the contents of files, which may have been rotated.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::endpoint::KafkaEndpoint;
use super::fault::Fault;
use super::handle::Handle;
use super::login::Login;
use super::queue::Isolation;
use super::token::Tokens;
use crate::secret::{Revealed, Secret};
use crate::sources::tls_files::{Identity, TlsFiles};

/// What all our clients have in common.
///
/// They ask, and never consume: nothing is committed and no group is joined. Connections that are lost are
/// opened again within a second, so that an outage is over for us when it is over.
const SETTINGS: &[(&str, &str)] = &[
    ("client.id", "agent-scaler"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("allow.auto.create.topics", "false"),
    // Of transactions that are not over nothing is committed yet, and nobody must wait for that.
    ("isolation.level", "read_uncommitted"),
    ("enable.metrics.push", "false"),
    ("log.connection.close", "false"),
    ("socket.keepalive.enable", "true"),
    ("socket.nagle.disable", "true"),
    ("socket.timeout.ms", "5000"),
    ("socket.connection.setup.timeout.ms", "3000"),
    ("reconnect.backoff.ms", "100"),
    ("reconnect.backoff.max.ms", "1000"),
    ("retry.backoff.max.ms", "300"),
];

/// What clients of one connection are opened with: what its files held when it was.
pub(super) struct Opening {
    /// May hold a password, and is never printed.
    config: ClientConfig,
    tokens: Option<Arc<Tokens>>,
}

impl Opening {
    /// Reads the files of `endpoint`.
    ///
    /// # Errors
    /// When one cannot be read, or does not hold what it should.
    pub(super) async fn of(endpoint: &KafkaEndpoint) -> Result<Self, Fault> {
        let files = endpoint.clone();
        let config = off_the_runtime(move || settings(&files)).await?;
        let tokens = endpoint.login.as_ref().map(Tokens::of).transpose()?.flatten();
        Ok(Self { config, tokens: tokens.map(Arc::new) })
    }

    /// Opens a client that asks for topics, and for ends as `isolation` has them.
    ///
    /// # Errors
    /// When the library does not take its settings.
    pub(super) async fn open_asker(&self, isolation: Isolation) -> Result<Handle, Fault> {
        let mut config = self.config.clone();
        config.set(
            "isolation.level",
            match isolation {
                Isolation::Uncommitted => "read_uncommitted",
                Isolation::Committed => "read_committed",
            },
        );
        self.open(config, None).await
    }

    /// Opens a client that asks for what `group` has committed.
    ///
    /// # Errors
    /// When the library does not take its settings.
    pub(super) async fn open_group(&self, group: &Arc<str>) -> Result<Handle, Fault> {
        let mut config = self.config.clone();
        config.set("group.id", &**group);
        self.open(config, Some(Arc::clone(group))).await
    }

    async fn open(&self, config: ClientConfig, group: Option<Arc<str>>) -> Result<Handle, Fault> {
        let tokens = self.tokens.clone();
        off_the_runtime(move || Handle::open(&config, tokens, group)).await
    }
}

async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| Fault::Lost("the opening was cut off".to_owned()))?
}

/// The settings of a client of `endpoint`. Reads every file anew, and blocks meanwhile.
///
/// # Errors
/// When a file cannot be read, or does not hold what it should.
fn settings(endpoint: &KafkaEndpoint) -> Result<ClientConfig, Fault> {
    let KafkaEndpoint { brokers, tls, login } = endpoint;
    let mut config = ClientConfig::new();
    SETTINGS.iter().for_each(|(name, value)| {
        config.set(*name, *value);
    });
    config.set_log_level(RDKafkaLogLevel::Info);
    config.set("bootstrap.servers", &brokers.0);
    config.set("security.protocol", protocol(tls.is_some(), login.is_some()));
    if let Some(files) = tls {
        set_files(&mut config, files)?;
    }
    match login {
        Some(Login::Password { mechanism, username, password }) => {
            config.set("sasl.mechanism", *mechanism);
            config.set("sasl.username", username);
            config.set("sasl.password", reveal(password)?.expose());
        }
        Some(Login::Token(_) | Login::Tokens(_)) => {
            config.set("sasl.mechanism", "OAUTHBEARER");
        }
        None => {}
    }
    Ok(config)
}

const fn protocol(is_encrypted: bool, has_login: bool) -> &'static str {
    match (is_encrypted, has_login) {
        (false, false) => "plaintext",
        (false, true) => "sasl_plaintext",
        (true, false) => "ssl",
        (true, true) => "sasl_ssl",
    }
}

fn set_files(config: &mut ClientConfig, files: &TlsFiles) -> Result<(), Fault> {
    let TlsFiles { ca, identity } = files;
    match ca {
        Some(path) => config.set("ssl.ca.pem", read_chain(path)?),
        // Where the library itself was built says nothing of where it runs.
        None => config.set("ssl.ca.location", "probe"),
    };
    if let Some(Identity { certificate, key }) = identity {
        config.set("ssl.certificate.pem", read_chain(certificate)?);
        let text = read(key)?;
        // The error is not repeated: it may quote the key.
        if PrivateKeyDer::from_pem_slice(text.as_bytes()).is_err() {
            return Err(Fault::Lost(format!("{} holds no private key in PEM", key.display())));
        }
        config.set("ssl.key.pem", text);
    }
    Ok(())
}

/// The credential itself.
///
/// # Errors
/// When its file cannot be read.
pub(super) fn reveal(secret: &Secret) -> Result<Revealed, Fault> {
    secret.reveal().map_err(|error| {
        let cause = error.source().map(|cause| format!(": {cause}"));
        Fault::Lost(format!("{error}{}", cause.unwrap_or_default()))
    })
}

fn read_chain(path: &Path) -> Result<String, Fault> {
    let content = read(path)?;
    let mut certificates = CertificateDer::pem_slice_iter(content.as_bytes()).peekable();
    if certificates.peek().is_none() || certificates.any(|certificate| certificate.is_err()) {
        return Err(Fault::Lost(format!("{} holds no certificates in PEM", path.display())));
    }
    Ok(content)
}

fn read(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path)
        .map_err(|error| Fault::Lost(format!("cannot read {}: {error}", path.display())))
}
