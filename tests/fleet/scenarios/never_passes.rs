//! Sixty small tasks beside one request that the provider refuses with a 429 whenever it comes: the same burst twice, in
//! plants of their own, with that request and without it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio::time::Instant;

use crate::deployment::Law;
use crate::figures::Figures;
use crate::plant::{LIMIT, Plant, Setup, trigger};
use crate::redis_server::Disk;
use crate::tasks::Kind;

const MINUTE: Duration = Duration::from_secs(4);
const NAME: &str = "beside";
const TASKS: usize = 60;

/// The recorded answers, of which one is given to the request that holds the word `HUGE`.
const ANSWERS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/answers/worker.json");
const ANSWER: &str = "anthropic-long-context";

/// What a burst came to.
struct Outcome {
    done: usize,
    failed: usize,
    /// Minutes until the last task was done.
    finish: f64,
    /// The least part of the limit that the scaler believed in.
    least_k: f64,
    /// Whether it ever called the limit blocked.
    was_blocked: bool,
}

pub(super) async fn play(folder: PathBuf) -> Figures {
    let mut figures = Figures::default();
    let [a, b] = ["without", "beside"].map(|name| folder.join(name));
    let (without, beside) = tokio::join!(run(&a, false), run(&b, true));
    for (name, Outcome { done, failed, finish, least_k, .. }) in [("without", &without), ("beside", &beside)]
    {
        figures.note(format!("{name}: {done} done, {failed} failed, {finish:.2} min, least k {least_k:.3}"));
    }
    figures.equal("done beside the request", beside.done, TASKS);
    figures.equal("the request itself failed", beside.failed, 1);
    figures.at_most("finish, as a part of that without it", beside.finish / without.finish, 1.1);
    figures.at_least("least k beside it", beside.least_k, without.least_k);
    figures.equal("limit blocked", beside.was_blocked, false);
    figures
}

/// Plays the burst until nothing is left of it.
async fn run(folder: &Path, is_beside: bool) -> Outcome {
    let mut plant = Plant::start(Setup {
        folder,
        minute: MINUTE,
        disk: Disk::Off,
        provider: &["--requests-per-minute", "240", "--provider-headers", "anthropic", "--answers", ANSWERS],
        limit: Some("    requestsPerMinute: 240\n    usePerTask: { requests: 3 }\n    publishShares: true"),
    })
    .await;
    let keys = [("llmLimit", "fleet"), ("maxQueueWait", "20s"), ("expectedTaskDuration", "2s")];
    let law = Law::Scaler(trigger(NAME, Kind::List, 4, &keys));
    let flags = ["--slots", "4", "--lease", "5s", "--limit", LIMIT, "--provider", "anthropic"];
    plant.deploy(NAME, Kind::List, law, 6, &flags).await;
    let began = Instant::now();
    if is_beside {
        plant.stub.control(json!({"replay": {"answer": ANSWER, "if_holds": "HUGE"}})).await;
        plant.queues[0].put(1, "steps=1 think=0] [HUGE").await;
    }
    plant.queues[0].put(TASKS, "steps=3 think=0.6 tool=0.1 output=20").await;
    assert!(plant.until_finished(20.0).await, "not done after twenty minutes");
    let finish = began.elapsed().as_secs_f64() / MINUTE.as_secs_f64();
    let fates = plant.queues[0].fates().await.unwrap();
    // Until the minutes of the burst are over and have been read.
    plant.minutes(3.0).await;
    let limits: Vec<_> =
        plant.samples.iter().filter_map(|sample| sample.shown.as_ref()?.limit.as_ref()).collect();
    Outcome {
        done: fates.done,
        failed: fates.failed,
        finish,
        least_k: limits.iter().map(|limit| limit.k).fold(1.0, f64::min),
        was_blocked: limits.iter().any(|limit| limit.blocked_until.is_some()),
    }
}
