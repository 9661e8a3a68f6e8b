//! The three ways in which Redis is run, and what it takes to get in: one server, a cluster, or a master that
//! sentinels know.

use std::sync::Arc;

use async_trait::async_trait;

use super::access::{self, Access, Login};
use super::address::{self, Address, Node};
use super::client::RedisClient;
use super::listener::RedisListener;
use super::wire;
use crate::fields::{Fields, Key, Need};
use crate::sources::tls_files::{CERTIFICATE, KEY};
use crate::sources::{Client, Endpoint, Listener, ReadError};

/// The keys of a connection to one server.
pub(super) const SERVER_KEYS: &[Key] =
    &[URL, access::USERNAME, access::PASSWORD, access::CA, CERTIFICATE, KEY];

/// The keys of a connection to a cluster.
pub(super) const CLUSTER_KEYS: &[Key] =
    &[NODES, access::USERNAME, access::PASSWORD, access::CA, CERTIFICATE, KEY];

/// The keys of a connection to a master that sentinels know.
pub(super) const SENTINEL_KEYS: &[Key] = &[
    SENTINELS,
    MASTER,
    DATABASE,
    access::USERNAME,
    access::PASSWORD,
    SENTINEL_USERNAME,
    SENTINEL_PASSWORD,
    access::CA,
    CERTIFICATE,
    KEY,
];

const URL: Key = Key {
    name: "url",
    need: Need::Required,
    unit: "URL",
    help: "address of the server: `redis` or `rediss` (TLS), host, port (6379), database (0)",
    example: "rediss://redis.data.svc:6379/0",
};

const NODES: Key = Key {
    name: "urls",
    need: Need::Required,
    unit: "URLs",
    help: "addresses of some nodes, which name the others: `redis` or `rediss` (TLS), host, port (6379)",
    example: "rediss://redis-0.redis.data.svc:6379, rediss://redis-1.redis.data.svc:6379",
};

const SENTINELS: Key = Key {
    name: "urls",
    need: Need::Required,
    unit: "URLs",
    help: "addresses of the sentinels: `redis` or `rediss` (TLS, to Redis too), host, port (26379)",
    example: "rediss://sentinel-0.redis.data.svc:26379, rediss://sentinel-1.redis.data.svc:26379",
};

const MASTER: Key = Key {
    name: "master",
    need: Need::Required,
    unit: "name",
    help: "name of the master, as the sentinels know it",
    example: "mymaster",
};

const DATABASE: Key = Key {
    name: "database",
    need: Need::Default("0"),
    unit: "number",
    help: "database of the master",
    example: "3",
};

const SENTINEL_USERNAME: Key = Key {
    name: "sentinelUsername",
    need: Need::Optional,
    unit: "name",
    help: "user of the sentinels' own ACL",
    example: "scaler",
};

const SENTINEL_PASSWORD: Key = Key {
    name: "sentinelPassword",
    need: Need::Optional,
    unit: "secret",
    help: "reference to the password of the sentinels, if they have one",
    example: "{ file: /secrets/sentinel }",
};

/// A Redis, and what it takes to be let in.
#[derive(Clone, Debug)]
pub(super) struct RedisEndpoint {
    pub(super) place: Place,
    pub(super) access: Access,
}

/// Where the queues are.
#[derive(Clone, Debug)]
pub(super) enum Place {
    /// On one server.
    Server { node: Node, database: u32 },
    /// On the masters of a cluster, some nodes of which are known.
    Cluster { nodes: Vec<Node> },
    /// On the master that sentinels know under this name.
    Master { sentinels: Vec<Node>, login: Option<Login>, name: String, database: u32 },
}

/// Parses the keys of a connection to one server.
pub(super) fn parse_server(fields: &mut Fields<'_>) -> Option<Arc<dyn Endpoint>> {
    let address = address::read(&URL, fields);
    let access = access::parse(address.as_ref().map(|address| address.encrypted), &URL, fields);
    let (Address { node, database, encrypted: _ }, access) = (address?, access?);
    let place = Place::Server { node, database: database.unwrap_or(0) };
    Some(Arc::new(RedisEndpoint { place, access }))
}

