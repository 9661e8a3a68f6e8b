//! Streams, in every state in which a group can be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::signals::{Counters, InFlight, Reading};
use agent_scaler::sources::{Client, Plan, ReadError};

use super::{PATIENCE, client_at, client_of, counted, read, read_one, seen, stream};
use crate::support::proxy::Proxy;
use crate::support::servers::Redis;

#[tokio::test]
async fn nothing_there_yet_is_empty_and_not_an_error() {
    let tasks = Tasks::start();
    let mut client = client_of(&tasks.redis).await;
    assert_eq!(tasks.read(&mut client).await, Ok(seen(0, Some(0))));
}

#[tokio::test]
async fn without_the_group_every_entry_waits() {
    let tasks = Tasks::start();
    tasks.add(3);
    let mut client = client_of(&tasks.redis).await;
    assert_eq!(tasks.read(&mut client).await, Ok(seen(3, Some(0))));
    tasks.redis.command(&["XGROUP", "CREATE", "acme:tasks", "others", "0"]);
    assert_eq!(tasks.read(&mut client).await, Ok(seen(3, Some(0))));
}

#[tokio::test]
async fn a_group_from_the_start_of_the_stream_is_counted_exactly() {
    let tasks = Tasks::start();
    tasks.add(10);
    tasks.group_at("0");
    let mut client = client_of(&tasks.redis).await;
    // Nothing was read yet, so Redis does not say how much was.
    assert_eq!(tasks.read_without_age(&mut client).await, seen(10, Some(0)));
    let taken = tasks.take(4);
    assert_eq!(tasks.read_without_age(&mut client).await, counted(6, 4, 10, 0));
    tasks.acknowledge(&taken[..3]);
    assert_eq!(tasks.read_without_age(&mut client).await, counted(6, 1, 10, 3));
    tasks.take(100);
    assert_eq!(tasks.read_without_age(&mut client).await, counted(0, 7, 10, 3));
}

#[tokio::test]
async fn a_group_that_makes_its_stream_is_counted_exactly() {
    let tasks = Tasks::start();
    tasks.redis.command(&["XGROUP", "CREATE", "acme:tasks", "workers", "$", "MKSTREAM"]);
    let mut client = client_of(&tasks.redis).await;
    assert_eq!(tasks.read(&mut client).await, Ok(seen(0, Some(0))));
    tasks.add(3);
    assert_eq!(tasks.read_without_age(&mut client).await, seen(3, Some(0)));
    tasks.take(1);
    assert_eq!(tasks.read_without_age(&mut client).await, counted(2, 1, 3, 0));
}

#[tokio::test]
async fn a_group_at_the_end_of_a_stream_has_no_lag_until_it_has_read() {
    let tasks = Tasks::start();
    tasks.add(10);
    tasks.group_at("$");
    let mut client = client_of(&tasks.redis).await;
    assert_eq!(tasks.read(&mut client).await, Ok(seen(0, Some(0))));
    tasks.add(2);
    assert_eq!(tasks.lag(), redis::Value::Nil);
    assert_eq!(tasks.read_without_age(&mut client).await, seen(2, Some(0)));
    tasks.take(2);
    assert_eq!(tasks.read_without_age(&mut client).await, counted(0, 2, 12, 10));
}

#[tokio::test]
async fn a_group_in_the_middle_of_a_stream_is_counted_entry_by_entry() {
    let tasks = Tasks::start();
    let ids = tasks.add(10);
    tasks.group_at(&ids[3]);
    assert_eq!(tasks.lag(), redis::Value::Nil);
    let mut client = client_of(&tasks.redis).await;
    assert_eq!(tasks.read_without_age(&mut client).await, seen(6, Some(0)));
    tasks.take(1);
    assert_eq!(tasks.lag(), redis::Value::Nil);
    assert_eq!(tasks.read_without_age(&mut client).await, seen(5, Some(1)));
}

#[tokio::test]
async fn an_unread_entry_that_is_deleted_no_longer_waits() {
    let tasks = Tasks::start();
    let ids = tasks.add(10);
    tasks.group_at("0");
    tasks.take(4);
    tasks.redis.command(&["XDEL", "acme:tasks", &ids[6]]);
    assert_eq!(tasks.lag(), redis::Value::Nil);
    let mut client = client_of(&tasks.redis).await;
    let completed = Counters { added: None, completed: Some(0) };
    let reading = tasks.read_without_age(&mut client).await;
    assert_eq!(reading, Reading { counters: completed, ..seen(5, Some(4)) });
}

