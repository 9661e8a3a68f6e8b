//! The worker's scripts by themselves: what a worker may do that comes too late, and when requests may start.

use redis::FromRedisValue;

use super::LIMIT;
use crate::support::servers::Redis;

macro_rules! script {
    ($name:literal) => {
        include_str!(concat!("../../../examples/worker/", $name, ".lua"))
    };
}

/// Runs a script.
fn run<T: FromRedisValue>(redis: &Redis, script: &str, keys: &[&str], arguments: &[&str]) -> T {
    let count = keys.len().to_string();
    let words = [&["EVAL", script, &count][..], keys, arguments].concat();
    redis::from_redis_value(redis.command(&words)).unwrap()
}

const TASK: &str = r#"{"id":"1","prompt":"go","enqueued_ms":0}"#;
const DONE: [&str; 5] = ["done", "result", "42", "60", "3"];

type Begun = (String, String, u32, bool);

/// One taking of the task in the stream `q`.
struct Taking<'a> {
    redis: &'a Redis,
    worker: &'a str,
    entry: String,
}

impl Taking<'_> {
    fn begin(&self) -> Begun {
        let keys = ["q", "q:task:1"];
        run(self.redis, script!("queue/stream/begin"), &keys, &["g", self.worker, &self.entry, self.worker])
    }

    fn renew(&self) -> Vec<bool> {
        let keys = ["q", "q:task:1"];
        run(self.redis, script!("queue/stream/renew"), &keys, &["g", self.worker, &self.entry, self.worker])
    }

    fn keep(&self) -> bool {
        run(self.redis, script!("queue/checkpoint"), &["q:task:1"], &[self.worker, "{}", "1"])
    }

    fn hand_back(&self) -> bool {
        let arguments = ["g", "nobody", &self.entry, self.worker, "1000", "0"];
        run(self.redis, script!("queue/stream/hand_back"), &["q", "q:task:1"], &arguments)
    }

    fn finish(&self) -> bool {
        let arguments = [&["g", self.entry.as_str(), self.worker][..], &DONE, &[TASK]].concat();
        run(self.redis, script!("queue/stream/finish"), &["q", "q:task:1", "q:dead"], &arguments)
    }
}

#[test]
fn a_streams_task_obeys_only_whoever_began_it_last() {
    let redis = Redis::plain();
    redis.command(&["XGROUP", "CREATE", "q", "g", "0", "MKSTREAM"]);
    redis.command(&["XADD", "q", "1-0", "task", TASK]);
    redis.command(&["XREADGROUP", "GROUP", "g", "first", "STREAMS", "q", ">"]);
    let taking = |worker| Taking { redis: &redis, worker, entry: "1-0".to_owned() };
    let (first, second) = (taking("first"), taking("second"));
    assert_eq!(second.begin().0, "elsewhere");
    assert_eq!(first.begin(), ("run".to_owned(), String::new(), 1, true));
    assert_eq!(first.begin().0, "run", "its answer may have been lost");
    assert!(first.keep() && first.renew() == [true]);

    redis.command(&["XAUTOCLAIM", "q", "g", "second", "0", "0"]);
    assert_eq!(first.renew(), [false], "it would take the entry back");
    assert_eq!(second.begin(), ("run".to_owned(), "{}".to_owned(), 2, false));
    let record = redis.command(&["HGETALL", "q:task:1"]);
    assert!(!first.keep() && !first.hand_back() && !first.finish());
    assert_eq!(redis.command(&["HGETALL", "q:task:1"]), record);

    assert!(second.hand_back() && !second.hand_back() && !second.finish());
    redis.command(&["XAUTOCLAIM", "q", "g", "first", "1000", "0"]);
    assert_eq!(first.begin().2, 1, "what was handed back is not counted");
    assert!(first.finish() && first.finish(), "its answer may have been lost");
    assert_eq!(redis.command(&["XLEN", "q"]), redis::Value::Int(0));
    assert!(!second.finish());
}

