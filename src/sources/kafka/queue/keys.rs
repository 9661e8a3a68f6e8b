//! The keys of a trigger on Kafka, as `agent-scaler keys` lists them.

use crate::fields::{Key, Need};

/// The trigger keys of a group.
pub(in crate::sources::kafka) const KEYS: &[Key] = &[
    TOPIC,
    CONSUMER_GROUP,
    PARTITION_LIMITATION,
    OFFSET_RESET_POLICY,
    SCALE_TO_ZERO_ON_INVALID_OFFSET,
    ISOLATION_LEVEL,
    ALLOW_IDLE_CONSUMERS,
    LIMIT_TO_PARTITIONS_WITH_LAG,
    ENSURE_EVEN_DISTRIBUTION_OF_PARTITIONS,
    EXCLUDE_PERSISTENT_LAG,
    PERSISTENT_AFTER,
];

/// Keys of KEDA's `kafka` and `apache-kafka` scalers.
pub(in crate::sources::kafka) const MOVED: &[(&str, &str)] = &[
    ("lagThreshold", "`tasksPerReplica`: tasks that one replica runs at a time"),
    ("activationLagThreshold", "`activationBacklog`"),
    ("group", "`consumerGroup`"),
    ("version", "nothing: client and broker agree on a version by themselves"),
    ("fullMetadata", "nothing: only what is needed is asked for"),
];

pub(super) const TOPIC: Key = Key {
    name: "topic",
    need: Need::Optional,
    unit: "names",
    help: "topics that hold the tasks, separated by commas; without it all that the group has committed to",
    example: "tasks",
};

pub(super) const CONSUMER_GROUP: Key = Key {
    name: "consumerGroup",
    need: Need::Required,
    unit: "name",
    help: "consumer group of the workers",
    example: "workers",
};

pub(super) const PARTITION_LIMITATION: Key = Key {
    name: "partitionLimitation",
    need: Need::Optional,
    unit: "numbers",
    help: "the partitions that count, in each topic; without it all of them",
    example: "1,2,5-9",
};

pub(super) const OFFSET_RESET_POLICY: Key = Key {
    name: "offsetResetPolicy",
    need: Need::Default("latest"),
    unit: "latest or earliest",
    help: "where the workers begin in a partition that they have never committed to; must be what they do",
    example: "earliest",
};

pub(super) const SCALE_TO_ZERO_ON_INVALID_OFFSET: Key = Key {
    name: "scaleToZeroOnInvalidOffset",
    need: Need::Default("false"),
    unit: "true or false",
    help: "whether a partition that the group has never committed to counts as empty, whatever it holds",
    example: "true",
};

pub(super) const ISOLATION_LEVEL: Key = Key {
    name: "isolationLevel",
    need: Need::Default("readUncommitted"),
    unit: "readUncommitted or readCommitted",
    help: "whether records of open transactions count; must be the workers' `isolation.level`",
    example: "readCommitted",
};

pub(super) const ALLOW_IDLE_CONSUMERS: Key = Key {
    name: "allowIdleConsumers",
    need: Need::Default("false"),
    unit: "true or false",
    help: "whether there may be more slots than partitions",
    example: "true",
};

pub(super) const LIMIT_TO_PARTITIONS_WITH_LAG: Key = Key {
    name: "limitToPartitionsWithLag",
    need: Need::Default("false"),
    unit: "true or false",
    help: "whether there are at most as many slots as partitions that have something to do",
    example: "true",
};

pub(super) const ENSURE_EVEN_DISTRIBUTION_OF_PARTITIONS: Key = Key {
    name: "ensureEvenDistributionOfPartitions",
    need: Need::Default("false"),
    unit: "true or false",
    help: "whether replicas are rounded up until each slot has as many partitions as the others",
    example: "true",
};

pub(super) const EXCLUDE_PERSISTENT_LAG: Key = Key {
    name: "excludePersistentLag",
    need: Need::Default("false"),
    unit: "true or false",
    help: "whether a partition on which nothing moves any more counts as one task, however much waits in it",
    example: "true",
};

pub(super) const PERSISTENT_AFTER: Key = Key {
    name: "persistentAfter",
    need: Need::Default("10m"),
    unit: "duration",
    help: "how long neither the lag of such a partition nor what is committed has changed; more than a task takes",
    example: "2h",
};
