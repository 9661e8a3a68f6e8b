//! What a trigger says of its topics and their group.

pub(super) mod keys;

use std::fmt::Write as _;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::fields::{Fields, Names, PositiveSpan};
use crate::sources::{Counted, Plan};

use keys::{
    ALLOW_IDLE_CONSUMERS, CONSUMER_GROUP, ENSURE_EVEN_DISTRIBUTION_OF_PARTITIONS, EXCLUDE_PERSISTENT_LAG,
    ISOLATION_LEVEL, LIMIT_TO_PARTITIONS_WITH_LAG, OFFSET_RESET_POLICY, PARTITION_LIMITATION,
    PERSISTENT_AFTER, SCALE_TO_ZERO_ON_INVALID_OFFSET, TOPIC,
};

/// The tasks of one consumer group.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Queue {
    pub(super) group: Arc<str>,
    pub(super) topics: Topics,
    pub(super) partitions: Option<Partitions>,
    pub(super) reset: Reset,
    /// Whether a partition without a commit counts as empty.
    pub(super) ignores_uncommitted: bool,
    pub(super) isolation: Isolation,
    pub(super) room: Room,
    /// How long a partition stands still before it counts no more, if it ever does.
    pub(super) persistent_after: Option<Duration>,
}

/// Which topics count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Topics {
    /// These.
    Named(Vec<Arc<str>>),
    /// All that the group has committed to.
    Committed,
}

/// Where a consumer begins that finds no commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Reset {
    /// Behind the last record.
    Latest,
    /// Before the first record.
    Earliest,
}

/// Which records a consumer gets to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub(super) enum Isolation {
    /// All.
    Uncommitted,
    /// Those before the first transaction that is still open.
    Committed,
}

/// How many slots are of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Room {
    /// One for each partition.
    Partitions,
    /// One for each partition that has something to do.
    PartitionsWithLag,
    /// One for each partition, and as many partitions for one as for another.
    EvenPartitions,
    /// Any number.
    Unlimited,
}

/// Numbers of partitions, in ascending ranges that do not touch.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Partitions(Vec<RangeInclusive<i32>>);

/// Parses the trigger keys of a group.
pub(super) fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Plan>> {
    let topics = parse_topics(fields);
    let group = fields.read::<String>(&CONSUMER_GROUP).and_then(|group| filled(group, fields));
    let reset = fields.read(&OFFSET_RESET_POLICY);
    let ignores_uncommitted = fields.read(&SCALE_TO_ZERO_ON_INVALID_OFFSET);
    let isolation = fields.read(&ISOLATION_LEVEL);
    let room = parse_room(fields);
    let persistent_after = parse_persistent(fields);
    let ((topics, partitions), room) = (topics?, room?);
    let of_topics = match room {
        Room::PartitionsWithLag => Some(&LIMIT_TO_PARTITIONS_WITH_LAG),
        Room::EvenPartitions => Some(&ENSURE_EVEN_DISTRIBUTION_OF_PARTITIONS),
        Room::Partitions | Room::Unlimited => None,
    };
    if let (Some(key), Topics::Committed) = (of_topics, &topics) {
        fields.problem(key, "needs `topic`");
        return None;
    }
    Some(Arc::new(Queue {
        group: group?,
        topics,
        partitions,
        reset: reset?,
        ignores_uncommitted: ignores_uncommitted?,
        isolation: isolation?,
        room,
        persistent_after: persistent_after?,
    }))
}

fn parse_topics(fields: &mut Fields<'_>) -> Option<(Topics, Option<Partitions>)> {
    let names: Option<Names> = fields.read(&TOPIC);
    let partitions: Option<Partitions> = fields.read(&PARTITION_LIMITATION);
    let has_partitions = fields.has(&PARTITION_LIMITATION);
    if !fields.has(&TOPIC) {
        if has_partitions {
            fields.problem(&PARTITION_LIMITATION, "needs `topic`");
        }
        return (!has_partitions).then_some((Topics::Committed, None));
    }
    let Names(names) = names?;
    (partitions.is_some() || !has_partitions).then(|| (Topics::Named(distinct(names)), partitions))
}

fn parse_persistent(fields: &mut Fields<'_>) -> Option<Option<Duration>> {
    let excludes: Option<bool> = fields.read(&EXCLUDE_PERSISTENT_LAG);
    let after = fields.read(&PERSISTENT_AFTER).map(|PositiveSpan(after)| after);
    if excludes == Some(false) && fields.has(&PERSISTENT_AFTER) {
        fields.problem(&PERSISTENT_AFTER, "needs `excludePersistentLag: \"true\"`");
        return None;
    }
    let (excludes, after) = (excludes?, after?);
    Some(excludes.then_some(after))
}

fn parse_room(fields: &mut Fields<'_>) -> Option<Room> {
    let idle: Option<bool> = fields.read(&ALLOW_IDLE_CONSUMERS);
    let with_lag: Option<bool> = fields.read(&LIMIT_TO_PARTITIONS_WITH_LAG);
    let even: Option<bool> = fields.read(&ENSURE_EVEN_DISTRIBUTION_OF_PARTITIONS);
    let (first, second) = match (idle?, with_lag?, even?) {
        (false, false, false) => return Some(Room::Partitions),
        (false, true, false) => return Some(Room::PartitionsWithLag),
        (false, false, true) => return Some(Room::EvenPartitions),
        (true, false, false) => return Some(Room::Unlimited),
        (true, true, _) => (&ALLOW_IDLE_CONSUMERS, LIMIT_TO_PARTITIONS_WITH_LAG.name),
        (true, false, true) => (&ALLOW_IDLE_CONSUMERS, ENSURE_EVEN_DISTRIBUTION_OF_PARTITIONS.name),
        (false, true, true) => (&LIMIT_TO_PARTITIONS_WITH_LAG, ENSURE_EVEN_DISTRIBUTION_OF_PARTITIONS.name),
    };
    fields.problem(first, format!("cannot be true beside `{second}`"));
    None
}

