//! Questions about offsets, one request a broker, and their answers.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};

use super::fault::Fault;
use super::handle::Asker;

/// A partition of a topic.
pub(super) type Place = (Arc<str>, i32);

/// What was answered about each partition.
pub(super) type Answers<T> = HashMap<Place, Result<T, Fault>>;

/// One end of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The offset of its first record.
    Start,
    /// The offset that its next record will have.
    End,
}

/// The ends of partitions: one request to each broker that leads some of them.
pub(super) fn ends(
    asker: &Asker,
    places: &[Place],
    end: End,
    within: Duration,
) -> Result<Answers<u64>, KafkaError> {
    let wanted = match end {
        End::Start => Offset::Beginning,
        End::End => Offset::End,
    };
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        list.add_partition_offset(topic, *partition, wanted)?;
    }
    let list = asker.offsets_for_times(list, within)?;
    Ok(answers(places, &list, |topic, offset| match offset {
        Offset::Offset(offset) => u64::try_from(offset).map_err(|_| unanswered(topic)),
        // The library leaves what it has not been told.
        Offset::Beginning | Offset::End | Offset::Stored | Offset::Invalid | Offset::OffsetTail(_) => {
            Err(unanswered(topic))
        }
    }))
}

/// What the group of `asker` has committed: one request to the broker that keeps it. `None` where it never has.
pub(super) fn committed(
    asker: &Asker,
    places: &[Place],
    within: Duration,
) -> Result<Answers<Option<u64>>, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(places.len());
    for (topic, partition) in places {
        list.add_partition(topic, *partition);
    }
    let list = asker.committed_offsets(list, within)?;
    Ok(answers(places, &list, |topic, offset| match offset {
        Offset::Offset(offset) => u64::try_from(offset).map(Some).map_err(|_| unanswered(topic)),
        Offset::Invalid => Ok(None),
        Offset::Beginning | Offset::End | Offset::Stored | Offset::OffsetTail(_) => Err(unanswered(topic)),
    }))
}

fn unanswered(topic: &str) -> Fault {
    Fault::Unexpected(format!("topic `{topic}`: a broker left one of its partitions out of its answer"))
}

fn answers<T>(
    places: &[Place],
    list: &TopicPartitionList,
    read: impl Fn(&str, Offset) -> Result<T, Fault>,
) -> Answers<T> {
    // The library keeps the order; by name all the same, because nothing promises it.
    let named: HashMap<&str, &Arc<str>> = places.iter().map(|(topic, _)| (&**topic, topic)).collect();
    let mut answers = HashMap::with_capacity(places.len());
    for element in list.elements() {
        let Some(topic) = named.get(element.topic()) else { continue };
        let answer = match element.error() {
            Ok(()) => read(topic, element.offset()),
            Err(error) => {
                Err(Fault::of_topic(topic, error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)))
            }
        };
        answers.insert((Arc::clone(topic), element.partition()), answer);
    }
    answers
}
