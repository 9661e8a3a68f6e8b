//! What a read costs a cluster, counted on the way to it.

use super::*;

/// Kinds of requests, by their numbers in Kafka's protocol.
pub(super) const LIST_OFFSETS: i16 = 2;
const METADATA: i16 = 3;
pub(super) const OFFSET_FETCH: i16 = 9;

/// Makes the topic `wide` of 2,000 partitions, and says what its group shows: 20 of them hold three records each.
pub(super) async fn wide(kafka: &Kafka) -> Reading {
    kafka.create_topic("wide", 2_000, 1).await;
    kafka.send("wide", (0..2_000).step_by(100), 3);
    kafka.commit("wide", "wide", (0..2_000).map(|partition| (partition, 0)));
    seen(40, 20, 2_000, (60, 0))
}

#[tokio::test]
async fn two_thousand_partitions_are_read_with_two_requests() {
    let kafka = Kafka::shared();
    let good = Ok(wide(kafka).await);
    let watched = kafka.watched().await;
    let mut client = client_of(kafka, Listener::Watched).await;
    assert_eq!(read_one(&mut client, &tasks("wide")).await, good);
    let first = watched[0].requests();
    // Topics, what is committed, ends, and the first records of partitions that have something to do.
    assert_eq!(first.get(&OFFSET_FETCH), Some(&1), "{first:?}");
    assert_eq!(first.get(&LIST_OFFSETS), Some(&2), "{first:?}");
    for _ in 0..5 {
        assert_eq!(read_one(&mut client, &tasks("wide")).await, good);
        let requests = watched[0].requests();
        assert_eq!(requests, BTreeMap::from([(LIST_OFFSETS, 1), (OFFSET_FETCH, 1)]));
    }
    // Once in half a minute the topic is looked at anew, and once in a minute first records are.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(61)).await;
    tokio::time::resume();
    assert_eq!(read_one(&mut client, &tasks("wide")).await, good);
    let renewed = BTreeMap::from([(LIST_OFFSETS, 2), (METADATA, 1), (OFFSET_FETCH, 1)]);
    assert_eq!(watched[0].requests(), renewed);
}

#[tokio::test]
async fn partitions_that_come_later_are_seen() {
    let kafka = Kafka::shared();
    kafka.create_topic("grows", 1, 1).await;
    kafka.send("grows", [0], 1);
    let mut client = client_of(kafka, Listener::Plain).await;
    // The first group of a new broker has to wait until somebody keeps its offsets.
    read_until(&mut client, &tasks("grows"), &Ok(seen(0, 1, 1, (1, 0))), |reading| reading).await;
    kafka.add_partitions("grows", 3).await;
    kafka.send("grows", [2], 2);
    tokio::time::pause();
    // What was remembered is old by then.
    tokio::time::advance(Duration::from_secs(31)).await;
    tokio::time::resume();
    assert_eq!(read_one(&mut client, &tasks("grows")).await, Ok(seen(1, 2, 3, (1, 0))));
}
