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

/// The limiter's answer: whether a moment is reserved, the milliseconds until then, and its word about a block.
type Reserved = (bool, u64, i64);

/// Asks the limiter for `amount` at 6,000 a minute, 100 a second.
fn reserve(redis: &Redis, amount: u32, given_up: u32) -> Reserved {
    let keys = ["pace".to_owned(), limit()];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let (amount, given_up) = (amount.to_string(), given_up.to_string());
    let arguments = ["60000000", "1000000", "30000000", "tokens", "6000", &amount, &given_up];
    let (reserved, micros, block, _): (bool, u64, i64, u64) =
        run(redis, script!("limiter"), &keys, &arguments);
    (reserved, micros / 1_000, block)
}

/// The hash of the limit.
fn limit() -> String {
    format!("agent-scaler:limit:{{{LIMIT}}}")
}

/// Whether a wait is as long as it should be, but for the time that the test itself takes.
#[track_caller]
fn about((reserved, millis, _): Reserved, wanted: u64) {
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
        let arguments = ["60000000", "1000000", "1", "tokens", "6000", more];
        run::<u32>(&redis, script!("limiter_settle"), &["pace"], &arguments)
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
    let (reserved, millis, _) = reserve(&redis, 100, 0);
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

/// Classifies a refusal: which requests wait, and for how many milliseconds.
fn refused(redis: &Redis, request: &str, end: &str) -> (String, u64) {
    let keys = ["pace".to_owned(), limit(), "refused".to_owned()];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let arguments = ["60000000", "1000000", "4000000", request, end, "0"];
    let (who, until): (String, u64) = run(redis, script!("limiter_refused"), &keys, &arguments);
    // The script's own clock, which is a little ahead of when the test asks.
    (who, until.saturating_sub(super::now_ms()))
}

/// Another request has its answer.
fn answered(redis: &Redis) {
    run::<u32>(redis, script!("limiter_settle"), &["pace"], &["60000000", "1000000", "1"]);
}

/// As if the pause had ended so many seconds ago.
fn pause_is_over(redis: &Redis, seconds_ago: u64) {
    let ends = (super::now_ms() - seconds_ago * 1_000) * 1_000;
    redis.command(&["HSET", "pace", "pause_ends", &ends.to_string()]);
}

#[track_caller]
fn all_wait((who, millis): (String, u64), wanted: u64) {
    assert!(who == "all" && (wanted.saturating_sub(400)..=wanted + 2).contains(&millis), "{who} {millis} ms");
}

#[test]
fn pauses_double_while_refusals_go_on_and_those_sent_before_a_pause_do_not_lengthen_it() {
    let redis = Redis::plain();
    for first in ["a", "b"] {
        assert_eq!(refused(&redis, first, "unknown").0, "first");
    }
    all_wait(refused(&redis, "c", "unknown"), 1_000);
    all_wait(refused(&redis, "b", "unknown"), 1_000);
    for longer in [2_000, 4_000, 4_000] {
        pause_is_over(&redis, 30);
        all_wait(refused(&redis, "c", "unknown"), longer);
    }
    pause_is_over(&redis, 61);
    all_wait(refused(&redis, "c", "unknown"), 1_000);
    let said = redis.command(&["HMGET", &limit(), "blocked_ms", "guess_ms", "why"]);
    let (until, guess, why): (u64, u64, String) = redis::from_redis_value(said).unwrap();
    assert_eq!((until, why.as_str()), (guess, "rate"));
    // A budget stands, unless somebody has just tried it.
    let budget = block(&redis, 86_400_000, "quota", 1_000).to_string();
    refused(&redis, "c", "unknown");
    let stands =
        || redis::from_redis_value::<String>(redis.command(&["HGET", &limit(), "blocked_ms"])).unwrap();
    assert_eq!(stands(), budget);
    block(&redis, 86_400_000, "quota", 300_000);
    refused(&redis, "c", "unknown");
    assert_ne!(stands(), budget);
}

#[test]
fn a_refusal_that_repeats_while_others_have_answers_concerns_that_request_alone() {
    let redis = Redis::plain();
    for _ in 0..3 {
        assert_eq!(refused(&redis, "huge", "unknown").0, "first", "nobody has an answer yet");
    }
    answered(&redis);
    for _ in 0..3 {
        assert_eq!(refused(&redis, "huge", "unknown").0, "alone");
        answered(&redis);
    }
    assert_eq!(redis.command(&["EXISTS", &limit()]), redis::Value::Int(0), "nobody else waits");
    // Another one may be of its kind; with a third, it is the limit.
    assert_eq!(refused(&redis, "large", "unknown").0, "first");
    answered(&redis);
    all_wait(refused(&redis, "small", "unknown"), 1_000);
    answered(&redis);
    all_wait(refused(&redis, "large", "unknown"), 1_000);
}

#[test]
fn a_refusal_that_names_its_end_concerns_all_until_it_comes_again() {
    let redis = Redis::plain();
    assert_eq!(refused(&redis, "huge", "certain").0, "all");
    assert_eq!(refused(&redis, "huge", "certain").0, "all", "nobody had an answer since");
    answered(&redis);
    assert_eq!(refused(&redis, "huge", "certain").0, "all", "that may have been chance");
    (0..5).for_each(|_| answered(&redis));
    assert_eq!(refused(&redis, "huge", "certain").0, "alone");
}

#[test]
fn a_refusal_that_names_a_far_end_concerns_all_when_another_is_refused_too() {
    let redis = Redis::plain();
    assert_eq!(refused(&redis, "huge", "named").0, "first");
    (0..5).for_each(|_| answered(&redis));
    assert_eq!(refused(&redis, "huge", "named").0, "alone");
    assert_eq!(refused(&redis, "other", "named").0, "all");
}

/// Sets a block that ended, or will, so many milliseconds from now.
fn block(redis: &Redis, from_now: i64, why: &str, seen_ago: u64) -> u64 {
    let now = super::now_ms();
    let until = now.checked_add_signed(from_now).unwrap();
    let (text, seen) = (until.to_string(), (now - seen_ago).to_string());
    redis.command(&["HSET", &limit(), "blocked_ms", &text, "why", why, "blocked_seen", &seen]);
    until
}

#[test]
fn after_a_pause_of_a_guessed_length_one_request_tries_and_the_others_wait_for_it() {
    let redis = Redis::plain();
    let until = block(&redis, -1_000, "rate", 2_000);
    redis.command(&["HSET", &limit(), "guess_ms", &until.to_string()]);
    let stands = i64::try_from(until).unwrap();
    assert_eq!(reserve(&redis, 50, 0), (true, 0, stands));
    let (reserved, millis, block) = reserve(&redis, 50, 0);
    assert!(!reserved && block == -1 && (4_600..=5_000).contains(&millis), "{millis}");
    let tried = |answered: &str| {
        run::<u32>(&redis, script!("limiter_tried"), &[&limit()], &[&until.to_string(), answered])
    };
    // It was cut off: the next one tries. That one has its answer.
    tried("0");
    assert_eq!(reserve(&redis, 50, 0), (true, 0, stands));
    tried("1");
    assert_eq!(redis.command(&["EXISTS", &limit()]), redis::Value::Int(0));
    assert_eq!(reserve(&redis, 50, 0).2, 0);
}

#[test]
fn one_request_of_all_tries_a_budget_five_minutes_after_the_last_refusal() {
    let redis = Redis::plain();
    let until = block(&redis, 86_400_000, "quota", 299_000);
    let (reserved, millis, said) = reserve(&redis, 50, 0);
    assert!(reserved && said == -2 && millis <= 1_000, "{reserved} {millis} {said}");
    block(&redis, 86_400_000, "quota", 300_001);
    let answers: Vec<Reserved> = (0..20).map(|_| reserve(&redis, 50, 0)).collect();
    let tries = answers.iter().filter(|(reserved, ..)| *reserved).count();
    assert_eq!((tries, answers[0].0), (1, true), "{answers:?}");
    assert!(answers[0].2 >= i64::try_from(until).unwrap());
}

#[test]
fn a_large_request_that_is_refused_gives_back_the_time_that_others_would_wait_for_it() {
    let redis = Redis::plain();
    about(reserve(&redis, 2_000, 0), 0);
    about(reserve(&redis, 100, 0), 20_000);
    let arguments = ["60000000", "1000000", "0", "tokens", "6000", "-2000"];
    run::<u32>(&redis, script!("limiter_settle"), &["pace"], &arguments);
    assert_eq!(redis.command(&["HEXISTS", "pace", "returned"]), redis::Value::Int(1));
    about(reserve(&redis, 100, 100), 0);
}
