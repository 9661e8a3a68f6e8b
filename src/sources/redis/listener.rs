//! Redis says by itself when a queue changes: by client tracking, or where that is refused by keyspace events.
//!
//! Tracking (Redis 6) needs no configuration. Reading a key, also one that is missing, has Redis say once that it has
//! changed; the next read has it say so again. However fast tasks come, there is one message for each read.

use std::any::Any;
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::future::try_join_all;
use redis::{Arg, Cmd, Pipeline, Value, cmd};

use super::address::Node;
use super::connection::{Connection, SMALL, Unasked};
use super::endpoint::{Place, RedisEndpoint};
use super::fault::Fault;
use super::inbox::{Inbox, News};
use super::layout::Layout;
use super::memory::Memory;
use super::reach::Reach;
use super::slots::{self, Redirect, Slots};
use super::{answer, cluster, opening, sentinel, wire};
use crate::sources::{Endpoint, Listener, Plan, ReadError};
use crate::timestamp::Timestamp;

/// Most keys in one pipeline.
const MOST_KEYS: usize = 1_000;

/// What Redis may say of one key beside its name.
const MESSAGE: usize = 512;
/// What a server may say of keys between two ticks, where it says so for each change: a hundred thousand messages.
const MOST_SAID: usize = 64 << 20;

/// Connections on which Redis says something by itself.
pub(super) struct RedisListener {
    endpoint: String,
    ears: Ears,
    inbox: Arc<Inbox>,
    manner: Manner,
    /// By the identity of their plans.
    watched: HashMap<usize, Watched>,
    /// Whose key it is, or the key that a channel is about.
    by_name: HashMap<Vec<u8>, Vec<usize>>,
}

/// To whom we listen.
enum Ears {
    /// One server.
    Server(Connection),
    /// One server that must be the master.
    Master(Connection),
    /// The masters of a cluster.
    Cluster { slots: Slots, nodes: BTreeMap<Node, Connection> },
}

/// What has Redis speak.
enum Manner {
    /// Reading a key.
    Tracking,
    /// Subscribing to the events of a key in this database. Nobody tells whether the server is configured to send any.
    Events { database: u32, subscribed: BTreeSet<Vec<u8>>, doubt: ReadError },
}

/// What to do about channels.
#[derive(Clone, Copy)]
enum Wish {
    Hear,
    Leave,
}

/// One queue.
struct Watched {
    /// Held, so that no other plan can have its identity.
    _plan: Arc<dyn Plan>,
    /// What Redis calls its keys.
    names: BTreeSet<Vec<u8>>,
    /// One command for each key that a read touches.
    commands: Vec<Cmd>,
    /// Whether Redis will say when it changes.
    is_armed: bool,
}

impl RedisListener {
    /// Opens connections to wherever the queues of `endpoint` are.
    ///
    /// # Errors
    /// When there are none, or Redis refuses to say anything by itself.
    pub(super) async fn open(endpoint: &RedisEndpoint) -> Result<Self, Fault> {
        let RedisEndpoint { place, access } = endpoint;
        let inbox = Arc::new(Inbox::default());
        let (mut ears, database) = match place {
            Place::Server { node, database } => {
                let connection =
                    opening::open_to_listen(node, Reach::Anywhere, *database, access, &inbox).await?;
                (Ears::Server(connection), *database)
            }
            Place::Master { sentinels, login, name, database } => {
                let (node, reach) = sentinel::master(name, sentinels, login.as_ref(), access).await?;
                let connection = opening::open_to_listen(&node, reach, *database, access, &inbox).await?;
                (Ears::Master(connection), *database)
            }
            Place::Cluster { nodes } => {
                let (slots, nodes) = open_cluster(nodes, endpoint, &inbox).await?;
                (Ears::Cluster { slots, nodes }, 0)
            }
        };
        let manner = match ears.begin_tracking().await? {
            Ok(()) => Manner::Tracking,
            Err(refusal) => Manner::Events {
                database,
                subscribed: BTreeSet::new(),
                doubt: refusal.at(&endpoint.address()),
            },
        };
        let (watched, by_name) = (HashMap::new(), HashMap::new());
        Ok(Self { endpoint: endpoint.address(), ears, inbox, manner, watched, by_name })
    }