#[tokio::test]
async fn workers_that_delete_what_they_acknowledge_leave_no_lag_and_are_counted_all_the_same() {
    let tasks = Tasks::start();
    tasks.add(10);
    tasks.group_at("0");
    let taken = tasks.take(3);
    // The last one taken is finished first.
    tasks.acknowledge(&taken[2..]);
    tasks.redis.command(&["XDEL", "acme:tasks", &taken[2]]);
    assert_eq!(tasks.lag(), redis::Value::Nil);
    let mut client = client_of(&tasks.redis).await;
    let completed = Counters { added: None, completed: Some(1) };
    let reading = tasks.read_without_age(&mut client).await;
    assert_eq!(reading, Reading { counters: completed, ..seen(7, Some(2)) });
}

#[tokio::test]
async fn entries_trimmed_before_they_were_read_no_longer_wait() {
    let tasks = Tasks::start();
    tasks.add(20);
    tasks.group_at("0");
    tasks.take(5);
    tasks.redis.command(&["XTRIM", "acme:tasks", "MAXLEN", "10"]);
    assert_eq!(tasks.lag(), redis::Value::Int(15));
    let mut client = client_of(&tasks.redis).await;
    assert_eq!(tasks.read_without_age(&mut client).await, counted(10, 5, 20, 0));
    tasks.redis.command(&["XTRIM", "acme:tasks", "MAXLEN", "0"]);
    assert_eq!(tasks.read(&mut client).await, Ok(counted(0, 5, 20, 0)));
}

#[tokio::test]
async fn beyond_a_hundred_uncounted_entries_the_number_is_what_is_not_pending() {
    let tasks = Tasks::start();
    let ids = tasks.add(300);
    tasks.group_at("0");
    let taken = tasks.take(50);
    tasks.redis.command(&["XDEL", "acme:tasks", &ids[200]]);
    assert_eq!(tasks.lag(), redis::Value::Nil);
    let mut client = client_of(&tasks.redis).await;
    let counters = |completed| Counters { added: None, completed: Some(completed) };
    let exact = Reading { counters: counters(0), ..seen(249, Some(50)) };
    assert_eq!(tasks.read_without_age(&mut client).await, exact);
    // Acknowledged entries that stay in the stream are taken for unread ones.
    tasks.acknowledge(&taken);
    let too_high = Reading { counters: counters(50), ..seen(299, Some(0)) };
    assert_eq!(tasks.read_without_age(&mut client).await, too_high);
    tasks.take(149);
    // Exact again at a hundred.
    let exact = Reading { counters: counters(50), ..seen(100, Some(149)) };
    let reading = tasks.read_without_age(&mut client).await;
    assert_eq!(Reading { counters: counters(50), ..reading }, exact);
}

#[tokio::test]
async fn the_oldest_is_known_at_once() {
    let tasks = Tasks::start();
    let now = tasks.now();
    let (first, second) = (now - 60_000, now - 40_000);
    for millis in [first, second] {
        tasks.redis.command(&["XADD", "acme:tasks", &millis.to_string(), "task", "x"]);
    }
    tasks.group_at("0");
    let mut client = client_of(&tasks.redis).await;
    for oldest in [first, first, second] {
        if oldest == second {
            tasks.take(1);
        }
        tasks.assert_oldest_is(&mut client, oldest).await;
    }
    tasks.take(1);
    assert_eq!(tasks.read(&mut client).await.unwrap().oldest, None);
}

#[tokio::test]
async fn an_entry_is_fetched_once_while_it_is_the_oldest() {
    let tasks = Tasks::start();
    tasks.add(1);
    tasks.group_at("0");
    let mut client = client_of(&tasks.redis).await;
    for _ in 0..3 {
        tasks.assert_is_aged(&mut client).await;
        tasks.add(1);
        assert_eq!(tasks.ranges(), 1);
    }
    // The next is the oldest.
    tasks.take(1);
    for _ in 0..3 {
        tasks.assert_is_aged(&mut client).await;
        assert_eq!(tasks.ranges(), 2);
    }
    // It was trimmed, and its successors with it.
    tasks.redis.command(&["XTRIM", "acme:tasks", "MAXLEN", "1"]);
    tasks.assert_is_aged(&mut client).await;
    assert_eq!(tasks.ranges(), 3);
    tasks.take(9);
    assert_eq!(tasks.read(&mut client).await.unwrap().oldest, None);
}

