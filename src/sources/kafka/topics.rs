//! Which topics and partitions there are: remembered, because they seldom change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use tokio::time::Instant;

use super::fault::Fault;
use super::handle::{Asker, Handle};

/// How long partitions are remembered, and so how long a new one is not seen.
const REMEMBERED: Duration = Duration::from_secs(30);

/// How long it is remembered that something was wrong with a topic.
const FAULT_REMEMBERED: Duration = Duration::from_secs(5);

/// Most topics that are asked for one by one. Of more, all topics of the cluster are asked for at once.
const MOST_SINGLE: usize = 10;

/// Topics in which Kafka keeps what it knows itself.
const INTERNAL: &[&str] = &["__consumer_offsets", "__transaction_state", "__share_group_state"];

/// The topics of a cluster, as they were last seen.
#[derive(Default)]
pub(super) struct Topics {
    known: HashMap<Arc<str>, Topic>,
    /// When all of them were seen together, if they were.
    all_at: Option<Instant>,
}

struct Topic {
    seen: Instant,
    found: Result<Arc<[Partition]>, Fault>,
}

/// One partition, as the cluster describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Partition {
    pub(super) number: i32,
    /// Whether a broker answers for it.
    pub(super) has_leader: bool,
}

/// What one question told of each topic.
type Found = Vec<(Arc<str>, Result<Arc<[Partition]>, Fault>)>;

impl Topics {
    /// Asks for those of `named` that are not known well enough, and for all there are if `all` are wanted. Says
    /// whether all were asked for.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) async fn refresh(
        &mut self,
        handle: &Handle,
        named: &BTreeSet<Arc<str>>,
        all: bool,
        until: Instant,
    ) -> Result<bool, Fault> {
        let now = Instant::now();
        let due: Vec<Arc<str>> = named.iter().filter(|name| self.is_due(name, now)).cloned().collect();
        let all = all && self.all_at.is_none_or(|at| at + REMEMBERED <= now) || due.len() > MOST_SINGLE;
        if due.is_empty() && !all {
            return Ok(false);
        }
        let names = due.clone();
        let found = handle.ask(until, move |asker, within| fetch(asker, &names, all, within)).await;
        let found = found.map_err(|failure| failure.fault)?;
        if all {
            self.all_at = Some(now);
            self.known.clear();
        }
        let asked: Vec<Arc<str>> = if all { named.iter().cloned().collect() } else { due };
        for name in asked {
            // Unless the answer has it.
            let unknown = Err(Fault::of_topic(&name, RDKafkaErrorCode::UnknownTopicOrPartition));
            self.known.insert(name, Topic { seen: now, found: unknown });
        }
        self.known.extend(found.into_iter().map(|(name, found)| (name, Topic { seen: now, found })));
        Ok(all)
    }

    /// The partitions of a topic.
    ///
    /// # Errors
    /// When there is no such topic, or the user may not know.
    pub(super) fn partitions(&self, name: &str) -> Result<Arc<[Partition]>, Fault> {
        self.known.get(name).map_or(Err(Fault::Late), |topic| topic.found.clone())
    }

    /// Every topic that holds tasks, with its partitions, as far as the user may know.
    pub(super) fn all(&self) -> BTreeMap<Arc<str>, Arc<[Partition]>> {
        let known = self.known.iter().filter(|(name, _)| !INTERNAL.contains(&&***name));
        known.filter_map(|(name, topic)| Some((Arc::clone(name), topic.found.clone().ok()?))).collect()
    }

    /// Asks for a topic anew next time, because what is known of it was of no use.
    pub(super) fn doubt(&mut self, name: &str) {
        if let Some(topic) = self.known.get_mut(name).filter(|topic| topic.found.is_ok()) {
            topic.found = Err(Fault::Late);
        }
    }

    fn is_due(&self, name: &str, now: Instant) -> bool {
        self.known.get(name).is_none_or(|topic| {
            let remembered = match &topic.found {
                Ok(partitions) if partitions.iter().all(|partition| partition.has_leader) => REMEMBERED,
                Ok(_) => FAULT_REMEMBERED,
                Err(Fault::Late) => Duration::ZERO,
                Err(_) => FAULT_REMEMBERED,
            };
            topic.seen + remembered <= now
        })
    }
}

fn fetch(asker: &Asker, names: &[Arc<str>], all: bool, within: Duration) -> Result<Found, KafkaError> {
    if all {
        return asker.fetch_metadata(None, within).map(|metadata| found(&metadata));
    }
    let until = Instant::now() + within;
    let mut topics = Vec::new();
    for name in names {
        let left = until.saturating_duration_since(Instant::now());
        topics.extend(found(&asker.fetch_metadata(Some(name), left)?));
    }
    Ok(topics)
}

fn found(metadata: &Metadata) -> Found {
    let topics = metadata.topics().iter().map(|topic| {
        let partitions = topic.partitions().iter();
        let partitions: Arc<[Partition]> = partitions
            .map(|partition| Partition { number: partition.id(), has_leader: partition.leader() >= 0 })
            .collect();
        let found = match topic.error() {
            Some(code) => Err(Fault::of_topic(topic.name(), code.into())),
            None => Ok(partitions),
        };
        (Arc::from(topic.name()), found)
    });
    topics.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_kafka_keeps_for_itself_holds_no_tasks() {
        let partition = Partition { number: 0, has_leader: true };
        let topic =
            |name: &str| (Arc::from(name), Topic { seen: Instant::now(), found: Ok(Arc::from([partition])) });
        let known = ["__consumer_offsets", "tasks", "__transaction_state", "__mine"].map(topic);
        let topics = Topics { known: known.into(), all_at: None };
        let all: Vec<String> = topics.all().keys().map(ToString::to_string).collect();
        assert_eq!(all, ["__mine", "tasks"]);
    }
}
