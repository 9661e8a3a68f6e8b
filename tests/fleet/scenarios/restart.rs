//! Another scaler shows what the last one knew, one tick later.

use std::path::PathBuf;
use std::time::Duration;

use agent_scaler::telemetry::shown::Shown;
use tokio::time::{Instant, sleep};

use crate::deployment::Law;
use crate::figures::Figures;
use crate::plant::{LIMIT, Plant, Setup, trigger};
use crate::redis_server::Disk;
use crate::tasks::Kind;

const MINUTE: Duration = Duration::from_secs(5);
const NAME: &str = "agents";

/// S, use per slot, k and the cap.
type Known = (f64, f64, f64, u32);

pub(super) async fn play(folder: PathBuf) -> Figures {
    let mut figures = Figures::default();
    let mut plant = Plant::start(Setup {
        folder: &folder,
        minute: MINUTE,
        disk: Disk::Off,
        // Less than it prints, so that k is not what a fresh process would begin with.
        provider: &["--requests-per-minute", "90", "--burst", "0.2", "--control", r#"{"capacity": 0.6}"#],
        limit: Some("    requestsPerMinute: 90\n    publishShares: true"),
    })
    .await;
    let keys = [("llmLimit", "fleet"), ("maxQueueWait", "20s")];
    let trigger = trigger(NAME, Kind::List, 4, &keys);
    let flags = ["--slots", "4", "--limit", LIMIT, "--requests-per-minute", "90", "--lease", "5s"];
    plant.deploy(NAME, Kind::List, Law::Scaler(trigger.clone()), 8, &flags).await;
    plant.queues[0].put(250, "steps=3 think=0.9 tool=0.1 output=20").await;
    let present = plant.present();
    plant.until_minute(present + 7).await;
    // k changes where a minute begins: both look within one.
    plant.minutes(0.15).await;
    let (minute, before) = (plant.present(), plant.scaler.as_mut().unwrap().asked(&trigger).await);
    let before = known(&before.shown.expect("a decision"));
    let began = Instant::now();
    plant.restart_scaler().await;
    plant.scaler.as_mut().unwrap().asked(&trigger).await;
    sleep(Duration::from_millis(600)).await;
    let after = known(&plant.scaler.as_mut().unwrap().asked(&trigger).await.shown.expect("a decision"));
    assert_eq!(plant.present(), minute, "the restart took {:?}, and a minute has ended", began.elapsed());
    figures
        .note(format!("before: S {:.3} s, u {:.3}, k {:.3}, cap {}", before.0, before.1, before.2, before.3));
    figures.near("S of the other one", after.0, before.0, 0.03);
    figures.near("u of the other one", after.1, before.1, 0.03);
    figures.equal("k of the other one", after.2, before.2);
    figures.at_most("k itself", before.2, 0.9);
    figures.holds(format!("cap {} after {}", after.3, before.3), after.3.abs_diff(before.3) <= 1);
    figures
}

fn known(shown: &Shown) -> Known {
    let limit = shown.limit.as_ref().expect("the trigger has a limit");
    let cap = limit.cap.as_ref().expect("a cap is known");
    let service = shown.terms.as_ref().and_then(|terms| terms.service_seconds).expect("S is known");
    (service, cap.per_slot, limit.k, cap.replicas)
}
