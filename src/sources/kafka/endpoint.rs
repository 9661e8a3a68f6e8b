//! The address of a Kafka cluster, and how to get in.

use std::sync::Arc;

use async_trait::async_trait;

use super::client::KafkaClient;
use super::login::{self, Login};
use crate::fields::{Fields, Key, Need};
use crate::sources::tls_files::{CERTIFICATE, KEY, TlsFiles};
use crate::sources::{Client, Endpoint, ReadError};

/// The keys of a connection.
pub(super) const KEYS: &[Key] = &[
    BOOTSTRAP_SERVERS,
    TLS,
    CA,
    CERTIFICATE,
    KEY,
    login::MECHANISM,
    login::USERNAME,
    login::PASSWORD,
    login::TOKEN,
    login::TOKEN_ENDPOINT,
    login::CLIENT_ID,
    login::CLIENT_SECRET,
    login::SCOPE,
];

const BOOTSTRAP_SERVERS: Key = Key {
    name: "bootstrapServers",
    need: Need::Required,
    unit: "addresses",
    help: "brokers to begin with, as `host:port`: a list, or with commas between them",
    example: "kafka.data.svc:9092",
};

const TLS: Key = Key {
    name: "tls",
    need: Need::Default("false"),
    unit: "true or false",
    help: "whether the connections are encrypted",
    example: "true",
};

const CA: Key = Key {
    name: "ca",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of the authority that signed the brokers' certificates; without it the system's",
    example: "/tls/ca.crt",
};

/// One Kafka cluster, and what it takes to be let in.
#[derive(Clone, Debug)]
pub(super) struct KafkaEndpoint {
    /// Brokers to begin with, at least one.
    pub(super) brokers: Servers,
    /// `None` for connections in the clear.
    pub(super) tls: Option<TlsFiles>,
    /// `None` where brokers ask for no name.
    pub(super) login: Option<Login>,
}

/// Addresses of brokers, separated by commas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Servers(pub(super) String);

/// Parses the keys of a connection.
pub(super) fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Endpoint>> {
    let brokers = fields.read::<String>(&BOOTSTRAP_SERVERS).and_then(|text| parse_servers(&text, fields));
    let tls = parse_tls(fields);
    let login = login::parse(fields);
    let (brokers, tls, login) = (brokers?, tls?, login?);
    Some(Arc::new(KafkaEndpoint { brokers, tls, login }))
}

fn parse_tls(fields: &mut Fields<'_>) -> Option<Option<TlsFiles>> {
    let is_on: Option<bool> = fields.read(&TLS);
    let files = TlsFiles::parse(&CA, fields);
    let (is_on, files) = (is_on?, files?);
    if !is_on && !files.is_empty() {
        fields.problem(&TLS, "must be true where `ca` or `certificate` is given");
        return None;
    }
    Some(is_on.then_some(files))
}

#[async_trait]
impl Endpoint for KafkaEndpoint {
    fn address(&self) -> String {
        format!("kafka://{}", self.brokers.0)
    }

    fn caution(&self) -> Option<&'static str> {
        self.tls.is_none().then_some(match self.login {
            None => {
                "brokers are asked in plaintext: anyone on the way can answer for them (hint: `tls: true`)"
            }
            Some(_) => {
                "brokers are asked in plaintext: anyone on the way can answer for them, and see how we log in (hint: \
                 `tls: true`)"
            }
        })
    }

    async fn connect(&self) -> Result<Box<dyn Client>, ReadError> {
        let client = KafkaClient::connect(self).await.map_err(|fault| fault.at(&self.address()))?;
        Ok(Box::new(client))
    }
}

/// Addresses with commas between them. One with a user in it may hold a password, and is not repeated.
fn parse_servers(text: &str, fields: &mut Fields<'_>) -> Option<Servers> {
    let servers: Vec<&str> = text.split(',').map(str::trim).collect();
    let is_address = |server: &str| {
        server
            .rsplit_once(':')
            .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port != 0))
    };
    if servers.iter().any(|server| server.contains(['/', '@'])) {
        let message = "an address is `host:port`, without a scheme and credentials";
        fields.problem(&BOOTSTRAP_SERVERS, message);
        return None;
    }
    if let Some(server) = servers.iter().find(|server| !is_address(server)) {
        fields.problem(&BOOTSTRAP_SERVERS, format!("`{server}` is not `host:port`"));
        return None;
    }
    Some(Servers(servers.join(",")))
}
