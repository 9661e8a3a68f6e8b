//! What moto counts.

use std::fmt::Write as _;

use agent_scaler::engine::signals::Reading;
use agent_scaler::sources::ReadError;
use aws_sdk_sqs::Client;

use super::{client, plan, queue, read, read_one, refused, seen};
use crate::support::moto::{ACCOUNT, Moto};
use crate::support::proxy::Proxy;

#[tokio::test]
async fn messages_are_counted_where_they_are() {
    let moto = Moto::shared();
    let url = moto.create_queue("counted").await;
    assert_eq!(url, format!("http://127.0.0.1:{}/{ACCOUNT}/counted", moto.port()));
    let mut client = client(&moto.url()).await;
    let by_name = queue("counted");
    assert_eq!(read_one(&mut client, &by_name).await, Ok(seen(0, 0)), "empty");

    send(&moto.client(), &url, 3).await;
    moto.client().send_message().queue_url(&url).message_body("{}").delay_seconds(900).send().await.unwrap();
    receive(&moto.client(), &url).await;
    assert_eq!(read_one(&mut client, &by_name).await, Ok(seen(2, 1)));
    assert_eq!(read_one(&mut client, &queue(&url)).await, Ok(seen(2, 1)), "by its URL");
    let with_delayed = plan(&[("queueURL", "counted"), ("scaleOnDelayed", "true")]);
    let reading = Reading { soon: Some(1), ..seen(2, 1) };
    assert_eq!(read_one(&mut client, &with_delayed).await, Ok(reading));
}

#[tokio::test]
async fn queues_of_one_trigger_are_summed() {
    let moto = Moto::shared();
    for (name, messages) in [("summed-a", 2), ("summed-b", 3)] {
        let url = moto.create_queue(name).await;
        send(&moto.client(), &url, messages).await;
    }
    let mut client = client(&moto.url()).await;
    assert_eq!(read_one(&mut client, &queue("summed-a,summed-b")).await, Ok(seen(5, 0)));
}

/// SQS counts them as visible, so only the number of groups says how many can be taken.
#[tokio::test]
async fn messages_behind_one_of_their_group_are_visible_and_groups_are_the_ceiling() {
    let moto = Moto::shared();
    let url = moto.create_queue("groups.fifo").await;
    let mut body = String::new();
    for group in ["a", "a", "a", "b"] {
        write!(body, "x").unwrap();
        let message = moto.client().send_message().queue_url(&url).message_body(&body);
        message.message_group_id(group).message_deduplication_id(&body).send().await.unwrap();
    }
    receive(&moto.client(), &url).await;
    let mut client = client(&moto.url()).await;
    let grouped = plan(&[("queueURL", "groups.fifo"), ("maxGroups", "2")]);
    let reading = Reading { ceiling: Some(2), ..seen(3, 1) };
    assert_eq!(read_one(&mut client, &grouped).await, Ok(reading));
}

#[tokio::test]
async fn a_queue_that_is_gone_is_an_error_and_never_a_zero() {
    let moto = Moto::shared();
    let url = moto.create_queue("gone").await;
    moto.create_queue("stays").await;
    let mut client = client(&moto.url()).await;
    let plans = [queue("gone"), queue("stays"), queue("stays,gone")];
    assert_eq!(read(&mut client, &plans).await, vec![Ok(seen(0, 0)); 3]);
    moto.client().delete_queue().queue_url(url).send().await.unwrap();
    let gone = ReadError::Unexpected {
        endpoint: moto.url(),
        message: "there is no queue `gone` in this region and account, or the identity may not know of it"
            .into(),
    };
    assert_eq!(read(&mut client, &plans).await, [Err(gone.clone()), Ok(seen(0, 0)), Err(gone)]);
}

#[tokio::test]
async fn each_queue_costs_one_call_a_read_however_many_triggers_name_it() {
    let moto = Moto::shared();
    let proxy = Proxy::start(moto.port()).await;
    let mut client = client(&format!("http://127.0.0.1:{}", proxy.port())).await;
    let mut plans = Vec::new();
    for number in 0..50 {
        let name = format!("many-{number}");
        moto.create_queue(&name).await;
        plans.push(queue(&name));
    }
    plans.push(plan(&[("queueURL", "many-7"), ("scaleOnDelayed", "true")]));
    plans.push(queue("many-7,many-8"));
    for _ in 0..2 {
        let readings = read(&mut client, &plans).await;
        assert!(readings.iter().all(Result::is_ok), "{readings:?}");
        assert_eq!(proxy.round_trips(), 50);
    }
}

#[tokio::test]
async fn the_account_in_a_url_opens_no_queue_of_another_account() {
    let moto = Moto::shared();
    let url = moto.create_queue("tenant-a").await;
    let mut client = client(&moto.url()).await;
    assert_eq!(read_one(&mut client, &queue(&url)).await, Ok(seen(0, 0)));
    // moto looks at the name alone, and would answer.
    let foreign = url.replace(ACCOUNT, "999999999999");
    assert_eq!(
        refused(&mut client, &queue(&foreign)).await,
        format!(
            "{} refuses: the URL of `tenant-a` is of the account 999999999999, and the connection is for {ACCOUNT}: \
             name the queue without its URL, or add the account to the connection's `accounts`",
            moto.url()
        )
    );
}

#[tokio::test]
async fn a_server_that_is_killed_is_unreachable_and_never_a_zero() {
    let mut moto = Moto::start();
    moto.create_queue("killed").await;
    let mut client = client(&moto.url()).await;
    assert_eq!(read_one(&mut client, &queue("killed")).await, Ok(seen(0, 0)));
    moto.kill();
    let unreachable =
        ReadError::Unreachable { endpoint: moto.url(), message: "connection refused".to_owned() };
    assert_eq!(read_one(&mut client, &queue("killed")).await, Err(unreachable));
}

async fn send(client: &Client, url: &str, messages: usize) {
    for _ in 0..messages {
        client.send_message().queue_url(url).message_body("{}").send().await.unwrap();
    }
}

async fn receive(client: &Client, url: &str) {
    client.receive_message().queue_url(url).send().await.unwrap();
}
