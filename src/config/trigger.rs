//! A trigger's metadata → a trigger.

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use crate::config::queries::{self, QueriesAt};
use crate::config::server::{Connection, Server};
use crate::config::workers::{LimitUse, WorkersAt};
use crate::config::{admission, from_env, keys, policy, workers};
use crate::engine::policy::Policy;
use crate::fields::{Fields, Invalid, Key, Need, Problem, Value, cut, in_brackets, nearest, shortened};
use crate::sources::prometheus::QUERY_KEYS;
use crate::sources::{LEFT_OUT, Plan, Spec};

/// A server forgets a trigger after this time without a call and without an open stream, because its
/// ScaledObject is gone or was changed. It is 60 syncs of the HPA (15 s) or 30 default polls of KEDA (30 s); in
/// some cases only one of the two asks (docs/keda.md). A `pollingInterval` of ten minutes is within it.
pub const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);

/// One trigger of one ScaledObject or ScaledJob: valid, and not connected to anything.
#[derive(Clone, Debug)]
pub struct Trigger {
    /// Which trigger this is.
    pub id: TriggerId,
    /// What is wanted.
    pub policy: Policy,
    /// The kind of queue.
    pub source: &'static Spec,
    /// What to read.
    pub plan: Arc<dyn Plan>,
    /// Through which connection.
    pub connection: Arc<Connection>,
    /// Where its workers report, if they do.
    pub workers: Option<WorkersAt>,
    /// The limit that its workers share, if they share one.
    pub limit: Option<LimitUse>,
    /// The queries that are asked about its tasks, if any are.
    pub queries: Option<QueriesAt>,
}

impl Trigger {
    /// Whether the queue, a query or the workers show running tasks.
    pub fn shows_running(&self) -> bool {
        self.workers.is_some()
            || self.plan.shows_running()
            || self.queries.as_ref().is_some_and(|queries| queries.plan.shows_running())
    }

    /// The key to add to its metadata so that running tasks are seen.
    pub fn to_show_running(&self) -> String {
        let own = self.source.to_show_running.iter().map(|own| format!("{own}; or ")).collect::<String>();
        format!("{own}`{}`, if workers report what they run", keys::WORKERS_CONNECTION.name)
    }

    /// About how many bytes it keeps for as long as it is watched: those that its author can size.
    pub fn bytes(&self) -> usize {
        // A command with its key, its arguments and what the allocator adds.
        const COMMAND: usize = 256;
        let plans = [Some(&self.plan), self.queries.as_ref().map(|queries| &queries.plan)];
        let plans = plans.into_iter().flatten().map(|plan| {
            let names: usize = plan.names().iter().map(|name| name.len()).sum();
            plan.cost() * COMMAND + names + 2 * plan.queue().len()
        });
        let scope = self.workers.as_ref().map_or(0, |workers| workers.scope.len());
        plans.sum::<usize>() + scope + self.id.namespace.len() + self.id.name.len()
    }
}

/// Tells triggers apart. KEDA sends no index, so two triggers of one ScaledObject differ by their keys only.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TriggerId {
    /// Namespace of the ScaledObject.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Of our keys after defaults; KEDA's own keys may change without making another trigger.
    pub fingerprint: Fingerprint,
}

/// Eight hexadecimal digits that stand for a trigger's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(u32);

