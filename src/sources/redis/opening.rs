//! The opening of a connection: files, TLS, login. The caller's deadline covers all of it.

use std::error::Error;
use std::path::Path;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind,
    IntoConnectionInfo, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, RedisResult,
    TlsCertificates, Value, cmd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::access::{Access, Login};
use super::address::Node;
use super::fault::Fault;
use super::inbox::Inbox;
use super::wire;
use crate::secret::{Revealed, Secret};
use crate::sources::tls_files::{Identity, TlsFiles};
use crate::timestamp::Timestamp;

/// What the files of an [`Access`] hold. They are read for each connection anew, because any of them may have been
/// rotated.
pub(super) struct Credentials {
    username: Option<String>,
    password: Option<Revealed>,
    certificates: Option<TlsCertificates>,
}

impl Credentials {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(super) async fn read(access: &Access) -> Result<Self, Fault> {
        let access = access.clone();
        tokio::task::spawn_blocking(move || read_files(&access))
            .await
            .map_err(|_| Fault::Lost("the reading of its files was cut off".to_owned()))?
    }
}

/// A connection on which we are logged in.
///
/// # Errors
/// When a file cannot be read, the server cannot be reached, or it does not let us in.
pub(super) async fn log_in(node: &Node, access: &Access) -> Result<MultiplexedConnection, Fault> {
    let Credentials { username, password, certificates } = Credentials::read(access).await?;
    let config = patient();
    let redis = said_plainly().set_protocol(ProtocolVersion::RESP2);
    let server = server(node, certificates, redis).map_err(|error| Fault::of_connection(&error))?;
    let mut connection = server
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(|error| Fault::of_connection(&error))?;
    if let Some(password) = password {
        let mut auth = cmd("AUTH");
        auth.arg(username).arg(password.expose());
        accepted("AUTH", ask(&auth, &mut connection).await?, Fault::said_to_password)?;
    }
    Ok(connection)
}

/// A connection on which we are logged in, have selected the database, and Redis has told the time: one command
/// after the other, because the library keeps the reason to itself when a connection ends within a pipeline.
///
/// # Errors
/// When a file cannot be read, the server cannot be reached, or it does not let us in.
pub(super) async fn open(
    node: &Node,
    database: u32,
    access: &Access,
) -> Result<(MultiplexedConnection, Timestamp), Fault> {
    let mut connection = log_in(node, access).await?;
    if database != 0 {
        accepted("SELECT", ask(cmd("SELECT").arg(database), &mut connection).await?, Fault::said)?;
    }
    let now = wire::time(&ask(&cmd("TIME"), &mut connection).await?)?;
    Ok((connection, now))
}

/// A connection in RESP3, on which Redis may say something by itself: that goes into `inbox`.
///
/// # Errors
/// When a file cannot be read, the server cannot be reached, does not speak RESP3, or does not let us in.
pub(super) async fn open_to_listen(
    node: &Node,
    database: u32,
    access: &Access,
    inbox: &Arc<Inbox>,
) -> Result<MultiplexedConnection, Fault> {
    let Credentials { username, password, certificates } = Credentials::read(access).await?;
    let inbox = Arc::clone(inbox);
    let config = patient().set_push_sender(move |said: PushInfo| {
        inbox.put(&said);
        Ok::<(), ()>(())
    });
    let mut redis = said_plainly().set_protocol(ProtocolVersion::RESP3).set_db(database.into());
    if let Some(username) = username {
        redis = redis.set_username(username);
    }
    if let Some(password) = password {
        redis = redis.set_password(password.expose());
    }
    let server = server(node, certificates, redis).map_err(|error| Fault::of_connection(&error))?;
    server.get_multiplexed_async_connection_with_config(&config).await.map_err(|error| refused(&error))
}

/// Why a connection in RESP3 was not to be had. What a server says to `HELLO` is not repeated, because one that does
/// not know the command quotes its arguments, and the password is one of them.
fn refused(error: &RedisError) -> Fault {
    match (error.kind(), error.code()) {
        (_, Some("NOAUTH")) => {
            Fault::Denied("it wants a password: give the connection `password`".to_owned())
        }
        (ErrorKind::AuthenticationFailed, _) | (_, Some("WRONGPASS")) => {
            Fault::Denied("wrong username or password, or the user is off".to_owned())
        }
        (ErrorKind::Server(_) | ErrorKind::RESP3NotSupported, _) | (_, Some(_)) => {
            Fault::Denied("it does not speak RESP3, which Redis 6 and later do".to_owned())
        }
        _ => Fault::of_connection(error),
    }
}