#[tokio::test]
async fn an_uncounted_entry_is_fetched_once_in_its_life() {
    let tasks = Tasks::start();
    tasks.redis.command(&["XADD", "acme:tasks", "1-1", "task", "x"]);
    tasks.redis.command(&["XADD", "acme:tasks", "1-2", "task", "x"]);
    tasks.group_at("1-1");
    // Those of one entry, by what has gone over the wire.
    let payload = "x".repeat(10_000);
    for _ in 0..50 {
        tasks.redis.command(&["XADD", "acme:tasks", "*", "task", &payload]);
    }
    let mut client = client_of(&tasks.redis).await;
    assert_eq!(tasks.read(&mut client).await.unwrap().ready, Some(51));
    let before = tasks.sent();
    for _ in 0..10 {
        assert_eq!(tasks.read(&mut client).await.unwrap().ready, Some(51));
    }
    let sent = tasks.sent() - before;
    assert!(sent < 100_000, "{sent}");
    tasks.redis.command(&["XADD", "acme:tasks", "*", "task", &payload]);
    assert_eq!(tasks.read(&mut client).await.unwrap().ready, Some(52));
}

#[tokio::test]
async fn long_entries_are_fetched_less_often_than_they_change() {
    const STREAMS: usize = 20;
    let redis = Redis::plain();
    let payload = "x".repeat(1 << 20);
    let names: Vec<String> = (0..STREAMS).map(|number| format!("acme:tasks:{number}")).collect();
    let add = || names.iter().for_each(|name| drop(redis.command(&["XADD", name, "*", "task", &payload])));
    add();
    names.iter().for_each(|name| drop(redis.command(&["XGROUP", "CREATE", name, "workers", "0"])));
    let plans: Vec<Arc<dyn Plan>> = names.iter().map(|name| stream(name, "workers")).collect();
    let mut client = client_of(&redis).await;
    let tasks = Tasks { redis, plan: stream("acme:tasks:0", "workers") };
    let before = tasks.sent();
    for round in 0..10 {
        let readings = read(&mut client, &plans).await;
        let readies: Vec<_> = readings.iter().map(|reading| reading.as_ref().unwrap().ready).collect();
        assert_eq!(readies, vec![Some(1); STREAMS], "{round}");
        // Each time others are the oldest.
        for name in &names {
            tasks.redis.command(&["XADD", name, "*", "task", &payload]);
            tasks.redis.command(&[
                "XREADGROUP",
                "GROUP",
                "workers",
                "one",
                "COUNT",
                "1",
                "STREAMS",
                name,
                ">",
            ]);
        }
    }
    // Twenty megabytes changed ten times; what this test took itself, which is as much, is not counted.
    let sent = tasks.sent() - before - (10 * STREAMS as u64) * (1 << 20);
    assert!(sent < 45 << 20, "{sent}");
}

#[tokio::test]
async fn the_oldest_uncounted_entry_is_known_at_once() {
    let tasks = Tasks::start();
    let added = tasks.now() - 60_000;
    tasks.redis.command(&["XADD", "acme:tasks", "1-1", "task", "x"]);
    tasks.redis.command(&["XADD", "acme:tasks", "1-2", "task", "x"]);
    tasks.redis.command(&["XADD", "acme:tasks", &added.to_string(), "task", "x"]);
    tasks.group_at("1-1");
    let mut client = client_of(&tasks.redis).await;
    // An id that is no time has no age.
    assert_eq!(tasks.read(&mut client).await, Ok(seen(2, Some(0))));
    tasks.redis.command(&["XGROUP", "SETID", "acme:tasks", "workers", "1-2"]);
    tasks.assert_oldest_is(&mut client, added).await;
}