    async fn renew(&mut self, plans: &[Arc<dyn Plan>]) -> Result<Vec<usize>, Fault> {
        self.list(plans);
        let News { names, of_all, lost, .. } = self.inbox.take();
        if lost {
            return Err(Fault::Lost("the connection broke".to_owned()));
        }
        let heard = names.iter().filter_map(|name| self.by_name.get(name)).flatten();
        for id in heard {
            self.watched.entry(*id).and_modify(|watched| watched.is_armed = false);
        }
        let is_due = |plan: &Arc<dyn Plan>| {
            of_all || self.watched.get(&identity(plan)).is_none_or(|watched| !watched.is_armed)
        };
        let due: Vec<usize> =
            plans.iter().enumerate().filter(|(_, plan)| is_due(plan)).map(|(index, _)| index).collect();
        let ids: Vec<usize> = due.iter().filter_map(|index| plans.get(*index)).map(identity).collect();
        self.arm(&ids).await?;
        if ids.is_empty() || matches!(self.manner, Manner::Events { .. }) {
            self.ears.check().await?;
        }
        for id in ids {
            self.watched.entry(id).and_modify(|watched| watched.is_armed = true);
        }
        Ok(due)
    }

    /// Takes `plans` for those that are listened to; the ones that were before stay as they are.
    fn list(&mut self, plans: &[Arc<dyn Plan>]) {
        for plan in plans {
            let id = identity(plan);
            if self.watched.contains_key(&id) {
                continue;
            }
            let watched = Watched::new(plan, &self.manner);
            for name in &watched.names {
                self.by_name.entry(name.clone()).or_default().push(id);
            }
            self.watched.insert(id, watched);
        }
        if self.watched.len() == plans.len() {
            return;
        }
        let wanted: HashSet<usize> = plans.iter().map(identity).collect();
        for (id, watched) in self.watched.extract_if(|id, _| !wanted.contains(id)) {
            for name in watched.names {
                if let Entry::Occupied(mut ids) = self.by_name.entry(name) {
                    ids.get_mut().retain(|other| *other != id);
                    if ids.get().is_empty() {
                        ids.remove();
                    }
                }
            }
        }
    }

    /// Has Redis say when these queues change.
    async fn arm(&mut self, ids: &[usize]) -> Result<(), Fault> {
        // One message for each key on the way, and by events one for each change.
        let names = self.by_name.keys();
        let at_once = names.fold(SMALL, |sum, name| sum.saturating_add(name.len() + MESSAGE));
        let in_all = if matches!(self.manner, Manner::Tracking) { 0 } else { MOST_SAID };
        self.ears.connections().into_iter().for_each(|ear| ear.expect(Unasked { at_once, in_all }));
        let watched = ids.iter().filter_map(|id| self.watched.get(id));
        let commands: Vec<&Cmd> = watched.flat_map(|watched| &watched.commands).collect();
        match &mut self.manner {
            Manner::Tracking => {
                for commands in commands.chunks(MOST_KEYS) {
                    self.ears.read(commands).await?;
                }
            }
            Manner::Events { database, subscribed, .. } => {
                let wanted: BTreeSet<Vec<u8>> = self.by_name.keys().cloned().collect();
                let gone: Vec<Vec<u8>> = subscribed.difference(&wanted).cloned().collect();
                self.ears.subscribe(Wish::Leave, &gone, *database).await?;
                let fresh: Vec<Vec<u8>> = wanted.difference(subscribed).cloned().collect();
                self.ears.subscribe(Wish::Hear, &fresh, *database).await?;
                *subscribed = wanted;
            }
        }
        Ok(())
    }
}

