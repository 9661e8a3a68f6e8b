//! What a group's offsets mean.

use super::*;
use agent_scaler::engine::signals::Tasks;

#[tokio::test]
async fn what_waits_is_behind_one_record_of_each_partition_that_may_be_running() {
    let kafka = Kafka::shared();
    kafka.create_topic("waits", 3, 1).await;
    kafka.send("waits", [0, 1], 5);
    kafka.commit("waits", "waits", [(0, 2), (1, 5), (2, 0)]);
    let mut client = client_of(kafka, Listener::Plain).await;
    // Of partition 0 three are left, and one of them may be running.
    let reading = read_one(&mut client, &tasks("waits")).await;
    assert_eq!(reading, Ok(seen(2, 1, 3, (10, 7))));

    kafka.commit("waits", "waits", [(0, 5)]);
    assert_eq!(read_one(&mut client, &tasks("waits")).await, Ok(seen(0, 0, 3, (10, 10))));
    kafka.send("waits", [2], 1);
    assert_eq!(read_one(&mut client, &tasks("waits")).await, Ok(seen(0, 1, 3, (11, 10))));
}

#[tokio::test]
async fn a_partition_without_a_commit_counts_as_its_workers_will_begin() {
    let kafka = Kafka::shared();
    kafka.create_topic("uncommitted", 4, 1).await;
    kafka.send("uncommitted", [0, 1], 10);
    // Of ten records four are left.
    kafka.delete_records("uncommitted", 0, 6).await;
    let mut client = client_of(kafka, Listener::Plain).await;
    let mut looks = Vec::new();
    for group in ["nobody", "somebody"] {
        if group == "somebody" {
            kafka.commit(group, "uncommitted", [(1, 9)]);
        }
        for policy in ["earliest", "latest"] {
            for zero in ["false", "true"] {
                let plan = plan(&[
                    ("topic", "uncommitted"),
                    ("consumerGroup", group),
                    ("offsetResetPolicy", policy),
                    ("scaleToZeroOnInvalidOffset", zero),
                ]);
                let reading = read_one(&mut client, &plan).await.unwrap();
                looks.push((group, policy, zero, lag(&reading)));
            }
        }
    }
    let known = |ready, running| (Some(ready), Some(running));
    assert_eq!(
        looks,
        [
            ("nobody", "earliest", "false", known(12, 2)),
            ("nobody", "earliest", "true", known(0, 0)),
            ("nobody", "latest", "false", known(0, 2)),
            ("nobody", "latest", "true", known(0, 0)),
            ("somebody", "earliest", "false", known(3, 2)),
            ("somebody", "earliest", "true", known(0, 1)),
            ("somebody", "latest", "false", known(0, 2)),
            ("somebody", "latest", "true", known(0, 1)),
        ]
    );
}

#[tokio::test]
async fn an_empty_topic_is_zero_once_somebody_has_begun_to_read_it() {
    let kafka = Kafka::shared();
    kafka.create_topic("empty", 2, 1).await;
    let mut client = client_of(kafka, Listener::Plain).await;
    let latest = plan(&[("topic", "empty"), ("consumerGroup", "empty")]);
    assert_eq!(read_one(&mut client, &tasks("empty")).await, Ok(seen(0, 0, 2, (0, 0))));
    // Workers that begin behind the last record must be there before it.
    assert_eq!(
        read_one(&mut client, &latest).await,
        Ok(Reading { kept: Tasks { ready: 1, ..Tasks::default() }, ..seen(1, 0, 2, (0, 0)) })
    );
    kafka.commit("empty", "empty", [(1, 0)]);
    assert_eq!(read_one(&mut client, &latest).await, Ok(seen(0, 0, 2, (0, 0))));
}

#[tokio::test]
async fn records_whose_time_is_over_wait_no_longer() {
    let kafka = Kafka::shared();
    kafka.create_topic("expired", 1, 1).await;
    kafka.send("expired", [0], 10);
    kafka.commit("expired", "expired", [(0, 2)]);
    kafka.delete_records("expired", 0, 7).await;
    let mut client = client_of(kafka, Listener::Plain).await;
    assert_eq!(read_one(&mut client, &tasks("expired")).await, Ok(seen(2, 1, 1, (10, 2))));
}

