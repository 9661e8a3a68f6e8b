//! A bug costs what it is about: a batch, or the server, and never leaves old numbers standing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent_scaler::clock::{Clock, SystemClock};
use agent_scaler::scaler::Scaler;
use agent_scaler::timestamp::Timestamp;
use tokio::time::timeout;

use crate::support::harness::{Harness, PATIENCE, eventually, queue, scripted, server};

#[tokio::test]
async fn a_read_that_panics_costs_its_batch_and_the_reader_goes_on() {
    let harness = Harness::start().await;
    harness.script.shows("jobs", queue(7, 0));
    let jobs = scripted("jobs", &[]);
    assert_eq!(harness.value(&jobs).await.unwrap(), 7.0);
    harness.script.panics("jobs");
    let error = eventually("the failure", async || harness.report(&jobs)?.error).await;
    assert_eq!(&*error, "script: the client panicked, which is a bug");
    harness.script.shows("jobs", queue(9, 0));
    harness.script.panics_no_more("jobs");
    eventually("a new reading", async || {
        (harness.value(&jobs).await.ok()? == 9.0 && harness.report(&jobs)?.error.is_none()).then_some(())
    })
    .await;
}

/// A clock with a bug that a switch brings out.
struct Broken {
    clock: SystemClock,
    is_broken: AtomicBool,
}

impl Clock for Broken {
    fn now(&self) -> Timestamp {
        assert!(!self.is_broken.load(Ordering::SeqCst), "a bug in the clock");
        self.clock.now()
    }
}

/// The decider asks for the time in each tick.
#[tokio::test]
async fn a_decider_that_dies_ends_the_server() {
    let clock = Arc::new(Broken { clock: SystemClock::start(), is_broken: AtomicBool::new(false) });
    let scaler =
        Scaler::start(server("", &Arc::default()), Arc::clone(&clock) as Arc<dyn Clock>).await.unwrap();
    clock.is_broken.store(true, Ordering::SeqCst);
    timeout(PATIENCE, scaler.failed()).await.expect("the server ends by itself");
    timeout(PATIENCE, scaler.stop()).await.expect("and nothing holds it up");
}