#[async_trait]
impl Listener for RedisListener {
    async fn watch(&mut self, plans: &[Arc<dyn Plan>]) -> Result<Vec<usize>, ReadError> {
        self.renew(plans).await.map_err(|fault| fault.at(&self.endpoint))
    }

    async fn heard(&mut self) {
        self.inbox.filled().await;
    }

    fn doubt(&self) -> Option<&ReadError> {
        match &self.manner {
            Manner::Tracking => None,
            Manner::Events { doubt, .. } => Some(doubt),
        }
    }
}

impl Manner {
    /// By which name Redis will speak of the key of a command.
    fn name(&self, command: &Cmd) -> Option<Vec<u8>> {
        let key = slots::key(command)?;
        match self {
            Self::Tracking => Some(key.to_vec()),
            Self::Events { database, .. } => Some(channel(key, *database)),
        }
    }
}

impl Watched {
    fn new(plan: &Arc<dyn Plan>, manner: &Manner) -> Self {
        let mut pipeline = Pipeline::new();
        if let Some(layout) = (plan.as_ref() as &dyn Any).downcast_ref::<Layout>() {
            layout.ask(&Memory::new(Timestamp::default()), None, &mut pipeline);
        }
        let mut names = BTreeSet::new();
        let tells = |command: &Cmd| {
            let command = if matches!(manner, Manner::Tracking) { brief(command)? } else { command.clone() };
            manner.name(&command).is_some_and(|name| names.insert(name)).then_some(command)
        };
        let commands = pipeline.cmd_iter().filter_map(tells).collect();
        Self { _plan: Arc::clone(plan), names, commands, is_armed: false }
    }
}

/// A command that reads the same key and whose answer is a number or nothing, whatever the key holds; none where the
/// rights to the command give no such way. What waits in a queue is counted, so such keys hold no tasks.
fn brief(command: &Cmd) -> Option<Cmd> {
    /// Is no field of a framework's hash.
    const NO_FIELD: &str = "agent-scaler:none";
    let mut words = command.args_iter().filter_map(|word| match word {
        Arg::Simple(word) => Some(word),
        Arg::Cursor | _ => None,
    });
    match words.next()? {
        b"LLEN" | b"HLEN" | b"ZCARD" | b"ZCOUNT" | b"XLEN" | b"EXISTS" | b"SISMEMBER" => {
            Some(command.clone())
        }
        b"HGET" => {
            let mut brief = cmd("HGET");
            brief.arg(words.next()?).arg(NO_FIELD);
            Some(brief)
        }
        _ => None,
    }
}

/// Tells plans apart for as long as they live.
fn identity(plan: &Arc<dyn Plan>) -> usize {
    Arc::as_ptr(plan).addr()
}

impl Ears {
    /// Asks every server to say when a key that was read changes; the inner error is a refusal.
    async fn begin_tracking(&mut self) -> Result<Result<(), Fault>, Fault> {
        let mut track = cmd("CLIENT");
        track.arg("TRACKING").arg("ON");
        for connection in self.connections() {
            if let Value::ServerError(error) = opening::ask(&track, connection).await? {
                return Ok(Err(Fault::of_tracking(&error)));
            }
        }
        Ok(Ok(()))
    }

    fn connections(&mut self) -> Vec<&mut Connection> {
        match self {
            Self::Server(connection) | Self::Master(connection) => vec![connection],
            Self::Cluster { nodes, .. } => nodes.values_mut().collect(),
        }
    }