#[tokio::test]
async fn a_group_beyond_the_end_of_a_topic_has_nothing_to_do() {
    let kafka = Kafka::shared();
    kafka.create_topic("beyond", 1, 1).await;
    kafka.send("beyond", [0], 3);
    kafka.commit("beyond", "beyond", [(0, 9)]);
    let mut client = client_of(kafka, Listener::Plain).await;
    assert_eq!(read_one(&mut client, &tasks("beyond")).await, Ok(seen(0, 0, 1, (3, 9))));
}

#[tokio::test]
async fn a_topic_that_was_made_anew_counts_from_nothing() {
    let kafka = Kafka::shared();
    kafka.create_topic("anew", 1, 1).await;
    kafka.send("anew", [0], 8);
    kafka.commit("anew", "anew", [(0, 5)]);
    let mut client = client_of(kafka, Listener::Plain).await;
    assert_eq!(read_one(&mut client, &tasks("anew")).await, Ok(seen(2, 1, 1, (8, 5))));
    kafka.delete_topic("anew").await;
    kafka.create_topic("anew", 1, 1).await;
    kafka.send("anew", [0], 2);
    // Kafka forgets what was committed to a topic that is deleted, a little later.
    read_until(&mut client, &tasks("anew"), &Some((Some(1), Some(1))), |reading| {
        reading.ok().map(|reading| lag(&reading))
    })
    .await;
}

#[tokio::test]
async fn a_topic_or_a_partition_that_does_not_exist_is_an_error_and_never_a_zero() {
    let kafka = Kafka::shared();
    kafka.create_topic("there", 2, 1).await;
    let mut client = client_of(kafka, Listener::Plain).await;
    let missing = plan(&[("topic", "there,gone"), ("consumerGroup", "g")]);
    let ninth = plan(&[("topic", "there"), ("consumerGroup", "g"), ("partitionLimitation", "9")]);
    let nameless = plan(&[("consumerGroup", "never-seen")]);
    let there = plan(&[("topic", "there"), ("consumerGroup", "g"), ("offsetResetPolicy", "earliest")]);
    let results = read(&mut client, &[missing, ninth, nameless, there]).await;
    let endpoint = format!("kafka://{}", kafka.bootstrap(Listener::Plain));
    let unexpected = |message: &str| {
        Err(ReadError::Unexpected { endpoint: endpoint.clone(), message: message.to_owned() })
    };
    assert_eq!(
        results,
        [
            unexpected(
                "there is no topic `gone`, or the user may not know of it: create it, or allow `Describe` on it"
            ),
            unexpected("topic `there` has none of the partitions that `partitionLimitation` names"),
            unexpected(
                "group `never-seen` has committed nothing yet, so its topics are not known: name them in `topic`"
            ),
            Ok(seen(0, 0, 2, (0, 0))),
        ]
    );
}

#[tokio::test]
async fn several_topics_are_one_queue_and_a_group_knows_its_topics() {
    let kafka = Kafka::shared();
    for topic in ["several-a", "several-b", "several-c"] {
        kafka.create_topic(topic, 2, 1).await;
        kafka.send(topic, [0], 4);
    }
    kafka.commit("several", "several-a", [(0, 1)]);
    kafka.commit("several", "several-b", [(0, 4)]);
    let mut client = client_of(kafka, Listener::Plain).await;
    let both = plan(&[
        ("topic", "several-a, several-c"),
        ("consumerGroup", "several"),
        ("offsetResetPolicy", "earliest"),
    ]);
    let all = plan(&[("consumerGroup", "several")]);
    let first = plan(&[
        ("topic", "several-a,several-b"),
        ("consumerGroup", "several"),
        ("partitionLimitation", "1-5"),
        ("offsetResetPolicy", "earliest"),
    ]);
    for _ in 0..2 {
        let results = read(&mut client, &[both.clone(), all.clone(), first.clone()]).await;
        assert_eq!(
            results,
            [Ok(seen(5, 2, 4, (8, 1))), Ok(seen(2, 1, 4, (8, 5))), Ok(seen(0, 0, 2, (0, 0))),]
        );
    }
}