/// Parses the keys of a connection to a cluster.
pub(super) fn parse_cluster(fields: &mut Fields<'_>) -> Option<Arc<dyn Endpoint>> {
    let nodes = address::read_several(&NODES, address::REDIS_PORT, fields);
    let access = access::parse(nodes.as_ref().map(|(_, encrypted)| *encrypted), &NODES, fields);
    let ((nodes, _), access) = (nodes?, access?);
    Some(Arc::new(RedisEndpoint { place: Place::Cluster { nodes }, access }))
}

/// Parses the keys of a connection to a master that sentinels know.
pub(super) fn parse_sentinel(fields: &mut Fields<'_>) -> Option<Arc<dyn Endpoint>> {
    let sentinels = address::read_several(&SENTINELS, address::SENTINEL_PORT, fields);
    let name = fields.read(&MASTER);
    let database = fields.read(&DATABASE);
    let encrypted = sentinels.as_ref().map(|(_, encrypted)| *encrypted);
    let access = access::parse(encrypted, &SENTINELS, fields);
    let login = access::parse_login(&SENTINEL_USERNAME, &SENTINEL_PASSWORD, fields);
    let ((sentinels, _), name, database, access, login) = (sentinels?, name?, database?, access?, login?);
    Some(Arc::new(RedisEndpoint { place: Place::Master { sentinels, login, name, database }, access }))
}

#[async_trait]
impl Endpoint for RedisEndpoint {
    fn address(&self) -> String {
        let Self { place, access } = self;
        let scheme = access.scheme();
        match place {
            Place::Server { node, database } => format!("{scheme}://{node}/{database}"),
            Place::Cluster { nodes } => format!("{scheme}://{} (cluster)", listed(nodes)),
            Place::Master { sentinels, login: _, name, database } => {
                format!("{scheme}://{name}/{database} (by the sentinels {})", listed(sentinels))
            }
        }
    }

    async fn connect(&self) -> Result<Box<dyn Client>, ReadError> {
        let (wire, now) = wire::open(self).await.map_err(|fault| fault.at(&self.address()))?;
        Ok(Box::new(RedisClient::new(self.clone(), wire, now)))
    }

    async fn listen(&self) -> Result<Option<Box<dyn Listener>>, ReadError> {
        let listener = RedisListener::open(self).await.map_err(|fault| fault.at(&self.address()))?;
        Ok(Some(Box::new(listener)))
    }
}

