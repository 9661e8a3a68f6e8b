//! A real master with a replica, and three sentinels that watch them.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use super::redis_cluster::info;
use super::servers::{Options, Ports, Redis, Tls, free_ports};

/// The name that the sentinels know the master by.
pub(crate) const MASTER: &str = "main";

/// How long it may take until all agree.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running set of servers and sentinels.
pub(crate) struct Watched {
    pub(crate) master: Redis,
    pub(crate) replica: Redis,
    pub(crate) sentinels: Vec<Sentinel>,
}

/// A running sentinel.
pub(crate) struct Sentinel {
    ports: Ports,
    tls: Tls,
    process: Child,
    _directory: TempDir,
}

impl Watched {
    /// Starts everything and waits until the sentinels know the replica and each other.
    pub(crate) fn start(tls: Tls) -> Self {
        let options = Options { tls, ..Options::default() };
        let encrypted = if tls == Tls::Off { "" } else { "tls-replication yes\n" };
        let master = Redis::start_with(options, None, |_| encrypted.to_owned());
        let follow = format!("{encrypted}replicaof 127.0.0.1 {}\n", master.best_port());
        let replica = Redis::start_with(options, Some(&master), |_| follow.clone());
        let sentinels: Vec<Sentinel> = (0..3).map(|_| Sentinel::start(&master, tls)).collect();
        let watched = Self { master, replica, sentinels };
        watched.wait_for("the replica is in step", |watched| {
            info(&watched.replica, "replication", "master_link_status") == "up"
        });
        watched.wait_for("the sentinels know all", |watched| {
            watched.sentinels.iter().all(|sentinel| {
                let known = sentinel.says("num-other-sentinels");
                (known.as_deref(), sentinel.says("num-slaves").as_deref()) == (Some("2"), Some("1"))
            })
        });
        watched
    }

    /// What to connect to.
    pub(crate) fn urls(&self) -> String {
        let urls: Vec<String> = self.sentinels.iter().map(Sentinel::url).collect();
        urls.join(",")
    }

    /// Waits until `holds`, as long as the sentinels may take to get there.
    pub(crate) fn wait_for(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let step = Duration::from_millis(20);
        for _ in 0..PATIENCE.as_millis() / step.as_millis() {
            if holds(self) {
                return;
            }
            std::thread::sleep(step);
        }
        panic!("never seen: {what}");
    }
}

impl Sentinel {
    fn start(master: &Redis, tls: Tls) -> Self {
        // Another process may take a free port before the sentinel does.
        for _ in 0..5 {
            let directory = tempfile::tempdir().unwrap();
            let ports = free_ports();
            write(&directory, ports, master, tls);
            let process = Command::new("redis-server")
                .arg(directory.path().join("sentinel.conf"))
                .arg("--sentinel")
                .stdout(Stdio::null())
                .spawn()
                .unwrap_or_else(|error| {
                    panic!("cannot start redis-server ({error}): install the package redis-server")
                });
            let mut sentinel = Self { ports, tls, process, _directory: directory };
            if sentinel.comes_up() {
                return sentinel;
            }
        }
        panic!("no sentinel starts on any of five ports");
    }

    /// The port in the clear.
    pub(crate) fn port(&self) -> u16 {
        self.ports.port
    }

    fn url(&self) -> String {
        match self.tls {
            Tls::Off => format!("redis://127.0.0.1:{}", self.ports.port),
            Tls::Server | Tls::Mutual => format!("rediss://127.0.0.1:{}", self.ports.tls_port),
        }
    }

    /// A field of what it knows of the master.
    pub(crate) fn says(&self, field: &str) -> Option<String> {
        let answer = self.command(&["SENTINEL", "MASTER", MASTER])?;
        let fields: Vec<String> = redis::from_redis_value(answer).ok()?;
        fields.as_chunks::<2>().0.iter().find(|[name, _]| name == field).map(|[_, value]| value.clone())
    }

    /// Runs a command, if it answers.
    pub(crate) fn command(&self, words: &[&str]) -> Option<redis::Value> {
        let client = redis::Client::open(format!("redis://127.0.0.1:{}", self.ports.port)).ok()?;
        let mut connection = client.get_connection_with_timeout(Duration::from_secs(1)).ok()?;
        let (name, arguments) = words.split_first()?;
        redis::cmd(name).arg(arguments).query(&mut connection).ok()
    }

    fn comes_up(&mut self) -> bool {
        for _ in 0..1_000 {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if self.command(&["PING"]).is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn write(directory: &TempDir, ports: Ports, master: &Redis, tls: Tls) {
    let Ports { port, tls_port, bus: _ } = ports;
    let file = |name: &str| path(&master.file(name));
    let ports = match tls {
        Tls::Off => format!("port {port}\n"),
        Tls::Server | Tls::Mutual => format!(
            "port {port}\ntls-port {tls_port}\ntls-replication yes\ntls-auth-clients no\ntls-ca-cert-file {}\n\
             tls-cert-file {}\ntls-key-file {}\n",
            file("ca.crt"),
            file("server.crt"),
            file("server.key")
        ),
    };
    let folder = path(directory.path());
    let text = format!(
        "bind 127.0.0.1\n{ports}dir {folder}\nlogfile {folder}/log\n\
         sentinel monitor {MASTER} 127.0.0.1 {} 2\nsentinel down-after-milliseconds {MASTER} 500\n\
         sentinel failover-timeout {MASTER} 3000\n",
        master.best_port()
    );
    std::fs::write(directory.path().join("sentinel.conf"), text).unwrap();
}

fn path(path: &Path) -> String {
    path.display().to_string()
}