#[tokio::test]
async fn a_wrong_count_of_read_entries_is_no_lag() {
    let tasks = Tasks::start();
    tasks.add(5);
    tasks.redis.command(&["XGROUP", "CREATE", "acme:tasks", "workers", "0", "ENTRIESREAD", "9"]);
    assert_eq!(tasks.lag(), redis::Value::Int(-4));
    let mut client = client_of(&tasks.redis).await;
    let counters = Counters { added: None, completed: Some(9) };
    let reading = tasks.read_without_age(&mut client).await;
    assert_eq!(reading, Reading { counters, ..seen(5, Some(0)) });
}

#[tokio::test]
async fn a_thousand_streams_take_a_handful_of_round_trips() {
    let redis = Redis::plain();
    let mut pipeline = redis::pipe();
    for number in 0..1_000 {
        let name = format!("acme:tasks:{number}");
        pipeline.cmd("XADD").arg(&name).arg("*").arg("task").arg("x");
        pipeline.cmd("XGROUP").arg("CREATE").arg(&name).arg("workers").arg("0");
    }
    pipeline.exec(&mut redis.connection()).unwrap();
    let plans: Vec<Arc<dyn Plan>> =
        (0..1_000).map(|number| stream(&format!("acme:tasks:{number}"), "workers")).collect();
    let expected: Vec<Result<Reading, ReadError>> = vec![Ok(seen(1, Some(0))); 1_000];

    let proxy = Proxy::start(redis.port()).await;
    let mut client = client_at(proxy.port()).await;
    proxy.round_trips();
    // The entries themselves are asked for once.
    for most in [40, 20] {
        let aged = read(&mut client, &plans).await;
        assert!(aged.iter().all(|reading| reading.as_ref().unwrap().oldest.is_some()));
        let counted: Vec<_> = aged.into_iter().map(|reading| reading.map(without_age)).collect();
        assert_eq!(counted, expected);
        let round_trips = proxy.round_trips();
        assert!(round_trips < most, "{round_trips}");
    }

    // A group in the middle has no lag.
    let mut pipeline = redis::pipe();
    for number in 0..100 {
        for _ in 0..2 {
            pipeline.cmd("XADD").arg(format!("acme:tasks:{number}")).arg("*").arg("task").arg("x");
        }
    }
    let ids: Vec<String> = pipeline.query(&mut redis.connection()).unwrap();
    let mut pipeline = redis::pipe();
    for (number, ids) in ids.chunks(2).enumerate() {
        pipeline.cmd("XGROUP").arg("SETID").arg(format!("acme:tasks:{number}")).arg("workers").arg(&ids[0]);
    }
    pipeline.exec(&mut redis.connection()).unwrap();
    let counted = read(&mut client, &plans).await;
    let counted: Vec<_> = counted.into_iter().map(|reading| reading.map(without_age)).collect();
    assert_eq!(counted, expected);
    let round_trips = proxy.round_trips();
    assert!(round_trips < 30, "{round_trips}");
}

/// A server with the stream `acme:tasks`, which the group `workers` reads.
struct Tasks {
    redis: Redis,
    plan: Arc<dyn Plan>,
}

impl Tasks {
    fn start() -> Self {
        Self { redis: Redis::plain(), plan: stream("acme:tasks", "workers") }
    }

    /// Adds entries; their ids.
    fn add(&self, count: usize) -> Vec<String> {
        let mut pipeline = redis::pipe();
        for _ in 0..count {
            pipeline.cmd("XADD").arg("acme:tasks").arg("*").arg("task").arg("x");
        }
        pipeline.query(&mut self.redis.connection()).unwrap()
    }

    fn group_at(&self, id: &str) {
        self.redis.command(&["XGROUP", "CREATE", "acme:tasks", "workers", id]);
    }

    /// Delivers up to `count` entries to a worker; their ids.
    fn take(&self, count: usize) -> Vec<String> {
        let reply: redis::streams::StreamReadReply = redis::cmd("XREADGROUP")
            .arg(&["GROUP", "workers", "one", "COUNT", &count.to_string(), "STREAMS", "acme:tasks", ">"])
            .query(&mut self.redis.connection())
            .unwrap();
        reply.keys.into_iter().flat_map(|key| key.ids).map(|entry| entry.id).collect()
    }

