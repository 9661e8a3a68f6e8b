//! Who gets in, and certificates that change while we serve.

use std::error::Error as _;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use agent_scaler::clock::Clock;
use agent_scaler::scaler::proto::external_scaler_client::ExternalScalerClient;
use agent_scaler::scaler::{Scaler, StartError};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::support::harness::{ManualClock, PATIENCE, eventually, queue, scripted, server};
use crate::support::program::Program;
use crate::support::scripted::Script;

#[tokio::test]
async fn a_server_certificate_proves_the_server_and_asks_nothing_of_kedas() {
    let secured = Secured::start("server").await;
    assert_eq!(value(&mut secured.client(None).await).await, 3.0);
    let stranger = Authority::new("stranger");
    let refused = secured.handshake(&stranger, None).await.unwrap_err();
    assert_eq!(refused, "invalid peer certificate: UnknownIssuer");
}

#[tokio::test]
async fn mutual_tls_lets_in_whom_the_ca_has_signed_and_nobody_else() {
    let secured = Secured::start("mutual").await;
    let keda = secured.authority.issue("keda");
    assert_eq!(value(&mut secured.client(Some(&keda)).await).await, 3.0);

    let stranger = Authority::new("stranger").issue("keda");
    let expired = secured.authority.issue_until("keda", 2001);
    let alerts = [
        (None, "CertificateRequired"),
        (Some(&stranger), "UnknownCA"),
        (Some(&expired), "CertificateExpired"),
    ];
    for (certificate, alert) in alerts {
        let refused = secured.handshake(&secured.authority, certificate).await.unwrap_err();
        assert_eq!(refused, format!("received fatal alert: {alert}"));
    }
    secured.handshake(&secured.authority, Some(&keda)).await.unwrap();
}

#[tokio::test]
async fn plaintext_on_a_port_with_tls_gets_no_answer() {
    let secured = Secured::start("server").await;
    let endpoint = Endpoint::from_shared(format!("http://{}", secured.scaler.grpc)).unwrap();
    let mut client = ExternalScalerClient::new(endpoint.connect_lazy());
    let answer = timeout(PATIENCE, client.is_active(scripted("jobs", &[]))).await.unwrap();
    // The connection is closed: this is the transport's error, not an answer of ours.
    assert!(answer.unwrap_err().source().is_some());
    assert_eq!(value(&mut secured.client(None).await).await, 3.0);
}

/// More than the port keeps, some of which begin and do not go on.
#[tokio::test]
async fn handshakes_that_hang_hold_up_nobody() {
    let secured = Secured::start("server").await;
    let mut silent = Vec::new();
    for number in 0..1_000 {
        let mut socket = TcpStream::connect(secured.scaler.grpc).await.unwrap();
        if number % 2 == 0 {
            // A record of TLS that announces more than comes. The server may have closed the socket by now.
            drop(socket.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]).await);
        }
        silent.push(socket);
    }
    // Well before the first of them times out.
    let answered = async { value(&mut secured.client(None).await).await };
    assert_eq!(timeout(Duration::from_secs(1), answered).await.unwrap(), 3.0);
    let mut one = silent.pop().unwrap();
    let closed = timeout(Duration::from_secs(5), one.read(&mut [0])).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)), "a handshake that hangs is given up");
}

#[tokio::test]
async fn the_metrics_say_when_the_certificates_in_use_expire() {
    let secured = Secured::start("mutual").await;
    let seconds = |year: i32| date_time_ymd(year, 1, 1).unix_timestamp();
    eventually("the end of the first", async || {
        (secured.certificate_expiry("server").await? == seconds(4000)).then_some(())
    })
    .await;
    assert_eq!(secured.certificate_expiry("client_ca").await, Some(seconds(4096)));
    let Signed { certificate, key } = secured.authority.issue_until("server", 2001);
    fs::write(secured.path("tls.key"), key).unwrap();
    fs::write(secured.path("tls.crt"), certificate).unwrap();
    eventually("the end of the second", async || {
        (secured.certificate_expiry("server").await? == seconds(2001)).then_some(())
    })
    .await;
}

