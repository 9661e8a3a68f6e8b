//! What a client is made of: settings, and the contents of files, which may have been rotated.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::Path;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::endpoint::KafkaEndpoint;
use super::fault::Fault;
use super::login::Login;
use super::wire::{Opening, Tokens};
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
    // An answer that is longer ends its connection, before anything of it is kept: 4 MiB hold 100,000 partitions with
    // three copies each. The two others are for records, and must be less.
    ("receive.message.max.bytes", "4194304"),
    ("fetch.max.bytes", "1048576"),
    ("message.max.bytes", "1000000"),
];

/// Names and values of the library's settings. They may hold a password, and are never printed.
type Settings = BTreeMap<String, String>;

/// Reads the files of `endpoint`.
///
/// # Errors
/// When one cannot be read, or does not hold what it should.
pub(super) async fn opening(endpoint: &KafkaEndpoint) -> Result<Opening, Fault> {
    let files = endpoint.clone();
    let settings = tokio::task::spawn_blocking(move || settings(&files)).await;
    Ok(Opening {
        settings: settings.map_err(|_| Fault::Lost("the opening was cut off".to_owned()))??,
        tokens: endpoint.login.as_ref().and_then(Tokens::of),
        is_logged: tracing::enabled!(tracing::Level::DEBUG),
    })
}

/// The settings of a client of `endpoint`. Reads every file anew, and blocks meanwhile.
///
/// # Errors
/// When a file cannot be read, or does not hold what it should.
fn settings(endpoint: &KafkaEndpoint) -> Result<Settings, Fault> {
    let KafkaEndpoint { brokers, tls, login } = endpoint;
    let mut config = Settings::new();
    let mut set = |name: &str, value: &str| drop(config.insert(name.to_owned(), value.to_owned()));
    SETTINGS.iter().for_each(|(name, value)| set(name, value));
    set("bootstrap.servers", &brokers.0);
    set("security.protocol", protocol(tls.is_some(), login.is_some()));
    if let Some(files) = tls {
        set_files(&mut set, files)?;
    }
    match login {
        Some(Login::Password { mechanism, username, password }) => {
            set("sasl.mechanism", mechanism);
            set("sasl.username", username);
            set("sasl.password", reveal(password)?.expose());
        }
        Some(Login::Token(_) | Login::Tokens(_)) => {
            set("sasl.mechanism", "OAUTHBEARER");
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

fn set_files(set: &mut impl FnMut(&str, &str), files: &TlsFiles) -> Result<(), Fault> {
    let TlsFiles { ca, identity } = files;
    match ca {
        Some(path) => set("ssl.ca.pem", &read_chain(path)?),
        // Where the library itself was built says nothing of where it runs.
        None => set("ssl.ca.location", "probe"),
    }
    if let Some(Identity { certificate, key }) = identity {
        set("ssl.certificate.pem", &read_chain(certificate)?);
        let text = read(key)?;
        // The error is not repeated: it may quote the key.
        if PrivateKeyDer::from_pem_slice(text.as_bytes()).is_err() {
            return Err(Fault::Lost(format!("{} holds no private key in PEM", key.display())));
        }
        set("ssl.key.pem", &text);
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