    fn acknowledge(&self, ids: &[String]) {
        redis::cmd("XACK")
            .arg("acme:tasks")
            .arg("workers")
            .arg(ids)
            .exec(&mut self.redis.connection())
            .unwrap();
    }

    /// What Redis itself says of the lag.
    fn lag(&self) -> redis::Value {
        let groups: Vec<BTreeMap<String, redis::Value>> =
            redis::cmd("XINFO").arg(&["GROUPS", "acme:tasks"]).query(&mut self.redis.connection()).unwrap();
        groups[0]["lag"].clone()
    }

    /// How many XRANGE commands the server has run.
    fn ranges(&self) -> u64 {
        let statistics: redis::InfoDict =
            redis::cmd("INFO").arg("commandstats").query(&mut self.redis.connection()).unwrap();
        let calls = statistics.get::<String>("cmdstat_xrange");
        calls.map_or(0, |calls| calls.split(['=', ',']).nth(1).unwrap().parse().unwrap())
    }

    /// How many bytes the server has sent.
    fn sent(&self) -> u64 {
        let statistics: redis::InfoDict =
            redis::cmd("INFO").arg("stats").query(&mut self.redis.connection()).unwrap();
        statistics.get("total_net_output_bytes").unwrap()
    }

    async fn assert_is_aged(&self, client: &mut Box<dyn Client>) {
        assert!(self.read(client).await.unwrap().oldest.is_some());
    }

    /// The server's time in milliseconds.
    fn now(&self) -> u64 {
        let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(&mut self.redis.connection()).unwrap();
        seconds * 1_000 + micros / 1_000
    }

    async fn read(&self, client: &mut Box<dyn Client>) -> Result<Reading, ReadError> {
        read_one(client, &self.plan).await
    }

    /// A reading whose only inexact value, the age of an entry just added, is left out.
    async fn read_without_age(&self, client: &mut Box<dyn Client>) -> Reading {
        without_age(self.read(client).await.unwrap())
    }

    /// Reads, and compares the age of the oldest entry with the time at which it was added.
    async fn assert_oldest_is(&self, client: &mut Box<dyn Client>, added: u64) {
        let earliest = Duration::from_millis(self.now() - added);
        let oldest = self.read(client).await.unwrap().oldest.unwrap();
        let latest = Duration::from_millis(self.now() - added);
        assert!((earliest..=latest).contains(&oldest), "{earliest:?} {oldest:?} {latest:?}");
    }
}

fn without_age(reading: Reading) -> Reading {
    assert!(reading.oldest.is_none_or(|age| age < PATIENCE), "{:?}", reading.oldest);
    Reading { oldest: None, ..reading }
}

/// The correction of the lag and the age may fail without the number of waiting tasks.
#[tokio::test]
async fn a_denied_command_costs_only_its_own_figure() {
    let redis = Redis::plain();
    let mut connection = redis.connection();
    redis::cmd("XGROUP")
        .arg(&["CREATE", "acme:tasks", "workers", "$", "MKSTREAM"])
        .exec(&mut connection)
        .unwrap();
    for _ in 0..3 {
        redis.command(&["XADD", "acme:tasks", "*", "a", "b"]);
    }
    redis.command(&["XREADGROUP", "GROUP", "workers", "w", "COUNT", "1", "STREAMS", "acme:tasks", ">"]);
    for (denied, figure) in [
        ("-xrange", "the age of the oldest task is not known: reading `acme:tasks`: "),
        ("-xlen", "the number of trimmed entries in the lag is not known: reading `acme:tasks`: "),
    ] {
        redis.command(&["ACL", "SETUSER", "scaler", "reset", "on", ">hunter2", "~acme:*", "+@all", denied]);
        let keys = [
            super::text("url", &super::address(redis.port())),
            super::text("username", "scaler"),
            super::password("hunter2"),
        ];
        let mut client = super::connect(&*super::endpoint(&keys)).await.unwrap();
        let reading = read_one(&mut client, &stream("acme:tasks", "workers")).await.unwrap();
        assert_eq!((reading.ready, reading.in_flight), (Some(2), Some(InFlight::Known(1))), "{denied}");
        assert_eq!((reading.oldest, reading.unknown.len()), (None, 1), "{denied}");
        assert!(reading.unknown[0].to_string().starts_with(figure), "{:?}", reading.unknown);
    }
}
