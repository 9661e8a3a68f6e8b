//! One burst under a limit of half the load: ours beside KEDA's list-length law, with workers that pace themselves to
//! the same limit and with workers that do not; each in a plant of its own.

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::deployment::Law;
use crate::figures::Figures;
use crate::plant::{LIMIT, Plant, Setup, trigger};
use crate::redis_server::Disk;
use crate::tasks::Kind;

const MINUTE: Duration = Duration::from_secs(4);
const NAME: &str = "burst";
const SLOTS: u32 = 4;
const MOST: u32 = 12;
const TASKS: usize = 200;

/// What a law made of the burst.
struct Outcome {
    law: &'static str,
    done: usize,
    lost: usize,
    admitted: u64,
    refused: u64,
    /// Workers × minutes.
    worker_minutes: f64,
    /// Minutes until the last task was done.
    finish: f64,
}

pub(super) async fn play(folder: PathBuf) -> Figures {
    let mut figures = Figures::default();
    let keys = [("llmLimit", "fleet"), ("maxQueueWait", "20s"), ("expectedTaskDuration", "2s")];
    let ours = Law::Scaler(trigger(NAME, Kind::List, SLOTS, &keys));
    let paced = ["--limit", LIMIT, "--requests-per-minute", "60"];
    let [a, b, c] = ["ours", "list-length", "unpaced"].map(|name| folder.join(name));
    let (ours, theirs, unpaced) = tokio::join!(
        run("ours", &a, ours, &paced),
        run("list length / c", &b, Law::ListLength(SLOTS), &paced),
        run("same, unpaced", &c, Law::ListLength(SLOTS), &[]),
    );
    figures.note(format!(
        "{:<18}{:>6}{:>6}{:>10}{:>6}{:>16}{:>16}",
        "law", "done", "lost", "admitted", "429", "worker-minutes", "finish (min)"
    ));
    for Outcome { law, done, lost, admitted, refused, worker_minutes, finish } in [&ours, &theirs, &unpaced] {
        figures.note(format!(
            "{law:<18}{done:>6}{lost:>6}{admitted:>10}{refused:>6}{worker_minutes:>16.1}{finish:>16.1}"
        ));
    }
    figures.equal("ours: tasks lost", ours.lost, 0);
    let part = ours.refused as f64 / (ours.admitted + ours.refused) as f64;
    figures.at_most("ours: part refused", part, 0.01);
    for rival in [&theirs, &unpaced] {
        let time = ours.worker_minutes / rival.worker_minutes;
        figures.at_most(&format!("ours: worker-minutes, as a part of those of {}", rival.law), time, 0.4);
        let finish = ours.finish / rival.finish;
        figures.at_most(&format!("ours: finish, as a part of that of {}", rival.law), finish, 1.05);
    }
    figures
}

/// Plays the burst until nothing is left of it.
async fn run(law_name: &'static str, folder: &Path, law: Law, flags: &[&str]) -> Outcome {
    let mut plant = Plant::start(Setup {
        folder,
        minute: MINUTE,
        disk: Disk::Off,
        // A full bucket at the start would be a minute's head start for who does not pace itself.
        provider: &["--requests-per-minute", "60", "--burst", "0.1"],
        limit: Some("    requestsPerMinute: 60\n    usePerTask: { requests: 3 }\n    publishShares: true"),
    })
    .await;
    let flags = [&["--slots", "4", "--lease", "5s"], flags].concat();
    plant.deploy(NAME, Kind::List, law, MOST, &flags).await;
    let began = Instant::now();
    plant.queues[0].put(TASKS, "steps=3 think=0.6 tool=0.1 output=20").await;
    plant.until_finished(30.0).await;
    let finish = began.elapsed().as_secs_f64() / MINUTE.as_secs_f64();
    // What the window keeps of replicas afterwards belongs to the law, too.
    plant
        .until(15.0, async |plant| {
            plant.deployments[0].workers.is_empty() && plant.deployments[0].leaving.is_empty()
        })
        .await;
    let fates = plant.queues[0].fates().await.unwrap();
    let counts = plant.stub.counts().await;
    Outcome {
        law: law_name,
        done: fates.done,
        lost: TASKS - fates.done,
        admitted: counts.admitted,
        refused: counts.refused,
        worker_minutes: plant.deployments[0].worker_time().as_secs_f64() / MINUTE.as_secs_f64(),
        finish,
    }
}
