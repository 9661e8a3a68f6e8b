//! Everything that a scenario runs: Redis, a provider, a scaler, Deployments with their queues; and their clockwork.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use agent_scaler::clock::{Clock as _, SystemClock};
use agent_scaler::engine::hpa::SYNC_EVERY;
use agent_scaler::scaler::proto::ScaledObjectRef;
use agent_scaler::telemetry::shown::Shown;
use agent_scaler::timestamp::Timestamp;
use tokio::time::{Instant, sleep_until};

use crate::deployment::{Deployment, Law, Template, queue};
use crate::redis_server::{Disk, Redis};
use crate::scaler::Scaler;
use crate::stub::Stub;
use crate::tasks::{Kind, Queue};

/// How often everything is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The limit of every scenario, and its name in the server's file.
pub(crate) const LIMIT: &str = "openai/fleet/small";

/// How a plant is set up.
pub(crate) struct Setup<'a> {
    /// Where its logs go.
    pub(crate) folder: &'a Path,
    /// Length of the protocol's minute, and of the provider's.
    pub(crate) minute: Duration,
    /// Whether Redis survives being killed.
    pub(crate) disk: Disk,
    /// Flags of the provider.
    pub(crate) provider: &'a [&'a str],
    /// The keys of the limit in the server's file, besides where it is; `None` for no limit.
    pub(crate) limit: Option<&'a str>,
}

/// What was seen of one Deployment at one time.
#[derive(Clone, Debug)]
pub(crate) struct Sample {
    /// The minute of the protocol.
    pub(crate) minute: u64,
    /// Which.
    pub(crate) name: &'static str,
    /// The value that the scaler gave.
    pub(crate) value: Option<f64>,
    /// Whether it called the trigger active.
    pub(crate) active: Option<bool>,
    /// What its page showed.
    pub(crate) shown: Option<Shown>,
    /// Replicas that the Deployment was to have, and had.
    pub(crate) replicas: (u32, usize),
}

/// A running plant.
pub(crate) struct Plant {
    pub(crate) folder: PathBuf,
    pub(crate) minute: Duration,
    pub(crate) redis: Redis,
    pub(crate) stub: Stub,
    pub(crate) scaler: Option<Scaler>,
    pub(crate) deployments: Vec<Deployment>,
    pub(crate) queues: Vec<Queue>,
    /// Everything that was seen, in order.
    pub(crate) samples: Vec<Sample>,
    file: String,
    clock: SystemClock,
    started: Instant,
    next_look: Instant,
    next_sync: Instant,
}

impl Plant {
    /// Starts a Redis, a provider and a scaler.
    pub(crate) async fn start(setup: Setup<'_>) -> Self {
        let Setup { folder, minute, disk, provider, limit } = setup;
        std::fs::create_dir_all(folder).unwrap();
        std::fs::write(folder.join("key"), "sk-fleet").unwrap();
        let redis = Redis::start(folder, disk).await;
        let stub = Stub::start(folder, minute, provider).await;
        let mut file = format!(
            "protocolMinute: {}ms\nconnections:\n  redis-main: {{ type: redis, url: \"{}\" }}\n",
            minute.as_millis(),
            redis.url()
        );
        if let Some(keys) = limit {
            let place = format!("    workersConnection: redis-main\n    scope: {LIMIT}");
            writeln!(file, "llmLimits:\n  fleet:\n{place}\n{keys}").unwrap();
        }
        let scaler = Some(Scaler::start(&file).await);
        let started = Instant::now();
        Self {
            folder: folder.to_owned(),
            minute,
            redis,
            stub,
            scaler,
            deployments: Vec::new(),
            queues: Vec::new(),
            samples: Vec::new(),
            file,
            clock: SystemClock::start(),
            started,
            next_look: started,
            next_sync: started,
        }
    }

    /// Adds a Deployment and its queue: its number.
    pub(crate) async fn deploy(
        &mut self,
        name: &'static str,
        kind: Kind,
        law: Law,
        most: u32,
        flags: &[&str],
    ) -> usize {
        let key = self.folder.join("key");
        let minute = format!("{}ms", self.minute.as_millis());
        let kind_name = if kind == Kind::Stream { "stream" } else { "list" };
        let common = [
            ("--redis-url", self.redis.url()),
            ("--queue-kind", kind_name.to_owned()),
            ("--base-url", self.stub.url.clone()),
            ("--tools-url", format!("{}/tools", self.stub.url)),
            ("--api-key-file", key.display().to_string()),
            ("--model", "small".to_owned()),
            ("--minute", minute),
        ];
        let mut all: BTreeMap<String, String> =
            common.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        all.extend(flags.chunks(2).map(|pair| (pair[0].to_owned(), pair[1].to_owned())));
        let flags = all.into_iter().flat_map(|(name, value)| [name, value]).collect();
        let template = Template { flags, logs: self.folder.clone() };
        self.deployments.push(Deployment::new(name, law, most, template));
        let connection = self.redis.connection().await;
        self.queues.push(Queue::new(&queue(name), kind, connection).await);
        self.deployments.len() - 1
    }

