//! What the service is told when it starts: flags, each of which is an environment variable too.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::num::{NonZeroU64, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use agent_scaler::fields::{Fields, Invalid, PositiveSpan, Problem, Span, Value};
use agent_scaler::secret::Secret;
use agent_scaler::sources::{ALL, Endpoint, Plan, Spec};

use crate::pressure::Bounds;

/// The flags as they were given. They are parsed together, so that one error names every bad one.
#[derive(Debug, clap::Parser)]
#[command(name = "agent", about = "The API in front of the queue.", max_term_width = 100)]
pub(crate) struct Arguments {
    /// Where the API listens. It asks nobody who they are.
    #[arg(long, env, default_value = "127.0.0.1:8080")]
    listen: String,
    /// Where /livez, /readyz, /startupz and /metrics are.
    #[arg(long, env, default_value = "127.0.0.1:8081")]
    admin: String,
    /// The Redis that holds the queue, e.g. `rediss://redis.data.svc:6379/0`, without credentials [required].
    #[arg(long, env, hide_env_values = true)]
    redis_url: Option<String>,
    /// User of Redis's ACL; without it the password is the default user's.
    #[arg(long, env)]
    redis_username: Option<String>,
    /// File that holds the password. It is read for every new connection.
    #[arg(long, env)]
    redis_password_file: Option<PathBuf>,
    /// PEM file of the authority that signed the certificate of a `rediss` server; without it the public ones.
    #[arg(long, env)]
    redis_ca: Option<PathBuf>,
    /// How long Redis may take for an answer before the caller gets 503.
    #[arg(long, env, default_value = "2s")]
    redis_timeout: String,
    /// What the queue is: `stream` or `list`.
    #[arg(long, env, default_value = "stream")]
    queue_kind: String,
    /// Name of the queue [required].
    #[arg(long, env)]
    queue: Option<String>,
    /// Consumer group of the workers, for a stream.
    #[arg(long, env, default_value = "workers")]
    group: String,
    /// Scope under which the workers report [default: the queue's name].
    #[arg(long, env)]
    scope: Option<String>,
    /// Scope of the rate limit that the workers share: PROVIDER/ACCOUNT/MODEL. Without it only the backlog refuses.
    #[arg(long, env)]
    limit: Option<String>,
    /// Length of the workers' minute; shorter only in tests and demos.
    #[arg(long, env, default_value = "1m")]
    minute: String,
    /// Most tasks that may wait; more are refused.
    #[arg(long, env, default_value = "10000")]
    max_backlog: String,
    /// How long the oldest task may have waited before tasks are refused while the limit is used up.
    #[arg(long, env, default_value = "2m")]
    max_wait: String,
    /// Largest body of a request, in bytes.
    #[arg(long, env, default_value = "262144")]
    max_body: String,
    /// How long an idempotency key is remembered.
    #[arg(long, env, default_value = "24h")]
    idempotency_ttl: String,
    /// How long requests that are under way may take after SIGTERM.
    #[arg(long, env, default_value = "20s")]
    drain: String,
    /// What to log: a level, or tracing directives such as `agent=debug`.
    #[arg(long, env, default_value = "info")]
    pub(crate) log: String,
}

/// Valid settings.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) listen: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) redis: Redis,
    pub(crate) queue: Queue,
    /// What is looked at once a second.
    pub(crate) plans: Plans,
    pub(crate) max_backlog: NonZeroU64,
    pub(crate) bounds: Bounds,
    /// In bytes.
    pub(crate) max_body: usize,
    pub(crate) idempotency_ttl: Duration,
    pub(crate) drain: Duration,
}

/// How to get to Redis.
#[derive(Clone, Debug)]
pub(crate) struct Redis {
    /// For looking: the scaler's own reader.
    pub(crate) endpoint: Arc<dyn Endpoint>,
    /// For putting in. The endpoint has checked it: it holds no credentials.
    pub(crate) url: String,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) timeout: Duration,
}

