//! What workers see of a limit.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_scaler::engine::limit::{Block, Dimension, Headroom, LimitSeen, Why};
use agent_scaler::engine::minutes::Used;
use agent_scaler::timestamp::Timestamp;
use agent_scaler::workers::keys;
use agent_scaler::workers::writer::Tally;

use super::{IDLE, LIMIT, Stage, beat, integer, now};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

fn headers(remaining: u64, seen: Timestamp) -> LimitSeen {
    let requests =
        Headroom { limit: Some(4_000), remaining: Some(remaining), reset: Some(seen + SECOND), seen };
    let tokens = Headroom { limit: Some(80_000), remaining: Some(0), reset: None, seen };
    LimitSeen {
        headroom: BTreeMap::from([
            (Dimension::RequestsPerMinute, requests),
            (Dimension::OutputTokensPerMinute, tokens),
        ]),
        ..LimitSeen::default()
    }
}

fn blocked(until: Timestamp, why: Why) -> LimitSeen {
    LimitSeen { blocked: Some(Block { until, why }), ..LimitSeen::default() }
}

#[tokio::test]
async fn what_a_provider_said_is_read_as_it_was_said() {
    let redis = Stage::start();
    let (mut client, mut reporter) = (redis.scaler().await, redis.reporter("worker-1").await);
    assert_eq!(client.limit().await, LimitSeen::default());
    let now = now(&redis);
    reporter.limits(&headers(3_880, now), now).await.unwrap();
    assert_eq!(client.limit().await, headers(3_880, now));

    // What it does not say any more is not known any more.
    let mut less = headers(3_880, now + SECOND);
    less.headroom.insert(Dimension::RequestsPerMinute, Headroom { seen: now, ..Headroom::default() });
    reporter.limits(&less, now + SECOND).await.unwrap();
    assert_eq!(client.limit().await, less);
}

#[tokio::test]
async fn headers_are_written_once_a_second() {
    let redis = Stage::start();
    let (mut client, mut reporter) = (redis.scaler().await, redis.reporter("worker-1").await);
    let now = now(&redis);
    for (millis, remaining, written) in [(0, 100, 100), (999, 99, 100), (1_000, 98, 98), (1_500, 97, 98)] {
        let seen = headers(remaining, now + Duration::from_millis(millis));
        reporter.limits(&seen, now + Duration::from_millis(millis)).await.unwrap();
        let read = client.limit().await.headroom[&Dimension::RequestsPerMinute];
        assert_eq!(read.remaining, Some(written), "{millis}");
    }
    // A clock that goes back does not silence the worker.
    reporter.limits(&headers(96, now), now).await.unwrap();
    let read = client.limit().await.headroom[&Dimension::RequestsPerMinute];
    assert_eq!(read.remaining, Some(96));
}

#[tokio::test]
async fn a_block_only_grows_and_a_success_ends_one_of_the_rate() {
    let redis = Stage::start();
    let (mut client, mut reporter) = (redis.scaler().await, redis.reporter("worker-1").await);
    let now = now(&redis);
    let (soon, late) = (now + 20 * SECOND, now + 40 * SECOND);
    assert_eq!(reporter.blocked().await, Ok(None));
    for (said, stands) in [
        (Block { until: late, why: Why::Rate }, Block { until: late, why: Why::Rate }),
        (Block { until: soon, why: Why::Spend }, Block { until: late, why: Why::Rate }),
    ] {
        reporter.limits(&blocked(said.until, said.why), now).await.unwrap();
        assert_eq!(reporter.blocked().await, Ok(Some(stands)));
        assert_eq!(client.limit().await.blocked, Some(stands));
    }
    // A second later, because the writing of headers is sampled.
    reporter.limits(&headers(100, now), now + 2 * SECOND).await.unwrap();
    assert_eq!(reporter.blocked().await, Ok(None));
    assert_eq!(client.limit().await, headers(100, now));
    for why in [Why::Spend, Why::Quota, Why::Overload] {
        redis.command(&["DEL", &keys::limit(LIMIT)]);
        reporter.limits(&blocked(late, why), now + 2 * SECOND).await.unwrap();
        reporter.limits(&headers(100, now), now + 4 * SECOND).await.unwrap();
        assert_eq!(reporter.blocked().await, Ok(Some(Block { until: late, why })));
    }
}

