//! Which topics and partitions there are: remembered, because they seldom change.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::RDKafkaErrorCode;
use tokio::time::Instant;

use super::fault::Fault;
use super::process::Process;
use super::wire::{Found, Question};

/// How long partitions are remembered, and so how long a new one is not seen.
const REMEMBERED: Duration = Duration::from_secs(30);

/// How long it is remembered that something was wrong with a topic.
const FAULT_REMEMBERED: Duration = Duration::from_secs(5);

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

impl Topics {
    /// Asks for those of `named` that are not known well enough, and for all there are if `all` are wanted. Says
    /// whether all were asked for.
    ///
    /// # Errors
    /// When there is no answer.
    pub(super) async fn refresh(
        &mut self,
        process: &mut Process,
        named: &BTreeSet<Arc<str>>,
        all: bool,
        until: Instant,
    ) -> Result<bool, Fault> {
        let now = Instant::now();
        let due: Vec<Arc<str>> = named.iter().filter(|name| self.is_due(name, now)).cloned().collect();
        let all = all && self.all_at.is_none_or(|at| at + REMEMBERED <= now);
        if due.is_empty() && !all {
            return Ok(false);
        }
        let names = due.iter().map(ToString::to_string).collect();
        let within = until.saturating_duration_since(now);
        let question = Question::Topics { names, everything: all, within };
        let found: Found = process.ask(&question, until).await?;
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
        for (name, found) in found {
            let partition = |(number, has_leader)| Partition { number, has_leader };
            let found = found.map(|partitions| partitions.into_iter().map(partition).collect());
            self.known.insert(name.into(), Topic { seen: now, found });
        }
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
