//! Real servers, started on free ports of the loopback and killed with their handle.

use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use tempfile::TempDir;

/// How a Redis is set up.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    /// Password of the default user.
    pub(crate) password: Option<&'static str>,
    /// Whether there is a second port with TLS.
    pub(crate) tls: Tls,
}

/// How a Redis encrypts.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tls {
    /// Not at all.
    #[default]
    Off,
    /// The server has a certificate.
    Server,
    /// The clients must have one too.
    Mutual,
}

/// The ports of a server.
#[derive(Clone, Copy)]
pub(crate) struct Ports {
    /// In the clear.
    pub(crate) port: u16,
    /// With TLS, where there is any.
    pub(crate) tls_port: u16,
    /// For the other nodes of its cluster.
    pub(crate) bus: u16,
}

/// A running `redis-server`. It keeps nothing on disk: a restart empties it.
pub(crate) struct Redis {
    options: Options,
    port: u16,
    tls_port: u16,
    directory: TempDir,
    process: Child,
}

impl Redis {
    /// Starts a server and waits until it answers.
    pub(crate) fn start(options: Options) -> Self {
        Self::start_with(options, None, |_| String::new())
    }

    /// The same, with the certificates of `alike`, and further lines of configuration that may depend on its ports.
    pub(crate) fn start_with(
        options: Options,
        alike: Option<&Self>,
        lines: impl Fn(Ports) -> String,
    ) -> Self {
        // Another process may take a free port before the server does.
        for _ in 0..5 {
            let directory = tempfile::tempdir().unwrap();
            match alike {
                Some(alike) => copy_certificates(&alike.directory, &directory),
                None if options.tls != Tls::Off => write_certificates(&directory),
                None => {}
            }
            let ports = free_ports();
            let Ports { port, tls_port, bus: _ } = ports;
            write_configuration(options, ports, &directory, &lines(ports));
            let process = spawn(&directory);
            let mut redis = Self { options, port, tls_port, directory, process };
            if redis.answers() {
                return redis;
            }
        }
        panic!("redis-server does not start on any of five ports");
    }

    /// Starts one without a password and TLS.
    pub(crate) fn plain() -> Self {
        Self::start(Options::default())
    }

    /// The port in the clear, which is there also beside TLS.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// The port that clients should use.
    pub(crate) fn best_port(&self) -> u16 {
        if self.options.tls == Tls::Off { self.port } else { self.tls_port }
    }

    /// What to connect to: with TLS where there is any.
    pub(crate) fn url(&self) -> String {
        match self.options.tls {
            Tls::Off => format!("redis://127.0.0.1:{}", self.port),
            Tls::Server | Tls::Mutual => format!("rediss://127.0.0.1:{}", self.tls_port),
        }
    }

    /// A file of the server's directory: `ca.crt`, `client.crt`, `client.key`, or one to be written.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Ends the process at once, as a crash would.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }

    /// Kills the server and starts it anew, empty, on the same ports.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.process = spawn(&self.directory);
        assert!(self.answers(), "redis-server does not come back");
    }

    /// A connection of the default user, for tests to arrange things.
    pub(crate) fn connection(&self) -> redis::Connection {
        self.connect().unwrap()
    }

    /// Runs one command as the default user.
    pub(crate) fn command(&self, words: &[&str]) -> redis::Value {
        let (name, arguments) = words.split_first().unwrap();
        redis::cmd(name).arg(arguments).query(&mut self.connection()).unwrap()
    }

    /// The same, unless the server is gone.
    pub(crate) fn try_connection(&self) -> Option<redis::Connection> {
        self.connect().ok()
    }

    fn connect(&self) -> redis::RedisResult<redis::Connection> {
        let credentials = self.options.password.map(|password| format!(":{password}@")).unwrap_or_default();
        redis::Client::open(format!("redis://{credentials}127.0.0.1:{}", self.port))?.get_connection()
    }

    /// Whether the server comes up, within ten seconds.
    fn answers(&mut self) -> bool {
        for _ in 0..1_000 {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            let pong = self.connect().and_then(|mut connection| redis::cmd("PING").query(&mut connection));
            if pong == Ok("PONG".to_owned()) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(directory: &TempDir) -> Child {
    Command::new("redis-server")
        .arg(directory.path().join("redis.conf"))
        .stdout(Stdio::null())
        .spawn()
        .unwrap_or_else(|error| {
            panic!("cannot start redis-server ({error}): install the package redis-server")
        })
}

fn write_configuration(options: Options, ports: Ports, directory: &TempDir, lines: &str) {
    let Ports { port, tls_port, bus: _ } = ports;
    let path = directory.path().display();
    let mut text = format!("bind 127.0.0.1\nport {port}\nsave \"\"\ndir {path}\nlogfile {path}/log\n");
    if let Some(password) = options.password {
        writeln!(text, "requirepass {password}").unwrap();
    }
    if options.tls != Tls::Off {
        let clients = if options.tls == Tls::Mutual { "yes" } else { "no" };
        writeln!(
            text,
            "tls-port {tls_port}\ntls-auth-clients {clients}\ntls-ca-cert-file {path}/ca.crt\n\
             tls-cert-file {path}/server.crt\ntls-key-file {path}/server.key"
        )
        .unwrap();
    }
    text.push_str(lines);
    std::fs::write(directory.path().join("redis.conf"), text).unwrap();
}

/// Writes an authority's certificate, and certificates with keys for a server and a client.
pub(crate) fn write_certificates(directory: &TempDir) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    std::fs::write(directory.path().join("ca.crt"), authority.pem()).unwrap();
    for name in ["server", "client"] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        // Of the same name as its authority it would pass for self-signed.
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &authority).unwrap();
        std::fs::write(directory.path().join(format!("{name}.crt")), certificate.pem()).unwrap();
        std::fs::write(directory.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
    }
}

fn copy_certificates(from: &TempDir, to: &TempDir) {
    for name in ["ca.crt", "server.crt", "server.key", "client.crt", "client.key"] {
        // There are none without TLS.
        let _ = std::fs::copy(from.path().join(name), to.path().join(name));
    }
}

/// Ports that were free a moment ago.
pub(crate) fn free_ports() -> Ports {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [port, tls_port, bus] = listeners.map(|listener| listener.local_addr().unwrap().port());
    Ports { port, tls_port, bus }
}
