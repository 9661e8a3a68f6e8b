//! Lists.

use std::sync::Arc;

use agent_scaler::sources::{Plan, ReadError};

use super::{address, client_at, client_of, list, list_with_processing, read, seen, stream};
use crate::support::proxy::Proxy;
use crate::support::servers::Redis;

#[tokio::test]
async fn waiting_and_running_tasks_are_summed_over_their_lists() {
    let redis = Redis::plain();
    redis.command(&["RPUSH", "acme:tasks", "a", "b", "c"]);
    redis.command(&["RPUSH", "acme:low", "d"]);
    redis.command(&["RPUSH", "acme:busy", "e", "f"]);
    let mut client = client_of(&redis).await;
    let readings = read(
        &mut client,
        &[
            list("acme:tasks"),
            list("acme:tasks,acme:low"),
            list_with_processing("acme:tasks,acme:low", "acme:busy,acme:more"),
        ],
    )
    .await;
    assert_eq!(readings, [Ok(seen(3, None)), Ok(seen(4, None)), Ok(seen(4, Some(2)))]);
}

#[tokio::test]
async fn a_list_that_does_not_exist_is_empty() {
    let redis = Redis::plain();
    let mut client = client_of(&redis).await;
    let readings = read(&mut client, &[list("none"), list_with_processing("none", "nothing")]).await;
    assert_eq!(readings, [Ok(seen(0, None)), Ok(seen(0, Some(0)))]);
}

#[tokio::test]
async fn a_key_of_another_type_spoils_its_own_queue_only() {
    let redis = Redis::plain();
    redis.command(&["SET", "text", "x"]);
    redis.command(&["RPUSH", "acme:tasks", "a"]);
    let mut client = client_of(&redis).await;
    let plans = [list("acme:tasks"), list("acme:tasks,text"), stream("text", "workers"), list("acme:tasks")];
    let wrong = |kind: &str| {
        Err(ReadError::Unexpected {
            endpoint: address(redis.port()),
            message: format!("`text` holds another type than a {kind}: name a {kind}, or delete the key"),
        })
    };
    let expected = [Ok(seen(1, None)), wrong("list"), wrong("stream"), Ok(seen(1, None))];
    assert_eq!(read(&mut client, &plans).await, expected);
}

#[tokio::test]
async fn a_thousand_queues_take_one_round_trip() {
    let redis = Redis::plain();
    redis.command(&["RPUSH", "acme:tasks:7", "a"]);
    let proxy = Proxy::start(redis.port()).await;
    let mut client = client_at(proxy.port()).await;
    let plans: Vec<Arc<dyn Plan>> = (0..1_000)
        .map(|number| list_with_processing(&format!("acme:tasks:{number}"), &format!("acme:busy:{number}")))
        .collect();
    let expected: Vec<_> = (0..1_000).map(|number| Ok(seen(u64::from(number == 7), Some(0)))).collect();
    proxy.round_trips();
    assert_eq!(read(&mut client, &plans).await, expected);
    assert_eq!(proxy.round_trips(), 1);
}

#[tokio::test]
async fn more_queues_than_one_pipeline_holds_are_all_read() {
    let redis = Redis::plain();
    redis.command(&["RPUSH", "acme:tasks:2000", "a"]);
    let mut client = client_of(&redis).await;
    let plans: Vec<Arc<dyn Plan>> = (0..2_001).map(|number| list(&format!("acme:tasks:{number}"))).collect();
    let expected: Vec<_> = (0..2_001).map(|number| Ok(seen(u64::from(number == 2_000), None))).collect();
    assert_eq!(read(&mut client, &plans).await, expected);
}
