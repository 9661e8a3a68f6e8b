//! A provider that admits less than it prints, then nothing at all, and comes back.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;

use crate::deployment::Law;
use crate::figures::Figures;
use crate::plant::{LIMIT, Plant, Setup, trigger};
use crate::redis_server::Disk;
use crate::stub::part_refused;
use crate::tasks::Kind;

const MINUTE: Duration = Duration::from_secs(4);
const AMOUNT: f64 = 60.0;
const NAME: &str = "agents";
const SCRIPT: &str = "steps=3 think=0.9 tool=0.1 output=20";

/// Minutes: with all of the capacity, with a part of it, of those until k has settled, and the most to recover.
const WHOLE: u64 = 4;
const PART: u64 = 24;
const SETTLING: u64 = 5;
const RECOVERING: u64 = 15;

async fn plant(folder: &Path, tasks: usize) -> Plant {
    let mut plant = Plant::start(Setup {
        folder,
        minute: MINUTE,
        disk: Disk::Off,
        provider: &["--requests-per-minute", "60"],
        limit: Some("    requestsPerMinute: 60\n    usePerTask: { requests: 3 }\n    publishShares: true"),
    })
    .await;
    let keys = [("llmLimit", "fleet"), ("maxQueueWait", "20s"), ("expectedTaskDuration", "3s")];
    let law = Law::Scaler(trigger(NAME, Kind::Stream, 4, &keys));
    let flags = ["--slots", "4", "--limit", LIMIT, "--requests-per-minute", "60", "--lease", "5s"];
    plant.deploy(NAME, Kind::Stream, law, 8, &flags).await;
    plant.queues[0].put(tasks, SCRIPT).await;
    plant
}

/// It loses 60 % while its headers print the whole limit.
pub(super) async fn part_of_the_capacity(folder: PathBuf) -> Figures {
    let mut figures = Figures::default();
    let mut plant = plant(&folder, 700).await;
    let first = plant.present() + 2;
    plant.until_minute(first + WHOLE).await;
    plant.stub.control(json!({"capacity": 0.4})).await;
    let lost = first + WHOLE;
    plant.until_minute(lost + PART).await;
    plant.stub.control(json!({"clear": true})).await;
    let back = lost + PART;
    let mut end = back;
    let whole = |admitted: u64| admitted as f64 >= 0.95 * AMOUNT;
    let recovered = loop {
        end += 1;
        plant.until_minute(end).await;
        let is_whole = whole(plant.stub.counts().await.within(end - 1..end).0);
        if is_whole || end > back + RECOVERING {
            break is_whole.then_some(end - 1 - back);
        }
    };

    let counts = plant.stub.counts().await;
    let k = k_by_minute(&plant);
    for minute in first..end {
        let (admitted, refused) = counts.within(minute..minute + 1);
        let k = k.get(&minute).map_or("?".to_owned(), |k| format!("{k:.2}"));
        let what = match minute {
            _ if minute == lost => "  loses 60 %",
            _ if minute == back => "  is back",
            _ => "",
        };
        figures.note(format!("{:>4}: k {k}, {admitted} admitted, {refused} refused{what}", minute - first));
    }
    let settled = counts.within(lost + SETTLING..back);
    figures.at_most("part refused once settled", part_refused(settled), 0.03);
    let most = 0.4 * AMOUNT * (PART - SETTLING) as f64;
    figures.at_least("use of what is left, once settled", settled.0 as f64 / most, 0.95);
    figures.holds(
        format!("use is 95 % again in minute {recovered:?} after its return (at most {RECOVERING})"),
        recovered.is_some(),
    );
    figures
}

/// Ends the block of the limit, as an operator does.
async fn forget_block(plant: &Plant) {
    let mut remove = redis::cmd("HDEL");
    remove.arg(format!("agent-scaler:limit:{{{LIMIT}}}")).arg("blocked_ms").arg("why");
    remove.exec_async(&mut plant.redis.connection().await).await.unwrap();
}

/// k of the last look in each minute.
fn k_by_minute(plant: &Plant) -> BTreeMap<u64, f64> {
    let seen =
        |sample: &crate::plant::Sample| Some((sample.minute, sample.shown.as_ref()?.limit.as_ref()?.k));
    plant.samples.iter().filter_map(seen).collect()
}

/// It answers 503 for a while; later its quota is used up for a while.
pub(super) async fn nothing_at_all(folder: PathBuf) -> Figures {
    let mut figures = Figures::default();
    let mut plant = plant(&folder, 150).await;
    plant.minutes(4.0).await;
    for (what, command) in [
        ("outage", json!({"outage": {"answer": "503"}, "for": "16s"})),
        ("quota", json!({"exhausted": "quota", "for": "16s"})),
    ] {
        let before = plant.stub.counts().await;
        plant.stub.control(command).await;
        // The first minute has answers from before.
        plant.minutes(1.0).await;
        let from = plant.samples.len();
        plant.minutes(3.0).await;
        let seen = &plant.samples[from..];
        let active = seen.iter().all(|sample| sample.active == Some(true));
        figures.holds(format!("{what}: the trigger stays active"), active);
        let values: Vec<f64> = seen.iter().filter_map(|sample| sample.value).collect();
        let (least, most) =
            (values.iter().fold(f64::MAX, |a, b| a.min(*b)), values.iter().fold(0.0, |a: f64, b| a.max(*b)));
        let laws: std::collections::BTreeSet<&str> =
            seen.iter().filter_map(|sample| Some(&*sample.shown.as_ref()?.limited_by)).collect();
        figures.note(format!("{what}: values {least} to {most}, limited by {laws:?}"));
        figures.at_least(&format!("{what}: least value"), least, 1.0);
        let busy = seen.iter().map(|sample| sample.replicas.1).max().unwrap_or_default();
        figures.at_most(&format!("{what}: greatest value, with {busy} busy replicas"), most, busy as f64);
        let during = plant.stub.counts().await;
        if what == "quota" {
            // No provider says when there will be more of it, and workers try again after ten real minutes. Who buys
            // more need not wait for that.
            forget_block(&plant).await;
        }
        let goes_on =
            plant.until(8.0, async |plant| plant.stub.counts().await.admitted > during.admitted + 60).await;
        figures.holds(format!("{what}: work goes on within 8 minutes of its end"), goes_on);
        figures.note(format!(
            "{what}: {} failed, {} refused: {:?}",
            during.failed - before.failed,
            during.refused - before.refused,
            during.reasons
        ));
    }
    figures.holds("every task is done in the end", plant.until_finished(20.0).await);
    let fates = plant.queues[0].fates().await.unwrap();
    figures.equal("tasks done", fates.done, 150);
    figures
}
