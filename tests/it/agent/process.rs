//! A process of the API, and what it leaves in Redis.

use std::collections::BTreeMap;

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};

use crate::support::examples::{Example, Process};
use crate::support::servers::Redis;

pub(super) const QUEUE: &str = "acme:tasks";

/// How the queue lies in Redis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Stream,
    List,
}

pub(super) const KINDS: [Kind; 2] = [Kind::Stream, Kind::List];

impl Kind {
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::Stream => "--queue-kind=stream",
            Self::List => "--queue-kind=list",
        }
    }

    /// The messages in the queue, from the oldest on.
    pub(super) fn messages(self, redis: &Redis) -> Vec<Value> {
        let mut connection = redis.connection();
        let texts: Vec<String> = match self {
            Self::Stream => {
                let entries: Vec<(String, Vec<(String, String)>)> =
                    redis::cmd("XRANGE").arg(QUEUE).arg("-").arg("+").query(&mut connection).unwrap();
                entries
                    .into_iter()
                    .map(|(_, fields)| fields[0].clone())
                    .map(|(name, text)| {
                        assert_eq!(name, "task");
                        text
                    })
                    .collect()
            }
            Self::List => {
                let mut texts: Vec<String> =
                    redis::cmd("LRANGE").arg(QUEUE).arg(0).arg(-1).query(&mut connection).unwrap();
                texts.reverse();
                texts
            }
        };
        texts.iter().map(|text| serde_json::from_str(text).unwrap()).collect()
    }
}

/// The records of all tasks, by id.
pub(super) fn records(redis: &Redis) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut connection = redis.connection();
    let prefix = format!("{QUEUE}:task:");
    let keys: Vec<String> = redis::cmd("KEYS").arg(format!("{prefix}*")).query(&mut connection).unwrap();
    keys.into_iter()
        .map(|key| {
            let record = redis::cmd("HGETALL").arg(&key).query(&mut connection).unwrap();
            (key[prefix.len()..].to_owned(), record)
        })
        .collect()
}

/// A running API. Killed with its handle.
pub(super) struct Agent {
    pub(super) api: String,
    pub(super) admin: String,
    pub(super) client: Client,
    pub(super) process: Process,
}

impl Agent {
    /// Starts one in front of a queue in `redis`.
    pub(super) fn start(redis: &Redis, flags: &[&str]) -> Self {
        Self::at(&redis.url(), flags)
    }

    /// Starts one in front of a queue in the Redis at `url`.
    pub(super) fn at(url: &str, flags: &[&str]) -> Self {
        // The HTTP client takes the process's.
        drop(rustls::crypto::ring::default_provider().install_default());
        let program = program().arguments(flags).arguments(["--redis-url", url, "--queue", QUEUE]);
        let (mut process, api) = program.start_listening();
        let admin = process.printed("admin on ");
        Self { api, admin, client: Client::new(), process }
    }

    /// A request to put a task in.
    pub(super) fn post(&self, prompt: &str) -> RequestBuilder {
        self.client.post(format!("{}/tasks", self.api)).json(&json!({ "prompt": prompt }))
    }

    /// The same with an idempotency key.
    pub(super) fn post_as(&self, key: &str, prompt: &str) -> RequestBuilder {
        self.post(prompt).header("Idempotency-Key", key)
    }

    /// Gets a page of the API.
    pub(super) async fn get(&self, path: &str) -> Answer {
        answer(self.client.get(format!("{}{path}", self.api))).await
    }

    /// Gets a page of the admin port.
    pub(super) async fn look(&self, path: &str) -> (StatusCode, String) {
        let response = self.client.get(format!("{}{path}", self.admin)).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    }

    /// The value of a metric, by name and labels, if it is there.
    pub(super) async fn metric(&self, name: &str) -> Option<f64> {
        let (_, page) = self.look("/metrics").await;
        let name = format!("agent_api_{name} ");
        page.lines().find_map(|line| line.strip_prefix(&name)).map(|value| value.parse().unwrap())
    }
}

/// The program, on free ports.
pub(super) fn program() -> Example {
    Example::new("agent").environment([("LISTEN", "127.0.0.1:0"), ("ADMIN", "127.0.0.1:0")])
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: reqwest::header::HeaderMap,
    pub(super) body: Value,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The id of the task that was put in.
    pub(super) fn id(&self) -> String {
        assert_eq!(self.status, 202, "{self:?}");
        self.body["id"].as_str().unwrap().to_owned()
    }

    /// Seconds that a refused caller has to wait.
    pub(super) fn retry_after(&self) -> u64 {
        self.header("retry-after").unwrap_or_else(|| panic!("{self:?}")).parse().unwrap()
    }
}

/// Sends a request; every answer is JSON and carries a request id.
pub(super) async fn answer(request: RequestBuilder) -> Answer {
    read(request.send().await.unwrap()).await
}

pub(super) async fn read(response: Response) -> Answer {
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    assert!(headers.contains_key("x-request-id"), "{headers:?}");
    let kind = headers["content-type"].to_str().unwrap().to_owned();
    let expected = if status < 400 { "application/json" } else { "application/problem+json" };
    assert_eq!(kind, expected, "{status}");
    Answer { status, headers, body: response.json().await.unwrap() }
}
