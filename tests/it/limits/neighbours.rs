//! A limit that two namespaces share, on a real Redis to which the workers of one of them write what they like.

use std::time::Duration;

use agent_scaler::engine::decision::LimitedBy;
use agent_scaler::scaler::proto::ScaledObjectRef;
use agent_scaler::timestamp::Timestamp;
use agent_scaler::workers::keys;

use crate::support::harness::{Harness, eventually, trigger};
use crate::support::servers::Redis;

/// Half of the slots that 600 requests feed at 12 a slot-minute, where workers do not pace themselves.
const PART: u32 = 23;

/// A Redis with both queues full, and both triggers watched.
struct Stage {
    redis: Redis,
    harness: Harness,
    calm: ScaledObjectRef,
}

impl Stage {
    async fn start() -> Self {
        let redis = Redis::plain();
        let file = format!(
            "connections: {{ main: {{ type: redis, url: \"{}\" }} }}\n\
             llmLimits: {{ prod: {{ workersConnection: main, scope: prod, requestsPerMinute: 600, \
             usePerTask: {{ requests: 12 }} }} }}",
            redis.url()
        );
        let harness = Harness::with(&file).await;
        let of = |name: &str| {
            let keys =
                [("source", "redis"), ("connection", "main"), ("listName", name), ("llmLimit", "prod")];
            let seen = [("processingListName", "running"), ("expectedTaskDuration", "60s")];
            let mut of = trigger(name, &[&keys[..], &seen].concat());
            of.namespace = name.into();
            of
        };
        for name in ["calm", "liar"] {
            let tasks: Vec<String> = (0..200).map(|task| task.to_string()).collect();
            let words: Vec<&str> =
                ["RPUSH", name].into_iter().chain(tasks.iter().map(String::as_str)).collect();
            redis.command(&words);
        }
        let (calm, liar) = (of("calm"), of("liar"));
        eventually("a value of both", async || {
            Some((harness.value(&calm).await.ok()?, harness.value(&liar).await.ok()?))
        })
        .await;
        harness.settles(&calm, PART, LimitedBy::LlmLimit).await;
        Self { redis, harness, calm }
    }

    /// Writes to the hash of the limit.
    fn says(&self, fields: &[(&str, u64)]) {
        let key = keys::limit("prod");
        for (name, number) in fields {
            self.redis.command(&["HSET", &key, name, &number.to_string()]);
        }
    }

    /// The value of the neighbour after everything that was written has been read.
    async fn calm_has(&self) -> f64 {
        let reads = || {
            let statistics: String =
                redis::cmd("INFO").arg("commandstats").query(&mut self.redis.connection()).unwrap();
            let line = statistics.lines().find_map(|line| line.strip_prefix("cmdstat_hscan:calls=")).unwrap();
            line.split(',').next().unwrap().parse::<u64>().unwrap()
        };
        // A read of the limit and of two scopes takes some thirty minutes the first time, and five hashes after that.
        let before = reads();
        eventually("reads", async || (reads() > before + 60).then_some(())).await;
        self.harness.value(&self.calm).await.unwrap()
    }
}

fn now(redis: &Redis) -> Timestamp {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(&mut redis.connection()).unwrap();
    Timestamp::from_millis(seconds * 1_000 + micros / 1_000)
}

#[tokio::test]
async fn a_block_that_nobody_says_to_have_run_into_does_not_hold_a_neighbour_for_a_month() {
    let stage = Stage::start().await;
    let month = now(&stage.redis) + Duration::from_secs(31 * 86_400);
    stage.redis.command(&["HSET", &keys::limit("prod"), keys::WHY, "quota"]);
    stage.says(&[(keys::BLOCKED, month.as_millis())]);
    assert_eq!(stage.calm_has().await, f64::from(PART));
}

#[tokio::test]
async fn headers_that_a_worker_makes_up_leave_a_neighbour_what_the_file_gives() {
    let stage = Stage::start().await;
    let now = now(&stage.redis).as_millis();
    let year = now + 366 * 86_400_000;
    for dimension in ["requests", "output_tokens", "tokens", "concurrency", "requests_day"] {
        stage.says(&[
            (&format!("{dimension}.limit"), 1),
            (&format!("{dimension}.remaining"), 0),
            (&format!("{dimension}.reset"), year),
            (&format!("{dimension}.seen"), now),
            (&format!("day:{}:{dimension}", now / 86_400_000), u64::MAX),
        ]);
    }
    assert_eq!(stage.calm_has().await, f64::from(PART));
}

#[tokio::test]
async fn counts_that_a_worker_makes_up_cost_a_neighbour_nothing() {
    let stage = Stage::start().await;
    let present = now(&stage.redis).as_millis() / 60_000;
    for number in present - 10..=present {
        let left = if number % 2 == 0 { 1_000_000 } else { 0 };
        let header = format!("{left}@{}", number * 60_000);
        let key = keys::minute("liar", number);
        let words =
            ["r429", "1000000000", "busy_ms", "60000", "throttle_ms", "600000", "h:requests", &header];
        stage.redis.command(&[&["HSET", key.as_str()][..], &words].concat());
        stage.redis.command(&["HSET", &key, "done", "18446744073709551615", "d255", "9223372036854775807"]);
    }
    let seen = now(&stage.redis).as_millis();
    let worker = format!(r#"{{"seen":{seen},"state":"busy","slots":4294967295,"running":4294967295}}"#);
    stage.redis.command(&["HSET", &keys::workers("liar"), "w", &worker]);
    assert_eq!(stage.calm_has().await, f64::from(PART));
}
