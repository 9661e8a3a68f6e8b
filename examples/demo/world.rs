//! One world: a Redis, a provider, two queues with their API, two Deployments, and who scales them.

use std::net::TcpListener;
use std::time::Duration;

use agent_scaler::engine::decision::LimitedBy;
use agent_scaler::scaler::Scaler;
use agent_scaler::timestamp::Timestamp;
use redis::aio::MultiplexedConnection;
use serde::Deserialize;
use serde_json::json;
use tokio::time::sleep;

use crate::Failure;
use crate::autoscaler::{Autoscaler, Trigger};
use crate::deployment::{Deployment, Kind, Pod};
use crate::ledger::{Counts, Outcome, Task, Use, outcome_of};
use crate::process::{Folder, Process, Programs};
use crate::scaler;

/// The provider's minute, and so the protocol's: a minute, thirty times faster.
pub(crate) const MINUTE: Duration = Duration::from_secs(2);

/// Requests that the provider admits in it.
pub(crate) const REQUESTS: u32 = 24;

/// Pause between two sentences about one Deployment: a reason that comes and goes need not be read each time.
const QUIET: Duration = Duration::from_secs(6);

/// Tries to find a port that nobody takes before Redis does.
const TRIES: u32 = 5;

/// Looks at a Redis that starts, every 20 ms.
const LOOKS: u32 = 250;

/// Who decides in a world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Law {
    /// The real scaler.
    AgentScaler,
    /// ⌈LLEN ÷ slots of a replica⌉.
    ListLength,
}

impl Law {
    /// What the world is called in lines and tables.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::AgentScaler => "agent-scaler",
            Self::ListLength => "list length",
        }
    }

    /// The same for the names of files.
    const fn file(self) -> &'static str {
        match self {
            Self::AgentScaler => "ours",
            Self::ListLength => "list",
        }
    }
}

/// A world that runs.
pub(crate) struct World {
    pub(crate) law: Law,
    pub(crate) seen: Seen,
    pub(crate) scaler: Option<Scaler>,
    deployments: Vec<Deployment>,
    /// URLs of the agent API, one for each queue.
    apis: Vec<String>,
    tasks: Vec<Task>,
    usage: Use,
    redis: MultiplexedConnection,
    http: reqwest::Client,
    provider: String,
    folder: Folder,
    /// What limited each Deployment when it was last said, and when that was.
    said: [Option<(LimitedBy, Timestamp)>; 2],
    /// All that is no replica.
    servers: Vec<Process>,
}

/// What a look at a world showed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// By Deployment, as in [`Kind::ALL`].
    pub(crate) queues: Vec<QueueSeen>,
    /// Part of the key that was used in the last minute of the provider.
    pub(crate) used: f64,
    /// Requests that were refused with 429, from the beginning.
    pub(crate) refused: u64,
}

/// One queue and its Deployment.
#[derive(Clone, Debug, Default)]
pub(crate) struct QueueSeen {
    pub(crate) waiting: u32,
    pub(crate) running: u32,
    pub(crate) replicas: u32,
    pub(crate) ready: usize,
    /// Beside the replicas: told to go, and not gone yet.
    pub(crate) leaving: usize,
}

impl Seen {
    /// Tasks that wait, and tasks that run.
    pub(crate) fn tasks(&self) -> (u32, u32) {
        let sum = |of: fn(&QueueSeen) -> u32| self.queues.iter().map(of).sum();
        (sum(|queue| queue.waiting), sum(|queue| queue.running))
    }
}

impl World {
    /// Starts everything but replicas.
    pub(crate) async fn start(law: Law, programs: &Programs, parent: &Folder) -> Result<Self, Failure> {
        let folder = Folder::new(Some(&parent.path.join(law.file())))?;
        let (server, url) = start_redis(programs, &folder).await?;
        let redis = redis::Client::open(url.as_str())?.get_multiplexed_async_connection().await?;
        let (minute, requests) = (format!("{}ms", MINUTE.as_millis()), REQUESTS.to_string());
        let arguments = ["--listen", "127.0.0.1:0", "--minute", &minute, "--requests-per-minute", &requests];
        let mut stub = Process::start(&programs.stub, "llm-stub", arguments, &folder)?;
        let provider = stub.listens().await?;
        let scaler = match law {
            Law::AgentScaler => Some(scaler::start(&url).await?),
            Law::ListLength => None,
        };
        let key = folder.path.join("key");
        std::fs::write(&key, "the-one-key")?;
        let (program, redis_url) = (programs.worker.clone(), url.clone());
        let pod = Pod { program, redis: redis_url, provider: provider.clone(), key };
        let (mut deployments, mut apis, mut servers) = (Vec::new(), Vec::new(), vec![server, stub]);
        for kind in Kind::ALL {
            let trigger = match &scaler {
                Some(scaler) => scaler::trigger(scaler.grpc, kind).await?,
                None => Trigger::ListLength,
            };
            deployments.push(Deployment::new(kind, Autoscaler::new(trigger), pod.clone()));
            let mut api = start_api(programs, &url, kind, &folder)?;
            apis.push(api.listens().await?);
            servers.push(api);
        }
        Ok(Self {
            law,
            seen: Seen { queues: vec![QueueSeen::default(); Kind::ALL.len()], ..Seen::default() },
            scaler,
            deployments,
            apis,
            tasks: Vec::new(),
            usage: Use::default(),
            redis,
            http: reqwest::Client::new(),
            provider,
            folder,
            said: [None; 2],
            servers,
        })
    }

