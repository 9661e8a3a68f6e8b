//! The opening of a connection: files, TLS, login. The caller's deadline covers all of it.

use std::error::Error;
use std::path::Path;

use redis::aio::MultiplexedConnection;
use redis::io::tcp::TcpSettings;
use redis::{
    AsyncConnectionConfig, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    ProtocolVersion, RedisConnectionInfo, RedisResult, TlsCertificates, Value, cmd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::client;
use super::endpoint::{Identity, Location, RedisEndpoint, TlsFiles};
use super::fault::Fault;
use crate::secret::{Revealed, Secret};
use crate::timestamp::Timestamp;

/// What the files held when a connection was opened.
struct Contents {
    password: Option<Revealed>,
    certificates: Option<TlsCertificates>,
}

/// A connection on which we are logged in, and the time that Redis told on it.
///
/// # Errors
/// When a file cannot be read, the server cannot be reached, or it does not let us in.
pub(super) async fn open(endpoint: &RedisEndpoint) -> Result<(MultiplexedConnection, Timestamp), Fault> {
    let files = endpoint.clone();
    let Contents { password, certificates } = tokio::task::spawn_blocking(move || read_files(&files))
        .await
        .map_err(|_| Fault::Lost("the reading of its files was cut off".to_owned()))??;
    let config = AsyncConnectionConfig::new().set_connection_timeout(None).set_response_timeout(None);
    let server = server(&endpoint.location, certificates).map_err(|error| Fault::of_connection(&error))?;
    let mut connection = server
        .get_multiplexed_async_connection_with_config(&config)
        .await
        .map_err(|error| Fault::of_connection(&error))?;
    let now = log_in(endpoint, password.as_ref(), &mut connection).await?;
    Ok((connection, now))
}

fn server(location: &Location, certificates: Option<TlsCertificates>) -> RedisResult<redis::Client> {
    let Location { host, port, database: _ } = location.clone();
    match certificates {
        None => redis::Client::open(settings(ConnectionAddr::Tcp(host, port))?),
        Some(certificates) => {
            let address = ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None };
            redis::Client::build_with_tls(settings(address)?, certificates)
        }
    }
}

/// How we speak: in RESP2, which every version and every proxy knows, and without naming our library, which
/// no ACL can allow by itself before Redis 7.2.
fn settings(address: ConnectionAddr) -> RedisResult<ConnectionInfo> {
    let redis = RedisConnectionInfo::default().set_protocol(ProtocolVersion::RESP2).set_skip_set_lib_name();
    // The end of a long batch must not wait for the acknowledgement of its beginning.
    let tcp = TcpSettings::default().set_nodelay(true);
    Ok(address.into_connection_info()?.set_redis_settings(redis).set_tcp_settings(tcp))
}

/// Logs in, selects the database, and asks the time: one command after the other, because the library
/// keeps the reason to itself when a connection ends within a pipeline.
async fn log_in(
    endpoint: &RedisEndpoint,
    password: Option<&Revealed>,
    connection: &mut MultiplexedConnection,
) -> Result<Timestamp, Fault> {
    if let Some(password) = password {
        let mut auth = cmd("AUTH");
        auth.arg(endpoint.login.as_ref().and_then(|login| login.username.as_ref())).arg(password.expose());
        accepted("AUTH", ask(&auth, connection).await?, Fault::said_to_password)?;
    }
    let database = endpoint.location.database;
    if database != 0 {
        accepted("SELECT", ask(cmd("SELECT").arg(database), connection).await?, Fault::said)?;
    }
    client::time(&ask(&cmd("TIME"), connection).await?)
}

async fn ask(command: &Cmd, connection: &mut MultiplexedConnection) -> Result<Value, Fault> {
    connection.send_packed_command(command).await.map_err(|error| Fault::of_connection(&error))
}

fn accepted(command: &str, answer: Value, refusal: fn(&redis::ServerError) -> Fault) -> Result<(), Fault> {
    if let Value::ServerError(error) = &answer {
        return Err(refusal(error));
    }
    if answer == Value::Okay { Ok(()) } else { Err(Fault::nonsense(command)) }
}

/// Reads every file anew, because any of them may have been rotated. Blocks.
fn read_files(endpoint: &RedisEndpoint) -> Result<Contents, Fault> {
    let password = endpoint.login.as_ref().map(|login| reveal(&login.password)).transpose()?;
    let certificates = endpoint.tls.as_ref().map(read_certificates).transpose()?;
    Ok(Contents { password, certificates })
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
