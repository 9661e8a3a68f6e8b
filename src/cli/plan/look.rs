//! Where the plan gets its reports from: the queues themselves, or a running server.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use prometheus_client::registry::Registry;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::clock::SystemClock;
use crate::config::server::Server;
use crate::config::trigger::Trigger;
use crate::scaler::board::Watched;
use crate::scaler::observer::{Observer, Voice};
use crate::telemetry::metrics::Metrics;
use crate::telemetry::shown::Shown;

/// A way to look at triggers.
pub(super) enum Look {
    /// At the queues, as a server does that has just started.
    Own {
        observer: Observer,
        watched: Vec<Arc<Watched>>,
        begun: Instant,
        patience: Duration,
        /// Ends the observer.
        _end: DropGuard,
    },
    /// Through the admin port of a server.
    Remote { client: reqwest::Client, url: String, token: Option<String> },
}

impl Look {
    /// Begins to read the queues of `triggers`.
    ///
    /// # Errors
    /// When they are too many.
    pub(super) fn begin(server: &Server, triggers: Vec<Trigger>, patience: Duration) -> anyhow::Result<Self> {
        let (shutdown, tasks) = (CancellationToken::new(), TaskTracker::new());
        let metrics = Metrics::register(&mut Registry::default());
        let clock = Arc::new(SystemClock::start());
        let observer = Observer::start(server, Voice::Silent, clock, metrics, &tasks, shutdown.clone());
        let watched = triggers.into_iter().map(|trigger| observer.watch(trigger));
        let watched: Vec<Arc<Watched>> = watched.collect::<Result<_, _>>()?;
        Ok(Self::Own { observer, watched, begun: Instant::now(), patience, _end: shutdown.drop_guard() })
    }

    /// Asks the server whose admin port is at `url`.
    ///
    /// # Errors
    /// When no HTTP client can be made.
    pub(super) fn remote(url: &str, token: Option<&str>, patience: Duration) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder().timeout(patience).build()?;
        let url = format!("{}/decisions", url.trim_end_matches('/'));
        Ok(Self::Remote { client, url, token: token.map(str::to_owned) })
    }

    /// Waits until it has looked for `time`.
    pub(super) async fn after(&self, time: Duration) {
        match self {
            Self::Own { begun, .. } => sleep_until(*begun + time).await,
            Self::Remote { .. } => {}
        }
    }

    /// The report on one trigger; `None` if there is none in time.
    ///
    /// # Errors
    /// When the server does not answer as it should.
    pub(super) async fn at(&self, trigger: &Trigger) -> anyhow::Result<Option<Shown>> {
        match self {
            Self::Own { observer, watched, patience, .. } => {
                let Some(watched) = watched.iter().find(|watched| watched.trigger.id == trigger.id) else {
                    return Ok(None);
                };
                let report = observer.first_report(watched, *patience).await;
                Ok(report.map(|report| report.shown(observer.now())))
            }
            Self::Remote { client, url, token } => ask(client, url, token.as_deref(), trigger).await,
        }
    }
}

/// The server's report on one trigger; `None` if KEDA has not asked the server for it yet.
async fn ask(
    client: &reqwest::Client,
    url: &str,
    token: Option<&str>,
    trigger: &Trigger,
) -> anyhow::Result<Option<Shown>> {
    let id = &trigger.id;
    let mut request = client.get(format!("{url}/{}/{}", id.namespace, id.name));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let response = request.send().await.with_context(|| format!("cannot ask {url}"))?;
    if response.status() == reqwest::StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let response = response.error_for_status().context("the server refuses (hint: --token)")?;
    let shown: Vec<Shown> = response.json().await.with_context(|| format!("{url} is no agent-scaler"))?;
    // The fingerprint has the server's defaults in it, which nobody knows here; the queue has not.
    let (source, queue) = (trigger.source.name, trigger.plan.queue());
    let same = |shown: &Shown| {
        shown.source == source && shown.queue == queue && *shown.connection == *trigger.connection.name
    };
    Ok(shown.into_iter().find(same))
}
