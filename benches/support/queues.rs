//! Many queues on one real Redis, behind a proxy that counts.

use std::collections::BTreeMap;
use std::time::Duration;

use redis::{Cmd, Pipeline};
use tokio::time::{sleep, timeout};

use super::proxy::Proxy;
use super::servers::Redis;

/// Every so many queues one is empty.
const EMPTY_EVERY: usize = 10;

/// The server's default.
pub(crate) const TICK: Duration = Duration::from_secs(5);

/// What the queues are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A list and a processing list.
    Lists,
    /// A stream and a consumer group.
    Streams,
}

impl Kind {
    /// What it is called.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lists => "lists with processing lists",
            Self::Streams => "streams with a group",
        }
    }

    /// The trigger keys of a queue.
    pub(crate) fn keys(self, queue: usize) -> [(&'static str, String); 3] {
        match self {
            Self::Lists => [
                ("source", "redis".to_owned()),
                ("listName", waiting(queue)),
                ("processingListName", running(queue)),
            ],
            Self::Streams => [
                ("source", "redis-streams".to_owned()),
                ("stream", waiting(queue)),
                ("consumerGroup", "workers".to_owned()),
            ],
        }
    }

    fn add(self, queue: usize) -> Cmd {
        let mut command = redis::cmd(if self == Self::Lists { "LPUSH" } else { "XADD" });
        command.arg(waiting(queue));
        if self == Self::Streams {
            command.arg(&["*", "task"]);
        }
        command.arg("{}");
        command
    }
}

/// Whether a queue is empty from the start.
pub(crate) fn is_empty(queue: usize) -> bool {
    queue.is_multiple_of(EMPTY_EVERY)
}

fn waiting(queue: usize) -> String {
    format!("acme:tasks-{queue:05}")
}

fn running(queue: usize) -> String {
    format!("acme:busy-{queue:05}")
}

/// The Redis, and the way to it that is counted.
pub(crate) struct Queues {
    kind: Kind,
    redis: Redis,
    proxy: Proxy,
    connection: redis::Connection,
}

impl Queues {
    /// Starts a Redis with `count` queues, nine of ten with waiting and running tasks.
    pub(crate) fn start(kind: Kind, count: usize) -> Self {
        let redis = Redis::plain();
        let proxy = Proxy::start(redis.port());
        let mut connection = redis.connection();
        let mut pipeline = Pipeline::new();
        for queue in 0..count {
            if kind == Kind::Streams {
                let group = ["CREATE", &waiting(queue), "workers", "$", "MKSTREAM"];
                pipeline.cmd("XGROUP").arg(&group);
            }
            if is_empty(queue) {
                continue;
            }
            for _ in 0..=queue % 7 {
                pipeline.add_command(kind.add(queue));
            }
            if kind == Kind::Lists {
                pipeline.cmd("LPUSH").arg(running(queue)).arg("{}");
            }
        }
        pipeline.exec(&mut connection).unwrap();
        Self { kind, redis, proxy, connection }
    }

    /// The port of the proxy.
    pub(crate) fn port(&self) -> u16 {
        self.proxy.port()
    }

    /// Adds a task to a queue.
    pub(crate) fn add_task(&mut self, queue: usize) {
        self.kind.add(queue).exec(&mut self.connection).unwrap();
    }

    /// Has Redis refuse to say by itself when a task comes.
    pub(crate) fn silence(&mut self) {
        let mut pipeline = Pipeline::new();
        pipeline.cmd("ACL").arg(&["SETUSER", "default", "-client|tracking", "-subscribe"]);
        pipeline.cmd("CLIENT").arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"]);
        pipeline.exec(&mut self.connection).unwrap();
    }

    /// Takes all tasks from a queue.
    pub(crate) fn clear(&mut self, queue: usize) {
        redis::cmd("DEL").arg(waiting(queue)).exec(&mut self.connection).unwrap();
    }

    /// Counts over `ticks` ticks, from the middle of one to the middle of another.
    pub(crate) async fn count(&mut self, ticks: u32) -> Load {
        self.proxy.take();
        let tick = async {
            while self.proxy.take().round_trips == 0 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(TICK * 3, tick).await.unwrap();
        sleep(TICK / 2).await;

        // What it costs to ask is taken off.
        let (first, before) = (self.statistics(), self.statistics());
        self.proxy.take();
        sleep(TICK * ticks).await;
        let passed = self.proxy.take();
        let after = self.statistics();
        let ticks = f64::from(ticks);
        let per_tick = |name: &str| {
            let at = |statistics: &BTreeMap<String, u64>| statistics.get(name).copied().unwrap_or(0);
            let asking = at(&before) - at(&first);
            (at(&after) - at(&before)).saturating_sub(asking) as f64 / ticks
        };
        Load {
            round_trips: passed.round_trips as f64 / ticks,
            pipelines: per_tick("time calls"),
            commands: per_tick("total_commands_processed"),
            bytes: [passed.to_server as f64 / ticks, passed.from_server as f64 / ticks],
            redis_bytes: [per_tick("total_net_input_bytes"), per_tick("total_net_output_bytes")],
            redis_cpu: (per_tick("used_cpu_user") + per_tick("used_cpu_sys")) / 1e6,
        }
    }

    /// Redis's own counters; seconds in millionths.
    fn statistics(&self) -> BTreeMap<String, u64> {
        let redis::Value::BulkString(text) = self.redis.command(&["INFO", "everything"]) else {
            return BTreeMap::new();
        };
        let text = String::from_utf8(text).unwrap();
        let number = |(name, value): (&str, &str)| {
            if name == "cmdstat_time" {
                let calls = value.strip_prefix("calls=")?.split(',').next()?;
                return Some(("time calls".to_owned(), calls.parse().ok()?));
            }
            let digits: String = value.chars().filter(char::is_ascii_digit).collect();
            Some((name.to_owned(), digits.parse().ok()?))
        };
        text.lines().filter_map(|line| line.split_once(':')).filter_map(number).collect()
    }
}

/// What one tick costs, as a mean.
pub(crate) struct Load {
    /// As the proxy counts: an answer that follows a question.
    pub(crate) round_trips: f64,
    /// As Redis counts: each pipeline asks once for the time.
    pub(crate) pipelines: f64,
    /// Commands, by Redis.
    pub(crate) commands: f64,
    /// Bytes to Redis and from it, as the proxy counts.
    pub(crate) bytes: [f64; 2],
    /// The same as Redis counts, which has other clients too.
    pub(crate) redis_bytes: [f64; 2],
    /// CPU seconds of Redis.
    pub(crate) redis_cpu: f64,
}
