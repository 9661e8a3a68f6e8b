//! The server's file → a server's configuration.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Node};

use crate::config::tenants::{Tenant, Tenants};
use crate::config::yaml::Walk;
use crate::config::{keys, policy};
use crate::fields::{Fields, Invalid, Key, Need, Positive, PositiveSpan, Problem, Span, Value, nearest};
use crate::secret::Secret;
use crate::sources::{ConnectionKind, Endpoint, Spec};

/// Everything a server is told when it starts.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where KEDA finds us.
    pub listen: SocketAddr,
    /// Where the kubelet, Prometheus and people find us.
    pub admin: SocketAddr,
    /// What `/decisions` asks its readers for.
    pub admin_token: Option<Secret>,
    /// How KEDA and we prove ourselves; `None` is plaintext.
    pub tls: Option<TlsFiles>,
    /// How often every queue is read.
    pub tick: Duration,
    /// Most triggers at a time.
    pub max_triggers: u32,
    /// Age at which a connection is asked to be opened anew.
    pub max_connection_age: Duration,
    /// Named backends.
    pub connections: BTreeMap<String, Arc<Connection>>,
    /// Who may use them.
    pub tenants: Tenants,
    /// Values of trigger keys where a trigger gives none.
    pub defaults: BTreeMap<String, String>,
    /// The kinds of queues that triggers may name.
    pub sources: &'static [Spec],
    /// Whether a trigger may give an address of its own; for development only.
    pub allow_inline_connections: bool,
}

/// A backend under a name that triggers use.
#[derive(Debug)]
pub struct Connection {
    /// The name.
    pub name: Arc<str>,
    /// Its kind.
    pub kind: &'static ConnectionKind,
    /// How to connect to it.
    pub endpoint: Arc<dyn Endpoint>,
}

/// Certificates, read again whenever they change on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate and what leads to its CA, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM.
    pub key: PathBuf,
    /// CA of KEDA's certificate, PEM; `None` asks KEDA for none.
    pub client_ca: Option<PathBuf>,
}

const LISTEN: Key = Key {
    name: "listen",
    need: Need::Default("0.0.0.0:9090"),
    unit: "address",
    help: "where the gRPC server listens",
    example: "0.0.0.0:9090",
};
const ADMIN: Key = Key {
    name: "admin",
    need: Need::Default("0.0.0.0:8080"),
    unit: "address",
    help: "where /livez, /readyz, /metrics and /decisions are, in plaintext",
    example: "0.0.0.0:8080",
};
const ADMIN_TOKEN: Key = Key {
    name: "adminToken",
    need: Need::Optional,
    unit: "secret",
    help: "bearer token that /decisions asks for; without it everybody may read",
    example: "{ file: /secrets/admin-token }",
};
const TICK: Key = Key {
    name: "tick",
    need: Need::Default("5s"),
    unit: "duration",
    help: "how often every queue is read, 100ms to 30s",
    example: "5s",
};
const MAX_TRIGGERS: Key = Key {
    name: "maxTriggers",
    need: Need::Default("20000"),
    unit: "triggers",
    help: "most triggers at a time; more are refused",
    example: "20000",
};
const MAX_CONNECTION_AGE: Key = Key {
    name: "maxConnectionAge",
    need: Need::Default("5m"),
    unit: "duration",
    help: "age at which KEDA is asked to connect anew, because it looks up our addresses at no other time",
    example: "5m",
};

/// The keys at the top of the file.
pub const KEYS: &[Key] = &[LISTEN, ADMIN, ADMIN_TOKEN, TICK, MAX_TRIGGERS, MAX_CONNECTION_AGE];

const MODE: Key = Key {
    name: "mode",
    need: Need::Default("off"),
    unit: "off | server | mutual",
    help: "who proves itself: nobody, the server, or KEDA too",
    example: "mutual",
};
const CERTIFICATE: Key = Key {
    name: "certificate",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of the server's certificate, which names the host in `scalerAddress`",
    example: "/tls/tls.crt",
};
const KEY: Key = Key {
    name: "key",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of its key",
    example: "/tls/tls.key",
};
const CLIENT_CA: Key = Key {
    name: "clientCa",
    need: Need::Optional,
    unit: "path",
    help: "PEM file of the CA that signed KEDA's certificate",
    example: "/tls/ca.crt",
};

/// The keys under `tls`.
pub const TLS_KEYS: &[Key] = &[MODE, CERTIFICATE, KEY, CLIENT_CA];

