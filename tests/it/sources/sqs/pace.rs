//! How often queues are asked, and when a zero counts: real servers, and a clock that the tests move.

use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::signals::{InFlight, Reading, Tasks};
use agent_scaler::sources::{Client, Plan};

use super::{client, connect, endpoint, later, queue, read_one, seen};
use crate::support::moto::Moto;
use crate::support::proxy::Proxy;

const TICK: Duration = Duration::from_secs(5);

#[tokio::test]
async fn an_idle_queue_is_asked_down_to_twice_a_minute_and_each_tick_as_soon_as_there_is_work() {
    let moto = Moto::shared();
    let url = moto.create_queue("idle").await;
    let proxy = Proxy::start(moto.port()).await;
    let mut client = client(&format!("http://127.0.0.1:{}", proxy.port())).await;
    let idle = queue("idle");
    let readings = ticks(&mut client, &idle, 120).await;
    assert_eq!(readings.len(), 24, "of 120 ticks in ten minutes");
    assert_eq!(proxy.round_trips(), 24);

    moto.client().send_message().queue_url(url).message_body("{}").send().await.unwrap();
    let readings = ticks(&mut client, &idle, 18).await;
    let work = readings.iter().position(|reading| *reading == seen(1, 0)).unwrap();
    assert!(work <= 1, "seen within half a minute: {readings:?}");
    assert!(readings.len() >= 12, "then each tick: {readings:?}");
}

#[tokio::test]
async fn a_zero_counts_when_it_has_lasted_also_across_a_connection_that_was_lost() {
    let moto = Moto::shared();
    let url = moto.create_queue("late").await;
    let sqs = moto.client();
    sqs.send_message().queue_url(&url).message_body("{}").send().await.unwrap();
    let endpoint = endpoint(&moto.url(), &[]);
    let late = queue("late");
    let mut client = connect(&*endpoint).await.unwrap();
    let handle = receive(&sqs, &url).await;
    assert_eq!(read_one(&mut client, &late).await, Ok(seen(0, 1)));

    sqs.delete_message().queue_url(&url).receipt_handle(handle).send().await.unwrap();
    let kept = Tasks { in_flight: 1, ..Tasks::default() };
    let kept = Reading { in_flight: Some(InFlight::Estimated(1)), kept, ..seen(0, 1) };
    assert_eq!(read_one(&mut client, &late).await, Ok(kept.clone()));
    later(TICK).await;
    let mut client = connect(&*endpoint).await.unwrap();
    for tick in 1..12 {
        assert!(!client.rests(&*late), "tick {tick}");
        assert_eq!(read_one(&mut client, &late).await, Ok(kept.clone()), "tick {tick}");
        later(TICK).await;
    }
    assert_eq!(read_one(&mut client, &late).await, Ok(seen(0, 0)));
}

/// What is read in so many ticks by a reader that heeds rests.
async fn ticks(client: &mut Box<dyn Client>, plan: &Arc<dyn Plan>, ticks: usize) -> Vec<Reading> {
    let mut readings = Vec::new();
    for _ in 0..ticks {
        if !client.rests(&**plan) {
            readings.push(read_one(client, plan).await.unwrap());
        }
        later(TICK).await;
    }
    readings
}

async fn receive(client: &aws_sdk_sqs::Client, url: &str) -> String {
    let messages = client.receive_message().queue_url(url).send().await.unwrap().messages.unwrap();
    messages[0].receipt_handle.clone().unwrap()
}