    /// Sends commands to where their keys are. What they answer is of no interest: a queue that cannot be read is the
    /// reader's concern.
    async fn read(&mut self, commands: &[&Cmd]) -> Result<(), Fault> {
        match self {
            Self::Server(connection) | Self::Master(connection) => {
                wire::send(pipeline_of(commands), connection).await.map(drop)
            }
            Self::Cluster { slots, nodes } => {
                let mut by_node: BTreeMap<&Node, Vec<&Cmd>> = BTreeMap::new();
                for command in commands {
                    let node =
                        slots::key(command).and_then(|key| slots.master(key)).ok_or_else(Fault::unserved)?;
                    by_node.entry(node).or_default().push(command);
                }
                let sends = nodes.iter_mut().filter_map(|(node, connection)| {
                    let pipeline = pipeline_of(by_node.get(node)?);
                    Some(async move { Ok::<_, Fault>((node, wire::send(pipeline, connection).await?)) })
                });
                for (node, answers) in try_join_all(sends).await? {
                    let moved = answers.iter().filter_map(answer::refusal).any(|error| {
                        error.code() == "CLUSTERDOWN" || Redirect::from_error(error, node).is_some()
                    });
                    if moved {
                        return Err(Fault::Lost(format!("node {node}: another serves its slots")));
                    }
                }
                Ok(())
            }
        }
    }

    /// Subscribes to channels or leaves them, each where its key is.
    async fn subscribe(&mut self, wish: Wish, channels: &[Vec<u8>], database: u32) -> Result<(), Fault> {
        let prefix = channel(b"", database).len();
        let mut by_node: BTreeMap<Option<Node>, Vec<&[u8]>> = BTreeMap::new();
        for channel in channels {
            let node = match self {
                Self::Server(_) | Self::Master(_) => None,
                Self::Cluster { slots, .. } => {
                    slots.master(channel.get(prefix..).unwrap_or_default()).cloned()
                }
            };
            by_node.entry(node).or_default().push(channel.as_slice());
        }
        for (node, channels) in by_node {
            let connection = match (&mut *self, node) {
                (Self::Server(connection) | Self::Master(connection), _) => connection,
                (Self::Cluster { nodes, .. }, node) => {
                    node.and_then(|node| nodes.get_mut(&node)).ok_or_else(Fault::unserved)?
                }
            };
            for channels in channels.chunks(MOST_KEYS) {
                let answer = match wish {
                    Wish::Hear => connection.subscribe(channels).await,
                    Wish::Leave => connection.unsubscribe(channels).await,
                };
                answer.map_err(|error| Fault::of_subscription(&error))?;
            }
        }
        Ok(())
    }

    /// Whether they are still who they were: a connection that is cut without a word would stay silent for ever.
    async fn check(&mut self) -> Result<(), Fault> {
        match self {
            Self::Server(connection) => wire::time(&opening::ask(&cmd("TIME"), connection).await?).map(drop),
            Self::Master(connection) => wire::is_master(&opening::ask(&cmd("ROLE"), connection).await?),
            Self::Cluster { slots, nodes } => {
                let learned = nodes.iter_mut().map(|(node, connection)| cluster::learn(node, connection));
                let changed = try_join_all(learned).await?.iter().any(|learned| *learned != *slots);
                if changed { Err(Fault::Lost("its slots have moved".to_owned())) } else { Ok(()) }
            }
        }
    }
}

/// Connections to all masters.
async fn open_cluster(
    seeds: &[Node],
    endpoint: &RedisEndpoint,
    inbox: &Arc<Inbox>,
) -> Result<(Slots, BTreeMap<Node, Connection>), Fault> {
    let (masters, slots) = cluster::Cluster::open(seeds, &endpoint.access).await?.0.into_masters();
    let open = masters.iter().map(|(node, reach)| async move {
        let connection = opening::open_to_listen(node, *reach, 0, &endpoint.access, inbox).await;
        connection
            .map(|connection| (node.clone(), connection))
            .map_err(|fault| fault.said_by(&format!("node {node}")))
    });
    let nodes = try_join_all(open).await?.into_iter().collect();
    Ok((slots, nodes))
}

fn pipeline_of(commands: &[&Cmd]) -> Pipeline {
    let mut pipeline = Pipeline::new();
    for command in commands {
        pipeline.add_command((*command).clone());
    }
    pipeline
}

/// The channel of the events of `key`.
fn channel(key: &[u8], database: u32) -> Vec<u8> {
    [format!("__keyspace@{database}__:").as_bytes(), key].concat()
}
