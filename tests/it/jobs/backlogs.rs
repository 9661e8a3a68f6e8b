//! Queues of every kind, as producers and Jobs use them, with servers that fail for a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::Duration;

use async_trait::async_trait;

use crate::support::answerer::{Answerer, Said};
#[cfg(feature = "kafka")]
use crate::support::kafka::{Kafka as Broker, Listener};
use crate::support::moto::{ACCOUNT, Moto, REGION};
use crate::support::prometheus::{Prometheus as Metrics, Setup};
use crate::support::proxy::{Mode, Proxy};
use crate::support::servers::Redis;

/// How a server fails.
#[derive(Clone, Copy, Debug)]
pub(super) enum Outage {
    Refuses,
    Hangs,
}

/// A queue of tasks behind a server.
#[async_trait]
pub(super) trait Backlog: Send {
    /// The connection, as the server's file has it.
    fn connection(&self) -> String;

    /// Its name, where a trigger cannot know it beforehand.
    fn queue(&self) -> String {
        "q".to_owned()
    }

    /// So many tasks come.
    async fn put(&mut self, tasks: u32);

    /// So many Jobs take a task each.
    async fn take(&mut self, tasks: u32);

    /// All tasks end that were taken.
    async fn end(&mut self);

    /// The proxy between the scaler and the server.
    fn proxy(&self) -> &Proxy;

    /// From now on the backend cannot be read, and all tasks that were taken end.
    async fn fails(&mut self, outage: Outage) {
        self.proxy().switch(match outage {
            Outage::Refuses => Mode::Cut,
            Outage::Hangs => Mode::Stall,
        });
        self.end().await;
    }

    /// It can be read again, and meanwhile so many tasks have come.
    async fn recovers(&mut self, tasks: u32) {
        self.put(tasks).await;
        // Requests that the stalled proxy took get no answer any more.
        self.proxy().switch(Mode::Cut);
        tokio::time::sleep(Duration::from_millis(50)).await;
        self.proxy().switch(Mode::Pass);
    }
}

/// A queue that a trigger of `source` with `keys` reads.
pub(super) async fn of(
    source: &'static str,
    keys: &'static [(&'static str, &'static str)],
) -> Box<dyn Backlog> {
    match source {
        "aws-sqs-queue" => Box::new(Sqs::start().await),
        #[cfg(feature = "kafka")]
        "kafka" => Box::new(Kafka::start().await),
        "prometheus" => Box::new(Prometheus::start().await),
        "http" => Box::new(Http::start().await),
        _ => Box::new(InRedis::start(source, keys.len() > 1).await),
    }
}

/// A framework's keys in Redis.
struct InRedis {
    source: &'static str,
    shows_running: bool,
    redis: Redis,
    proxy: Proxy,
    /// Ids of tasks: the first that waits, and the next that comes.
    waiting: (u32, u32),
}

impl InRedis {
    async fn start(source: &'static str, shows_running: bool) -> Self {
        let redis = Redis::plain();
        if let "redis-streams" | "taskiq" = source {
            let (stream, group) = stream(source);
            redis.command(&["XGROUP", "CREATE", stream, group, "0", "MKSTREAM"]);
        }
        let proxy = Proxy::start(redis.port()).await;
        Self { source, shows_running, redis, proxy, waiting: (0, 0) }
    }

    fn each(&self, commands: &[&[&str]]) {
        commands.iter().for_each(|command| drop(self.redis.command(command)));
    }
}

const fn stream(source: &str) -> (&'static str, &'static str) {
    match source.as_bytes() {
        b"taskiq" => ("q", "taskiq"),
        _ => ("q", "workers"),
    }
}

#[async_trait]
impl Backlog for InRedis {
    fn connection(&self) -> String {
        format!("{{ type: redis, url: \"redis://127.0.0.1:{}\" }}", self.proxy.port())
    }