/// The queue of tasks.
#[derive(Clone, Debug)]
pub(crate) struct Queue {
    pub(crate) kind: Kind,
    pub(crate) name: String,
    pub(crate) group: String,
}

/// How tasks lie in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Stream,
    List,
}

/// What there is to look at, in the scaler's own terms.
#[derive(Clone, Debug)]
pub(crate) struct Plans {
    pub(crate) queue: Arc<dyn Plan>,
    /// `None` without a limit: nothing that workers report would change an answer.
    pub(crate) reports: Option<Reports>,
}

/// What workers report.
#[derive(Clone, Debug)]
pub(crate) struct Reports {
    pub(crate) workers: Arc<dyn Plan>,
    pub(crate) limit: Arc<dyn Plan>,
    pub(crate) share: ShareOf,
}

/// Whose share of which limit there is to look at.
#[derive(Clone, Debug)]
pub(crate) struct ShareOf {
    pub(crate) limit: String,
    pub(crate) workers: String,
}

impl FromStr for Kind {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "stream" => Ok(Self::Stream),
            "list" => Ok(Self::List),
            _ => Err("is neither `stream` nor `list`"),
        }
    }
}

impl Kind {
    /// The source of the scaler that reads such a queue.
    fn source(self) -> Option<&'static Spec> {
        let name = match self {
            Self::Stream => "redis-streams",
            Self::List => "redis",
        };
        ALL.iter().find(|source| source.name == name)
    }
}

impl TryFrom<Arguments> for Settings {
    type Error = Invalid;

    fn try_from(arguments: Arguments) -> Result<Self, Invalid> {
        let mut reading = Reading::default();
        // All are read before any is missed.
        let listen = reading.parse("listen", &arguments.listen);
        let admin = reading.parse("admin", &arguments.admin);
        let redis = reading.redis(&arguments);
        let kind = reading.parse("queue-kind", &arguments.queue_kind);
        let queue = reading.required("queue", arguments.queue.as_deref());
        let group = reading.required("group", Some(&arguments.group));
        let scope = given(arguments.scope.as_deref());
        let limit = given(arguments.limit.as_deref());
        let minute = reading.minute(&arguments.minute);
        let max_backlog = reading.parse("max-backlog", &arguments.max_backlog);
        let max_wait = reading.span("max-wait", &arguments.max_wait);
        let max_body = reading.parse::<NonZeroUsize>("max-body", &arguments.max_body);
        let idempotency_ttl = reading.span("idempotency-ttl", &arguments.idempotency_ttl);
        let drain = reading.span("drain", &arguments.drain);

        let queue = kind.zip(queue).zip(group);
        let queue = queue.map(|((kind, name), group)| Queue { kind, name, group });
        let plans = queue
            .as_ref()
            .zip(minute)
            .and_then(|(queue, minute)| reading.plans(queue, scope, limit.as_deref(), minute));
        let settings = (|| {
            Some(Self {
                listen: listen?,
                admin: admin?,
                redis: redis?,
                queue: queue?,
                plans: plans?,
                max_backlog: max_backlog?,
                bounds: Bounds { max_wait: max_wait?, minute: minute? },
                max_body: max_body?.get(),
                idempotency_ttl: idempotency_ttl?,
                drain: drain?,
            })
        })();
        settings.ok_or(Invalid { subject: "the settings", problems: reading.problems, left_out: 0 })
    }
}

/// A text, unless it is an empty variable of a Deployment.
fn given(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty()).map(str::to_owned)
}

/// Reads flags, and keeps what is wrong with them.
#[derive(Default)]
struct Reading {
    problems: Vec<Problem>,
}

impl Reading {
    fn problem(&mut self, flag: &str, message: impl Into<String>) {
        self.problems.push(Problem { path: format!("--{flag}"), message: message.into(), hint: None });
    }