    /// Stops the scaler and starts another one.
    pub(crate) async fn restart_scaler(&mut self) {
        if let Some(scaler) = self.scaler.take() {
            scaler.stop().await;
        }
        self.scaler = Some(Scaler::start(&self.file).await);
    }

    /// The number of the present minute.
    pub(crate) fn present(&self) -> u64 {
        self.clock.now().as_millis() / u64::try_from(self.minute.as_millis()).unwrap()
    }

    /// Lets so many minutes pass.
    pub(crate) async fn minutes(&mut self, count: f64) {
        let until = Instant::now() + self.minute.mul_f64(count);
        self.until(count + 1.0, async |_| Instant::now() >= until).await;
    }

    /// Lets time pass until `minute` begins.
    pub(crate) async fn until_minute(&mut self, minute: u64) {
        while self.present() < minute {
            self.look().await;
        }
    }

    /// Goes on until something is so: whether it came about within so many minutes.
    pub(crate) async fn until(&mut self, longest: f64, is_so: impl AsyncFn(&mut Self) -> bool) -> bool {
        let end = Instant::now() + self.minute.mul_f64(longest);
        while !is_so(self).await {
            if Instant::now() > end {
                return false;
            }
            self.look().await;
        }
        true
    }

    /// Goes on until every task is done or given up.
    pub(crate) async fn until_finished(&mut self, longest: f64) -> bool {
        self.until(longest, async |plant| {
            for queue in &mut plant.queues {
                if queue.fates().await.is_none_or(|fates| fates.open > 0) {
                    return false;
                }
            }
            true
        })
        .await
    }

    /// Ends every worker as Kubernetes does, and waits for them.
    pub(crate) async fn drain(&mut self) {
        self.deployments.iter_mut().for_each(|deployment| {
            deployment.law = Law::Fixed(0);
            deployment.scale(0);
        });
        let all_gone =
            self.until(20.0, async |plant| plant.deployments.iter().all(|of| of.leaving.is_empty())).await;
        assert!(all_gone, "workers do not end within 20 minutes of the protocol after SIGTERM");
    }

    /// Waits for the next look: asks for values when the HPA does, and keeps replicas alive.
    pub(crate) async fn look(&mut self) {
        self.next_look += LOOK_EVERY;
        sleep_until(self.next_look).await;
        let syncs = Instant::now() >= self.next_sync;
        if syncs {
            self.next_sync = Instant::now() + SYNC_EVERY.mul_f64(self.minute.as_secs_f64() / 60.0);
        }
        let now = self.virtual_now();
        for at in 0..self.deployments.len() {
            match self.deployments[at].law.clone() {
                Law::Fixed(replicas) => self.deployments[at].scale(replicas),
                Law::Scaler(trigger) if syncs => self.ask(at, &trigger, now).await,
                Law::ListLength(tasks) if syncs => {
                    let length = self.queues[at].length().await;
                    let value = length.map(|length| length as f64);
                    let active = length.map(|length| length > 0);
                    self.deployments[at].follow(value, active, tasks, now);
                }
                Law::Scaler(_) | Law::ListLength(_) => self.deployments[at].reconcile(),
            }
        }
    }

    async fn ask(&mut self, at: usize, trigger: &ScaledObjectRef, now: Timestamp) {
        let Some(scaler) = &mut self.scaler else { return };
        let said = scaler.asked(trigger).await;
        let minute = self.present();
        let deployment = &mut self.deployments[at];
        deployment.follow(said.value, said.active, 1, now);
        self.samples.push(Sample {
            minute,
            name: deployment.name,
            value: said.value,
            active: said.active,
            shown: said.shown,
            replicas: (deployment.replicas(), deployment.workers.len()),
        });
    }

    /// A time in which the protocol's minute is a minute.
    fn virtual_now(&self) -> Timestamp {
        Timestamp::default() + self.started.elapsed().mul_f64(60.0 / self.minute.as_secs_f64())
    }

    /// What was last seen of a Deployment.
    pub(crate) fn last(&self, name: &str) -> &Sample {
        self.samples.iter().rev().find(|sample| sample.name == name).expect("it was never asked about")
    }
}

/// A trigger of the Deployment `name` with a limit, and further keys.
pub(crate) fn trigger(name: &str, kind: Kind, slots: u32, keys: &[(&str, &str)]) -> ScaledObjectRef {
    let (queue, slots) = (queue(name), slots.to_string());
    let source: &[(&str, &str)] = match kind {
        Kind::Stream => &[("source", "redis-streams"), ("stream", &queue), ("consumerGroup", "workers")],
        Kind::List => &[("source", "redis"), ("listName", &queue)],
    };
    let common = [
        ("connection", "redis-main"),
        ("scalerAddress", "agent-scaler:9090"),
        ("tasksPerReplica", &slots),
        ("podStartupTime", "1s"),
        ("drainTime", "30m"),
        ("workersConnection", "redis-main"),
    ];
    let all = source.iter().chain(&common).chain(keys);
    let scaler_metadata = all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    ScaledObjectRef { name: name.to_owned(), namespace: name.to_owned(), scaler_metadata }
}