    async fn put(&mut self, tasks: u32) {
        for _ in 0..tasks {
            let id = self.waiting.1.to_string();
            self.waiting.1 += 1;
            match self.source {
                "redis" => self.each(&[&["RPUSH", "q:tasks", &id]]),
                "redis-streams" | "taskiq" => self.each(&[&["XADD", "q", "*", "id", &id]]),
                "redis-sorted-set" => self.each(&[&["ZADD", "q", "1", &id]]),
                "celery" => self.each(&[&["LPUSH", "q", &id]]),
                "bullmq" => self.each(&[&["LPUSH", "bull:q:wait", &id]]),
                "rq" => self.each(&[&["RPUSH", "rq:queue:q", &id]]),
                "sidekiq" => self.each(&[&["LPUSH", "queue:q", &id]]),
                "dramatiq" => {
                    self.each(&[&["HSET", "dramatiq:q.msgs", &id, "x"], &["RPUSH", "dramatiq:q", &id]]);
                }
                other => panic!("{other} is no queue in Redis"),
            }
        }
    }

    async fn take(&mut self, tasks: u32) {
        const FUTURE: &str = "99999999999";
        for _ in 0..tasks {
            let id = self.waiting.0.to_string();
            self.waiting.0 += 1;
            match self.source {
                "redis" if self.shows_running => {
                    self.each(&[&["LMOVE", "q:tasks", "q:busy", "LEFT", "RIGHT"]]);
                }
                "redis" => self.each(&[&["LPOP", "q:tasks"]]),
                "redis-streams" | "taskiq" => {
                    let (stream, group) = stream(self.source);
                    self.each(&[&[
                        "XREADGROUP",
                        "GROUP",
                        group,
                        "job",
                        "COUNT",
                        "1",
                        "STREAMS",
                        stream,
                        ">",
                    ]]);
                }
                "redis-sorted-set" => self.each(&[&["ZREM", "q", &id]]),
                "celery" => self.each(&[
                    &["RPOP", "q"],
                    &["ZADD", "unacked_index", FUTURE, &id],
                    &["HSET", "unacked", &id, "x"],
                ]),
                "bullmq" => self.each(&[&["RPOPLPUSH", "bull:q:wait", "bull:q:active"]]),
                "rq" => self.each(&[&["LPOP", "rq:queue:q"], &["ZADD", "rq:wip:q", FUTURE, &id]]),
                "sidekiq" => self.each(&[&["RPOP", "queue:q"]]),
                "dramatiq" => self.each(&[&["LPOP", "dramatiq:q"]]),
                other => panic!("{other} is no queue in Redis"),
            }
        }
    }

    async fn end(&mut self) {
        match self.source {
            "redis" => self.each(&[&["DEL", "q:busy"]]),
            "redis-streams" | "taskiq" => {
                let (stream, group) = stream(self.source);
                let pending = self.redis.command(&["XPENDING", stream, group, "-", "+", "1000"]);
                let pending: Vec<(String, String, u64, u64)> = redis::from_redis_value(pending).unwrap();
                pending.iter().for_each(|(id, ..)| self.each(&[&["XACK", stream, group, id]]));
            }
            "celery" => self.each(&[&["DEL", "unacked"], &["DEL", "unacked_index"]]),
            "bullmq" => self.each(&[&["DEL", "bull:q:active"]]),
            "rq" => self.each(&[&["DEL", "rq:wip:q"]]),
            "dramatiq" => {
                // All but those that wait.
                let (taken, _) = self.waiting;
                (0..taken).for_each(|id| self.each(&[&["HDEL", "dramatiq:q.msgs", &id.to_string()]]));
            }
            _ => {}
        }
    }

    fn proxy(&self) -> &Proxy {
        &self.proxy
    }
}

/// The SQS emulator.
struct Sqs {
    moto: Moto,
    proxy: Proxy,
    url: String,
    key: tempfile::NamedTempFile,
    taken: Vec<String>,
}

