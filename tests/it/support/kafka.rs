//! Real Apache Kafka: one broker that tests share, or a cluster of a test's own.

mod broker;
mod clients;
mod liar;
mod watched;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use tempfile::TempDir;
use tokio::sync::{Mutex, MutexGuard};

use self::broker::{Broker, Ports};
pub(crate) use self::clients::{ALLOW, Acl, DESCRIBE, GROUP, TOPIC};
pub(crate) use self::liar::{Liar, Lie};
pub(crate) use self::watched::{Manner, Watched};
use super::servers::write_certificates;

/// What every broker was formatted with, in `tests/kafka/setup.sh`.
const CLUSTER_ID: &str = "MkU3OEVBNTcwNTJENDM2Qk";

/// A running cluster, killed with its handle.
///
/// Every broker takes everybody in the clear as a super-user; with TLS and a password alice
/// (`SCRAM-SHA-256`), anna (`SCRAM-SHA-512`), bob (`PLAIN`), and whoever says so (`OAUTHBEARER`); and with a
/// certificate of `client.crt` and `client.key`. These may do only what an ACL allows.
pub(crate) struct Kafka {
    brokers: Vec<Broker>,
    directory: Directory,
    watched: Mutex<Vec<Watched>>,
}

/// Where brokers keep what they have.
enum Directory {
    Own(TempDir),
    /// Removed with the last broker.
    Left(PathBuf),
}

/// Which of the listeners of all brokers is meant.
#[derive(Clone, Copy)]
pub(crate) enum Listener {
    /// In the clear.
    Plain,
    /// In the clear, through [`Watched`] ways.
    Watched,
    /// With TLS, and a password or a token.
    SaslSsl,
    /// With TLS, and a certificate of the client's.
    MutualTls,
}

impl Kafka {
    /// The broker that all tests share. It ends with the process. Name topics and groups after the test.
    pub(crate) fn shared() -> &'static Self {
        static SHARED: OnceLock<Kafka> = OnceLock::new();
        SHARED.get_or_init(|| Self::try_start(1, true))
    }

    /// Starts a cluster of so many brokers, and waits until all of them know each other.
    pub(crate) fn start(brokers: usize) -> Self {
        Self::try_start(brokers, false)
    }

    fn try_start(brokers: usize, is_shared: bool) -> Self {
        use_program();
        let installed = installed();
        // Another process may take a free port before a broker does.
        for _ in 0..3 {
            let directory = tempfile::tempdir().unwrap();
            write_certificates(&directory);
            write_chain(directory.path());
            let watched: Vec<Watched> = (0..brokers).map(|_| Watched::start()).collect();
            let ports: Vec<Ports> = watched.iter().map(|watched| Ports::free(watched.port())).collect();
            let is_left = is_shared;
            let directory =
                if is_left { Directory::Left(directory.keep()) } else { Directory::Own(directory) };
            let brokers = (0..brokers)
                .map(|index| Broker::start(&installed, directory.path(), &ports, index, is_left))
                .collect();
            watched.iter().zip(&ports).for_each(|(watched, ports)| watched.leads_to(ports.behind_watched));
            let mut kafka = Self { brokers, directory, watched: Mutex::new(watched) };
            if kafka.is_ready() {
                return kafka;
            }
        }
        panic!("Kafka does not start on any of three sets of ports: see its log")
    }

    fn is_ready(&mut self) -> bool {
        self.brokers.iter_mut().all(Broker::listens)
            && clients::sees_brokers(&self.bootstrap(Listener::Plain), self.brokers.len())
    }

    /// Addresses of all brokers, separated by commas.
    pub(crate) fn bootstrap(&self, listener: Listener) -> String {
        let ports = self.brokers.iter().map(|broker| broker.ports().of(listener));
        ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
    }

    /// The ways to the brokers on which requests are counted and go wrong, for one test at a time.
    pub(crate) async fn watched(&self) -> MutexGuard<'_, Vec<Watched>> {
        let watched = self.watched.lock().await;
        watched.iter().for_each(Watched::reset);
        watched
    }

    /// `ca.crt`, `client.crt`, `client.key`, or a file to be written.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Ends the broker of that index at once, as a crash would.
    pub(crate) fn kill(&mut self, broker: usize) {
        self.brokers[broker].kill();
    }

    /// Starts a killed broker again, with what it had.
    pub(crate) fn restart(&mut self, broker: usize) {
        let ports: Vec<Ports> = self.brokers.iter().map(Broker::ports).collect();
        let installed = installed();
        self.brokers[broker] = Broker::start(&installed, self.directory.path(), &ports, broker, false);
        assert!(self.brokers[broker].listens(), "the broker does not come back");
    }
}

impl Directory {
    fn path(&self) -> &Path {
        match self {
            Self::Own(directory) => directory.path(),
            Self::Left(path) => path,
        }
    }
}

/// Has the library start the program itself for its Kafka clients, and not the tests.
pub(crate) fn use_program() {
    agent_scaler::sources::kafka::set_program(Path::new(env!("CARGO_BIN_EXE_agent-scaler")));
}

/// The folder with Kafka in it. Installs it the first time.
pub(crate) fn installed() -> PathBuf {
    static INSTALLED: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let script = super::tree::root().join("tests/kafka/setup.sh");
        let output = Command::new("bash").arg(script).output().map_err(|error| error.to_string())?;
        let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        if output.status.success() { Ok(PathBuf::from(said)) } else { Err(said) }
    });
    installed.clone().unwrap_or_else(|missing| panic!("{missing}"))
}

/// Kafka wants a key and all certificates in one file.
fn write_chain(directory: &Path) {
    let chain: String = ["server.key", "server.crt", "ca.crt"]
        .map(|name| std::fs::read_to_string(directory.join(name)).unwrap())
        .concat();
    std::fs::write(directory.join("broker.pem"), chain).unwrap();
}