#[tokio::test]
async fn a_block_of_the_past_and_one_without_end_are_none() {
    let redis = Stage::start();
    let (mut client, mut reporter) = (redis.scaler().await, redis.reporter("worker-1").await);
    let now = now(&redis);
    for until in [now - SECOND, now + 1_000 * DAY] {
        redis.command(&["HSET", &keys::limit(LIMIT), "blocked_ms", &until.as_millis().to_string()]);
        assert_eq!(reporter.blocked().await, Ok(None));
        assert_eq!(client.limit().await.blocked, None);
        // Neither keeps a real one away.
        let real = Block { until: now + 20 * SECOND, why: Why::Quota };
        reporter.limits(&blocked(real.until, real.why), now).await.unwrap();
        assert_eq!(client.limit().await.blocked, Some(real));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_longest_of_many_blocks_stands() {
    const WRITERS: u32 = 8;
    const BLOCKS: u32 = 50;
    let redis = Stage::start();
    let now = now(&redis);
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let mut reporter = redis.reporter(&format!("worker-{writer}")).await;
        tasks.spawn(async move {
            for number in 0..BLOCKS {
                let until = now + (1 + (number * 7 + writer) % 50) * SECOND * 10;
                reporter.limits(&blocked(until, Why::Rate), now).await.unwrap();
                // It never shrinks, whoever writes at the same time.
                let stands = reporter.blocked().await.unwrap().unwrap();
                assert!(until <= stands.until, "{until} {stands:?}");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let longest = Block { until: now + 500 * SECOND, why: Why::Rate };
    assert_eq!(redis.scaler().await.limit().await.blocked, Some(longest));
}

#[tokio::test]
async fn own_use_is_counted_by_the_day() {
    let redis = Stage::start();
    let (mut client, mut reporter) = (redis.scaler().await, redis.reporter("worker-1").await);
    let now = now(&redis);
    let day = now.as_millis() / 86_400_000;
    let tally =
        Tally { used: Used { requests: 3, input_tokens: 1_000, output_tokens: 200 }, ..Tally::default() };
    for age in [2, 1, 0, 0] {
        beat(&mut reporter, IDLE, &[], &tally, now - age * DAY).await;
    }
    let used = client.limit().await.used_today;
    let expected = [
        (Dimension::RequestsPerDay, 6),
        (Dimension::InputTokensPerDay, 2_000),
        (Dimension::OutputTokensPerDay, 400),
        (Dimension::TokensPerDay, 2_400),
    ];
    assert_eq!(used, BTreeMap::from(expected), "a day ended: run the test again");
    // Yesterday is kept for those whose day ends elsewhere, and nothing before it.
    for (day, kept) in [(day, 1), (day - 1, 1), (day - 2, 0)] {
        let field = keys::day(day, Dimension::RequestsPerMinute);
        assert_eq!(integer(redis.command(&["HEXISTS", &keys::limit(LIMIT), &field])), kept, "{field}");
    }
}

#[tokio::test]
async fn a_limit_is_kept_for_a_day_and_a_block_to_its_end() {
    let redis = Stage::start();
    let mut reporter = redis.reporter("worker-1").await;
    let now = now(&redis);
    let kept = || integer(redis.command(&["TTL", &keys::limit(LIMIT)]));
    beat(&mut reporter, IDLE, &[], &Tally::default(), now).await;
    assert!((86_390..=86_400).contains(&kept()), "{}", kept());
    reporter.limits(&blocked(now + 3 * DAY, Why::Spend), now).await.unwrap();
    assert!((3 * 86_400 - 10..=3 * 86_400).contains(&kept()), "{}", kept());
}
