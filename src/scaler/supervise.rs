//! Tasks without which the server would only look healthy: when one panics, or ends before it was told to, the server
//! ends too, and says why.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Spawns a task that must run until `shutdown`.
pub(super) fn spawn_essential(
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
    name: &'static str,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        match AssertUnwindSafe(work).catch_unwind().await {
            Ok(()) if shutdown.is_cancelled() => return,
            Ok(()) => tracing::error!(task = name, "A task has ended by itself; the server ends."),
            Err(_) => tracing::error!(task = name, "A task has panicked; the server ends."),
        }
        shutdown.cancel();
    });
}

/// Spawns a task that may end by itself, but not by a panic.
pub(super) fn spawn_guarded(
    tasks: &TaskTracker,
    shutdown: &CancellationToken,
    name: &'static str,
    work: impl Future<Output = ()> + Send + 'static,
) {
    let shutdown = shutdown.clone();
    tasks.spawn(async move {
        if AssertUnwindSafe(work).catch_unwind().await.is_err() {
            tracing::error!(task = name, "A task has panicked; the server ends.");
            shutdown.cancel();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the server ends by itself when `work` is done, essential or not.
    async fn ends(essential: bool, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
        if essential {
            spawn_essential(&tasks, &shutdown, "test", work);
        } else {
            spawn_guarded(&tasks, &shutdown, "test", work);
        }
        tasks.close();
        tasks.wait().await;
        shutdown.is_cancelled()
    }

    #[tokio::test]
    async fn a_panic_ends_the_server_and_so_does_an_essential_task_that_is_over() {
        assert!(ends(true, async { panic!("a bug") }).await);
        assert!(ends(false, async { panic!("a bug") }).await);
        assert!(ends(true, async {}).await);
        assert!(!ends(false, async {}).await);
    }
}