/// Who waits, and for how long, is up to the caller.
fn patient() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None)
}

/// Without naming our library, which no ACL can allow by itself before Redis 7.2.
fn said_plainly() -> RedisConnectionInfo {
    RedisConnectionInfo::default().set_skip_set_lib_name()
}

fn server(
    node: &Node,
    certificates: Option<TlsCertificates>,
    redis: RedisConnectionInfo,
) -> RedisResult<redis::Client> {
    let Node { host, port } = node.clone();
    match certificates {
        None => redis::Client::open(settings(ConnectionAddr::Tcp(host, port), redis)?),
        Some(certificates) => {
            let address = ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None };
            redis::Client::build_with_tls(settings(address, redis)?, certificates)
        }
    }
}

fn settings(address: ConnectionAddr, redis: RedisConnectionInfo) -> RedisResult<ConnectionInfo> {
    // The end of a long batch must not wait for the acknowledgement of its beginning.
    let tcp = TcpSettings::default().set_nodelay(true);
    Ok(address.into_connection_info()?.set_redis_settings(redis).set_tcp_settings(tcp))
}

/// One command, and its answer, which may be an error.
///
/// # Errors
/// When the connection breaks.
pub(super) async fn ask(command: &Cmd, connection: &mut MultiplexedConnection) -> Result<Value, Fault> {
    connection.send_packed_command(command).await.map_err(|error| Fault::of_connection(&error))
}

fn accepted(command: &str, answer: Value, refusal: fn(&redis::ServerError) -> Fault) -> Result<(), Fault> {
    if let Value::ServerError(error) = &answer {
        return Err(refusal(error));
    }
    if answer == Value::Okay { Ok(()) } else { Err(Fault::nonsense(command)) }
}

fn read_files(access: &Access) -> Result<Credentials, Fault> {
    let Access { login, tls } = access;
    let password = login.as_ref().map(|login| reveal(&login.password)).transpose()?;
    let username = login.as_ref().and_then(|Login { username, password: _ }| username.clone());
    let certificates = tls.as_ref().map(read_certificates).transpose()?;
    Ok(Credentials { username, password, certificates })
}

fn reveal(password: &Secret) -> Result<Revealed, Fault> {
    password.reveal().map_err(|error| {
        let cause = error.source().map(|cause| format!(": {cause}"));
        Fault::Lost(format!("{error}{}", cause.unwrap_or_default()))
    })
}

fn read_certificates(files: &TlsFiles) -> Result<TlsCertificates, Fault> {
    let TlsFiles { ca, identity } = files;
    let root_cert = ca.as_deref().map(read_chain).transpose()?;
    let client_tls = identity.as_ref().map(read_identity).transpose()?;
    Ok(TlsCertificates { client_tls, root_cert })
}

fn read_identity(identity: &Identity) -> Result<ClientTlsConfig, Fault> {
    let Identity { certificate, key } = identity;
    let client_cert = read_chain(certificate)?;
    let client_key = read(key)?;
    // The error is not repeated: it may quote the key.
    if PrivateKeyDer::from_pem_slice(&client_key).is_err() {
        return Err(Fault::Lost(format!("{} holds no private key in PEM", key.display())));
    }
    Ok(ClientTlsConfig { client_cert, client_key })
}

/// A file with certificates. The library takes one without any for an authority that has signed nothing.
fn read_chain(path: &Path) -> Result<Vec<u8>, Fault> {
    let content = read(path)?;
    let mut certificates = CertificateDer::pem_slice_iter(&content).peekable();
    if certificates.peek().is_none() || certificates.any(|certificate| certificate.is_err()) {
        return Err(Fault::Lost(format!("{} holds no certificates in PEM", path.display())));
    }
    Ok(content)
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(|error| Fault::Lost(format!("cannot read {}: {error}", path.display())))
}