#[test]
fn an_expired_certificate_is_warned_of_at_the_start() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new("authority");
    authority.write(&directory);
    let Signed { certificate, key } = authority.issue_until("server", 2001);
    fs::write(directory.path().join("tls.crt"), certificate).unwrap();
    fs::write(directory.path().join("tls.key"), key).unwrap();
    let program = Program::start(&file("server", &directory));
    let warned = || program.log().iter().filter(|line| line.contains("A certificate has expired")).count();
    let began = tokio::time::Instant::now();
    while warned() == 0 {
        assert!(began.elapsed() < PATIENCE, "{:#?}", program.log());
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(program.log().iter().any(|line| line.contains("2001-01-01T00:00:00")), "{:#?}", program.log());
}

#[tokio::test]
async fn certificates_that_change_on_disk_serve_new_connections_while_old_streams_go_on() {
    let secured = Secured::start("mutual").await;
    let keda = secured.authority.issue("keda");
    secured.script.shows("jobs", queue(0, 0));
    let mut old = secured.client(Some(&keda)).await;
    let mut states = old.stream_is_active(scripted("jobs", &[])).await.unwrap().into_inner();
    assert!(!states.message().await.unwrap().unwrap().result);

    let renewed = Authority::new("renewed");
    secured.write(&renewed);
    let their = renewed.issue("keda");
    eventually("the new certificate", async || secured.handshake(&renewed, Some(&their)).await.ok()).await;
    let refused = secured.handshake(&renewed, Some(&keda)).await.unwrap_err();
    assert_eq!(refused, "received fatal alert: UnknownCA", "the former CA vouches for nobody any more");

    secured.script.shows("jobs", queue(1, 0));
    let state = timeout(PATIENCE, states.message()).await.unwrap();
    assert!(state.unwrap().unwrap().result, "on the stream of the old connection");
}

#[tokio::test]
async fn a_changed_certificate_that_cannot_be_used_is_counted_once_and_the_former_stays() {
    let secured = Secured::start("server").await;
    assert_eq!(secured.certificate_errors().await, "0");
    fs::write(secured.path("tls.crt"), "-----BEGIN NONSENSE-----\n").unwrap();
    eventually("the error", async || (secured.certificate_errors().await == "1").then_some(())).await;
    assert_eq!(value(&mut secured.client(None).await).await, 3.0);

    let renewed = Authority::new("renewed");
    secured.write(&renewed);
    eventually("the cure", async || secured.handshake(&renewed, None).await.ok()).await;
    assert_eq!(secured.certificate_errors().await, "1");
}

#[tokio::test]
async fn a_stop_ends_streams_cleanly_over_tls_too() {
    let Secured { scaler, script, authority, directory } = Secured::start("mutual").await;
    let keda = authority.issue("keda");
    let mut client = client(scaler.grpc, &authority, Some(&keda)).await;
    let mut states = client.stream_is_active(scripted("jobs", &[])).await.unwrap().into_inner();
    assert!(states.message().await.unwrap().unwrap().result);
    let stopping = tokio::spawn(scaler.stop());
    assert_eq!(timeout(PATIENCE, states.message()).await.unwrap().unwrap(), None);
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
    drop((script, directory));
}

#[tokio::test]
async fn a_server_does_not_start_with_certificates_that_it_cannot_use() {
    let (authority, other) = (Authority::new("authority"), Authority::new("other"));
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    authority.write(&directory);
    let missing = path("tls.crt");
    fs::remove_file(&missing).unwrap();
    assert_eq!(refusal(&directory).await, format!("cannot read {}", missing.display()));
    fs::write(&missing, "nothing").unwrap();
    assert_eq!(refusal(&directory).await, format!("{} holds no certificate in PEM", missing.display()));
    authority.write(&directory);
    fs::write(path("tls.key"), "nothing").unwrap();
    assert_eq!(
        refusal(&directory).await,
        format!("{} holds no private key in PEM", path("tls.key").display())
    );
    fs::write(path("tls.key"), other.issue("localhost").key).unwrap();
    assert_eq!(refusal(&directory).await, "the certificate, its key and the CA do not fit each other");
}

/// Why a server with the files of `directory` does not start.
async fn refusal(directory: &TempDir) -> String {
    let server = server(&file("mutual", directory), &Arc::default());
    match Scaler::start(server, Arc::new(ManualClock::default())).await {
        Err(error @ StartError::Certificates(_)) => error.source().unwrap().to_string(),
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("it starts"),
    }
}

/// A server with certificates, whose queue `jobs` holds three tasks.
struct Secured {
    scaler: Scaler,
    script: Arc<Script>,
    authority: Authority,
    directory: TempDir,
}

