//! The least rights of a scaler and of workers, as the document names them.

use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use agent_scaler::engine::limit::{Allowance, Block, Dimension, Headroom, LimitSeen, Why};
use agent_scaler::fields::{Fields, Value};
use agent_scaler::secret::{Revealed, Secret};
use agent_scaler::sources::{ALL, Published, ReadError, Sighting};
use agent_scaler::timestamp::Timestamp;
use agent_scaler::workers::keys;
use agent_scaler::workers::writer::{Beat, Tally};

use super::{IDLE, LIMIT, PATIENCE, SCOPE, Scaler, Stage, beat, limit_of, now};
use crate::support::servers::Redis;
use crate::support::tree::root;

/// Makes `user` as the document says, with the password `hunter2`.
pub(super) fn let_in(redis: &Redis, user: &str) {
    let document = fs::read_to_string(root().join("docs/worker-protocol.md")).unwrap();
    let begin = format!("ACL SETUSER {user} ");
    let line = document.lines().find(|line| line.starts_with(&begin)).unwrap();
    redis.command(&words(&line.replace("PASSWORD", "hunter2")));
}

/// The words of a line; what stands in parentheses is one.
fn words(line: &str) -> Vec<&str> {
    let (before, after) = line.split_once('(').unwrap_or((line, ""));
    let mut words: Vec<&str> = before.split_whitespace().collect();
    if !after.is_empty() {
        words.push(&line[before.len()..]);
    }
    words
}

async fn scaler(stage: &Stage, user: &str) -> Scaler {
    let password = Secret::Variable { name: "PASSWORD".to_owned(), value: Revealed::new("hunter2") };
    let values = BTreeMap::from([
        ("url".to_owned(), Value::Text(stage.url())),
        ("username".to_owned(), Value::Text(user.to_owned())),
        ("password".to_owned(), Value::Secret(password)),
    ]);
    let endpoint = (ALL[0].connections[0].parse)(&mut Fields::new("connections.main", &values)).unwrap();
    let client = tokio::time::timeout(PATIENCE, endpoint.connect()).await.unwrap().unwrap();
    Scaler { client, minute: stage.minute }
}

fn share() -> Published {
    Published { limit: LIMIT.to_owned(), allowances: vec![(SCOPE.to_owned(), Allowance::default())] }
}

fn blocked(until: Timestamp) -> LimitSeen {
    let headroom = Headroom { limit: Some(1), ..Headroom::default() };
    LimitSeen {
        headroom: BTreeMap::from([(Dimension::RequestsPerMinute, headroom)]),
        blocked: Some(Block { until, why: Why::Rate }),
        ..LimitSeen::default()
    }
}

#[tokio::test]
async fn a_worker_with_the_least_rights_reports_everything_and_no_more() {
    let redis = Stage::start();
    let_in(&redis, "worker");
    let mut reporter = redis.reporter_of("worker:hunter2@", "worker-1").await;
    let now = now(&redis);
    let tally = Tally {
        done: 1,
        remaining: BTreeMap::from([(Dimension::RequestsPerMinute, (1, now))]),
        ..Tally::default()
    };
    beat(&mut reporter, IDLE, &["a", "b"], &tally, now).await;
    reporter.release("a").await.unwrap();
    assert!(reporter.time().await.unwrap() >= now);
    reporter.limits(&blocked(now + Duration::from_secs(9)), now).await.unwrap();
    assert!(reporter.blocked().await.unwrap().is_some());
    let free = LimitSeen { blocked: None, ..blocked(now) };
    reporter.limits(&free, now + Duration::from_secs(2)).await.unwrap();
    assert_eq!(reporter.blocked().await, Ok(None));
    redis.command(&["HSET", &keys::workers(SCOPE), "gone", "{\"seen\":1}"]);
    redis.scaler().await.client.publish(&[share()]).await.unwrap();
    assert_eq!(reporter.allowance().await, Ok(Some(Allowance::default())));
    reporter.leave(&tally, now).await.unwrap();
    let left: i64 = redis::from_redis_value(redis.command(&["EXISTS", &keys::workers(SCOPE)])).unwrap();
    assert_eq!(left, 0);

    // Another tenant's queue, and the shares, are not theirs to write.
    let worker = redis::Client::open(redis.url_of("worker:hunter2@")).unwrap();
    let mut worker = worker.get_connection().unwrap();
    for key in [keys::workers("other:tasks"), keys::share(LIMIT)] {
        let refused = redis::cmd("HSET").arg(&key).arg("a").arg("b").exec(&mut worker).unwrap_err();
        assert_eq!(refused.code(), Some("NOPERM"), "{key}");
    }
}

