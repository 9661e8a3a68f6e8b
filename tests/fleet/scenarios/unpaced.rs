//! Workers that do not pace themselves, with a bursty load at a third of the limit, are not capped.

use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::deployment::Law;
use crate::figures::Figures;
use crate::plant::{Plant, Setup, trigger};
use crate::redis_server::Disk;
use crate::stub::part_refused;
use crate::tasks::Kind;

const MINUTE: Duration = Duration::from_secs(4);
const NAME: &str = "bursty";

/// How long tasks come, and mean minutes from one burst to the next.
const MINUTES: f64 = 10.0;
const APART: f64 = 0.75;

/// Tasks of a burst, three requests each: with the above a third of the limit.
const TASKS: usize = 5;

/// Seed of the times between bursts, so that every run has the same load.
const SEED: u64 = 5;

pub(super) async fn play(folder: PathBuf) -> Figures {
    let mut figures = Figures::default();
    let mut plant = Plant::start(Setup {
        folder: &folder,
        minute: MINUTE,
        disk: Disk::Off,
        // It admits few at a time, as providers that refill by the second do.
        provider: &["--requests-per-minute", "60", "--burst", "0.1"],
        limit: Some("    requestsPerMinute: 60"),
    })
    .await;
    let keys = [("llmLimit", "fleet"), ("maxQueueWait", "8s")];
    let law = Law::Scaler(trigger(NAME, Kind::Stream, 4, &keys));
    // Without the limit's name a worker has nothing to keep to, and says so.
    plant.deploy(NAME, Kind::Stream, law, 6, &["--slots", "4", "--lease", "5s"]).await;
    let (began, mut dice) = (Instant::now(), fastrand::Rng::with_seed(SEED));
    let mut next = 0.0;
    while next < MINUTES {
        let pause = (began + MINUTE.mul_f64(next)).saturating_duration_since(Instant::now());
        plant.minutes(pause.as_secs_f64() / MINUTE.as_secs_f64()).await;
        plant.queues[0].put(TASKS, "steps=3 think=0.8 tool=0.1 output=20").await;
        next -= APART * (1.0 - dice.f64()).ln();
    }
    assert!(plant.until_finished(10.0).await, "tasks are left");
    let counts = plant.stub.counts().await;
    let offered = counts.admitted as f64 / (60.0 * MINUTES);
    figures.note(format!(
        "load {offered:.2} of the limit, {:.1} % refused",
        100.0 * part_refused((counts.admitted, counts.refused))
    ));
    let shown = plant.samples.iter().filter_map(|sample| sample.shown.as_ref());
    let limits: Vec<_> = shown.clone().filter_map(|shown| shown.limit.as_ref()).collect();
    figures.holds("none of the workers paces itself", limits.iter().all(|limit| !limit.paced));
    let least = limits.iter().map(|limit| limit.k).fold(1.0, f64::min);
    let caps = limits.iter().filter(|limit| limit.cap.is_some()).count();
    figures.at_least("looks at which a cap was known", caps as f64, 10.0);
    figures.equal("least k", least, 1.0);
    let capped = shown.filter(|shown| shown.limited_by.contains("llm")).count();
    figures.equal("decisions limited by the limit", capped, 0);
    figures
}
