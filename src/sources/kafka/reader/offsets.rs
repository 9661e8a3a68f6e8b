//! Questions about offsets, one request a broker, and their answers.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::{Offset, TopicPartitionList};

use super::handle::Asker;
use crate::sources::kafka::fault::Fault;
use crate::sources::kafka::wire::{End, InOrder, Places};

/// The ends of partitions: one request to each broker that leads some of them.
pub(super) fn ends(
    asker: &Asker,
    places: &Places,
    end: End,
    within: Duration,
) -> Result<InOrder<u64>, KafkaError> {
    let wanted = match end {
        End::Start => Offset::Beginning,
        End::End => Offset::End,
    };
    let mut list = list(places);
    for (topic, partition) in each(places) {
        list.add_partition_offset(topic, partition, wanted)?;
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
    places: &Places,
    within: Duration,
) -> Result<InOrder<Option<u64>>, KafkaError> {
    let mut list = list(places);
    for (topic, partition) in each(places) {
        list.add_partition(topic, partition);
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
    places: &Places,
    list: &TopicPartitionList,
    read: impl Fn(&str, Offset) -> Result<T, Fault>,
) -> InOrder<T> {
    // The library keeps the order; by name all the same, because nothing promises it.
    let elements = list.elements();
    let answered: HashMap<(&str, i32), &TopicPartitionListElem<'_>> =
        elements.iter().map(|element| ((element.topic(), element.partition()), element)).collect();
    let answers = each(places).map(|(topic, partition)| {
        let Some(element) = answered.get(&(topic, partition)) else {
            let message = format!("partition {partition} of topic `{topic}`: no answer about it");
            return Err(Fault::Unexpected(message));
        };
        match element.error() {
            Ok(()) => read(topic, element.offset()),
            Err(error) => {
                Err(Fault::of_topic(topic, error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)))
            }
        }
    });
    answers.collect()
}

fn list(places: &Places) -> TopicPartitionList {
    TopicPartitionList::with_capacity(each(places).count())
}

fn each(places: &Places) -> impl Iterator<Item = (&str, i32)> {
    places.iter().flat_map(|(topic, partitions)| partitions.iter().map(|partition| (&**topic, *partition)))
}
