//! Addresses of servers, as the configuration writes them and as errors name them.

use std::fmt;

use url::{Host, Url};

use crate::fields::{Fields, Key};

/// The port of a Redis that says nothing else.
pub(super) const REDIS_PORT: u16 = 6379;

/// The port of a sentinel that says nothing else.
pub(super) const SENTINEL_PORT: u16 = 26379;

/// One server.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Node {
    pub(super) host: String,
    pub(super) port: u16,
}

/// What a URL says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) node: Node,
    /// `None` if it names none.
    pub(super) database: Option<u32>,
    pub(super) encrypted: bool,
}

/// The address at `key`.
pub(super) fn read(key: &'static Key, fields: &mut Fields<'_>) -> Option<Address> {
    let text = fields.read::<String>(key)?;
    parse(&text, REDIS_PORT, key, fields)
}

/// The addresses at `key`, of which none names a database, and whether all of them want TLS.
pub(super) fn read_several(
    key: &'static Key,
    port: u16,
    fields: &mut Fields<'_>,
) -> Option<(Vec<Node>, bool)> {
    let text = fields.read::<String>(key)?;
    let mut addresses = Vec::new();
    for text in text.split(',') {
        addresses.push(parse(text.trim(), port, key, fields)?);
    }
    if addresses.iter().any(|address| address.database.is_some()) {
        fields.problem(key, "names a database");
        return None;
    }
    let encrypted = addresses.first()?.encrypted;
    if addresses.iter().any(|address| address.encrypted != encrypted) {
        fields.problem(key, "must begin with `redis://` or with `rediss://`, all alike");
        return None;
    }
    Some((addresses.into_iter().map(|address| address.node).collect(), encrypted))
}

/// The text may hold a password, so no problem repeats it.
fn parse(text: &str, port: u16, key: &'static Key, fields: &mut Fields<'_>) -> Option<Address> {
    let Ok(url) = Url::parse(text) else {
        fields.problem(key, "is not a URL");
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        let hint = "give `username`, and `password` as a reference".to_owned();
        fields.problem_at(key.name, "holds credentials", Some(hint));
        return None;
    }
    match locate(&url, port) {
        Ok(found) => Some(found),
        Err(message) => {
            fields.problem(key, message);
            None
        }
    }
}

fn locate(url: &Url, port: u16) -> Result<Address, &'static str> {
    let encrypted = match url.scheme() {
        "redis" => false,
        "rediss" => true,
        _ => return Err("must begin with `redis://` or `rediss://`"),
    };
    if url.query().is_some() || url.fragment().is_some() {
        return Err("takes no parameters: there is a key for each of them");
    }
    let host = match url.host() {
        Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
        Some(Host::Ipv4(address)) => address.to_string(),
        Some(Host::Ipv6(address)) => address.to_string(),
        Some(Host::Domain(_)) | None => return Err("names no host"),
    };
    let database = match url.path().trim_start_matches('/') {
        "" => None,
        number => Some(number.parse().map_err(|_| "names a database that is not a number")?),
    };
    Ok(Address { node: Node { host, port: url.port().unwrap_or(port) }, database, encrypted })
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') { write!(f, "[{host}]:{port}") } else { write!(f, "{host}:{port}") }
    }
}
