//! The opening of a connection: files, TLS, login. The caller's deadline covers all of it.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use futures_util::future::select_ok;
use redis::{
    AsyncConnectionConfig, Cmd, ErrorKind, ProtocolVersion, PushInfo, RedisConnectionInfo, RedisError, Value,
    cmd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::{TcpStream, lookup_host};
use tokio_rustls::TlsConnector;

use super::access::{Access, Login};
use super::address::Node;
use super::connection::{Connection, SMALL};
use super::fault::Fault;
use super::inbox::{Inbox, cost};
use super::meter::Meter;
use super::reach::Reach;
use super::wire;
use crate::secret::{Revealed, Secret};
use crate::sources::tls_files::{Identity, TlsFiles};
use crate::timestamp::Timestamp;

/// Most questions under way on one connection; those of a batch are sent together.
const MOST_UNDER_WAY: usize = 1_024;

/// What the files of an [`Access`] hold. They are read for each connection anew, because any of them may have been
/// rotated.
struct Credentials {
    username: Option<String>,
    password: Option<Revealed>,
    tls: Option<Arc<ClientConfig>>,
}

impl Credentials {
    async fn read(access: &Access) -> Result<Self, Fault> {
        let access = access.clone();
        tokio::task::spawn_blocking(move || read_files(&access))
            .await
            .map_err(|_| Fault::Lost("the reading of its files was cut off".to_owned()))?
    }
}

/// A connection on which we are logged in.
///
/// # Errors
/// When a file cannot be read, the server cannot be reached or may not be, or it does not let us in.
pub(super) async fn log_in(node: &Node, reach: Reach, access: &Access) -> Result<Connection, Fault> {
    let Credentials { username, password, tls } = Credentials::read(access).await?;
    let redis = said_plainly().set_protocol(ProtocolVersion::RESP2);
    let connected = connect(node, reach, tls, Arc::default(), redis, patient()).await?;
    let mut connection = connected.map_err(|error| Fault::of_connection(&error))?;
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
/// When a file cannot be read, the server cannot be reached or may not be, or it does not let us in.
pub(super) async fn open(
    node: &Node,
    reach: Reach,
    database: u32,
    access: &Access,
) -> Result<(Connection, Timestamp), Fault> {
    let mut connection = log_in(node, reach, access).await?;
    if database != 0 {
        accepted("SELECT", ask(cmd("SELECT").arg(database), &mut connection).await?, Fault::said)?;
    }
    let now = wire::time(&ask(&cmd("TIME"), &mut connection).await?)?;
    Ok((connection, now))
}

/// A connection in RESP3, on which Redis may say something by itself: that goes into `inbox`.
///
/// # Errors
/// When a file cannot be read, the server cannot be reached or may not be, does not speak RESP3, or does not let us in.
pub(super) async fn open_to_listen(
    node: &Node,
    reach: Reach,
    database: u32,
    access: &Access,
    inbox: &Arc<Inbox>,
) -> Result<Connection, Fault> {
    let Credentials { username, password, tls } = Credentials::read(access).await?;
    let (inbox, meter) = (Arc::clone(inbox), Arc::<Meter>::default());
    let counted = Arc::clone(&meter);
    let config = patient().set_push_sender(move |said: PushInfo| {
        counted.take_in(cost(&said));
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
    connect(node, reach, tls, meter, redis, config).await?.map_err(|error| refused(&error))
}

/// A connection to the first address of `node` that answers; the inner error is what it said to us.
async fn connect(
    node: &Node,
    reach: Reach,
    tls: Option<Arc<ClientConfig>>,
    meter: Arc<Meter>,
    redis: RedisConnectionInfo,
    config: AsyncConnectionConfig,
) -> Result<Result<Connection, RedisError>, Fault> {
    let broken = |error: io::Error| Fault::of_connection(&error.into());
    let Node { host, port } = node;
    let all: Vec<SocketAddr> = lookup_host((host.as_str(), *port)).await.map_err(broken)?.collect();
    let addresses: Vec<SocketAddr> = all.iter().filter(|at| reach.covers(at.ip())).copied().collect();
    if addresses.is_empty() {
        return Err(if all.is_empty() {
            Fault::Lost("its name has no address".to_owned())
        } else {
            Fault::out_of_reach()
        });
    }
    let attempts = addresses.into_iter().map(|address| {
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            // The end of a long batch must not wait for the acknowledgement of its beginning.
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>((stream, address.ip()))
        })
    });
    let ((stream, peer), _) = select_ok(attempts).await.map_err(broken)?;
    Ok(match tls {
        None => Connection::open(stream, peer, meter, &redis, config).await,
        Some(tls) => {
            let name = ServerName::try_from(host.clone())
                .map_err(|_| Fault::Lost("its host is no name that a certificate can have".to_owned()))?;
            let stream = TlsConnector::from(tls).connect(name, stream).await.map_err(broken)?;
            Connection::open(stream, peer, meter, &redis, config).await
        }
    })
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
    AsyncConnectionConfig::new()
        .set_connection_timeout(None)
        .set_response_timeout(None)
        .set_pipeline_buffer_size(MOST_UNDER_WAY)
}

/// Without naming our library, which no ACL can allow by itself before Redis 7.2.
fn said_plainly() -> RedisConnectionInfo {
    RedisConnectionInfo::default().set_skip_set_lib_name()
}

/// One command, and its answer, which is short and may be an error.
///
/// # Errors
/// When the connection breaks.
pub(super) async fn ask(command: &Cmd, connection: &mut Connection) -> Result<Value, Fault> {
    connection.ask(command, SMALL).await
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
    let tls = tls.as_ref().map(read_tls).transpose()?.map(Arc::new);
    Ok(Credentials { username, password, tls })
}

fn reveal(password: &Secret) -> Result<Revealed, Fault> {
    password.reveal().map_err(|error| {
        let cause = error.source().map(|cause| format!(": {cause}"));
        Fault::Lost(format!("{error}{}", cause.unwrap_or_default()))
    })
}

fn read_tls(files: &TlsFiles) -> Result<ClientConfig, Fault> {
    let unusable = |error: rustls::Error| Fault::Lost(format!("its certificates are of no use: {error}"));
    let TlsFiles { ca, identity } = files;
    let mut roots = RootCertStore::empty();
    match ca {
        Some(ca) => {
            for certificate in read_chain(ca)? {
                roots.add(certificate).map_err(unusable)?;
            }
        }
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(roots);
    let Some(Identity { certificate, key }) = identity else { return Ok(config.with_no_client_auth()) };
    let chain = read_chain(certificate)?;
    // The error is not repeated: it may quote the key.
    let key = PrivateKeyDer::from_pem_slice(&read(key)?)
        .map_err(|_| Fault::Lost(format!("{} holds no private key in PEM", key.display())))?;
    config.with_client_auth_cert(chain, key).map_err(unusable)
}

/// The certificates of a file. The library takes one without any for an authority that has signed nothing.
fn read_chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let content = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) | Err(_) => Err(Fault::Lost(format!("{} holds no certificates in PEM", path.display()))),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Fault> {
    std::fs::read(path).map_err(|error| Fault::Lost(format!("cannot read {}: {error}", path.display())))
}
