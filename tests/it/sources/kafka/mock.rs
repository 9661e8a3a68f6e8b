//! Answers that no healthy broker gives, from the library's own stand-in for one.

use super::*;

use agent_scaler::engine::signals::Cause;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::mocking::MockCluster;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};

/// A stand-in with a topic of two partitions.
fn mock() -> MockCluster<'static, rdkafka::producer::DefaultProducerContext> {
    let mock = MockCluster::new(1).unwrap();
    mock.create_topic("mocked", 2, 1).unwrap();
    mock
}

#[tokio::test]
async fn an_error_for_an_answer_is_an_error_and_the_next_answer_counts() {
    let mock = mock();
    let mut client = client_at(&mock.bootstrap_servers()).await;
    let good = Ok(seen(0, 0, 2, (0, 0)));
    assert_eq!(read_one(&mut client, &tasks("mocked")).await, good);
    let unexpected = |message: &str| ReadError::Unexpected {
        endpoint: format!("kafka://{}", mock.bootstrap_servers()),
        message: message.to_owned(),
    };
    let denied = |message: &str| ReadError::Denied {
        endpoint: format!("kafka://{}", mock.bootstrap_servers()),
        message: message.to_owned(),
    };
    for (kind, code, error) in [
        (
            RDKafkaApiKey::ListOffsets,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
            denied("the user needs the ACL `Describe` on every topic"),
        ),
        (
            RDKafkaApiKey::OffsetFetch,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
            denied("group `mocked`: the user needs the ACL `Describe` on the group"),
        ),
        (
            RDKafkaApiKey::OffsetFetch,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_INVALID_REQUEST,
            unexpected("group `mocked`: InvalidRequest (Broker: Invalid request)"),
        ),
        (
            RDKafkaApiKey::ListOffsets,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN,
            unexpected("Unknown (Unknown broker error)"),
        ),
    ] {
        mock.request_errors(kind, &[code]);
        assert_eq!(read_one(&mut client, &tasks("mocked")).await, Err(error));
        mock.clear_request_errors(kind);
        read_until(&mut client, &tasks("mocked"), &good, |reading| reading).await;
    }
}

/// The first offset of a partition corrects a lag. Without it the lag is the number of records that are not
/// committed.
#[tokio::test]
async fn an_unknown_first_offset_costs_no_lag() {
    let mock = mock();
    let servers = mock.bootstrap_servers();
    let filled = tokio::task::spawn_blocking(move || {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", servers).set("group.id", "mocked");
        let producer: BaseProducer = config.create().unwrap();
        for _ in 0..5 {
            producer.send(BaseRecord::<(), str>::to("mocked").partition(0).payload("{}")).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
        let consumer: BaseConsumer = config.create().unwrap();
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset("mocked", 0, Offset::Offset(2)).unwrap();
        consumer.commit(&offsets, CommitMode::Sync).unwrap();
    });
    filled.await.unwrap();
    let mut client = client_at(&mock.bootstrap_servers()).await;
    mock.request_errors(
        RDKafkaApiKey::ListOffsets,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR, RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN],
    );
    let reading = read_one(&mut client, &tasks("mocked")).await.unwrap();
    assert_eq!(lag(&reading), (Some(2), Some(1)));
    assert_eq!(
        reading.unknown,
        [Cause::new(
            "the number of records in the lag that retention has removed is not known: there was no answer about the \
             first offset of partition 0 of topic `mocked`"
        )]
    );
    mock.clear_request_errors(RDKafkaApiKey::ListOffsets);
    read_until(&mut client, &tasks("mocked"), &Ok(0), |reading| reading.map(|reading| reading.unknown.len()))
        .await;
}

#[tokio::test]
async fn a_slow_broker_is_read_slowly() {
    let mock = mock();
    mock.broker_round_trip_time(1, Duration::from_millis(300)).unwrap();
    let mut client = client_at(&mock.bootstrap_servers()).await;
    read_until(&mut client, &tasks("mocked"), &Ok(seen(0, 0, 2, (0, 0))), |reading| reading).await;
}

#[tokio::test]
async fn more_groups_than_a_connection_carries_are_refused_by_name() {
    let mock = mock();
    let mut client = client_at(&mock.bootstrap_servers()).await;
    let plans: Vec<_> = (0..101)
        .map(|number| {
            let group = format!("group-{number:03}");
            plan(&[("topic", "mocked"), ("consumerGroup", &group), ("offsetResetPolicy", "earliest")])
        })
        .collect();
    let results = read(&mut client, &plans).await;
    let refused = ReadError::Unexpected {
        endpoint: format!("kafka://{}", mock.bootstrap_servers()),
        message: "more than 100 consumer groups: watch some of them through another connection".to_owned(),
    };
    assert_eq!(results[100], Err(refused));
    // Handles that nobody asks make room.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(121)).await;
    tokio::time::resume();
    assert_eq!(read_one(&mut client, &plans[100]).await, Ok(seen(0, 0, 2, (0, 0))));
}
