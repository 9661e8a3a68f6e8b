//! The address of a Redis server, and how to get in.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use url::{Host, Url};

use super::client::RedisClient;
use super::opening;
use crate::fields::{Fields, Key, Need};
use crate::secret::Secret;
use crate::sources::{Client, Endpoint, ReadError};

/// The keys of a connection.
pub(super) const KEYS: &[Key] = &[URL, USERNAME, PASSWORD, CA, CERTIFICATE, KEY];

const URL: Key = Key {
    name: "url",
    need: Need::Required,
    unit: "URL",
    help: "address of the server: `redis` or `rediss` (TLS), host, port (6379), database (0)",
    example: "rediss://redis.data.svc:6379/0",
};

const USERNAME: Key = Key {
    name: "username",
    need: Need::Optional,
    unit: "name",
    help: "user of Redis's ACL; without it the password is the default user's",
    example: "scaler",
};

const PASSWORD: Key = Key {
    name: "password",
    need: Need::Optional,
    unit: "secret",
    help: "reference to the password",
    example: "{ file: /secrets/redis }",
};

const CA: Key = Key {
    name: "ca",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of the authority that signed the server's certificate; without it the public ones",
    example: "/tls/ca.crt",
};

const CERTIFICATE: Key = Key {
    name: "certificate",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of our certificate, for servers that want one; needs `key`",
    example: "/tls/tls.crt",
};

const KEY: Key = Key {
    name: "key",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of the private key of `certificate`",
    example: "/tls/tls.key",
};

/// One Redis server, and what it takes to be let in.
#[derive(Clone, Debug)]
pub(super) struct RedisEndpoint {
    pub(super) location: Location,
    pub(super) login: Option<Login>,
    /// `None` for a connection in the clear.
    pub(super) tls: Option<TlsFiles>,
}

/// Where the server is, and which of its databases is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) database: u32,
}

/// Who we are to Redis.
#[derive(Clone, Debug)]
pub(super) struct Login {
    pub(super) username: Option<String>,
    pub(super) password: Secret,
}

/// The files of a TLS connection.
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
    let url = fields.read::<String>(&URL).and_then(|text| parse_url(&text, fields));
    let encrypted = url.as_ref().map(|(_, encrypted)| *encrypted);
    let login = parse_login(fields);
    let files = parse_tls(encrypted, fields);
    let ((location, encrypted), login, files) = (url?, login?, files?);
    Some(Arc::new(RedisEndpoint { location, login, tls: encrypted.then_some(files) }))
}

/// The location in a URL and whether it wants TLS. The text may hold a password, so no problem repeats it.
fn parse_url(text: &str, fields: &mut Fields<'_>) -> Option<(Location, bool)> {
    let Ok(url) = Url::parse(text) else {
        fields.problem(&URL, "is not a URL");
        return None;
    };
    if !url.username().is_empty() || url.password().is_some() {
        let hint = "give `username`, and `password` as a reference".to_owned();
        fields.problem_at(URL.name, "holds credentials", Some(hint));
        return None;
    }
    match locate(&url) {
        Ok(found) => Some(found),
        Err(message) => {
            fields.problem(&URL, message);
            None
        }
    }
}

fn locate(url: &Url) -> Result<(Location, bool), &'static str> {
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
        "" => 0,
        number => number.parse().map_err(|_| "names a database that is not a number")?,
    };
    Ok((Location { host, port: url.port().unwrap_or(6379), database }, encrypted))
}

fn parse_login(fields: &mut Fields<'_>) -> Option<Option<Login>> {
    let username = optional(&USERNAME, fields);
    let password = fields.secret(&PASSWORD);
    let password_is_bad = password.is_none() && fields.has(&PASSWORD);
    match (username?, password) {
        (username, Some(password)) => Some(Some(Login { username, password })),
        (_, None) if password_is_bad => None,
        (None, None) => Some(None),
        (Some(_), None) => {
            fields.problem(&USERNAME, "needs `password`");
            None
        }
    }
}

fn parse_tls(encrypted: Option<bool>, fields: &mut Fields<'_>) -> Option<TlsFiles> {
    let ca = optional(&CA, fields);
    let certificate = optional(&CERTIFICATE, fields);
    let key = optional(&KEY, fields);
    let ca: Option<PathBuf> = ca?;
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
    if encrypted == Some(false) && (ca.is_some() || identity.is_some()) {
        fields.problem(&URL, "must begin with `rediss://` where `ca` or `certificate` is given");
        return None;
    }
    Some(TlsFiles { ca, identity })
}

/// The value of an optional key, if there is one; `None` if it is bad.
fn optional<T>(key: &'static Key, fields: &mut Fields<'_>) -> Option<Option<T>>
where
    T: FromStr<Err: fmt::Display>,
{
    let value = fields.read(key);
    (value.is_some() || !fields.has(key)).then_some(value)
}

#[async_trait]
impl Endpoint for RedisEndpoint {
    fn address(&self) -> String {
        let Self { location: Location { host, port, database }, login: _, tls } = self;
        let scheme = if tls.is_some() { "rediss" } else { "redis" };
        if host.contains(':') {
            return format!("{scheme}://[{host}]:{port}/{database}");
        }
        format!("{scheme}://{host}:{port}/{database}")
    }

    async fn connect(&self) -> Result<Box<dyn Client>, ReadError> {
        let (connection, now) = opening::open(self).await.map_err(|fault| fault.at(&self.address()))?;
        Ok(Box::new(RedisClient::new(self.address(), connection, now)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::fields::Value;

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
    fn debug_names_where_the_password_is() {
        let file = Value::Secret(Secret::File("/secrets/redis".into()));
        let endpoint = parsed(&[("url", text("redis://localhost")), ("password", file)]).unwrap();
        assert_eq!(
            format!("{endpoint:?}"),
            "RedisEndpoint { location: Location { host: \"localhost\", port: 6379, database: 0 }, \
             login: Some(Login { username: None, password: file /secrets/redis }), tls: None }"
        );
    }

    fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    /// The endpoint, or every problem without its hint.
    fn parsed(values: &[(&str, Value)]) -> Result<Arc<dyn Endpoint>, Vec<String>> {
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