/// One taking of the task in the list `q`.
struct Holding<'a>(&'a Redis, &'a str);

impl Holding<'_> {
    fn begin(&self) -> Begun {
        let keys = ["q:processing", "leases", "q:task:1"];
        run(self.0, script!("queue/list/begin"), &keys, &[TASK, self.1, "1", self.1, "100000"])
    }

    fn renew(&self) -> Vec<bool> {
        run(self.0, script!("queue/renew"), &["leases", "q:task:1"], &[self.1, "100000", "1", self.1])
    }

    fn hand_back(&self) -> bool {
        let keys = ["q:processing", "q", "leases", "q:task:1"];
        run(self.0, script!("queue/list/hand_back"), &keys, &[TASK, "1", &self.lease(), self.1, "0", "0"])
    }

    fn finish(&self) -> bool {
        let lease = self.lease();
        let arguments = [&[TASK, lease.as_str(), self.1][..], &DONE].concat();
        let keys = ["q:processing", "leases", "q:task:1", "q:dead"];
        run(self.0, script!("queue/list/finish"), &keys, &arguments)
    }

    fn lease(&self) -> String {
        format!("{}/1", self.1)
    }
}

fn sweep(redis: &Redis, is_old: &str) -> Vec<u8> {
    let keys = ["q:processing", "q", "leases", "q:task:1"];
    run(redis, script!("queue/list/sweep"), &keys, &[TASK, "1", is_old])
}

#[test]
fn a_lists_task_obeys_only_whoever_began_it_last() {
    let redis = Redis::plain();
    let (first, second) = (Holding(&redis, "first"), Holding(&redis, "second"));
    let take = || redis.command(&["LMOVE", "q", "q:processing", "RIGHT", "LEFT"]);
    let lengths = || ["q", "q:processing"].map(|list| redis.command(&["LLEN", list]));
    let counts = |queue, processing| [redis::Value::Int(queue), redis::Value::Int(processing)];
    redis.command(&["LPUSH", "q", TASK]);
    take();
    // Taken and not begun: left alone at first, and put back later; whoever took it comes too late then.
    assert_eq!((sweep(&redis, "0"), sweep(&redis, "1")), (vec![2], vec![1]));
    assert_eq!(lengths(), counts(1, 0));
    assert_eq!(first.begin().0, "elsewhere");

    take();
    assert_eq!(first.begin(), ("run".to_owned(), String::new(), 1, true));
    assert_eq!(first.begin().2, 1, "its answer may have been lost, and counts no attempt");
    assert_eq!(sweep(&redis, "1"), [0], "while its lease lives");
    assert_eq!(second.begin().0, "elsewhere");
    assert_eq!(lengths(), counts(0, 1), "the one element of a running task stays");

    // The lease ends: put back at once, and the first can do nothing more.
    redis.command(&["ZADD", "leases", "1", "first/1"]);
    assert_eq!(first.renew(), [false]);
    assert_eq!(sweep(&redis, "0"), [1]);
    assert!(!first.hand_back() && !first.finish());
    take();
    assert_eq!(second.begin().2, 2);
    assert!(!first.hand_back() && !first.finish() && first.renew() == [false]);
    assert!(second.renew() == [true] && second.hand_back() && !second.finish());
    assert_eq!(lengths(), counts(1, 0));
    take();
    assert_eq!(first.begin().2, 1, "what was handed back is not counted");
    assert!(first.finish() && first.finish(), "its answer may have been lost");
    assert_eq!(lengths(), counts(0, 0));
    assert_eq!(redis.command(&["ZCARD", "leases"]), redis::Value::Int(0));
}

