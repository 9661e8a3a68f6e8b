//! Open streams, which are counted until they are dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Evaluation, Watched};

/// An open stream on a trigger. The trigger is read more often while it has one.
pub(in crate::scaler) struct OpenStream {
    pub(super) watched: Arc<Watched>,
    /// Version of the last evaluation that it took.
    pub(super) version: u64,
}

impl OpenStream {
    /// The next evaluation; `None` once the trigger is watched no more.
    pub(in crate::scaler) async fn next(&mut self) -> Option<Arc<Evaluation>> {
        let (version, evaluation) = self.watched.evaluations.newer_than(self.version).await?;
        self.version = version;
        Some(evaluation)
    }
}

impl Drop for OpenStream {
    fn drop(&mut self) {
        self.watched.streams.fetch_sub(1, Ordering::Relaxed);
    }
}

/// An open stream of a spec, whose trigger is watched or refused.
pub(in crate::scaler) enum SpecStream {
    /// Watched.
    Watched(Arc<Watched>),
    /// Refused: counted with all others of its kind.
    Refused(Arc<AtomicU32>),
}

impl SpecStream {
    pub(super) fn count(&self) -> &AtomicU32 {
        match self {
            Self::Watched(watched) => &watched.specs,
            Self::Refused(count) => count,
        }
    }
}

impl Drop for SpecStream {
    fn drop(&mut self) {
        self.count().fetch_sub(1, Ordering::Relaxed);
    }
}

/// Too many streams are open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{most} streams of this kind are open on this trigger already")]
pub(in crate::scaler) struct TooManyStreams {
    /// The limit.
    pub most: u32,
}