/// The sections of the file that hold names of the user's own.
const SECTIONS: [&str; 4] = ["tls", "connections", "tenants", "defaults"];

/// The server's file is not usable.
#[derive(Debug, thiserror::Error)]
pub enum BadFile {
    /// It is no YAML.
    #[error("{0}")]
    Yaml(String),
    /// What it says is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl Server {
    /// Reads a server's file whose triggers may name `sources`.
    ///
    /// # Errors
    /// When it is not YAML, or with everything that is wrong with it.
    pub fn parse(text: &str, sources: &'static [Spec]) -> Result<Self, BadFile> {
        let node: Node = if text.trim().is_empty() {
            Node::Null
        } else {
            serde_saphyr::from_str(text)
                .map_err(|error| BadFile::Yaml(Problem::no_yaml("the file", &error).to_string()))?
        };
        let mut walk = Walk::default();
        let mut root = walk.map(node, "the file");
        let tls = walk.section(&mut root, "tls", "tls");
        let connections = walk.section(&mut root, "connections", "connections");
        let tenants = root.remove("tenants");
        let defaults = walk.section(&mut root, "defaults", "defaults");

        let tls = self::tls(&mut walk, tls);
        let connections = self::connections(&mut walk, connections, sources);
        let tenants = self::tenants(&mut walk, tenants, &connections);
        let defaults = self::defaults(&mut walk, defaults);
        refuse_unknown(&mut walk, &mut root);
        let top = walk.values(root, "");
        let mut fields = Fields::new("", &top);
        let listen = fields.read(&LISTEN);
        let admin = fields.read(&ADMIN);
        let admin_token = fields.secret(&ADMIN_TOKEN);
        let tick = fields.read(&TICK).map(|Span(tick)| tick);
        let max_triggers: Option<Positive> = fields.read(&MAX_TRIGGERS);
        let max_connection_age: Option<PositiveSpan> = fields.read(&MAX_CONNECTION_AGE);
        if tick.is_some_and(|tick| !TICKS.contains(&tick)) {
            fields.problem(&TICK, "must be within 100ms to 30s");
        }
        walk.problems.extend(fields.finish());
        Invalid::unless_empty(SUBJECT, walk.problems)?;
        let server = || {
            Some(Self {
                listen: listen?,
                admin: admin?,
                admin_token,
                tls,
                tick: tick?,
                max_triggers: max_triggers?.0.get(),
                max_connection_age: max_connection_age?.0,
                connections,
                tenants,
                defaults,
                sources,
                allow_inline_connections: false,
            })
        };
        server().ok_or_else(|| BadFile::Yaml("a key was refused without a reason, which is a bug".to_owned()))
    }
}

/// Takes the unknown keys out of the top of the file, whatever their shape.
fn refuse_unknown(walk: &mut Walk, root: &mut Map<String, Node>) {
    let known = || KEYS.iter().map(|key| key.name);
    root.retain(|name, _| {
        let is_known = known().any(|known| known == name);
        if !is_known {
            walk.problem(name, "unknown key", nearest(name, known().chain(SECTIONS)).as_deref());
        }
        is_known
    });
}

const SUBJECT: &str = "the server's file";

/// Shorter ticks load the backends for nothing, longer ones let a reading grow stale between two.
const TICKS: std::ops::RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_secs(30);

fn tls(walk: &mut Walk, map: Map<String, Node>) -> Option<TlsFiles> {
    let values = walk.values(map, "tls");
    let mut fields = Fields::new("tls", &values);
    let mode: Option<String> = fields.read(&MODE);
    let certificate: Option<PathBuf> = fields.read(&CERTIFICATE);
    let key: Option<PathBuf> = fields.read(&KEY);
    let client_ca: Option<PathBuf> = fields.read(&CLIENT_CA);
    fields.refuse_unknown(&[], &[]);
    let needed: &[(&Key, bool)] = match mode.as_deref() {
        // YAML 1.1 reads a bare `off` as false.
        Some("off" | "false") | None => &[],
        Some("server") => &[(&CERTIFICATE, certificate.is_none()), (&KEY, key.is_none())],
        Some("mutual") => {
            &[(&CERTIFICATE, certificate.is_none()), (&KEY, key.is_none()), (&CLIENT_CA, client_ca.is_none())]
        }
        Some(other) => {
            fields.problem(&MODE, format!("`{other}` is none of off, server, mutual"));
            &[]
        }
    };
    for (key, missing) in needed {
        if *missing {
            fields.problem(key, "is required in this mode");
        }
    }
    walk.problems.extend(fields.finish());
    match mode.as_deref() {
        Some("server") => Some(TlsFiles { certificate: certificate?, key: key?, client_ca: None }),
        Some("mutual") => {
            Some(TlsFiles { certificate: certificate?, key: key?, client_ca: Some(client_ca?) })
        }
        Some(_) | None => None,
    }
}

