//! Tasks that are put into a queue, and what their records say became of them.

use std::collections::BTreeMap;

use agent_scaler::clock::{Clock as _, SystemClock};
use redis::aio::MultiplexedConnection;

/// A kind of queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A stream with the consumer group `workers`.
    Stream,
    /// A list, taken from the right.
    List,
}

/// What has become of some tasks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fates {
    /// Tasks with a result.
    pub(crate) done: usize,
    /// Tasks that were given up.
    pub(crate) failed: usize,
    /// Tasks that wait or run.
    pub(crate) open: usize,
}

/// A queue, and the test's own list of what it put in.
pub(crate) struct Queue {
    name: String,
    kind: Kind,
    connection: MultiplexedConnection,
    clock: SystemClock,
    /// Names of all tasks.
    pub(crate) put: Vec<String>,
}

impl Queue {
    pub(crate) async fn new(name: &str, kind: Kind, connection: MultiplexedConnection) -> Self {
        let mut queue =
            Self { name: name.to_owned(), kind, connection, clock: SystemClock::start(), put: Vec::new() };
        if kind == Kind::Stream {
            // A worker would make the group as well; this one is there before the first task.
            let mut create = redis::cmd("XGROUP");
            create.arg("CREATE").arg(name).arg("workers").arg("0").arg("MKSTREAM");
            create.exec_async(&mut queue.connection).await.unwrap();
        }
        queue
    }

    /// Puts `count` tasks in that the provider answers by this script, each with its record, as the agent does.
    pub(crate) async fn put(&mut self, count: usize, script: &str) {
        let enqueued_ms = self.clock.now().as_millis();
        let mut pipeline = redis::pipe();
        pipeline.atomic();
        for number in self.put.len()..self.put.len() + count {
            let id = format!("{}-{number}", self.name.replace(':', "-"));
            let task = serde_json::json!({
                "id": id, "prompt": format!("task={id} [{script}]"), "enqueued_ms": enqueued_ms,
            });
            let record = format!("{}:task:{id}", self.name);
            pipeline.hset_multiple(record, &[("status", "queued"), ("attempts", "0")]).ignore();
            match self.kind {
                Kind::Stream => pipeline.cmd("XADD").arg(&self.name).arg("*").arg("task"),
                Kind::List => pipeline.cmd("LPUSH").arg(&self.name),
            };
            pipeline.arg(task.to_string()).ignore();
            self.put.push(id);
        }
        pipeline.exec_async(&mut self.connection).await.unwrap();
    }

    /// What has become of them; `None` while Redis cannot be asked.
    pub(crate) async fn fates(&mut self) -> Option<Fates> {
        let mut pipeline = redis::pipe();
        for id in &self.put {
            pipeline.hget(format!("{}:task:{id}", self.name), "status");
        }
        if self.put.is_empty() {
            return Some(Fates::default());
        }
        let answers: Vec<Option<String>> = pipeline.query_async(&mut self.connection).await.ok()?;
        let count = |status| answers.iter().filter(|answer| answer.as_deref() == Some(status)).count();
        let (done, failed) = (count("done"), count("failed"));
        Some(Fates { done, failed, open: answers.len() - done - failed })
    }

    /// Messages that lie in the queue, waiting or taken.
    pub(crate) async fn messages(&mut self) -> u64 {
        match self.kind {
            Kind::Stream => {
                redis::cmd("XLEN").arg(&self.name).query_async(&mut self.connection).await.unwrap()
            }
            Kind::List => {
                let mut pipeline = redis::pipe();
                pipeline.llen(&self.name).llen(format!("{}:processing", self.name));
                let (waiting, taken): (u64, u64) = pipeline.query_async(&mut self.connection).await.unwrap();
                waiting + taken
            }
        }
    }

    /// Messages that wait in a list.
    pub(crate) async fn length(&mut self) -> Option<u64> {
        redis::cmd("LLEN").arg(&self.name).query_async(&mut self.connection).await.ok()
    }

    /// Connects anew, after Redis was away.
    pub(crate) fn reconnected(&mut self, connection: MultiplexedConnection) {
        self.connection = connection;
    }

    /// The records' field `field`, by the task's name.
    pub(crate) async fn field(&mut self, field: &str) -> BTreeMap<String, String> {
        let mut pipeline = redis::pipe();
        for id in &self.put {
            pipeline.hget(format!("{}:task:{id}", self.name), field);
        }
        let answers: Vec<Option<String>> = pipeline.query_async(&mut self.connection).await.unwrap();
        self.put.iter().cloned().zip(answers).filter_map(|(id, answer)| Some((id, answer?))).collect()
    }
}
