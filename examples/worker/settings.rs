//! Settings: flags that are environment variables as well, checked all at once.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use agent_scaler::providers::Provider;
use agent_scaler::secret::{Revealed, Secret};

use crate::check::{Check, SHORTEST_LEASE, absent, host};
use crate::flags::Flags;
use crate::limiter::Amounts;

/// What the flags mean. Valid by construction.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) redis: RedisSettings,
    pub(crate) queue: String,
    pub(crate) kind: Kind,
    pub(crate) slots: u32,
    pub(crate) lease: Duration,
    /// Attempts after which a task is given up.
    pub(crate) attempts: u32,
    pub(crate) model: ModelSettings,
    pub(crate) tools: Option<String>,
    pub(crate) caps: Caps,
    pub(crate) limit: Option<String>,
    /// Amounts of the limit while no share is published.
    pub(crate) amounts: Amounts,
    /// Whether requests are paced by the limit's shared limiter.
    pub(crate) paced: bool,
    pub(crate) minute: Duration,
    pub(crate) grace: Duration,
    pub(crate) young: Duration,
    pub(crate) listen: String,
    pub(crate) worker: String,
    pub(crate) scope: String,
    /// Whether only one task is run, and how long it is waited for.
    pub(crate) once: Option<Duration>,
}

/// How to reach Redis.
#[derive(Debug)]
pub(crate) struct RedisSettings {
    pub(crate) url: Revealed,
    pub(crate) username: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) ca: Option<PathBuf>,
}

/// What holds the tasks.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// A stream, read by a consumer group.
    Stream { group: String },
    /// A list, from which tasks are moved to another while they run.
    List { processing: String },
    /// An SQS queue.
    Sqs(SqsSettings),
    /// A Kafka topic.
    #[cfg(feature = "kafka")]
    Kafka(KafkaSettings),
}

/// An SQS queue, and how to reach it.
#[derive(Clone, Debug)]
pub(crate) struct SqsSettings {
    pub(crate) url: String,
    pub(crate) region: Option<String>,
    /// Address of SQS where it is not AWS's own.
    pub(crate) endpoint: Option<String>,
    /// URL of the dead-letter queue, unless the redrive policy names it.
    pub(crate) dead: Option<String>,
}

/// A topic, and how to reach it.
#[cfg(feature = "kafka")]
#[derive(Clone, Debug)]
pub(crate) struct KafkaSettings {
    pub(crate) brokers: String,
    pub(crate) topic: String,
    pub(crate) group: String,
    /// Topic of dead letters.
    pub(crate) dead: String,
    /// File with further properties of the client.
    pub(crate) properties: Option<PathBuf>,
}

/// The model, and how to ask it.
#[derive(Clone, Debug)]
pub(crate) struct ModelSettings {
    pub(crate) provider: Provider,
    pub(crate) base_url: String,
    pub(crate) name: String,
    pub(crate) key: Secret,
    pub(crate) timeout: Duration,
    pub(crate) tool_timeout: Duration,
    /// Most tokens of one answer.
    pub(crate) answer_tokens: u64,
}

/// What one task may use.
#[derive(Clone, Debug)]
pub(crate) struct Caps {
    pub(crate) steps: u32,
    /// Tokens sent and generated.
    pub(crate) tokens: u64,
    /// Dollars.
    pub(crate) cost: Option<f64>,
    /// Dollars for one token sent and one generated; zero where no price is known.
    pub(crate) price: (f64, f64),
    /// Time, without what was spent waiting for the rate limit.
    pub(crate) time: Duration,
    /// Bytes of a conversation.
    pub(crate) conversation: usize,
}

/// Everything that is wrong with the settings; never empty.
#[derive(Debug, thiserror::Error)]
pub(crate) struct Invalid(Vec<String>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let problems = if self.0.len() == 1 { "1 problem" } else { &format!("{} problems", self.0.len()) };
        write!(f, "{problems} in the settings:")?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

impl Settings {
    /// Reads every flag before it refuses, so that one error names all that is wrong.
    pub(crate) fn try_new(flags: &Flags) -> Result<Self, Invalid> {
        let mut check = Check::default();
        let redis = check.redis(flags);
        let kind = check.kind(flags);
        let queue = check.queue(flags, kind.as_ref());
        let slots = check.number::<u32>("slots", &flags.slots, 1);
        let lease = check.time("lease", &flags.lease, SHORTEST_LEASE);
        let attempts = check.number::<u32>("attempts", &flags.attempts, 1);
        let model = check.model(flags);
        let tools = check.url("tools-url", &flags.tools_url, &["http", "https"]);
        let caps = check.caps(flags);
        let amounts = check.amounts(flags);
        let minute = check.time("minute", &flags.minute, Duration::from_millis(500));
        let once_wait = check.time("once-wait", &flags.once_wait, Duration::ZERO);
        let grace = check.time("grace", &flags.grace, Duration::ZERO);
        let young = check.time("young", &flags.young, Duration::ZERO);
        let limit = absent(&flags.limit);
        if limit.is_none() && !amounts.is_empty() {
            check.problem("limit", "is required where an amount per minute is given");
        }
        let worker = absent(&flags.worker).unwrap_or_else(host);
        if worker.contains('/') {
            check.problem("worker", "holds a `/`, which divides worker and task in the reports");
        }
        let settings = (|| {
            let queue = queue?;
            Some(Self {
                redis: redis?,
                kind: kind?,
                slots: slots?,
                lease: lease?,
                attempts: attempts?,
                model: model?,
                tools,
                caps: caps?,
                limit,
                amounts,
                paced: !flags.unpaced,
                minute: minute?,
                grace: grace?,
                young: young?,
                listen: flags.listen.clone(),
                worker,
                scope: absent(&flags.scope).unwrap_or_else(|| queue.clone()),
                once: flags.once.then_some(once_wait?),
                queue,
            })
        })();
        match settings {
            Some(settings) if check.0.is_empty() => Ok(settings),
            _ => Err(Invalid(check.0)),
        }
    }

    /// How often leases are renewed and reports are written.
    pub(crate) fn beat(&self) -> Duration {
        Duration::from_secs(10).min(self.minute / 6).min(self.lease / 3)
    }
}
