//! The clients of one cluster. One handle asks for topics and the ends of partitions, and one for each group what it
//! has committed: the library takes the group from a client's configuration.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::future::join_all;
use rdkafka::ClientConfig;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use tokio::time::Instant;

use super::handle::{Failure, Handle};
use super::token::Tokens;
use super::{memory, offsets, topics};
use crate::sources::kafka::fault::Fault;
use crate::sources::kafka::queue::Isolation;
use crate::sources::kafka::wire::{End, Found, InOrder, OfGroups, Opening, Places};

/// An open connection to a cluster.
pub(super) struct Cluster {
    /// May hold a password, and is never printed.
    config: ClientConfig,
    tokens: Option<Arc<Tokens>>,
    /// Asks for topics, and for ends as those see them who read everything.
    asker: Arc<Handle>,
    /// Asks for ends as those see them who read finished transactions only. There once it is needed.
    careful: Option<Arc<Handle>>,
    groups: HashMap<String, Arc<Handle>>,
}

impl Cluster {
    /// Opens a client, and waits until a broker has let it in.
    ///
    /// # Errors
    /// When no broker can be reached, or none lets us in.
    pub(super) async fn open(opening: Opening, until: Instant) -> Result<Self, Fault> {
        let Opening { settings, tokens, is_logged: _ } = opening;
        let mut config = ClientConfig::from_iter(settings);
        config.set_log_level(RDKafkaLogLevel::Info);
        let login = tokens.map(|tokens| tokens.login()).transpose()?;
        let tokens = login.as_ref().map(Tokens::of).transpose()?.flatten().map(Arc::new);
        let asker = Arc::new(open(&config, tokens.clone(), None, 1).await?);
        // Whoever is let in may ask it, and is told of what he may know.
        let asking = asker.ask(until, |asker, within| asker.fetch_metadata(None, within).map(drop));
        asking.await.map_err(|failure| failure.fault)?;
        Ok(Self { config, tokens, asker, careful: None, groups: HashMap::new() })
    }

    /// Which partitions topics have.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) async fn topics(
        &self,
        names: Vec<String>,
        everything: bool,
        until: Instant,
    ) -> Result<Found, Fault> {
        let asking =
            self.asker.ask(until, move |asker, within| topics::fetch(asker, &names, everything, within));
        asking.await.map_err(|failure| failure.fault)?
    }

    /// What each of `groups` has committed, all asked at the same time.
    pub(super) async fn committed(
        &mut self,
        groups: Vec<(String, Places)>,
        closed: &[String],
        until: Instant,
    ) -> OfGroups {
        closed.iter().for_each(|group| drop(self.groups.remove(group)));
        let mut asked = Vec::with_capacity(groups.len());
        for (group, places) in groups {
            let handle = self.group(&group).await;
            asked.push(async move { committed(&group, &*handle?, places, until).await });
        }
        join_all(asked).await
    }

    /// One end of all `places`.
    ///
    /// # Errors
    /// When a broker that leads some of them does not say.
    pub(super) async fn ends(
        &mut self,
        isolation: Isolation,
        places: Places,
        end: End,
        until: Instant,
    ) -> Result<InOrder<u64>, Fault> {
        let asker = match isolation {
            Isolation::Uncommitted => Arc::clone(&self.asker),
            Isolation::Committed => self.careful().await?,
        };
        let answers = asker.ask(until, move |asker, within| offsets::ends(asker, &places, end, within)).await;
        answers.map_err(|failure| match failure.fault {
            Fault::Late => {
                Fault::Unexpected("a broker that leads some of the partitions does not answer".to_owned())
            }
            fault @ (Fault::Lost(_) | Fault::NotLetIn(_) | Fault::Denied(_) | Fault::Unexpected(_)) => fault,
        })
    }

    async fn careful(&mut self) -> Result<Arc<Handle>, Fault> {
        if let Some(careful) = &self.careful {
            return Ok(Arc::clone(careful));
        }
        let mut config = self.config.clone();
        config.set("isolation.level", "read_committed");
        let careful = Arc::new(open(&config, self.tokens.clone(), None, self.clients() + 1).await?);
        self.careful = Some(Arc::clone(&careful));
        Ok(careful)
    }

    async fn group(&mut self, name: &str) -> Result<Arc<Handle>, Fault> {
        if let Some(handle) = self.groups.get(name) {
            return Ok(Arc::clone(handle));
        }
        let mut config = self.config.clone();
        config.set("group.id", name);
        let handle = open(&config, self.tokens.clone(), Some(name.into()), self.clients() + 1).await?;
        let handle = Arc::new(handle);
        self.groups.insert(name.to_owned(), Arc::clone(&handle));
        Ok(handle)
    }

    fn clients(&self) -> u32 {
        let groups = u32::try_from(self.groups.len()).unwrap_or(u32::MAX);
        groups.saturating_add(1 + u32::from(self.careful.is_some()))
    }
}

/// Opens a client, with which there are `clients`.
async fn open(
    config: &ClientConfig,
    tokens: Option<Arc<Tokens>>,
    group: Option<Arc<str>>,
    clients: u32,
) -> Result<Handle, Fault> {
    memory::allow(clients);
    let config = config.clone();
    let opening = tokio::task::spawn_blocking(move || Handle::open(&config, tokens, group)).await;
    opening.map_err(|_| Fault::Lost("the opening was cut off".to_owned()))?
}

async fn committed(
    group: &str,
    handle: &Handle,
    places: Places,
    until: Instant,
) -> Result<InOrder<Option<u64>>, Fault> {
    let asking = handle.ask(until, move |asker, within| offsets::committed(asker, &places, within));
    asking.await.map_err(|failure| fault(group, failure))
}

fn fault(group: &str, Failure { fault, error }: Failure) -> Fault {
    match (error.as_ref().and_then(KafkaError::rdkafka_error_code), fault) {
        (_, fault @ (Fault::NotLetIn(_) | Fault::Denied(_))) => fault,
        (Some(code), _) => Fault::of_group(group, code),
        // The others are not of this group's broker.
        (None, Fault::Late) => {
            Fault::Unexpected(format!("group `{group}`: the broker that keeps its offsets does not answer"))
        }
        (None, fault) => fault,
    }
}
