//! Threads that one part of the server has for itself, so that no other part can keep it from its work.

use std::io;
use std::thread::available_parallelism;

use tokio::runtime::{self, Handle, Runtime};

/// Most threads that read and decide: beyond it, connections would have to be slow in turn to fill another.
const MOST_WORK_THREADS: usize = 4;

/// Threads of the admin port: while one builds a page, the other answers probes.
const ADMIN_THREADS: usize = 2;

/// A runtime that ends with its handle, without waiting for what it runs.
pub(super) struct Threads(Option<Runtime>);

impl Threads {
    /// The threads of the admin port. Probes must answer, and say that the decider has stopped, also when all
    /// others are busy.
    pub(super) fn admin() -> io::Result<Self> {
        Self::start("admin", ADMIN_THREADS)
    }

    /// The threads that read and decide. A handler of KEDA's calls wakes for microseconds, and the kernel lets it go
    /// before a thread that works through 10,000 queues.
    pub(super) fn work() -> io::Result<Self> {
        let cores = available_parallelism().map_or(1, usize::from);
        Self::start("work", cores.min(MOST_WORK_THREADS))
    }

    fn start(name: &str, threads: usize) -> io::Result<Self> {
        let runtime = runtime::Builder::new_multi_thread()
            .worker_threads(threads)
            .thread_name(name)
            .enable_all()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// Where tasks of these threads are spawned.
    pub(super) fn handle(&self) -> &Handle {
        #[expect(clippy::expect_used, reason = "it is taken only by `drop`")]
        self.0.as_ref().expect("the threads run until they are dropped").handle()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
