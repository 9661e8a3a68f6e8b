//! The reference worker as processes, on a real Redis and beside a provider that counts what it admits.

mod crash;
mod drain;
#[cfg(feature = "kafka")]
mod kafka;
mod limiter;
mod once;
mod probes;
mod recorded;
mod refusals;
mod rights;
mod scripts;
mod settings;
mod sqs;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::examples::{Example, Process};
use crate::support::servers::Redis;

/// How long a test waits for what takes a few seconds: the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(40);

/// The limit's scope.
const LIMIT: &str = "openai/test/model";

/// What holds the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Stream,
    List,
    /// Not Redis; the settings of each worker say what.
    Elsewhere,
}

/// A Redis, a provider, and what workers need to know of them.
struct Place {
    redis: Redis,
    _stub: Process,
    stub_url: String,
    files: TempDir,
    kind: Kind,
}

/// A worker's process.
struct Worker {
    process: Process,
    url: String,
}

impl Place {
    /// With a provider of these settings.
    fn new(kind: Kind, provider: &[&str]) -> Self {
        // The HTTP client of the tests takes the process's.
        drop(rustls::crypto::ring::default_provider().install_default());
        let stub = Example::new("llm-stub").arguments(["--listen", "127.0.0.1:0"]).arguments(provider);
        let (stub, stub_url) = stub.start_listening();
        let files = tempfile::tempdir().unwrap();
        std::fs::write(files.path().join("key"), "first\n").unwrap();
        Self { redis: Redis::plain(), _stub: stub, stub_url, files, kind }
    }

    /// Starts a worker of this name.
    fn worker(&self, name: &str, settings: &[&str]) -> Worker {
        let kind: &[&str] = match self.kind {
            Kind::Stream => &["--queue-kind", "stream"],
            Kind::List => &["--queue-kind", "list"],
            Kind::Elsewhere => &[],
        };
        let key = self.files.path().join("key");
        let worker = Example::new("worker")
            .arguments(["--listen", "127.0.0.1:0", "--worker", name, "--model", "model"])
            .arguments(["--queue", "tasks", "--redis-url", &self.redis.url()])
            .arguments(kind)
            .arguments(["--base-url", &self.stub_url])
            .arguments(["--tools-url", &format!("{}/tools", self.stub_url)])
            .environment([
                ("API_KEY_FILE", key.as_os_str()),
                ("MINUTE", "6s".as_ref()),
                ("LEASE", "2s".as_ref()),
                ("AWS_ACCESS_KEY_ID", "test".as_ref()),
                ("AWS_SECRET_ACCESS_KEY", "test".as_ref()),
            ])
            .arguments(settings);
        let (process, url) = worker.start_listening();
        Worker { process, url }
    }

    /// Puts a task into the queue.
    fn put(&self, id: &str, prompt: &str) {
        let task = task(id, prompt);
        match self.kind {
            Kind::Stream => self.redis.command(&["XADD", "tasks", "*", "task", &task]),
            Kind::List => self.redis.command(&["LPUSH", "tasks", &task]),
            Kind::Elsewhere => unreachable!("whoever knows where puts it there"),
        };
    }

    /// The record of a task.
    fn record(&self, id: &str) -> BTreeMap<String, String> {
        let record = self.redis.command(&["HGETALL", &format!("tasks:task:{id}")]);
        redis::from_redis_value(record).unwrap()
    }

    /// One field of it; empty if it is not there.
    fn field(&self, id: &str, name: &str) -> String {
        self.record(id).remove(name).unwrap_or_default()
    }

    fn steps(&self, id: &str) -> u64 {
        self.field(id, "steps").parse().unwrap_or(0)
    }

    /// Waits until all these tasks have this status.
    async fn all(&self, ids: &[String], status: &str) {
        within(PATIENCE, &format!("all {status}"), async || {
            ids.iter().all(|id| self.field(id, "status") == status).then_some(())
        })
        .await;
    }