fn filled(group: String, fields: &mut Fields<'_>) -> Option<Arc<str>> {
    if group.is_empty() {
        fields.problem(&CONSUMER_GROUP, "an empty name");
        return None;
    }
    Some(group.into())
}

fn distinct(mut names: Vec<String>) -> Vec<Arc<str>> {
    names.sort_unstable();
    names.dedup();
    names.into_iter().map(Arc::from).collect()
}

impl Queue {
    /// Whether a partition of that number counts.
    pub(super) fn counts(&self, partition: i32) -> bool {
        self.partitions
            .as_ref()
            .is_none_or(|Partitions(ranges)| ranges.iter().any(|range| range.contains(&partition)))
    }
}

impl Plan for Queue {
    fn queue(&self) -> String {
        let Self { group, topics, partitions, reset, ignores_uncommitted, isolation, room, persistent_after } =
            self;
        let mut text = match topics {
            Topics::Named(names) => format!("topic {} of group {group}", names.join(",")),
            Topics::Committed => format!("all topics of group {group}"),
        };
        if let Some(Partitions(ranges)) = partitions {
            let ranges: Vec<String> =
                ranges.iter().map(|range| format!("{}-{}", range.start(), range.end())).collect();
            // Writing to a text cannot fail.
            let _ = write!(text, ", partitions {}", ranges.join(","));
        }
        if *reset == Reset::Earliest {
            text.push_str(", from the earliest");
        }
        if *ignores_uncommitted {
            text.push_str(", committed partitions only");
        }
        if *isolation == Isolation::Committed {
            text.push_str(", committed transactions only");
        }
        match room {
            Room::Partitions => {}
            Room::PartitionsWithLag => text.push_str(", slots for partitions with lag"),
            Room::EvenPartitions => text.push_str(", as many partitions for each slot"),
            Room::Unlimited => text.push_str(", any number of slots"),
        }
        if let Some(after) = persistent_after {
            let _ = write!(text, ", without what stands still for {}", humantime::format_duration(*after));
        }
        text
    }

    fn name(&self) -> String {
        match &self.topics {
            Topics::Named(names) => names.join(","),
            Topics::Committed => self.group.to_string(),
        }
    }

    fn names(&self) -> Vec<&str> {
        let topics: Vec<&str> = match &self.topics {
            Topics::Named(names) => names.iter().map(AsRef::as_ref).collect(),
            // Only whom every pattern of names is given may ask about any topic.
            Topics::Committed => vec!["*"],
        };
        topics.into_iter().chain([&*self.group]).collect()
    }

    fn counts_in(&self) -> Vec<Counted> {
        let group = format!("group {}", self.group);
        let part = |place: String, within: Vec<String>| Counted { within, ..Counted::at(place) };
        let (names, ranges) = match (&self.topics, &self.partitions) {
            (Topics::Committed, _) => return vec![Counted::at(group)],
            (Topics::Named(names), None) => (names, None),
            (Topics::Named(names), Some(Partitions(ranges))) => (names, Some(ranges)),
        };
        let of_topic = |name: &Arc<str>| {
            let topic = format!("topic {name} for {group}");
            let Some(ranges) = ranges else { return vec![part(topic, vec![group.clone()])] };
            // Several triggers may divide a topic by its partitions.
            let of_range =
                |range| part(format!("partitions {range:?} of {topic}"), vec![group.clone(), topic.clone()]);
            ranges.iter().map(of_range).collect()
        };
        names.iter().flat_map(of_topic).collect()
    }

    fn shows_running(&self) -> bool {
        true
    }

    fn commands(&self) -> Vec<String> {
        let topics = match &self.topics {
            Topics::Named(names) => names.join(","),
            Topics::Committed => "all".to_owned(),
        };
        let isolation = match self.isolation {
            Isolation::Uncommitted => "read_uncommitted",
            Isolation::Committed => "read_committed",
        };
        vec![
            format!("OffsetFetch group={} topics={topics}", self.group),
            format!("ListOffsets latest topics={topics} isolation={isolation}"),
        ]
    }
}

impl FromStr for Reset {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "latest" => Ok(Self::Latest),
            "earliest" => Ok(Self::Earliest),
            _ => Err("must be `latest` or `earliest`"),
        }
    }
}

impl FromStr for Isolation {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "readUncommitted" => Ok(Self::Uncommitted),
            "readCommitted" => Ok(Self::Committed),
            _ => Err("must be `readUncommitted` or `readCommitted`"),
        }
    }
}

impl FromStr for Partitions {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |text: &str| match text.trim().parse::<i32>() {
            Ok(number) if 0 <= number => Ok(number),
            Ok(_) | Err(_) => Err(format!("`{}` is no number of a partition", text.trim())),
        };
        // Counted before any is kept: each partition of each topic is compared with all of them.
        let count = text.split(',').count();
        if count > Names::MOST {
            return Err(format!("{count} ranges, more than {}", Names::MOST));
        }
        let mut ranges = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = number(first)?..=number(last)?;
            if range.is_empty() {
                return Err(format!("`{}` ends before it begins", part.trim()));
            }
            ranges.push(range);
        }
        ranges.sort_unstable_by_key(|range| *range.start());
        ranges.dedup_by(|next, last| {
            let touches = next.start().saturating_sub(1) <= *last.end();
            if touches {
                *last = *last.start()..=*last.end().max(next.end());
            }
            touches
        });
        Ok(Self(ranges))
    }
}

#[cfg(test)]
mod tests;