#[tokio::test]
async fn a_scaler_with_the_least_rights_reads_and_publishes_everything_and_no_more() {
    let redis = Stage::start();
    let_in(&redis, "scaler");
    let mut client = scaler(&redis, "scaler").await;
    client.workers().await;
    client.limit().await;
    client.client.publish(&[share()]).await.unwrap();
    let scaler = redis::Client::open(redis.url_of("scaler:hunter2@")).unwrap();
    let mut scaler = scaler.get_connection().unwrap();
    for key in [keys::workers(SCOPE), keys::limit(LIMIT), SCOPE.to_owned()] {
        let refused = redis::cmd("DEL").arg(&key).exec(&mut scaler).unwrap_err();
        assert_eq!(refused.code(), Some("NOPERM"), "{key}");
    }
}

#[tokio::test]
async fn who_may_not_read_reports_learns_what_it_takes_and_still_reads_queues() {
    let redis = Stage::start();
    let rights = "-@all +select +time +llen +xlen +xinfo|groups +xrange ~acme:*";
    redis.command(&[&["ACL", "SETUSER", "old", "on", ">hunter2"], &words(rights)[..]].concat());
    let mut client = scaler(&redis, "old").await;
    let name = BTreeMap::from([("listName".to_owned(), Value::Text(SCOPE.to_owned()))]);
    let queue = (ALL[0].parse)(&mut Fields::new("metadata", &name)).unwrap();
    let plans = [queue, client.workers_of(SCOPE), limit_of(LIMIT)];
    let results = client.read_all(&plans).await;
    let denied = |key: String, command: &str| {
        Err(ReadError::Denied {
            endpoint: format!("{}/0", redis.url()),
            message: format!(
                "reading `{key}`: this user has no permissions to run the '{command}' command; the user needs \
                 `+zcount +hscan ~agent-scaler:*` on top"
            ),
        })
    };
    assert!(matches!(&results[0], Ok(Sighting::Queue(reading)) if reading.ready == Some(0)));
    assert_eq!(results[1], denied(keys::leases(SCOPE), "zcount"));
    assert_eq!(results[2], denied(keys::limit(LIMIT), "hscan"));
    let refused = client.client.publish(&[share()]).await.unwrap_err();
    let message = "publishing shares: this user has no permissions to run the 'multi' command; the user needs \
                   `+multi +exec +del +hset +expire ~agent-scaler:share:*` on top";
    assert_eq!(
        refused,
        ReadError::Denied { endpoint: format!("{}/0", redis.url()), message: message.to_owned() }
    );
}

#[tokio::test]
async fn a_worker_without_the_rights_learns_it() {
    let redis = Stage::start();
    redis.command(&["ACL", "SETUSER", "worker", "on", ">hunter2", "-@all", "+multi", "+exec", "+hset", "~*"]);
    let mut reporter = redis.reporter_of("worker:hunter2@", "worker-1").await;
    let tally = Tally::default();
    let beat = Beat { worker: IDLE, running: &[], tally: &tally };
    let error = reporter.beat(&beat, now(&redis)).await.unwrap_err();
    assert!(
        error.to_string().contains("has no permissions to run the 'zremrangebyscore' command"),
        "{error}"
    );
}
