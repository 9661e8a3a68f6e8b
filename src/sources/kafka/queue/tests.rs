//! Trigger keys, good and bad.

use std::collections::BTreeMap;

use super::*;
use crate::fields::Value;

#[test]
fn a_queue_is_named_by_everything_that_makes_it_another() {
    let group = ("consumerGroup", "workers");
    for (keys, name) in [
        (vec![group], "all topics of group workers"),
        (vec![group, ("topic", "b, a,b")], "topic a,b of group workers"),
        (
            vec![group, ("topic", "a"), ("partitionLimitation", "9,1, 2,5-8,4-6")],
            "topic a of group workers, partitions 1-2,4-9",
        ),
        (
            vec![
                group,
                ("topic", "a"),
                ("offsetResetPolicy", "earliest"),
                ("isolationLevel", "readCommitted"),
            ],
            "topic a of group workers, from the earliest, committed transactions only",
        ),
        (
            vec![
                group,
                ("topic", "a"),
                ("scaleToZeroOnInvalidOffset", "true"),
                ("allowIdleConsumers", "true"),
            ],
            "topic a of group workers, committed partitions only, any number of slots",
        ),
        (
            vec![
                group,
                ("topic", "a"),
                ("limitToPartitionsWithLag", "true"),
                ("excludePersistentLag", "true"),
            ],
            "topic a of group workers, slots for partitions with lag, without what stands still for 10m",
        ),
    ] {
        assert_eq!(parsed(&keys).unwrap().queue(), name);
    }
}

#[test]
fn whoever_names_no_topic_may_see_every_name() {
    let names = |keys: &[(&str, &str)]| parsed(keys).unwrap().names().join(" ");
    assert_eq!(names(&[("consumerGroup", "acme:workers")]), "* acme:workers");
    assert_eq!(
        names(&[("consumerGroup", "acme:workers"), ("topic", "acme:a,acme:b")]),
        "acme:a acme:b acme:workers"
    );
}

#[test]
fn every_problem_is_found_and_combinations_that_make_no_sense_are_refused() {
    let group = ("consumerGroup", "workers");
    for (keys, problems) in [
        (
            vec![
                ("topic", "a,"),
                ("partitionLimitation", "5-2"),
                ("offsetResetPolicy", "none"),
                ("isolationLevel", "read_committed"),
                ("allowIdleConsumers", "yes"),
                ("persistentAfter", "0"),
            ],
            vec![
                "topic: `a,`: an empty name",
                "partitionLimitation: `5-2`: `5-2` ends before it begins",
                "consumerGroup: is required",
                "offsetResetPolicy: `none`: must be `latest` or `earliest`",
                "isolationLevel: `read_committed`: must be `readUncommitted` or `readCommitted`",
                "allowIdleConsumers: `yes`: provided string was not `true` or `false`",
                "persistentAfter: `0`: shorter than a second",
                "persistentAfter: needs `excludePersistentLag: \"true\"`",
            ],
        ),
        (vec![("consumerGroup", " ")], vec!["consumerGroup: an empty name"]),
        (
            vec![group, ("topic", "a"), ("partitionLimitation", "1,-2")],
            vec!["partitionLimitation: `1,-2`: `` is no number of a partition"],
        ),
        (vec![group, ("partitionLimitation", "1")], vec!["partitionLimitation: needs `topic`"]),
        (vec![group, ("limitToPartitionsWithLag", "true")], vec!["limitToPartitionsWithLag: needs `topic`"]),
        (
            vec![group, ("topic", "a"), ("limitToPartitionsWithLag", "true"), ("allowIdleConsumers", "true")],
            vec!["allowIdleConsumers: cannot be true beside `limitToPartitionsWithLag`"],
        ),
        (
            vec![group, ("ensureEvenDistributionOfPartitions", "true")],
            vec!["ensureEvenDistributionOfPartitions: needs `topic`"],
        ),
        (
            vec![
                group,
                ("topic", "a"),
                ("limitToPartitionsWithLag", "true"),
                ("ensureEvenDistributionOfPartitions", "true"),
            ],
            vec!["limitToPartitionsWithLag: cannot be true beside `ensureEvenDistributionOfPartitions`"],
        ),
        (
            vec![group, ("persistentAfter", "1h")],
            vec!["persistentAfter: needs `excludePersistentLag: \"true\"`"],
        ),
    ] {
        assert_eq!(parsed(&keys).unwrap_err(), problems);
    }
}

#[test]
fn the_read_is_told_in_kafkas_words() {
    let plan = parsed(&[("consumerGroup", "workers"), ("topic", "a,b"), ("isolationLevel", "readCommitted")]);
    assert_eq!(
        plan.unwrap().commands(),
        ["OffsetFetch group=workers topics=a,b", "ListOffsets latest topics=a,b isolation=read_committed",]
    );
}

/// The plan, or every problem without its hint.
fn parsed(keys: &[(&str, &str)]) -> Result<Arc<dyn Plan>, Vec<String>> {
    let values: BTreeMap<String, Value> =
        keys.iter().map(|(name, value)| ((*name).to_owned(), Value::Text((*value).to_owned()))).collect();
    let mut fields = Fields::new("x", &values);
    let plan = parse(&mut fields);
    let texts: Vec<String> =
        fields.finish().iter().map(|p| format!("{}: {}", &p.path[2..], p.message)).collect();
    assert_eq!(plan.is_some(), texts.is_empty(), "{texts:?}");
    plan.ok_or(texts)
}