fn connections(
    walk: &mut Walk,
    map: Map<String, Node>,
    sources: &'static [Spec],
) -> BTreeMap<String, Arc<Connection>> {
    let mut connections = BTreeMap::new();
    for (name, node) in map {
        let path = format!("connections.{name}");
        let mut map = walk.map(node, &path);
        let kind = kind(walk, map.remove("type"), &path, sources);
        let values = walk.values(map, &path);
        let Some(kind) = kind else { continue };
        let mut fields = Fields::new(path, &values);
        let endpoint = (kind.parse)(&mut fields);
        fields.refuse_unknown(&["type"], &[]);
        walk.problems.extend(fields.finish());
        if let Some(endpoint) = endpoint {
            let connection = Connection { name: name.as_str().into(), kind, endpoint };
            connections.insert(name, Arc::new(connection));
        }
    }
    connections
}

fn kind(
    walk: &mut Walk,
    node: Option<Node>,
    path: &str,
    sources: &'static [Spec],
) -> Option<&'static ConnectionKind> {
    let path = format!("{path}.type");
    let mut names: Vec<&str> = sources.iter().map(|spec| spec.connection.name).collect();
    names.sort_unstable();
    names.dedup();
    let one_of = format!("one of {}", names.join(", "));
    let Some(Node::String(name)) = node else {
        walk.problem(&path, "is required", Some(&one_of));
        return None;
    };
    let kind = sources.iter().map(|spec| spec.connection).find(|kind| kind.name == name);
    if kind.is_none() {
        let hint = nearest(&name, names.iter().copied()).unwrap_or(one_of);
        walk.problem(&path, format!("no kind of connection named `{name}`"), Some(&hint));
    }
    kind
}

fn tenants(walk: &mut Walk, node: Option<Node>, connections: &BTreeMap<String, Arc<Connection>>) -> Tenants {
    // Present and empty is closed to everybody; only absent is open.
    let Some(node) = node else { return Tenants::Open };
    let mut tenants = BTreeMap::new();
    for (namespace, node) in walk.map(node, "tenants") {
        let path = format!("tenants.{namespace}");
        let mut map = walk.map(node, &path);
        let mut tenant = Tenant::default();
        for (name, patterns) in walk.section(&mut map, "connections", &format!("{path}.connections")) {
            let at = format!("{path}.connections.{name}");
            let patterns = walk.texts(patterns, &at);
            if !connections.contains_key(&name) {
                let hint = nearest(&name, connections.keys().map(String::as_str));
                walk.problem(&at, "no connection of that name", hint.as_deref());
            }
            tenant.connections.insert(name, patterns);
        }
        for name in map.keys() {
            let hint = nearest(name, ["connections"].into_iter());
            walk.problem(&format!("{path}.{name}"), "unknown key", hint.as_deref());
        }
        tenants.insert(namespace, tenant);
    }
    Tenants::Closed(tenants)
}

fn defaults(walk: &mut Walk, map: Map<String, Node>) -> BTreeMap<String, String> {
    let values = walk.values(map, "defaults");
    let mut texts = BTreeMap::new();
    for (name, value) in values {
        let path = format!("defaults.{name}");
        let known = keys::DEFAULTABLE.iter().find(|key| key.name == name);
        match (known, value) {
            (Some(_), Value::Text(text)) => {
                texts.insert(name, text);
            }
            (Some(_), Value::Secret(_)) => walk.problem(&path, "must be plain text", None),
            (None, _) => {
                let hint = nearest(&name, keys::DEFAULTABLE.iter().map(|key| key.name));
                walk.problem(&path, "unknown key", hint.as_deref());
            }
        }
    }
    // Read as a trigger would read them, so that a bad one is found here and not by every trigger.
    let values = texts.iter().map(|(name, text)| (name.clone(), Value::Text(text.clone()))).collect();
    let mut fields = Fields::new("defaults", &values);
    let _ = policy::parse(&mut fields, Duration::ZERO);
    walk.problems.extend(fields.finish());
    texts
}
