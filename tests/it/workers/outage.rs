//! Redis goes away, and comes back.

use agent_scaler::engine::signals::Workers;
use agent_scaler::sources::ReadError;
use agent_scaler::timestamp::Timestamp;
use agent_scaler::workers::writer::{Beat, Tally};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::{IDLE, LIMIT, PATIENCE, SCOPE, Stage, beat, limit_of, now};
use crate::support::proxy::{Mode, Proxy};

#[tokio::test]
async fn a_server_that_dies_during_a_read_fails_every_plan_of_it() {
    let mut redis = Stage::start();
    let mut client = redis.scaler().await;
    redis.command(&["CLIENT", "PAUSE", "60000", "ALL"]);
    let plans = [client.workers_of(SCOPE), limit_of(LIMIT)];
    let (results, ()) = tokio::join!(client.read_all(&plans), async { redis.redis.kill() });
    let broken = ReadError::Unreachable {
        endpoint: format!("{}/0", redis.url()),
        message: "the connection broke".to_owned(),
    };
    assert_eq!(results, [Err(broken.clone()), Err(broken)]);
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let redis = Stage::start();
    beat(&mut redis.reporter("worker-1").await, IDLE, &["a"], &Tally::default(), now(&redis)).await;
    let proxy = Proxy::start(redis.port()).await;
    for length in [0, 40, 100, 400] {
        let mut client = redis.scaler_at(proxy.port()).await;
        let plans = [client.workers_of(SCOPE), limit_of(LIMIT)];
        proxy.switch(Mode::CutAfter(length));
        let results = client.read_all(&plans).await;
        assert!(
            results.iter().all(|result| matches!(result, Err(ReadError::Unreachable { .. }))),
            "{length}"
        );
        proxy.switch(Mode::Pass);
    }
}

#[tokio::test]
async fn a_clock_that_goes_back_costs_one_reading() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(tell(listener, [1_700_003_600, 1_700_000_000, 1_700_000_005]));
    let stage = Stage::start();
    let mut client = stage.scaler_at(port).await;
    let unexpected = ReadError::Unexpected {
        endpoint: format!("redis://127.0.0.1:{port}/0"),
        message: "its clock went back: what is live is not known in this read".to_owned(),
    };
    assert_eq!(client.read(client.workers_of(SCOPE)).await, Err(unexpected));
    let minute = stage.number(Timestamp::from_millis(1_700_000_005_000));
    assert_eq!(client.workers().await, Workers { minute, ..Workers::default() });
}

/// A Redis that tells these times one after the other, and knows of no workers.
async fn tell(listener: TcpListener, times: [u64; 3]) {
    const TIME: &[u8] = b"\r\n$4\r\nTIME\r\n";
    let (mut client, _) = listener.accept().await.unwrap();
    let (mut said, mut nothing) = (Vec::new(), String::new());
    for (index, time) in times.iter().enumerate() {
        while said.windows(TIME.len()).filter(|words| *words == TIME).count() <= index {
            client.read_buf(&mut said).await.unwrap();
        }
        // At login only the time is asked for; then no leases, and hashes without fields: of workers, of 30
        // minutes and of the one to come.
        let answer = format!("*2\r\n$10\r\n{time}\r\n$1\r\n0\r\n{nothing}");
        client.write_all(answer.as_bytes()).await.unwrap();
        nothing = format!(":0\r\n{}", "*2\r\n$1\r\n0\r\n*0\r\n".repeat(32));
    }
    // Stays until the other side has gone.
    while client.read_buf(&mut said).await.unwrap() > 0 {}
}

#[tokio::test]
async fn what_was_counted_while_redis_was_away_is_counted_when_it_is_back() {
    let mut redis = Stage::start();
    let mut reporter = redis.reporter("worker-1").await;
    let mut tally = Tally { done: 1, ..Tally::default() };
    beat(&mut reporter, IDLE, &[], &tally, now(&redis)).await;
    redis.redis.kill();
    for _ in 0..3 {
        let beat = Beat { worker: IDLE, running: &[], tally: &tally };
        reporter.beat(&beat, Timestamp::default()).await.unwrap_err();
        tally.merge(&Tally { done: 1, ..Tally::default() });
    }
    redis.redis.restart();
    let began = tokio::time::Instant::now();
    loop {
        let worker = Beat { worker: IDLE, running: &[], tally: &tally };
        match reporter.beat(&worker, now(&redis)).await {
            Ok(()) => break,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
    }
    let seen = redis.scaler().await.workers().await;
    assert_eq!((seen.alive, seen.minutes[0].done), (vec![IDLE], 4));
}
