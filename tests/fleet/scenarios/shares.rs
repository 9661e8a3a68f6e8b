//! One key, two Deployments of weights 1 and 3: both flood, then the heavy one wants less.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use crate::deployment::Law;
use crate::figures::Figures;
use crate::minutes::Sums;
use crate::plant::{LIMIT, Plant, Setup, trigger};
use crate::redis_server::Disk;
use crate::stub::{Counts, part_refused};
use crate::tasks::Kind;

const MINUTE: Duration = Duration::from_secs(4);

/// Requests a minute, as the provider has it and the server's file says.
const AMOUNT: f64 = 60.0;
/// Slots of a replica: one, so that what the light one gets of the rest is no matter of whole replicas.
const SLOTS: u32 = 1;

/// Three requests; a slot could send five or six a minute.
const SCRIPT: &str = "steps=3 think=0.6 tool=0.1 output=20";
const REQUESTS: f64 = 3.0;

/// Minutes until replicas and shares have settled, and minutes that are looked at then.
const SETTLING: u64 = 4;
const LOOKED_AT: u64 = 7;

/// Tasks a minute of the heavy one while it wants less: a third of its share.
const FEW: usize = 5;

/// Part of the key, and of what the heavy one leaves, that is used while the heavy one wants less: shares follow wants
/// by a tick, an eighth of a minute here, and one task more or less of the heavy one is a tenth of the key.
const FOLLOWED: f64 = 0.9;

/// Its two Deployments, with the parts that are theirs.
const LIGHT: (&str, f64) = ("light", 15.0);
const HEAVY: (&str, f64) = ("heavy", 45.0);

pub(super) async fn play(folder: PathBuf) -> Figures {
    let mut figures = Figures::default();
    let mut plant = Plant::start(Setup {
        folder: &folder,
        minute: MINUTE,
        disk: Disk::Off,
        provider: &["--requests-per-minute", "60"],
        limit: Some(
            "    requestsPerMinute: 60\n    usePerTask: { requests: 3 }\n    weights: { light: 1, heavy: 3 }\n    \
             publishShares: true",
        ),
    })
    .await;
    let keys = [("llmLimit", "fleet"), ("maxQueueWait", "20s"), ("expectedTaskDuration", "2s")];
    for (name, _) in [LIGHT, HEAVY] {
        let law = Law::Scaler(trigger(name, Kind::Stream, SLOTS, &keys));
        let flags = ["--slots", "1", "--limit", LIMIT, "--requests-per-minute", "60", "--lease", "5s"];
        plant.deploy(name, Kind::Stream, law, 12, &flags).await;
    }

    plant.queues[0].put(400, SCRIPT).await;
    plant.queues[1].put(200, SCRIPT).await;
    let first = plant.present() + 1 + SETTLING;
    plant.until_minute(first).await;
    let before = plant.stub.counts().await;
    plant.until_minute(first + LOOKED_AT).await;
    both_flood(&mut figures, &mut plant, first, &before).await;
    let next = heavy_wants_less(&mut plant).await;
    let before = plant.stub.counts().await;
    let served = plant.queues[1].fates().await.unwrap();
    let put = feed(&mut plant, LOOKED_AT).await;
    one_leaves_the_rest(&mut figures, &mut plant, next, &before, (served.done, put)).await;
    figures
}