impl Secured {
    async fn start(mode: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new("authority");
        authority.write(&directory);
        let script = Arc::new(Script::default());
        script.shows("jobs", queue(3, 0));
        let server = server(&file(mode, &directory), &script);
        let clock = Arc::new(ManualClock::default());
        let scaler = Scaler::start(server, clock as Arc<dyn Clock>).await.unwrap();
        Self { scaler, script, authority, directory }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    /// Replaces all files by those of another authority.
    fn write(&self, authority: &Authority) {
        authority.write(&self.directory);
    }

    async fn client(&self, certificate: Option<&Signed>) -> ExternalScalerClient<Channel> {
        client(self.scaler.grpc, &self.authority, certificate).await
    }

    /// Shakes hands with the server and waits for its first byte.
    async fn handshake(&self, trusted: &Authority, certificate: Option<&Signed>) -> Result<(), String> {
        let config = client_config(trusted, certificate);
        let text = |error: std::io::Error| error.to_string();
        let work = async {
            let socket = TcpStream::connect(self.scaler.grpc).await.map_err(text)?;
            let name = ServerName::try_from("localhost").unwrap();
            let mut stream =
                TlsConnector::from(Arc::new(config)).connect(name, socket).await.map_err(text)?;
            stream.read_u8().await.map(drop).map_err(text)
        };
        timeout(PATIENCE, work).await.unwrap()
    }

    async fn certificate_errors(&self) -> String {
        self.metric("certificate_errors_total ").await.unwrap()
    }

    async fn certificate_expiry(&self, certificate: &str) -> Option<i64> {
        let series = format!("certificate_expiry_timestamp_seconds{{certificate=\"{certificate}\"}} ");
        self.metric(&series).await?.parse().ok()
    }

    async fn metric(&self, series: &str) -> Option<String> {
        let text = reqwest::get(format!("http://{}/metrics", self.scaler.admin)).await.unwrap().text().await;
        let text = text.unwrap();
        let value = |line: &str| line.strip_prefix("agent_scaler_")?.strip_prefix(series).map(str::to_owned);
        text.lines().find_map(value)
    }
}

/// A client as KEDA is one: it trusts one authority, and may have a certificate of its own.
async fn client(
    address: SocketAddr,
    trusted: &Authority,
    certificate: Option<&Signed>,
) -> ExternalScalerClient<Channel> {
    let ca = Certificate::from_pem(trusted.0.pem());
    let mut tls = ClientTlsConfig::new().ca_certificate(ca).domain_name("localhost");
    if let Some(Signed { certificate, key }) = certificate {
        tls = tls.identity(Identity::from_pem(certificate, key));
    }
    let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
    ExternalScalerClient::new(endpoint.tls_config(tls).unwrap().connect().await.unwrap())
}

/// The section `tls` for the files that an authority writes.
fn file(mode: &str, directory: &TempDir) -> String {
    let path = directory.path().display();
    let ca = if mode == "mutual" { format!(", clientCa: {path}/ca.crt") } else { String::new() };
    format!("tls: {{ mode: {mode}, certificate: {path}/tls.crt, key: {path}/tls.key{ca} }}\n")
}

async fn value(client: &mut ExternalScalerClient<Channel>) -> f64 {
    let request = crate::support::harness::metrics_request(&scripted("jobs", &[]), "agent-replicas");
    client.get_metrics(request).await.unwrap().into_inner().metric_values[0].metric_value_float
}

fn client_config(trusted: &Authority, certificate: Option<&Signed>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.0.der().clone()).unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some(Signed { certificate, key }) => {
            let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
            let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
            builder.with_client_auth_cert(chain, key).unwrap()
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

/// Signs certificates.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
struct Signed {
    certificate: String,
    key: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn issue(&self, name: &str) -> Signed {
        self.issue_until(name, 4000)
    }

    fn issue_until(&self, name: &str, year: i32) -> Signed {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
        params.not_before = date_time_ymd(2000, 1, 1);
        params.not_after = date_time_ymd(year, 1, 1);
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).unwrap().pem();
        Signed { certificate, key: key.serialize_pem() }
    }

    /// Writes what the section `tls` names: a certificate, its key and this authority.
    fn write(&self, directory: &TempDir) {
        let Signed { certificate, key } = self.issue("server");
        for (name, text) in [("tls.crt", certificate), ("tls.key", key), ("ca.crt", self.0.pem())] {
            fs::write(directory.path().join(name), text).unwrap();
        }
    }
}
