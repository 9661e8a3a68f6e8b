//! Questions about topics, and their answers.

use std::collections::HashSet;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;
use rdkafka::metadata::Metadata;
use tokio::time::Instant;

use super::handle::Asker;
use crate::sources::kafka::fault::Fault;
use crate::sources::kafka::wire::Found;

/// Most topics that are asked for one by one. Of more, all topics of the cluster are asked for at once.
const MOST_SINGLE: usize = 10;

/// Most topics and partitions of one answer: as many partitions as the longest answer of a broker holds.
const MOST_FOUND: usize = 100_000;

/// The topics of `names`, or everything there is.
pub(super) fn fetch(
    asker: &Asker,
    names: &[String],
    everything: bool,
    within: Duration,
) -> Result<Result<Found, Fault>, KafkaError> {
    let mut topics = Found::new();
    if everything || MOST_SINGLE < names.len() {
        let metadata = asker.fetch_metadata(None, within)?;
        let named: HashSet<&str> = names.iter().map(String::as_str).collect();
        topics = found(&metadata, |name| everything || named.contains(name));
    } else {
        let until = Instant::now() + within;
        for name in names {
            let left = until.saturating_duration_since(Instant::now());
            topics.extend(found(&asker.fetch_metadata(Some(name), left)?, |found| found == name));
        }
    }
    let size: usize = topics.iter().map(|(_, found)| 1 + found.as_ref().map_or(0, Vec::len)).sum();
    Ok(if size <= MOST_FOUND {
        Ok(topics)
    } else {
        Err(Fault::Unexpected(format!(
            "more than {MOST_FOUND} topics and partitions: name those that matter in `topic`"
        )))
    })
}

fn found(metadata: &Metadata, is_wanted: impl Fn(&str) -> bool) -> Found {
    let wanted = metadata.topics().iter().filter(|topic| is_wanted(topic.name()));
    let topics = wanted.map(|topic| {
        let partitions = topic.partitions().iter();
        let found = match topic.error() {
            Some(code) => Err(Fault::of_topic(topic.name(), code.into())),
            None => Ok(partitions.map(|partition| (partition.id(), partition.leader() >= 0)).collect()),
        };
        (topic.name().to_owned(), found)
    });
    topics.collect()
}