#[tokio::test]
async fn slots_are_of_use_up_to_the_partitions_the_busy_ones_or_without_an_end() {
    let kafka = Kafka::shared();
    kafka.create_topic("room", 4, 1).await;
    kafka.send("room", [0, 3], 50);
    kafka.commit("room", "room", [(0, 0), (1, 0), (2, 0), (3, 0)]);
    let mut client = client_of(kafka, Listener::Plain).await;
    let base = [("topic", "room"), ("consumerGroup", "room")];
    let plans = [
        plan(&base),
        plan(&[&base[..], &[("limitToPartitionsWithLag", "true")]].concat()),
        plan(&[&base[..], &[("allowIdleConsumers", "true")]].concat()),
        plan(&[&base[..], &[("ensureEvenDistributionOfPartitions", "true")]].concat()),
    ];
    let rooms: Vec<_> = read(&mut client, &plans)
        .await
        .into_iter()
        .map(|reading| reading.map(|reading| (reading.ceiling, reading.even_over)).unwrap())
        .collect();
    assert_eq!(rooms, [(Some(4), None), (Some(2), None), (None, None), (Some(4), Some(4))]);
}

#[tokio::test]
async fn a_partition_on_which_nothing_moves_counts_as_one_task_until_it_moves() {
    let kafka = Kafka::shared();
    kafka.create_topic("still", 2, 1).await;
    kafka.send("still", [0, 1], 9);
    kafka.commit("still", "still", [(0, 0), (1, 9)]);
    let mut client = client_of(kafka, Listener::Plain).await;
    let plan = plan(&[
        ("topic", "still"),
        ("consumerGroup", "still"),
        ("excludePersistentLag", "true"),
        ("persistentAfter", "1s"),
    ]);
    assert_eq!(read_one(&mut client, &plan).await, Ok(seen(8, 1, 2, (18, 9))));
    // It holds a replica and starts no Job.
    let still = Reading { kept: Tasks { in_flight: 1, ..Tasks::default() }, ..seen(0, 1, 2, (18, 9)) };
    read_until(&mut client, &plan, &Ok(still), |reading| reading).await;
    kafka.commit("still", "still", [(0, 1)]);
    assert_eq!(read_one(&mut client, &plan).await, Ok(seen(7, 1, 2, (18, 10))));
}

#[tokio::test]
async fn offsets_that_have_expired_count_as_if_there_had_been_none() {
    let kafka = Kafka::shared();
    kafka.create_topic("forgotten", 1, 1).await;
    kafka.send("forgotten", [0], 4);
    kafka.commit("forgotten", "forgotten", [(0, 4)]);
    let mut client = client_of(kafka, Listener::Plain).await;
    assert_eq!(read_one(&mut client, &tasks("forgotten")).await, Ok(seen(0, 0, 1, (4, 4))));
    kafka.delete_group("forgotten").await;
    assert_eq!(read_one(&mut client, &tasks("forgotten")).await, Ok(seen(3, 1, 1, (4, 4))));
}

#[tokio::test]
async fn records_of_an_open_transaction_wait_for_those_only_who_read_them() {
    let kafka = Kafka::shared();
    kafka.create_topic("open", 1, 1).await;
    kafka.send("open", [0], 2);
    kafka.commit("open", "open", [(0, 0)]);
    let _open = kafka.send_in_transaction("open", 0, 3);
    let mut client = client_of(kafka, Listener::Plain).await;
    let level = |level| plan(&[("topic", "open"), ("consumerGroup", "open"), ("isolationLevel", level)]);
    let results = read(&mut client, &[level("readUncommitted"), level("readCommitted")]).await;
    assert_eq!(results, [Ok(seen(4, 1, 1, (5, 0))), Ok(seen(1, 1, 1, (2, 0)))]);
}
