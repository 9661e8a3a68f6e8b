//! What the scaler tells workers.

use std::collections::BTreeMap;

use agent_scaler::engine::limit::{Allowance, Dimension};
use agent_scaler::sources::{Published, ReadError};
use agent_scaler::workers::keys;

use super::{LIMIT, SCOPE, Stage, integer};

fn allowance(slots: f64) -> Allowance {
    let rates = [(Dimension::RequestsPerMinute, slots * 1.2), (Dimension::OutputTokensPerMinute, 1e9 / 3.0)];
    Allowance { slots, rates: BTreeMap::from(rates) }
}

fn published(limit: &str, allowances: &[(&str, f64)]) -> Published {
    let allowances = allowances.iter().map(|(scope, slots)| ((*scope).to_owned(), allowance(*slots)));
    Published { limit: limit.to_owned(), allowances: allowances.collect() }
}

#[tokio::test]
async fn what_the_scaler_allows_a_worker_hears() {
    let redis = Stage::start();
    let (mut client, mut reporter) = (redis.scaler().await, redis.reporter("worker-1").await);
    assert_eq!(reporter.allowance().await, Ok(None));
    let both = [published("other", &[(SCOPE, 7.0)]), published(LIMIT, &[(SCOPE, 12.5), ("acme:low", 3.0)])];
    client.client.publish(&both).await.unwrap();
    assert_eq!(reporter.allowance().await, Ok(Some(allowance(12.5))));
    let key = keys::share(LIMIT);
    assert!((55..=60).contains(&integer(redis.command(&["TTL", &key]))));

    // Who is not named any more is gone, and keeps to what it heard last.
    client.client.publish(&[published(LIMIT, &[("acme:low", 4.0)])]).await.unwrap();
    assert_eq!(integer(redis.command(&["HLEN", &key])), 1);
    assert_eq!(reporter.allowance().await, Ok(Some(allowance(12.5))));
    client.client.publish(&[published(LIMIT, &[])]).await.unwrap();
    assert_eq!(integer(redis.command(&["EXISTS", &key])), 0);
    client.client.publish(&[]).await.unwrap();

    // Nonsense is no new word.
    redis.command(&["HSET", &key, SCOPE, "{\"slots\":"]);
    assert_eq!(reporter.allowance().await, Ok(Some(allowance(12.5))));
    client.client.publish(&[published(LIMIT, &[(SCOPE, 1.0)])]).await.unwrap();
    assert_eq!(reporter.allowance().await, Ok(Some(allowance(1.0))));
}

#[tokio::test]
async fn whatever_stood_there_is_written_over() {
    let redis = Stage::start();
    redis.command(&["SET", &keys::share(LIMIT), "x"]);
    let (mut client, mut reporter) = (redis.scaler().await, redis.reporter("worker-1").await);
    client.client.publish(&[published(LIMIT, &[(SCOPE, 12.5)])]).await.unwrap();
    assert_eq!(reporter.allowance().await, Ok(Some(allowance(12.5))));
}

#[tokio::test]
async fn a_server_that_takes_no_shares_says_why() {
    let redis = Stage::start();
    let mut client = redis.scaler().await;
    redis.command(&["CONFIG", "SET", "min-replicas-to-write", "1"]);
    let error = client.client.publish(&[published(LIMIT, &[(SCOPE, 12.5)])]).await.unwrap_err();
    let message = "publishing shares: it said NOREPLICAS Not enough good replicas to write.".to_owned();
    assert_eq!(error, ReadError::Unexpected { endpoint: format!("{}/0", redis.url()), message });
}