fn listed(nodes: &[Node]) -> String {
    nodes.iter().map(Node::to_string).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fields::Value;
    use crate::secret::Secret;

    #[test]
    fn an_address_has_all_its_parts_and_no_credentials() {
        for (url, address) in [
            ("redis://localhost", "redis://localhost:6379/0"),
            ("redis://10.0.0.7:7000/3", "redis://10.0.0.7:7000/3"),
            ("redis://[::1]:7000/", "redis://[::1]:7000/0"),
            ("rediss://redis.data.svc/0", "rediss://redis.data.svc:6379/0"),
        ] {
            assert_eq!(parsed(&[("url", text(url))]).unwrap().address(), address);
        }
    }

    #[test]
    fn a_url_that_says_too_much_or_too_little_is_refused_without_repeating_it() {
        for (url, problem) in [
            ("localhost", "url: is not a URL"),
            ("localhost:6379", "url: must begin with `redis://` or `rediss://`"),
            ("http://hunter2.example", "url: must begin with `redis://` or `rediss://`"),
            ("redis:///0", "url: names no host"),
            ("redis://localhost/hunter2", "url: names a database that is not a number"),
            ("redis://localhost/-1", "url: names a database that is not a number"),
            ("redis://localhost:hunter2", "url: is not a URL"),
            ("redis://scaler:hunter2@localhost", "url: holds credentials"),
            ("redis://:hunter2@localhost", "url: holds credentials"),
            ("redis://hunter2@localhost", "url: holds credentials"),
            (
                "redis://localhost?password=hunter2",
                "url: takes no parameters: there is a key for each of them",
            ),
            ("rediss://localhost#insecure", "url: takes no parameters: there is a key for each of them"),
        ] {
            assert_eq!(parsed(&[("url", text(url))]).unwrap_err(), [problem], "{url}");
        }
    }

    #[test]
    fn keys_that_belong_together_are_asked_for_together() {
        let plain = ("url", text("redis://localhost"));
        let encrypted = ("url", text("rediss://localhost"));
        for (values, problem) in [
            (vec![plain.clone(), ("username", text("scaler"))], "username: needs `password`"),
            (
                vec![plain.clone(), ("password", text("hunter2"))],
                "password: must be a reference: the configuration is no place for a secret",
            ),
            (
                vec![plain, ("ca", text("/ca"))],
                "url: must begin with `rediss://` where `ca` or `certificate` is given",
            ),
            (vec![encrypted.clone(), ("certificate", text("/c"))], "certificate: needs `key`"),
            (vec![encrypted, ("key", text("/k"))], "key: needs `certificate`"),
        ] {
            assert_eq!(parsed(&values).unwrap_err(), [problem], "{values:?}");
        }
    }

    #[test]
    fn several_addresses_are_alike_and_name_no_database() {
        let nodes = "rediss://a:7000, rediss://b";
        let cluster = parsed_by(parse_cluster, &[("urls", text(nodes))]).unwrap();
        assert_eq!(cluster.address(), "rediss://a:7000,b:6379 (cluster)");
        let master = [("urls", text(nodes)), ("master", text("main")), ("database", text("3"))];
        let sentinel = parsed_by(parse_sentinel, &master).unwrap();
        assert_eq!(sentinel.address(), "rediss://main/3 (by the sentinels a:7000,b:26379)");
        for (urls, problem) in [
            ("redis://a,rediss://b", "urls: must begin with `redis://` or with `rediss://`, all alike"),
            ("redis://a,redis://b/0", "urls: names a database"),
            ("redis://a,", "urls: is not a URL"),
            ("redis://a,redis://:hunter2@b", "urls: holds credentials"),
        ] {
            assert_eq!(parsed_by(parse_cluster, &[("urls", text(urls))]).unwrap_err(), [problem], "{urls}");
        }
    }

    #[test]
    fn sentinels_have_a_login_of_their_own() {
        let base = [("urls", text("redis://a")), ("master", text("main"))];
        let lonely = [&base[..], &[("sentinelUsername", text("scaler"))]].concat();
        let problem = "sentinelUsername: needs `sentinelPassword`";
        assert_eq!(parsed_by(parse_sentinel, &lonely).unwrap_err(), [problem]);
        let plain = [&base[..], &[("sentinelPassword", text("hunter2"))]].concat();
        let problem = "sentinelPassword: must be a reference: the configuration is no place for a secret";
        assert_eq!(parsed_by(parse_sentinel, &plain).unwrap_err(), [problem]);
    }

    #[test]
    fn debug_names_where_the_password_is() {
        let file = Value::Secret(Secret::File("/secrets/redis".into()));
        let endpoint = parsed(&[("url", text("redis://localhost")), ("password", file)]).unwrap();
        assert_eq!(
            format!("{endpoint:?}"),
            "RedisEndpoint { place: Server { node: Node { host: \"localhost\", port: 6379 }, database: 0 }, \
             access: Access { login: Some(Login { username: None, password: file /secrets/redis }), tls: None } }"
        );
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    /// An endpoint that is one server, or every problem without its hint.
    fn parsed(values: &[(&str, Value)]) -> Result<Arc<dyn Endpoint>, Vec<String>> {
        parsed_by(parse_server, values)
    }

    fn parsed_by(
        parse: fn(&mut Fields<'_>) -> Option<Arc<dyn Endpoint>>,
        values: &[(&str, Value)],
    ) -> Result<Arc<dyn Endpoint>, Vec<String>> {
        let values: BTreeMap<String, Value> =
            values.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        let mut fields = Fields::new("x", &values);
        let endpoint = parse(&mut fields);
        let problems = fields.finish();
        let texts: Vec<String> =
            problems.iter().map(|p| format!("{}: {}", &p.path[2..], p.message)).collect();
        assert!(problems.iter().all(|problem| !problem.to_string().contains("hunter2")), "{problems:?}");
        assert_eq!(endpoint.is_some(), texts.is_empty());
        endpoint.ok_or(texts)
    }
}
