//! Reads and decides without serving: what `serve` and `plan` have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::Clock;
use crate::config::server::Server;
use crate::config::trigger::Trigger;
use crate::scaler::board::{Board, Full, Purpose, Request, Watched};
use crate::scaler::decider::{self, Decider, Manner};
use crate::scaler::supervise::spawn_essential;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::report::Report;
use crate::timestamp::Timestamp;

/// Whether anybody hears of what is decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Voice {
    /// Workers are told their shares, where a limit says so.
    TellsWorkers,
    /// Nothing is changed anywhere.
    Silent,
}

/// A board, the decider that writes it, and the readers behind that.
#[derive(Clone)]
pub struct Observer {
    board: Arc<Board>,
    clock: Arc<dyn Clock>,
    heartbeat: Arc<AtomicU64>,
}

impl Observer {
    /// Begins to observe, until `shutdown`; nothing is read before a trigger is watched.
    pub fn start(
        server: &Server,
        voice: Voice,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
        tasks: &TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let manner = Manner { tick: server.tick, minute: server.minute, voice };
        let (board, changes) = Board::new(server.max_triggers);
        let board = Arc::new(board);
        let decider = Decider::new(
            Arc::clone(&board),
            Arc::clone(&clock),
            metrics,
            manner,
            decider::engine,
            (tasks.clone(), shutdown.clone()),
        );
        let heartbeat = decider.heartbeat();
        spawn_essential(tasks, &shutdown, "decider", decider.run(changes));
        Self { board, clock, heartbeat }
    }

    /// Watches a trigger from now on.
    ///
    /// # Errors
    /// When there are too many.
    pub fn watch(&self, trigger: Trigger) -> Result<Arc<Watched>, Full> {
        self.board.watch(trigger, Request::default(), Purpose::Answer, self.clock.now())
    }

    /// The report on a watched trigger, once it has been evaluated; `None` if that takes longer than `patience`.
    pub async fn first_report(&self, watched: &Watched, patience: Duration) -> Option<Report> {
        timeout(patience, watched.evaluated()).await.ok()??;
        watched.report()
    }

    /// Reports on the triggers of one ScaledObject (namespace and name), or on all, and the present.
    pub fn reports(&self, of: Option<(&str, &str)>) -> (Vec<Report>, Timestamp) {
        (self.board.reports(of), self.clock.now())
    }

    /// The present.
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Time since the decider last looked around.
    pub fn since_heartbeat(&self) -> Duration {
        self.clock.now().since(Timestamp::from_millis(self.heartbeat.load(Ordering::Relaxed)))
    }

    pub(super) fn board(&self) -> &Arc<Board> {
        &self.board
    }
}
