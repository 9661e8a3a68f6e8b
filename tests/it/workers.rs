//! The worker protocol, between its writer and the scaler's reader, on a real Redis.

mod limits;
mod minutes;
mod nonsense;
mod outage;
mod presence;
mod reporters;
mod rights;
mod shares;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::limit::LimitSeen;
use agent_scaler::engine::signals::{Worker, WorkerState, Workers};
use agent_scaler::fields::{Fields, Value};
use agent_scaler::sources::{ALL, Client, Plan, ReadError, Reports, Sighting};
use agent_scaler::timestamp::Timestamp;
use agent_scaler::workers::writer::{Beat, Reporter, Settings, Tally};
use redis::aio::{ConnectionManager, ConnectionManagerConfig};

use crate::support::servers::Redis;

/// How long a test waits for what should come at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The queue whose workers report, and the limit that they use.
const SCOPE: &str = "acme:tasks";
const LIMIT: &str = "anthropic/prod";

const IDLE: Worker = Worker {
    state: WorkerState::Idle,
    slots: 4,
    running: 0,
    oldest: None,
    progress: None,
    paces: true,
    poison: 0,
};

/// A Redis, and a length of the protocol's minute of which none ends during a test.
struct Stage {
    redis: Redis,
    minute: Duration,
}

/// The scaler's connection to it.
struct Scaler {
    client: Box<dyn Client>,
    minute: Duration,
}

impl Deref for Stage {
    type Target = Redis;

    fn deref(&self) -> &Redis {
        &self.redis
    }
}

impl Stage {
    fn start() -> Self {
        let redis = Redis::plain();
        let now = now(&redis).as_millis();
        // A millisecond more moves the beginning of the present minute by hours.
        let minute = (60_000..).find(|minute| (20_000..25_000).contains(&(now % minute))).unwrap();
        Self { redis, minute: Duration::from_millis(minute) }
    }

    /// The number of the minute in which `at` lies.
    fn number(&self, at: Timestamp) -> u64 {
        at.as_millis() / u64::try_from(self.minute.as_millis()).unwrap()
    }

    /// A worker of [`SCOPE`] that uses [`LIMIT`].
    async fn reporter(&self, worker: &str) -> Reporter {
        self.reporter_of("", worker).await
    }

    /// The same, of a user: `name:password@`.
    async fn reporter_of(&self, user: &str, worker: &str) -> Reporter {
        let settings = Settings {
            scope: SCOPE.to_owned(),
            limit: Some(LIMIT.to_owned()),
            worker: worker.to_owned(),
            minute: self.minute,
            lease: Duration::from_secs(30),
        };
        let server = redis::Client::open(self.url_of(user)).unwrap();
        // The machine may be busy, and a server that is away is not waited for.
        let patient = ConnectionManagerConfig::new()
            .set_response_timeout(Some(PATIENCE))
            .set_connection_timeout(Some(PATIENCE))
            .set_number_of_retries(1);
        let connection = ConnectionManager::new_with_config(server, patient).await.unwrap();
        Reporter::new(connection, settings)
    }

    fn url_of(&self, user: &str) -> String {
        format!("redis://{user}127.0.0.1:{}", self.port())
    }

    async fn scaler(&self) -> Scaler {
        self.scaler_at(self.port()).await
    }

    /// The scaler, through a proxy.
    async fn scaler_at(&self, port: u16) -> Scaler {
        let url = ("url".to_owned(), Value::Text(format!("redis://127.0.0.1:{port}")));
        let values = BTreeMap::from([url]);
        let endpoint = (ALL[0].connections[0].parse)(&mut Fields::new("connections.main", &values)).unwrap();
        let client = tokio::time::timeout(PATIENCE, endpoint.connect()).await.unwrap().unwrap();
        Scaler { client, minute: self.minute }
    }
}

impl Scaler {
    async fn workers(&mut self) -> Workers {
        match self.read(self.workers_of(SCOPE)).await {
            Ok(Sighting::Workers(workers)) => workers,
            other => panic!("no workers: {other:?}"),
        }
    }

    async fn limit(&mut self) -> LimitSeen {
        match self.read(limit_of(LIMIT)).await {
            Ok(Sighting::Limit(limit)) => limit,
            other => panic!("no limit: {other:?}"),
        }
    }

    async fn read(&mut self, plan: Arc<dyn Plan>) -> Result<Sighting, ReadError> {
        let mut results = self.read_all(&[plan]).await;
        assert_eq!(results.len(), 1);
        results.remove(0)
    }

    async fn read_all(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        tokio::time::timeout(PATIENCE, self.client.read(plans)).await.unwrap()
    }

    fn workers_of(&self, scope: &str) -> Arc<dyn Plan> {
        (reports().workers)(scope, self.minute)
    }
}

fn reports() -> Reports {
    ALL[0].connections[0].reports.unwrap()
}

fn limit_of(scope: &str) -> Arc<dyn Plan> {
    (reports().limit)(scope)
}

async fn beat(reporter: &mut Reporter, worker: Worker, running: &[&str], tally: &Tally, now: Timestamp) {
    let running: Vec<String> = running.iter().map(|task| (*task).to_owned()).collect();
    reporter.beat(&Beat { worker, running: &running, tally }, now).await.unwrap();
}

/// Redis's time.
fn now(redis: &Redis) -> Timestamp {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME").query(&mut redis.connection()).unwrap();
    Timestamp::from_millis(seconds * 1_000 + micros / 1_000)
}

/// How often the server was asked with this command since it was last told to count anew.
fn calls(redis: &Redis, command: &str) -> u64 {
    let statistics: String = redis::cmd("INFO").arg("commandstats").query(&mut redis.connection()).unwrap();
    let line = statistics.lines().find_map(|line| line.strip_prefix(&format!("cmdstat_{command}:calls=")));
    line.map_or(0, |line| line.split(',').next().unwrap().parse().unwrap())
}

fn integer(value: redis::Value) -> i64 {
    redis::from_redis_value(value).unwrap()
}
