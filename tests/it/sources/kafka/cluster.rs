//! A cluster of three brokers, one of which dies.

use super::scale::{LIST_OFFSETS, OFFSET_FETCH, wide};
use super::*;

#[tokio::test]
async fn a_broker_that_dies_costs_errors_and_never_a_zero_and_no_other_topic_for_long() {
    let mut kafka = Kafka::start(3);
    asks_each_broker_twice_at_most(&kafka).await;
    kafka.create_topic("copied", 6, 3).await;
    kafka.create_topic("single", 6, 1).await;
    for topic in ["copied", "single"] {
        kafka.send(topic, 0..6, 4);
        kafka.commit(topic, topic, (0..6).map(|partition| (partition, 1)));
    }
    let good = Ok(seen(12, 6, 6, (24, 6)));
    let mut client = client_of(&kafka, Listener::Plain).await;
    // The third finds the topic by what its group has committed.
    let plans = [tasks("copied"), tasks("single"), plan(&[("consumerGroup", "single")])];
    assert_eq!(read(&mut client, &plans).await, [good.clone(), good.clone(), good.clone()]);

    kafka.kill(1);
    let mut copied_is_back = false;
    for _ in 0..60 {
        let started = tokio::time::Instant::now();
        let results = read(&mut client, &plans).await;
        assert!(started.elapsed() < Duration::from_secs(6), "{:?}", started.elapsed());
        assert!(results.iter().all(|result| result.is_err() || *result == good), "{results:?}");
        if results.iter().any(|result| result.as_ref().is_err_and(ReadError::loses_connection)) {
            client = client_of(&kafka, Listener::Plain).await;
        }
        copied_is_back = results[0].is_ok();
        if copied_is_back {
            for result in &results[1..] {
                let error = result.as_ref().unwrap_err().to_string();
                assert!(error.contains("has no leader: the brokers that keep it are down"), "{error}");
            }
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(copied_is_back, "the other brokers have taken over, and are not asked");

    kafka.restart(1);
    for plan in &plans {
        read_until(&mut client, plan, &good, |reading| reading).await;
    }
}

/// 2,000 partitions on three brokers: ends from each, and what is committed from the one that keeps the group.
async fn asks_each_broker_twice_at_most(kafka: &Kafka) {
    let good = Ok(wide(kafka).await);
    let watched = kafka.watched().await;
    let mut client = client_of(kafka, Listener::Watched).await;
    read_until(&mut client, &tasks("wide"), &good, |reading| reading).await;
    watched.iter().for_each(|broker| drop(broker.requests()));
    assert_eq!(read_one(&mut client, &tasks("wide")).await, good);
    let requests: Vec<_> = watched.iter().map(Watched::requests).collect();
    let coordinators = requests.iter().filter(|of_broker| of_broker.get(&OFFSET_FETCH) == Some(&1)).count();
    assert_eq!(coordinators, 1, "{requests:?}");
    for of_broker in &requests {
        assert_eq!(of_broker.get(&LIST_OFFSETS), Some(&1), "{requests:?}");
        assert!(of_broker.values().sum::<usize>() <= 2, "{requests:?}");
    }
}