/// Asks the limiter for `amount` at 6,000 a minute, 100 a second; milliseconds to wait, and whether that is reserved.
fn reserve(redis: &Redis, amount: u32, given_up: u32) -> (bool, u64) {
    let keys = ["pace".to_owned(), format!("agent-scaler:limit:{{{LIMIT}}}")];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let (amount, given_up) = (amount.to_string(), given_up.to_string());
    let arguments = ["60000000", "1000000", "30000000", "tokens", "6000", &amount, &given_up];
    let (reserved, micros): (bool, u64) = run(redis, script!("limiter"), &keys, &arguments);
    (reserved, micros / 1_000)
}

/// Whether a wait is as long as it should be, but for the time that the test itself takes.
#[track_caller]
fn about((reserved, millis): (bool, u64), wanted: u64) {
    assert!(reserved && (wanted.saturating_sub(400)..=wanted).contains(&millis), "{reserved}, {millis} ms");
}

#[test]
fn requests_start_one_after_the_other_after_a_seconds_burst() {
    let redis = Redis::plain();
    about(reserve(&redis, 100, 0), 0);
    about(reserve(&redis, 200, 0), 1_000);
    about(reserve(&redis, 300, 0), 3_000);
    // One that is larger than any burst waits for a full bucket, and those after it for what it took.
    about(reserve(&redis, 1_000, 0), 6_000);
    about(reserve(&redis, 100, 0), 16_000);
}

#[test]
fn what_was_not_used_comes_back_and_what_was_used_beyond_is_made_up_for() {
    let redis = Redis::plain();
    let settle = |more: &str| {
        run::<u32>(&redis, script!("limiter_settle"), &["pace"], &["60000000", "tokens", "6000", more])
    };
    about(reserve(&redis, 1_000, 0), 0);
    settle("-600");
    about(reserve(&redis, 200, 0), 4_000);
    settle("400");
    about(reserve(&redis, 100, 0), 10_000);
    // Who asks anew gives up what he had.
    about(reserve(&redis, 100, 100), 10_000);
}

#[test]
fn a_long_wait_is_not_reserved_and_moves_nobody_back() {
    let redis = Redis::plain();
    about(reserve(&redis, 4_000, 0), 0);
    let (reserved, millis) = reserve(&redis, 100, 0);
    assert!(!reserved && (39_000..=40_000).contains(&millis), "{reserved}, {millis} ms");
    assert_eq!(reserve(&redis, 100, 0).0, reserved);
}

#[test]
fn nobody_starts_in_a_block_and_there_is_no_burst_after_it() {
    let redis = Redis::plain();
    let key = format!("agent-scaler:limit:{{{LIMIT}}}");
    let until = super::now_ms() + 5_000;
    redis.command(&["HSET", &key, "blocked_ms", &until.to_string(), "why", "rate"]);
    about(reserve(&redis, 50, 0), 5_000);
    about(reserve(&redis, 50, 0), 5_500);
    // A budget that is used up for an hour is nothing to wait for, and nothing to remember when it is paid.
    let (hour, now) = ((until + 3_600_000).to_string(), super::now_ms().to_string());
    redis.command(&["HSET", &key, "blocked_ms", &hour, "why", "quota", "blocked_seen", &now]);
    assert!(!reserve(&redis, 50, 0).0);
    redis.command(&["DEL", &key]);
    about(reserve(&redis, 50, 0), 6_000);
}

#[test]
fn pauses_double_while_refusals_go_on_and_those_sent_before_a_pause_do_not_lengthen_it() {
    let redis = Redis::plain();
    let pause =
        || run::<u64>(&redis, script!("limiter_pause"), &["pace"], &["60000000", "1000000", "4000000"]);
    let over = |seconds_ago: u64| {
        let ends = (super::now_ms() - seconds_ago * 1_000) * 1_000;
        redis.command(&["HSET", "pace", "pause_ends", &ends.to_string()]);
    };
    assert_eq!(pause(), 1_000_000);
    assert!(pause() <= 1_000_000, "the rest of the same pause");
    for longer in [2_000_000, 4_000_000, 4_000_000] {
        over(30);
        assert_eq!(pause(), longer);
    }
    over(61);
    assert_eq!(pause(), 1_000_000);
}