    fn parse<T: FromStr<Err: fmt::Display>>(&mut self, flag: &str, text: &str) -> Option<T> {
        text.trim().parse().map_err(|error| self.problem(flag, format!("`{text}`: {error}"))).ok()
    }

    /// A duration of at least a second.
    fn span(&mut self, flag: &str, text: &str) -> Option<Duration> {
        self.parse(flag, text).map(|PositiveSpan(duration)| duration)
    }

    fn minute(&mut self, text: &str) -> Option<Duration> {
        let Span(minute) = self.parse("minute", text)?;
        if minute.is_zero() {
            self.problem("minute", "is nothing");
            return None;
        }
        Some(minute)
    }

    fn required(&mut self, flag: &str, text: Option<&str>) -> Option<String> {
        let text = given(text);
        if text.is_none() {
            self.problem(flag, "is required");
        }
        text
    }

    fn redis(&mut self, arguments: &Arguments) -> Option<Redis> {
        let timeout = self.span("redis-timeout", &arguments.redis_timeout);
        let url = self.required("redis-url", arguments.redis_url.as_deref())?;
        let username = given(arguments.redis_username.as_deref());
        let file = |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let (password, ca) = (file(&arguments.redis_password_file), file(&arguments.redis_ca));
        let text = |text: &str| Value::Text(text.to_owned());
        let values: BTreeMap<String, Value> = [
            ("url", Some(text(&url))),
            ("username", username.as_deref().map(text)),
            ("password", password.clone().map(|path| Value::Secret(Secret::File(path)))),
            ("ca", ca.as_ref().map(|path| text(&path.to_string_lossy()))),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect();
        let mut fields = Fields::new("", &values);
        let kind = ALL.first().and_then(|source| source.connections.first());
        let endpoint = kind.and_then(|kind| (kind.parse)(&mut fields));
        for Problem { path, message, hint } in fields.finish() {
            let path = if path == "password" {
                "--redis-password-file".to_owned()
            } else {
                format!("--redis-{path}")
            };
            // Its other hints speak of the server's file, which has references.
            let credentials = "give --redis-username and --redis-password-file".to_owned();
            let hint = if message == "holds credentials" { Some(credentials) } else { hint };
            let message = message.replace("`password`", "--redis-password-file");
            self.problems.push(Problem { path, message, hint });
        }
        Some(Redis {
            endpoint: endpoint?,
            url,
            username,
            password: password.map(Secret::File),
            ca,
            timeout: timeout?,
        })
    }

    fn plans(
        &mut self,
        queue: &Queue,
        scope: Option<String>,
        limit: Option<&str>,
        minute: Duration,
    ) -> Option<Plans> {
        let keys: &[(&str, &str)] = match queue.kind {
            Kind::Stream => &[("stream", &queue.name), ("consumerGroup", &queue.group)],
            Kind::List => &[("listName", &queue.name)],
        };
        let values: BTreeMap<String, Value> =
            keys.iter().map(|(name, text)| ((*name).to_owned(), Value::Text((*text).to_owned()))).collect();
        if queue.kind == Kind::List && queue.name.contains(',') {
            self.problem("queue", "names several lists");
            return None;
        }
        let source = queue.kind.source()?;
        let mut fields = Fields::new("", &values);
        let plan = (source.parse)(&mut fields);
        for Problem { path, message, hint: _ } in fields.finish() {
            self.problem(if path == "consumerGroup" { "group" } else { "queue" }, message);
        }
        let scope = scope.unwrap_or_else(|| queue.name.clone());
        let kind = source.connections.first();
        let reports = limit.zip(kind.and_then(|kind| kind.reports)).map(|(limit, reports)| Reports {
            workers: (reports.workers)(&scope, minute),
            limit: (reports.limit)(limit),
            share: ShareOf { limit: limit.to_owned(), workers: scope },
        });
        Some(Plans { queue: plan?, reports })
    }
}
