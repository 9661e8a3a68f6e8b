//! A Deployment whose pods are worker processes.

use std::path::PathBuf;
use std::time::Duration;

use agent_scaler::timestamp::Timestamp;

use crate::Failure;
use crate::autoscaler::{Autoscaler, faster};
use crate::process::{Folder, Process};
use crate::world::{MINUTE, REQUESTS};

/// Tasks that a worker runs at a time.
pub(crate) const SLOTS: u32 = 4;

/// `maxReplicaCount` of both ScaledObjects.
pub(crate) const MAX_REPLICAS: u32 = 20;

/// How long a worker may finish what it runs: half an hour, as its manifest has it.
pub(crate) const GRACE: Duration = faster(1_800);

/// `terminationGracePeriodSeconds`, after which it is killed: that and the manifest's half a minute.
const KILLED_AFTER: Duration = faster(1_830);

/// A task belongs to a worker without a sign of life for a minute and a half.
const LEASE: Duration = faster(90);

/// Younger tasks are handed back at a scale-in.
const YOUNG: Duration = faster(20);

/// Provider, account and class of models.
pub(crate) const LIMIT_SCOPE: &str = "stub/demo/small";

/// The two kinds of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Batch,
    Research,
}

impl Kind {
    pub(crate) const ALL: [Self; 2] = [Self::Batch, Self::Research];

    /// Name of the Deployment and of its queue.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Research => "research",
        }
    }

    /// Its part of the key, beside the other's.
    pub(crate) const fn weight(self) -> u32 {
        match self {
            Self::Batch => 1,
            Self::Research => 3,
        }
    }
}

/// What every worker of a world is told.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    pub(crate) program: PathBuf,
    pub(crate) redis: String,
    pub(crate) provider: String,
    pub(crate) key: PathBuf,
}

/// Replicas, and who decides how many.
pub(crate) struct Deployment {
    pub(crate) kind: Kind,
    autoscaler: Autoscaler,
    pod: Pod,
    /// The newest last.
    replicas: Vec<Replica>,
    leaving: Vec<Leaving>,
    started: u32,
    /// Lives of replicas that have ended.
    lived: Duration,
    /// Replicas that did not end within their grace.
    pub(crate) killed: u32,
}

struct Replica {
    name: String,
    process: Process,
    since: Timestamp,
}

/// A replica that was told to go.
struct Leaving {
    replica: Replica,
    killed_at: Timestamp,
}

impl Deployment {
    pub(crate) fn new(kind: Kind, autoscaler: Autoscaler, pod: Pod) -> Self {
        Self {
            kind,
            autoscaler,
            pod,
            replicas: Vec::new(),
            leaving: Vec::new(),
            started: 0,
            lived: Duration::ZERO,
            killed: 0,
        }
    }

    /// Asks for the size, and starts or ends replicas.
    pub(crate) async fn sync(
        &mut self,
        waiting: u32,
        folder: &Folder,
        now: Timestamp,
    ) -> Result<(), Failure> {
        self.bury(now).await?;
        let next = self.autoscaler.next(self.size(), waiting, now).await;
        while self.size() < next {
            let replica = self.start(folder, now)?;
            self.replicas.push(replica);
        }
        while self.size() > next
            && let Some(newest) = self.replicas.pop()
        {
            // Kubernetes, too, takes the newest first.
            newest.process.terminate().await?;
            self.leaving.push(Leaving { replica: newest, killed_at: now + KILLED_AFTER });
        }
        Ok(())
    }

    /// `spec.replicas`.
    pub(crate) fn size(&self) -> u32 {
        u32::try_from(self.replicas.len()).unwrap_or(u32::MAX)
    }

    /// Replicas that were told to go and still finish what they run.
    pub(crate) fn leaving(&self) -> usize {
        self.leaving.len()
    }

    /// Whether nothing runs any more.
    pub(crate) fn is_empty(&self) -> bool {
        self.replicas.is_empty() && self.leaving.is_empty()
    }

    /// Replicas that are among those who report.
    pub(crate) fn ready(&self, reporting: &[String]) -> usize {
        self.replicas.iter().filter(|replica| reporting.contains(&replica.name)).count()
    }

    /// Lives of all replicas together.
    pub(crate) fn lived(&self, now: Timestamp) -> Duration {
        let alive = self.replicas.iter().chain(self.leaving.iter().map(|leaving| &leaving.replica));
        self.lived + alive.map(|replica| now.since(replica.since)).sum::<Duration>()
    }

    fn start(&mut self, folder: &Folder, since: Timestamp) -> Result<Replica, Failure> {
        self.started += 1;
        let Pod { program, redis, provider, key } = &self.pod;
        let name = format!("{}-{}", self.kind.name(), self.started);
        let millis = |duration: Duration| format!("{}ms", duration.as_millis());
        let flags = [
            ("redis-url", redis.clone()),
            ("queue-kind", "list".to_owned()),
            ("queue", self.kind.name().to_owned()),
            ("slots", SLOTS.to_string()),
            ("lease", millis(LEASE)),
            ("provider", "openai".to_owned()),
            ("base-url", provider.clone()),
            ("tools-url", format!("{provider}/tools")),
            ("model", "demo".to_owned()),
            ("api-key-file", key.display().to_string()),
            ("limit", LIMIT_SCOPE.to_owned()),
            ("requests-per-minute", REQUESTS.to_string()),
            ("minute", millis(MINUTE)),
            ("grace", millis(GRACE)),
            ("young", millis(YOUNG)),
            ("listen", "127.0.0.1:0".to_owned()),
            ("worker", name.clone()),
            ("log", "info".to_owned()),
        ];
        let arguments = flags.into_iter().flat_map(|(flag, value)| [format!("--{flag}"), value]);
        let process = Process::start(program, &name, arguments, folder)?;
        Ok(Replica { name, process, since })
    }

    /// Kills those whose grace is over, and forgets those that have ended. One that ends by itself is a fault.
    async fn bury(&mut self, now: Timestamp) -> Result<(), Failure> {
        for replica in &mut self.replicas {
            replica.process.still_runs()?;
        }
        for Leaving { replica, killed_at } in &mut self.leaving {
            if now >= *killed_at && replica.process.ended()?.is_none() {
                self.killed += 1;
                replica.process.kill().await?;
            }
        }
        for mut leaving in std::mem::take(&mut self.leaving) {
            match leaving.replica.process.ended()? {
                Some(_) => self.lived += now.since(leaving.replica.since),
                None => self.leaving.push(leaving),
            }
        }
        Ok(())
    }
}