impl Sqs {
    async fn start() -> Self {
        let moto = Moto::start();
        let url = moto.create_queue("q").await;
        let key = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(key.path(), "test").unwrap();
        let proxy = Proxy::start(moto.port()).await;
        Self { moto, proxy, url, key, taken: Vec::new() }
    }
}

#[async_trait]
impl Backlog for Sqs {
    fn connection(&self) -> String {
        let key = format!("{{ file: {} }}", self.key.path().display());
        format!(
            "{{ type: aws, region: {REGION}, endpoint: \"http://127.0.0.1:{}\", accessKeyId: {key}, \
             secretAccessKey: {key}, accounts: \"{ACCOUNT}\" }}",
            self.proxy.port()
        )
    }

    fn queue(&self) -> String {
        self.url.clone()
    }

    async fn put(&mut self, tasks: u32) {
        for _ in 0..tasks {
            self.moto.client().send_message().queue_url(&self.url).message_body("task").send().await.unwrap();
        }
    }

    async fn take(&mut self, tasks: u32) {
        for _ in 0..tasks {
            let received =
                self.moto.client().receive_message().queue_url(&self.url).max_number_of_messages(1);
            let messages =
                received.visibility_timeout(3_600).send().await.unwrap().messages.unwrap_or_default();
            self.taken.extend(messages.into_iter().filter_map(|message| message.receipt_handle));
        }
    }

    async fn end(&mut self) {
        for receipt in self.taken.drain(..) {
            let deletion = self.moto.client().delete_message().queue_url(&self.url).receipt_handle(receipt);
            deletion.send().await.unwrap();
        }
    }

    fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    async fn fails(&mut self, outage: Outage) {
        self.end().await;
        match outage {
            Outage::Refuses => self.proxy.switch(Mode::Cut),
            Outage::Hangs => self.moto.pause(),
        }
    }

    async fn recovers(&mut self, tasks: u32) {
        self.moto.resume();
        self.proxy.switch(Mode::Pass);
        self.put(tasks).await;
    }
}

/// A topic, whose partitions each have one task at most.
#[cfg(feature = "kafka")]
struct Kafka {
    broker: Broker,
    /// Ends of the partitions.
    ends: Vec<i64>,
    /// Tasks that are not taken.
    next: usize,
    proxy: Proxy,
}

#[cfg(feature = "kafka")]
impl Kafka {
    const PARTITIONS: i32 = 16;

    async fn start() -> Self {
        let broker = Broker::start(1);
        broker.create_topic("q", Self::PARTITIONS, 1).await;
        broker.commit("workers", "q", (0..Self::PARTITIONS).map(|partition| (partition, 0)));
        let ends = vec![0; usize::try_from(Self::PARTITIONS).unwrap()];
        // Clients go to the address that a broker names.
        Self { broker, ends, next: 0, proxy: Proxy::start(1).await }
    }
}

#[cfg(feature = "kafka")]
#[async_trait]
impl Backlog for Kafka {
    fn connection(&self) -> String {
        format!("{{ type: kafka, bootstrapServers: [\"{}\"] }}", self.broker.bootstrap(Listener::Plain))
    }

    async fn put(&mut self, tasks: u32) {
        for _ in 0..tasks {
            let partition = self.next % self.ends.len();
            self.next += 1;
            self.broker.send("q", [i32::try_from(partition).unwrap()], 1);
            self.ends[partition] += 1;
        }
    }

    async fn take(&mut self, _: u32) {}

    async fn end(&mut self) {
        self.broker.commit("workers", "q", (0..Self::PARTITIONS).zip(self.ends.iter().copied()));
    }

    fn proxy(&self) -> &Proxy {
        &self.proxy
    }

    async fn fails(&mut self, _: Outage) {
        // A broker that is down takes no commit.
        self.end().await;
        self.broker.kill(0);
    }

