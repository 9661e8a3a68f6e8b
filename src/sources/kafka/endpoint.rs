//! The address of a Kafka cluster, and how to get in.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;

use super::client::KafkaClient;
use super::login::{self, Login};
use crate::fields::{Fields, Key, Need};
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

const CERTIFICATE: Key = Key {
    name: "certificate",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of our certificate, for brokers that want one; needs `key`",
    example: "/tls/tls.crt",
};

const KEY: Key = Key {
    name: "key",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of the private key of `certificate`",
    example: "/tls/tls.key",
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

/// The files of encrypted connections.
#[derive(Clone, Debug)]
pub(super) struct TlsFiles {
    pub(super) ca: Option<PathBuf>,
    pub(super) identity: Option<Identity>,
}

/// A client certificate and its key.
#[derive(Clone, Debug)]
pub(super) struct Identity {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
}

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
    let ca = optional(&CA, fields);
    let certificate = optional(&CERTIFICATE, fields);
    let key = optional(&KEY, fields);
    let (is_on, ca): (bool, Option<PathBuf>) = (is_on?, ca?);
    let identity = match (certificate?, key?) {
        (Some(certificate), Some(key)) => Some(Identity { certificate, key }),
        (None, None) => None,
        (Some(_), None) => {
            fields.problem(&CERTIFICATE, "needs `key`");
            return None;
        }
        (None, Some(_)) => {
            fields.problem(&KEY, "needs `certificate`");
            return None;
        }
    };
    if !is_on && (ca.is_some() || identity.is_some()) {
        fields.problem(&TLS, "must be true where `ca` or `certificate` is given");
        return None;
    }
    Some(is_on.then_some(TlsFiles { ca, identity }))
}

/// The value of an optional key, if there is one; `None` if it is bad.
pub(super) fn optional<T>(key: &'static Key, fields: &mut Fields<'_>) -> Option<Option<T>>
where
    T: FromStr<Err: fmt::Display>,
{
    let value = fields.read(key);
    (value.is_some() || !fields.has(key)).then_some(value)
}

#[async_trait]
impl Endpoint for KafkaEndpoint {
    fn address(&self) -> String {
        format!("kafka://{}", self.brokers.0)
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
