//! The server's file → a server's configuration.

mod cluster;
mod connections;
mod defaults;
mod headroom;
mod limits;
mod tenants;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value as Node};

pub use self::cluster::local_names;
pub use self::connections::Connection;
pub(super) use self::connections::NoReports;
pub use self::headroom::HeadroomAt;
pub use self::limits::{Limit, USE_KEYS, limit_keys};
pub use self::tenants::TENANT_KEYS;
pub use self::tls::{TLS_KEYS, TlsFiles};
use crate::config::tenants::Tenants;
use crate::config::yaml::Walk;
use crate::fields::{Fields, Invalid, Key, Names, Need, Positive, PositiveSpan, Problem, Span, nearest};
use crate::secret::Secret;
use crate::sources::Spec;

/// Everything a server is told when it starts.
#[derive(Clone, Debug)]
pub struct Server {
    /// Where KEDA finds us.
    pub listen: SocketAddr,
    /// Where the kubelet, Prometheus and people find us.
    pub admin: SocketAddr,
    /// What `/decisions` asks its readers for, and `/metrics` for whatever names tenants.
    pub admin_token: Option<Secret>,
    /// Names under which the admin port may be asked without a token, beside addresses and names of the cluster.
    pub admin_hosts: Vec<String>,
    /// How KEDA and we prove ourselves; `None` is plaintext.
    pub tls: Option<TlsFiles>,
    /// How often every queue is read.
    pub tick: Duration,
    /// Most triggers at a time.
    pub max_triggers: u32,
    /// Age at which a connection is asked to be opened anew.
    pub max_connection_age: Duration,
    /// Length of the minutes in which workers count.
    pub minute: Duration,
    /// Named backends.
    pub connections: BTreeMap<String, Arc<Connection>>,
    /// Named limits that workers share.
    pub limits: BTreeMap<String, Arc<Limit>>,
    /// Who may use them.
    pub tenants: Tenants,
    /// Values of trigger keys where a trigger gives none.
    pub defaults: BTreeMap<String, String>,
    /// The kinds of queues that triggers may name.
    pub sources: &'static [Spec],
    /// Whether a trigger may give an address of its own; for development only.
    pub allow_inline_connections: bool,
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
    help: "bearer token that /decisions and the triggers' /metrics ask for; without it everybody may read",
    example: "{ file: /secrets/admin-token }",
};
const ADMIN_HOSTS: Key = Key {
    name: "adminHosts",
    need: Need::Optional,
    unit: "names",
    help: "public names of the admin port, e.g. of an Ingress; without adminToken others are refused",
    example: "[scaler.example.com]",
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

const PROTOCOL_MINUTE: Key = Key {
    name: "protocolMinute",
    need: Need::Default("1m"),
    unit: "duration",
    help: "length of the workers' minute, 1s to 1m; shorter than 1m only for tests and demonstrations",
    example: "1m",
};

/// The keys at the top of the file.
pub const KEYS: &[Key] =
    &[LISTEN, ADMIN, ADMIN_TOKEN, ADMIN_HOSTS, TICK, MAX_TRIGGERS, MAX_CONNECTION_AGE, PROTOCOL_MINUTE];

/// The sections of the file that hold names of the user's own.
const SECTIONS: [&str; 5] = ["tls", "connections", "llmLimits", "tenants", "defaults"];

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
        let tls = tls::tls(&mut walk, tls);
        let connections = walk.section(&mut root, "connections", "connections");
        let connections = connections::connections(&mut walk, connections, sources);
        let limits = walk.section(&mut root, "llmLimits", "llmLimits");
        let limits = limits::limits(&mut walk, limits, &connections, sources);
        let tenants = tenants::tenants(&mut walk, root.remove("tenants"), &connections, &limits);
        let defaults = walk.section(&mut root, "defaults", "defaults");
        let defaults = defaults::defaults(&mut walk, defaults, &connections, sources);
        refuse_unknown(&mut walk, &mut root);
        let top = walk.values(root, "");
        let mut fields = Fields::new("", &top);
        let listen = fields.read(&LISTEN);
        let admin = fields.read(&ADMIN);
        let admin_token = fields.secret(&ADMIN_TOKEN);
        let admin_hosts: Option<Option<Names>> = fields.optional(&ADMIN_HOSTS);
        let tick = fields.read(&TICK).map(|Span(tick)| tick);
        let max_triggers: Option<Positive> = fields.read(&MAX_TRIGGERS);
        let max_connection_age: Option<PositiveSpan> = fields.read(&MAX_CONNECTION_AGE);
        let minute = fields.read(&PROTOCOL_MINUTE).map(|Span(minute)| minute);
        if tick.is_some_and(|tick| !TICKS.contains(&tick)) {
            fields.problem(&TICK, "must be within 100ms to 30s");
        }
        if minute.is_some_and(|minute| !MINUTES.contains(&minute)) {
            fields.problem(&PROTOCOL_MINUTE, "must be within 1s to 1m");
        }
        walk.problems.extend(fields.finish());
        Invalid::unless_empty(SUBJECT, walk.problems)?;
        let server = || {
            Some(Self {
                listen: listen?,
                admin: admin?,
                admin_token,
                admin_hosts: admin_hosts?.map_or_else(Vec::new, |Names(names)| names),
                tls,
                tick: tick?,
                max_triggers: max_triggers?.0.get(),
                max_connection_age: max_connection_age?.0,
                minute: minute?,
                connections,
                limits,
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

/// A shorter minute would be over before workers report; a longer one is not what providers count.
const MINUTES: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(60);
