//! Taskiq's `RedisStreamBroker`: a stream whose group has a name of its own.

use std::sync::Arc;

use crate::fields::{Fields, Key, Need};
use crate::sources::Plan;
use crate::sources::redis::layout::Layout;
use crate::sources::redis::stream::{Name, Stream};

/// The trigger keys of taskiq.
pub(in crate::sources::redis) const KEYS: &[Key] = &[QUEUE_NAME, CONSUMER_GROUP_NAME];

const QUEUE_NAME: Key = Key {
    name: "queue",
    need: Need::Default("taskiq"),
    unit: "name",
    help: "`queue_name` of the broker: a stream",
    example: "taskiq",
};

const CONSUMER_GROUP_NAME: Key = Key {
    name: "consumerGroupName",
    need: Need::Default("taskiq"),
    unit: "name",
    help: "`consumer_group_name` of the broker",
    example: "taskiq",
};

/// Parses the trigger keys of taskiq.
pub(in crate::sources::redis) fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Plan>> {
    let name = fields.read::<Name>(&QUEUE_NAME);
    let group = fields.read::<Name>(&CONSUMER_GROUP_NAME);
    let (Name(name), Name(group)) = (name?, group?);
    Some(Arc::new(Layout::Stream(Stream::new(name, group))))
}