/// Both want more than their part.
async fn both_flood(figures: &mut Figures, plant: &mut Plant, first: u64, before: &Counts) {
    let after = plant.stub.counts().await;
    let minutes = first..first + LOOKED_AT;
    let calls = after.within(minutes.clone());
    figures.at_least("both flood: use of the key", calls.0 as f64 / (AMOUNT * LOOKED_AT as f64), 0.95);
    figures.at_most("part refused", part_refused(calls), 0.01);
    let mut connection = plant.redis.connection().await;
    let published: BTreeMap<String, String> = redis::cmd("HGETALL")
        .arg(format!("agent-scaler:share:{{{LIMIT}}}"))
        .query_async(&mut connection)
        .await
        .unwrap();
    let (mut replicas, mut slots) = (0, 0.0);
    for (name, part) in [LIGHT, HEAVY] {
        let got = (after.admitted_to(name) - before.admitted_to(name)) as f64 / LOOKED_AT as f64;
        figures.at_least(
            &format!("{name}: part of its {part} requests a minute that it got"),
            got / part,
            0.95,
        );
        let queue = format!("{name}:tasks");
        let share: Value = serde_json::from_str(&published[&queue]).unwrap();
        figures.near(
            &format!("{name}: published requests"),
            share["rates"]["requests"].as_f64().unwrap(),
            part,
            0.02,
        );
        // The engine looks back ten minutes, the present one included.
        let present = plant.present();
        let used = Sums::read(&mut connection, &queue, present - 9..present + 1).await.per_slot(MINUTE);
        let shown = plant.last(name).shown.clone().unwrap();
        let cap = shown.limit.and_then(|limit| limit.cap).expect("a cap");
        figures.near(&format!("{name}: use per slot"), cap.per_slot, used, 0.05);
        figures.near(&format!("{name}: slots of its cap"), cap.slots, part / used, 0.05);
        let exact = cap.slots / f64::from(SLOTS);
        figures.holds(
            format!(
                "{name}: cap of {} replicas for {exact:.2}, {} run",
                cap.replicas,
                plant.last(name).replicas.1
            ),
            (f64::from(cap.replicas) - exact).abs() < 1.0,
        );
        replicas += cap.replicas;
        slots += cap.slots;
    }
    let spare = f64::from(replicas * SLOTS) - slots;
    figures.holds(format!("{spare:.2} slots more than fed"), (-1e-6..f64::from(SLOTS)).contains(&spare));
}

/// Lets the heavy one come to the end of its backlog, and then to rest with few tasks: the minute in which it has.
async fn heavy_wants_less(plant: &mut Plant) -> u64 {
    let is_short = async |plant: &mut Plant| plant.queues[1].messages().await < 10;
    assert!(plant.until(25.0, is_short).await, "the heavy one does not come to the end of its backlog");
    feed(plant, 3).await;
    plant.present()
}

/// Gives the heavy one few tasks for so many minutes, one after the other: how many.
async fn feed(plant: &mut Plant, minutes: u64) -> usize {
    let end = plant.present() + minutes;
    let mut put = 0;
    while plant.present() < end {
        plant.queues[1].put(1, SCRIPT).await;
        put += 1;
        plant.minutes(1.0 / FEW as f64).await;
    }
    put
}

async fn one_leaves_the_rest(
    figures: &mut Figures,
    plant: &mut Plant,
    first: u64,
    before: &Counts,
    (done_before, put): (usize, usize),
) {
    let after = plant.stub.counts().await;
    let fates = plant.queues[1].fates().await.unwrap();
    let light = plant.queues[0].fates().await.unwrap();
    assert!(light.open > 20, "the light one no longer floods: {light:?}");
    let calls = after.within(first..first + LOOKED_AT);
    figures.at_least(
        "heavy wants less: use of the key",
        calls.0 as f64 / (AMOUNT * LOOKED_AT as f64),
        FOLLOWED,
    );
    figures.at_most("part refused", part_refused(calls), 0.01);
    figures.at_least(
        "heavy: tasks done for each put in",
        (fates.done - done_before) as f64 / put as f64,
        0.95,
    );
    let got = |name| (after.admitted_to(name) - before.admitted_to(name)) as f64;
    let rest = AMOUNT * LOOKED_AT as f64 - got(HEAVY.0);
    figures.at_least("light: part of what heavy leaves that it got", got(LIGHT.0) / rest, FOLLOWED);
    figures.note(format!(
        "a minute: light {:.1}, heavy {:.1} of {} wanted",
        got(LIGHT.0) / LOOKED_AT as f64,
        got(HEAVY.0) / LOOKED_AT as f64,
        FEW as f64 * REQUESTS
    ));
}
