//! One broker: its configuration and its process.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::{CLUSTER_ID, Listener};

/// Runs Java until it ends, or until the pipe to the test's process breaks: so no broker outlives its test, however
/// that ends. The first argument is a folder to remove then, or nothing.
const KEEPER: &str = r#"
    folder=$1; shift
    exec 3<&0
    java "$@" </dev/null 3<&- & broker=$!
    { read -r _ <&3; kill -9 $broker; } 2>/dev/null & reader=$!
    wait $broker
    [ -z "$folder" ] || rm -rf "$folder"
    kill $reader 2>/dev/null
"#;

/// Where one broker listens.
#[derive(Clone, Copy)]
pub(super) struct Ports {
    plain: u16,
    watched: u16,
    /// Where the watched way leads to.
    pub(super) behind_watched: u16,
    sasl_ssl: u16,
    mutual_tls: u16,
    controller: u16,
}

impl Ports {
    /// Ports that were free a moment ago.
    pub(super) fn free(watched: u16) -> Self {
        let listeners = [(); 5].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [plain, behind_watched, sasl_ssl, mutual_tls, controller] =
            listeners.map(|listener| listener.local_addr().unwrap().port());
        Self { plain, watched, behind_watched, sasl_ssl, mutual_tls, controller }
    }

    pub(super) fn of(self, listener: Listener) -> u16 {
        match listener {
            Listener::Plain => self.plain,
            Listener::Watched => self.watched,
            Listener::SaslSsl => self.sasl_ssl,
            Listener::MutualTls => self.mutual_tls,
        }
    }
}

/// A running broker, which is a controller too.
pub(super) struct Broker {
    ports: Ports,
    log: PathBuf,
    process: Child,
}

impl Broker {
    /// Starts broker `index` of those that listen on `ports`. What it has from an earlier run it keeps.
    pub(super) fn start(
        installed: &Path,
        directory: &Path,
        ports: &[Ports],
        index: usize,
        removes: bool,
    ) -> Self {
        let own = directory.join(format!("broker-{}", index + 1));
        let data = own.join("data");
        if !data.exists() {
            std::fs::create_dir_all(&data).unwrap();
            format(installed, &data, index);
            std::fs::write(own.join("server.properties"), configuration(directory, &data, ports, index))
                .unwrap();
        }
        let log = own.join("log");
        let classpath = std::fs::read_to_string(installed.join("classpath")).unwrap();
        let file = File::options().create(true).append(true).open(&log).unwrap();
        let archive = format!("-XX:SharedArchiveFile={}", installed.join("classes.jsa").display());
        let process = Command::new("sh")
            .args(["-c", KEEPER, "keeper"])
            .arg(if removes { directory } else { Path::new("") })
            .args([&*archive, "-Xshare:auto", "-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", classpath.trim()])
            .arg("kafka.Kafka")
            .arg(own.join("server.properties"))
            .stdin(Stdio::piped())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start a broker ({error})"));
        Self { ports: ports[index], log, process }
    }

    pub(super) fn ports(&self) -> Ports {
        self.ports
    }

    /// Whether it comes up, within a minute: three of them start at once on two cores.
    pub(super) fn listens(&mut self) -> bool {
        for _ in 0..3_000 {
            if self.process.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(("127.0.0.1", self.ports.plain)).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        panic!("a broker does not listen after a minute: {}", self.last_words());
    }

    fn last_words(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(5).collect();
        lines.join(" | ")
    }

    /// Ends it with SIGKILL.
    pub(super) fn kill(&mut self) {
        drop(self.process.stdin.take());
        // It may have ended by itself.
        let _ = self.process.wait();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What Kafka's tool for it would do, in two seconds of a processor.
fn format(installed: &Path, data: &Path, index: usize) {
    std::fs::copy(installed.join("bootstrap.checkpoint"), data.join("bootstrap.checkpoint")).unwrap();
    let node = index + 1;
    // Sixteen bytes in Base64, whose last letter says that nothing follows.
    let end = ["A", "Q", "g", "w"][index];
    let properties = format!(
        "version=1\ncluster.id={CLUSTER_ID}\nnode.id={node}\ndirectory.id=AAECAwQFBgcICQoLDA0OD{end}\n"
    );
    std::fs::write(data.join("meta.properties"), properties).unwrap();
}

fn configuration(directory: &Path, data: &Path, ports: &[Ports], index: usize) -> String {
    let Ports { plain, watched, behind_watched, sasl_ssl, mutual_tls, controller } = ports[index];
    let voters: Vec<String> = ports
        .iter()
        .enumerate()
        .map(|(index, ports)| format!("{}@127.0.0.1:{}", index + 1, ports.controller))
        .collect();
    let (node, voters, brokers) = (index + 1, voters.join(","), ports.len());
    let (directory, data) = (directory.display(), data.display());
    let common = format!("PLAINTEXT://127.0.0.1:{plain}");
    let encrypted = format!("SASL_SSL://127.0.0.1:{sasl_ssl},SSL://127.0.0.1:{mutual_tls}");
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id={node}\n\
         controller.quorum.voters={voters}\n\
         listeners={common},WATCHED://127.0.0.1:{behind_watched},{encrypted},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners={common},WATCHED://127.0.0.1:{watched},{encrypted}\n\
         log.dirs={data}\n"
    );
    for topic in ["offsets.topic", "transaction.state.log", "share.coordinator.state.topic"] {
        writeln!(text, "{topic}.replication.factor={brokers}\n{topic}.num.partitions=3").unwrap();
    }
    writeln!(
        text,
        "transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         ssl.keystore.location={directory}/broker.pem\n\
         ssl.truststore.location={directory}/ca.crt"
    )
    .unwrap();
    text.push_str(FIXED);
    text
}

/// What all brokers have in common: they notice a dead one in three seconds, and keep to two small cores.
const FIXED: &str = r#"controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,WATCHED:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL
inter.broker.listener.name=PLAINTEXT
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
controller.quorum.election.timeout.ms=500
controller.quorum.fetch.timeout.ms=1000
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.threads=1
num.network.threads=2
num.io.threads=2
ssl.keystore.type=PEM
ssl.truststore.type=PEM
listener.name.ssl.ssl.client.auth=required
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
sasl.enabled.mechanisms=SCRAM-SHA-256,SCRAM-SHA-512,PLAIN,OAUTHBEARER
listener.name.sasl_ssl.scram-sha-256.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_ssl.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required user_bob="bob-secret";
listener.name.sasl_ssl.oauthbearer.sasl.jaas.config=org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";
"#;