    async fn recovers(&mut self, tasks: u32) {
        self.broker.restart(0);
        self.put(tasks).await;
    }
}

/// An exporter's two numbers.
#[derive(Default)]
struct Numbers {
    waiting: AtomicU32,
    running: AtomicU32,
}

impl Numbers {
    fn put(&self, tasks: u32) {
        self.waiting.fetch_add(tasks, SeqCst);
    }

    fn take(&self, tasks: u32) {
        self.waiting.fetch_sub(tasks, SeqCst);
        self.running.fetch_add(tasks, SeqCst);
    }

    fn end(&self) {
        self.running.store(0, SeqCst);
    }

    fn now(&self) -> (u32, u32) {
        (self.waiting.load(SeqCst), self.running.load(SeqCst))
    }
}

struct Http {
    numbers: Arc<Numbers>,
    proxy: Proxy,
    _web: Answerer,
}

impl Http {
    async fn start() -> Self {
        let numbers = Arc::<Numbers>::default();
        let told = Arc::clone(&numbers);
        let web = Answerer::start(move |_| {
            let (waiting, running) = told.now();
            Said::new(200, format!(r#"{{"waiting": {waiting}, "running": {running}}}"#))
        })
        .await;
        Self { numbers, proxy: Proxy::start(web.port()).await, _web: web }
    }
}

#[async_trait]
impl Backlog for Http {
    fn connection(&self) -> String {
        format!("{{ type: http, url: \"http://127.0.0.1:{}\" }}", self.proxy.port())
    }

    async fn put(&mut self, tasks: u32) {
        self.numbers.put(tasks);
    }

    async fn take(&mut self, tasks: u32) {
        self.numbers.take(tasks);
    }

    async fn end(&mut self) {
        self.numbers.end();
    }

    fn proxy(&self) -> &Proxy {
        &self.proxy
    }
}

/// A number in Prometheus is as old as the last scrape: Jobs that take, and Jobs that end, do so after the next one.
struct Prometheus {
    numbers: Arc<Numbers>,
    prometheus: Metrics,
    proxy: Proxy,
    _exporter: Answerer,
}

impl Prometheus {
    async fn start() -> Self {
        let numbers = Arc::<Numbers>::default();
        let told = Arc::clone(&numbers);
        let exporter = Answerer::start(move |_| {
            let (waiting, running) = told.now();
            let said = Said::new(200, format!("waiting {waiting}\nrunning {running}\n"));
            Said { headers: vec![("content-type", "text/plain; version=0.0.4".to_owned())], ..said }
        })
        .await;
        let setup = Setup { scrapes: Some(exporter.port()), ..Setup::default() };
        let prometheus = Metrics::start(setup).await;
        let proxy = Proxy::start(prometheus.port()).await;
        let started = Self { numbers, prometheus, proxy, _exporter: exporter };
        started.is_scraped().await;
        started
    }

    async fn is_scraped(&self) {
        let (waiting, running) = self.numbers.now();
        let query = format!("waiting == {waiting} and on() running == {running}");
        for _ in 0..600 {
            let url = format!("{}/api/v1/query", self.prometheus.url());
            let asked = reqwest::Client::new().get(url).query(&[("query", &query)]).send().await.unwrap();
            if asked.text().await.unwrap().contains("\"waiting\"") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{query} is never scraped");
    }
}

#[async_trait]
impl Backlog for Prometheus {
    fn connection(&self) -> String {
        format!("{{ type: prometheus, url: \"http://127.0.0.1:{}\" }}", self.proxy.port())
    }

    async fn put(&mut self, tasks: u32) {
        self.numbers.put(tasks);
        self.is_scraped().await;
    }

    async fn take(&mut self, tasks: u32) {
        self.numbers.take(tasks);
        self.is_scraped().await;
    }

    async fn end(&mut self) {
        self.numbers.end();
        self.is_scraped().await;
    }

    fn proxy(&self) -> &Proxy {
        &self.proxy
    }
}