    /// A whole number that Redis answers.
    fn number(&self, words: &[&str]) -> u64 {
        redis::from_redis_value(self.redis.command(words)).unwrap()
    }

    /// Messages of tasks that nobody has finished, wherever they are.
    fn messages(&self) -> u64 {
        match self.kind {
            Kind::Stream => self.number(&["XLEN", "tasks"]),
            Kind::List => self.number(&["LLEN", "tasks"]) + self.number(&["LLEN", "tasks:processing"]),
            Kind::Elsewhere => unreachable!("whoever knows where counts them there"),
        }
    }

    /// What the provider counted for the first key.
    async fn counts(&self) -> Value {
        self.counts_of("first").await
    }

    async fn counts_of(&self, key: &str) -> Value {
        let counts = reqwest::get(format!("{}/counts", self.stub_url)).await.unwrap();
        let counts: Value = counts.json().await.unwrap();
        counts["accounts"][key].clone()
    }

    /// What a provider's command does.
    async fn control(&self, command: Value) {
        let sent =
            reqwest::Client::new().post(format!("{}/control", self.stub_url)).json(&command).send().await;
        let sent = sent.unwrap();
        assert!(sent.status().is_success(), "{}", sent.text().await.unwrap());
    }

    /// The sum of a counter over all minutes that workers reported.
    fn reported(&self, field: &str) -> u64 {
        let keys: Vec<String> =
            redis::from_redis_value(self.redis.command(&["KEYS", "agent-scaler:{tasks}:m:*"])).unwrap();
        let of = |key: &String| -> Option<u64> {
            redis::from_redis_value(self.redis.command(&["HGET", key, field])).unwrap()
        };
        keys.iter().filter_map(of).sum()
    }
}

impl Worker {
    /// The status of a page.
    async fn status(&self, page: &str) -> u16 {
        reqwest::get(format!("{}/{page}", self.url)).await.unwrap().status().as_u16()
    }

    /// Waits until a page has this status.
    async fn answers(&self, page: &str, status: u16) {
        let what = format!("{status} of /{page}");
        within(PATIENCE, &what, async || (self.status(page).await == status).then_some(())).await;
    }

    /// Tells it to go, and waits until it has gone in good order.
    fn leaves(&mut self, patience: Duration) {
        self.process.signal("TERM");
        assert_eq!(self.process.ended_within(patience).code(), Some(0), "{}", self.process.printed_so_far());
    }
}

/// Nothing of a worker is left in the reports.
fn nothing_is_left(place: &Place) {
    assert_eq!(place.number(&["HLEN", "agent-scaler:{tasks}:workers"]), 0);
    assert_eq!(place.number(&["ZCARD", "agent-scaler:{tasks}:leases"]), 0);
}

/// The message of a task.
fn task(id: &str, prompt: &str) -> String {
    json!({"id": id, "prompt": prompt, "enqueued_ms": now_ms()}).to_string()
}

/// Ids of so many tasks, in order.
fn ids(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("task-{number}")).collect()
}

/// A number in a provider's counts.
fn count(counts: &Value, path: &[&str]) -> u64 {
    path.iter().fold(counts, |value, name| &value[*name]).as_u64().unwrap_or(0)
}

fn now_ms() -> u64 {
    use agent_scaler::clock::{Clock, SystemClock};
    SystemClock::start().now().as_millis()
}

/// Asks every 20 ms until there is an answer.
#[track_caller]
fn within<T>(patience: Duration, what: &str, ask: impl AsyncFn() -> Option<T>) -> impl Future<Output = T> {
    let mut what = what.to_owned();
    write!(what, " ({})", std::panic::Location::caller()).unwrap();
    async move {
        let asking = async {
            loop {
                if let Some(answer) = ask().await {
                    return answer;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let answer = tokio::time::timeout(patience, asking).await;
        answer.unwrap_or_else(|_| panic!("never seen: {what}"))
    }
}