/// Why a trigger is not served.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Its metadata is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The server knows no such connection.
    #[error("no connection named `{}`{}", shortened(name), in_brackets(hint.as_ref()))]
    UnknownConnection {
        /// The name.
        name: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// The server knows no such limit.
    #[error("no LLM limit named `{}`{}", shortened(name), in_brackets(hint.as_ref()))]
    UnknownLimit {
        /// The name.
        name: String,
        /// What may have been meant.
        hint: Option<String>,
    },
    /// The namespace may not use what it asks for.
    #[error("{0}")]
    Forbidden(#[from] crate::config::tenants::Forbidden),
}

/// What the problems of a trigger are in.
pub(super) const SUBJECT: &str = "the trigger metadata";

/// Reads the trigger of ScaledObject `name` in `namespace` out of its metadata, once it is admitted.
///
/// # Errors
/// When the metadata is wrong, names an unknown connection or limit, or one that the namespace may not use.
pub fn parse(
    server: &Server,
    namespace: &str,
    name: &str,
    metadata: &BTreeMap<String, String>,
) -> Result<Trigger, Refusal> {
    admission::admit(server, namespace, name, metadata)?;
    let trigger = read(server, namespace, name, metadata)?;
    admission::permit(&server.tenants, &trigger)?;
    if let Some(message) = trigger.connection.endpoint.refuses(trigger.plan.as_ref()) {
        // It says by itself which connection is needed.
        let path = format!("metadata.{}", keys::CONNECTION.name);
        return Err(Invalid::one(SUBJECT, Problem { path, message, hint: None }).into());
    }
    Ok(trigger)
}

fn read(
    server: &Server,
    namespace: &str,
    name: &str,
    metadata: &BTreeMap<String, String>,
) -> Result<Trigger, Refusal> {
    let values = values(server, metadata);
    let mut fields = Fields::new("metadata", &values);
    let source = source(&mut fields, server);
    from_env::refuse(&mut fields, metadata, source, server.sources);
    let connection: Option<String> = fields.read(&keys::CONNECTION);
    let policy = policy::parse(&mut fields, server.tick);
    let asked = workers::parse(&mut fields, server);
    let questions = queries::parse(&mut fields, source);
    let plan = source.and_then(|source| (source.parse)(&mut fields));
    if source.is_none() {
        // Nobody can say which of their keys are right, but a key that none of them has is wrong.
        server.sources.iter().for_each(|source| fields.know(source.keys));
    }
    let kinds = source.iter().flat_map(|source| source.connections).map(|kind| kind.moved);
    let moved: Vec<_> = source.iter().map(|source| source.moved).chain(kinds).collect();
    fields.refuse_unknown(keys::KEDAS, &moved);

    let problems = fields.finish();
    Invalid::unless_empty(SUBJECT, problems).map_err(Invalid::shortened)?;
    let (Some(source), Some(connection), Some(policy), Some(asked), Some(questions), Some(plan)) =
        (source, connection, policy, asked, questions, plan)
    else {
        return Err(unexplained().into());
    };
    let plan = plan.starting_in(policy.start_up).unwrap_or(plan);
    let connection = connect(server, source, &connection)?;
    // A queue that is left out on purpose must not look like one that cannot be read.
    let policy = Policy { fresh_for: policy.fresh_for + connection.endpoint.longest_pause(), ..policy };
    let (workers, limit) = asked.find(server, source, plan.as_ref())?;
    let queries = questions.find(server, source, &connection)?;
    let fingerprint = Fingerprint::of(source, &values);
    let id = TriggerId { namespace: namespace.into(), name: name.into(), fingerprint };
    Ok(Trigger { id, policy, source, plan, connection, workers, limit, queries })
}

/// A scaled object as a log line names it: names that Kubernetes gives whole, and little of any other.
pub fn object(namespace: &str, name: &str) -> String {
    let whole = |name| cut(name, admission::LONGEST_OBJECT);
    format!("{}/{}", whole(namespace), whole(name))
}

/// A text of a caller as an error shows it: short, and without control characters.
pub fn shown(text: &str) -> String {
    shortened(text)
}

/// The metadata, and the server's defaults for what it leaves out.
fn values(server: &Server, metadata: &BTreeMap<String, String>) -> BTreeMap<String, Value> {
    server
        .defaults
        .iter()
        .chain(metadata)
        // The value of a variable may be a secret. The key is refused by its name, and its value is dropped
        // here.
        .filter(|(name, _)| !from_env::is_one(name))
        .map(|(name, text)| (name.clone(), Value::Text(text.clone())))
        .collect()
}

fn source(fields: &mut Fields<'_>, server: &Server) -> Option<&'static Spec> {
    let name: String = fields.read(&keys::SOURCE)?;
    let known = server.sources.iter().find(|spec| spec.name == name);
    if known.is_none() {
        let hint = meant(&name, server.sources);
        fields.problem_at(keys::SOURCE.name, format!("no source named `{name}`"), Some(hint));
    }
    known
}

/// The hint for a name that is none of these sources'.
pub fn meant(name: &str, sources: &[Spec]) -> String {
    let names = || sources.iter().map(|spec| spec.name);
    let left_out = LEFT_OUT
        .contains(&name)
        .then(|| format!("this build is without it: build it with the feature `{name}`"));
    left_out
        .or_else(|| sources.iter().find_map(|spec| by_connection(spec, name)))
        .or_else(|| by_framework(name))
        .or_else(|| by_part(name, names()))
        .or_else(|| nearest(name, names()))
        .unwrap_or_else(|| format!("one of {}", names().collect::<Vec<_>>().join(", ")))
}

/// What to write instead of a name of KEDA's that says where the queue is too, as `redis-cluster-streams` does:
/// here that is up to the connection.
fn by_connection(spec: &Spec, name: &str) -> Option<String> {
    let (usual, others) = spec.connections.split_first()?;
    let kind = others.iter().find(|kind| spec.name.replacen(usual.name, kind.name, 1) == name)?;
    Some(format!("`{}`, with a connection of type {}", spec.name, kind.name))
}

/// What to write instead of a framework whose queues a general source reads.
fn by_framework(name: &str) -> Option<String> {
    let is_laravel = ["laravel", "horizon"].contains(&name.to_lowercase().as_str());
    let hint = "`redis`: the queues of Laravel are lists and sorted sets, see docs/redis.md";
    is_laravel.then(|| hint.to_owned())
}

/// "did you mean" for a name of which a source's name is a part, or that is a part of it: by its words, because the
/// letters of `sqs` are nearer to `rq`.
fn by_part<'a>(name: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let words = |name: &str| format!("-{}-", name.to_lowercase());
    let name = words(name);
    let known = names.filter(|known| words(known).contains(&name) || name.contains(&words(known)));
    known.max_by_key(|known| known.len()).map(|known| format!("did you mean `{known}`?"))
}

/// The connection to the queue.
fn connect(server: &Server, source: &'static Spec, name: &str) -> Result<Arc<Connection>, Refusal> {
    let connection = connection(server, source, name, &keys::CONNECTION)?;
    let kinds: Vec<&str> = source.connections.iter().map(|kind| kind.name).collect();
    if !kinds.contains(&connection.kind.name) {
        let message = format!(
            "`{}` is a connection of type {}, not {}",
            shortened(name),
            connection.kind.name,
            kinds.join(" or ")
        );
        return Err(one(&keys::CONNECTION, message).into());
    }
    Ok(connection)
}

/// The connection that `key` names, or, in development, one of the source's usual kind that it describes by a URL.
pub(super) fn connection(
    server: &Server,
    source: &'static Spec,
    name: &str,
    key: &Key,
) -> Result<Arc<Connection>, Refusal> {
    if name.contains("://") {
        return inline(server, source, name, key).map_err(Refusal::from);
    }
    server.connections.get(name).cloned().ok_or_else(|| {
        let hint = nearest(name, server.connections.keys().map(String::as_str))
            .or_else(|| Some("name it under `connections` in the server's file".to_owned()));
        Refusal::UnknownConnection { name: name.to_owned(), hint }
    })
}

fn inline(server: &Server, source: &'static Spec, url: &str, key: &Key) -> Result<Arc<Connection>, Invalid> {
    if !server.allow_inline_connections {
        return Err(address_refused(key));
    }
    let values = BTreeMap::from([("url".to_owned(), Value::Text(url.to_owned()))]);
    let mut fields = Fields::new(format!("metadata.{}", key.name), &values);
    let [kind, ..] = *source.connections else { return Err(unexplained()) };
    let endpoint = (kind.parse)(&mut fields);
    Invalid::unless_empty(SUBJECT, fields.finish())?;
    let endpoint = endpoint.ok_or_else(unexplained)?;
    Ok(Arc::new(Connection { name: endpoint.address().into(), kind, endpoint }))
}

/// Why `key` may not hold an address. It may hold credentials, so it is not repeated.
pub(super) fn address_refused(key: &Key) -> Invalid {
    one(key, "an address in a trigger is refused: name a connection")
}

fn one(key: &Key, message: impl Into<String>) -> Invalid {
    let hint = Some(format!("{}, e.g. `{}`", key.help, key.example));
    let path = format!("metadata.{}", key.name);
    Invalid::one(SUBJECT, Problem { path, message: message.into(), hint })
}

/// A source that parses nothing must say why; one that does not has a bug, and is still not served.
fn unexplained() -> Invalid {
    one(&keys::SOURCE, "this source refuses the trigger without saying why, which is a bug of its own")
}

impl Fingerprint {
    fn of(source: &Spec, values: &BTreeMap<String, Value>) -> Self {
        let mut hasher = DefaultHasher::new();
        for key in keys::ALL.iter().chain(QUERY_KEYS).chain(source.keys) {
            let text = match (values.get(key.name), key.need) {
                (Some(Value::Text(text)), _) => text.trim(),
                (Some(Value::Secret(_)) | None, Need::Default(text)) => text,
                (Some(Value::Secret(_)) | None, Need::Required | Need::Optional) => "",
            };
            (key.name, text).hash(&mut hasher);
        }
        let hash = hasher.finish();
        #[expect(clippy::cast_possible_truncation, reason = "both halves of the hash are folded into one")]
        Self((hash ^ (hash >> 32)) as u32)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

impl fmt::Display for TriggerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, name, fingerprint } = self;
        write!(f, "{namespace}/{name}/{fingerprint}")
    }
}