    /// Puts a task in, through the API.
    pub(crate) async fn put(&mut self, kind: Kind, prompt: &str, calls: u64) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Accepted {
            id: String,
        }
        let api = self.apis.get(kind as usize).ok_or("this queue has no API")?;
        let request = self.http.post(format!("{api}/tasks")).json(&json!({ "prompt": prompt }));
        let answer = request.send().await?.error_for_status()?;
        let Accepted { id } = answer.json().await?;
        self.tasks.push(Task { kind, id, calls });
        Ok(())
    }

    /// Gives the provider a command.
    pub(crate) async fn tell_provider(&self, command: &serde_json::Value) -> Result<(), Failure> {
        let request = self.http.post(format!("{}/control", self.provider)).json(command);
        request.send().await?.error_for_status()?;
        Ok(())
    }

    /// One poll of KEDA and one sync of the HPA for each Deployment.
    pub(crate) async fn sync(&mut self, now: Timestamp) -> Result<(), Failure> {
        for server in &mut self.servers {
            server.still_runs()?;
        }
        for deployment in &mut self.deployments {
            let waiting: u32 =
                redis::cmd("LLEN").arg(deployment.kind.name()).query_async(&mut self.redis).await?;
            deployment.sync(waiting, &self.folder, now).await?;
        }
        Ok(())
    }

    /// Looks at queues, workers and the provider; `capacity` is the part of its limit that it admits.
    pub(crate) async fn look(&mut self, elapsed: Duration, capacity: f64) -> Result<(), Failure> {
        let mut pipeline = redis::pipe();
        for kind in Kind::ALL {
            let name = kind.name();
            pipeline.llen(name).llen(format!("{name}:processing"));
            pipeline.hkeys(format!("agent-scaler:{{{name}}}:workers"));
        }
        let rows: Vec<redis::Value> = pipeline.query_async(&mut self.redis).await?;
        let looks = rows.chunks(3).zip(&self.deployments).zip(&mut self.seen.queues);
        for ((row, deployment), queue) in looks {
            let [waiting, running, reporting] = row else { continue };
            let reporting: Vec<String> = redis::from_redis_value_ref(reporting)?;
            *queue = QueueSeen {
                waiting: redis::from_redis_value_ref(waiting)?,
                running: redis::from_redis_value_ref(running)?,
                replicas: deployment.size(),
                ready: deployment.ready(&reporting),
                leaving: deployment.leaving(),
            };
        }
        let counts = Counts::of(&self.http, &self.provider).await?;
        let (waiting, running) = self.seen.tasks();
        self.usage.note(elapsed, counts.admitted, capacity, waiting + running > 0);
        self.seen.used = self.usage.of_last_minute();
        self.seen.refused = counts.refused;
        Ok(())
    }

    /// The scaler's own sentences, of those Deployments whose number is limited by something else than before.
    pub(crate) fn new_sentences(&mut self, now: Timestamp) -> Vec<String> {
        let reports = self.scaler.as_ref().map(Scaler::reports).unwrap_or_default();
        let mut sentences = Vec::new();
        for (kind, said) in Kind::ALL.into_iter().zip(&mut self.said) {
            let Some(report) = reports.iter().find(|report| *report.name == *kind.name()) else { continue };
            let by = report.decision.limited_by;
            if said.is_none_or(|(before, at)| before != by && now.since(at) >= QUIET) {
                *said = Some((by, now));
                sentences.push(format!("{}: {}", kind.name(), report.why(now)));
            }
        }
        sentences
    }

    /// Whether nothing waits, runs or is paid for.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.seen.tasks() == (0, 0) && self.deployments.iter().all(Deployment::is_empty)
    }

    /// What has become of everything that was put in since `started`.
    pub(crate) async fn outcome(&mut self, started: Timestamp, now: Timestamp) -> Result<Outcome, Failure> {
        let counts = Counts::of(&self.http, &self.provider).await?;
        let mut outcome = outcome_of(&self.tasks, &mut self.redis, started).await?;
        let (waiting, running) = self.seen.tasks();
        outcome.left = u64::from(waiting + running);
        outcome.refused = counts.refused;
        outcome.repeated = counts.admitted.saturating_sub(outcome.needed);
        outcome.used = self.usage.while_there_was_work();
        outcome.lived = self.deployments.iter().map(|deployment| deployment.lived(now)).sum();
        outcome.killed = self.deployments.iter().map(|deployment| deployment.killed).sum();
        Ok(outcome)
    }

    /// Ends the scaler in good order. Processes end with their handles.
    pub(crate) async fn stop(self) {
        if let Some(scaler) = self.scaler {
            scaler.stop().await;
        }
    }
}

/// Starts a Redis that keeps nothing on disk, and waits until it answers.
async fn start_redis(programs: &Programs, folder: &Folder) -> Result<(Process, String), Failure> {
    let mut fault = "redis-server does not start".into();
    for _ in 0..TRIES {
        // Another process may take the port before Redis does.
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let (port, directory) = (port.to_string(), folder.path.display().to_string());
        let arguments = ["--bind", "127.0.0.1", "--port", &port, "--save", "", "--dir", &directory];
        let mut server = Process::start(&programs.redis, "redis", arguments, folder)?;
        let url = format!("redis://127.0.0.1:{port}/0");
        let client = redis::Client::open(url.as_str())?;
        for _ in 0..LOOKS {
            if server.ended()?.is_some() {
                break;
            }
            if client.get_multiplexed_async_connection().await.is_ok() {
                return Ok((server, url));
            }
            sleep(Duration::from_millis(20)).await;
        }
        fault = server.fault("does not start");
    }
    Err(fault)
}

fn start_api(programs: &Programs, redis: &str, kind: Kind, folder: &Folder) -> Result<Process, Failure> {
    let name = kind.name();
    let ports = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"];
    let queue = ["--redis-url", redis, "--queue-kind", "list", "--queue", name];
    Process::start(&programs.agent, &format!("agent-{name}"), [&ports[..], &queue].concat(), folder)
}
