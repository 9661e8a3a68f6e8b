//! Three accounts of the same calls: what the provider counted, what workers wrote down, what the scaler shows.

use std::path::PathBuf;
use std::time::Duration;

use crate::deployment::Law;
use crate::figures::Figures;
use crate::minutes::Sums;
use crate::plant::{LIMIT, Plant, Setup, trigger};
use crate::redis_server::Disk;
use crate::tasks::Kind;

const MINUTE: Duration = Duration::from_secs(4);

/// Its Deployments: one with each kind of queue.
const BOTH: [(&str, Kind); 2] = [("lists", Kind::List), ("streams", Kind::Stream)];

pub(super) async fn play(folder: PathBuf) -> Figures {
    let mut figures = Figures::default();
    let mut plant = Plant::start(Setup {
        folder: &folder,
        minute: MINUTE,
        disk: Disk::Off,
        // Less than everybody believes, and little at a time, so that some calls are refused.
        provider: &["--requests-per-minute", "120", "--burst", "0.25", "--control", r#"{"capacity": 0.7}"#],
        limit: Some("    requestsPerMinute: 120"),
    })
    .await;
    for (name, kind) in BOTH {
        let flags = ["--slots", "4", "--limit", LIMIT, "--requests-per-minute", "60", "--lease", "5s"];
        let at = plant.deploy(name, kind, Law::Fixed(2), 2, &flags).await;
        plant.queues[at].put(60, "steps=3 think=0.3 tool=0.1 output=25 input=170").await;
    }
    let first = plant.present();
    assert!(plant.until_finished(20.0).await, "tasks are left after twenty minutes");
    let mut done = 0;
    for queue in &mut plant.queues {
        done += queue.fates().await.unwrap().done;
    }
    figures.equal("tasks done", done, 120);
    // A beat and a tick later everybody has said everything.
    plant.minutes(1.0).await;
    let counts = plant.stub.counts().await;
    let provider = [counts.admitted, counts.refused, counts.input_tokens, counts.output_tokens];
    figures.note(format!(
        "provider: admitted, refused, input and output tokens {provider:?}, minutes {}",
        counts.minutes.len()
    ));
    figures.holds("some were refused", counts.refused > 0);
    figures.equal("calls that nobody waited for", counts.abandoned, 0);

    let mut minutes = [0; 4];
    let mut metrics = [0; 4];
    let mut connection = plant.redis.connection().await;
    let last = plant.present();
    for deployment in &plant.deployments {
        let sums = Sums::read(&mut connection, &deployment.queue(), first - 1..last + 1).await;
        let of_minutes = [sums.requests, sums.refused, sums.input_tokens, sums.output_tokens];
        minutes = add(minutes, of_minutes);
        let mut of_workers = [0; 4];
        for worker in &deployment.workers {
            let seen = scraped(worker.port).await;
            let counted = counts.agents.get(&worker.name).copied().unwrap_or_default();
            let counted = [counted.admitted, counted.refused, counted.input_tokens, counted.output_tokens];
            figures.equal(&format!("{}: its metrics", worker.name), seen, counted);
            of_workers = add(of_workers, seen);
        }
        metrics = add(metrics, of_workers);
    }
    figures.equal("workers' minutes", minutes, provider);
    figures.equal("workers' metrics", metrics, provider);

    let view = [counts.admitted, counts.refused];
    the_scaler_sees(&mut figures, &mut plant, view).await;
    plant.drain().await;
    let clean = plant.deployments.iter().flat_map(|of| &of.gone).all(|gone| gone.status.success());
    figures.holds("every worker ended with 0", clean);
    figures
}

/// What `/decisions` shows of each trigger's limit: requests admitted and refused.
async fn the_scaler_sees(figures: &mut Figures, plant: &mut Plant, expected: [u64; 2]) {
    let triggers = BOTH.map(|(name, kind)| trigger(name, kind, 4, &[("llmLimit", "fleet")]));
    let scaler = plant.scaler.as_mut().unwrap();
    for trigger in &triggers {
        scaler.asked(trigger).await;
    }
    // The first answer may be as of before the other trigger was known.
    plant.minutes(0.5).await;
    for trigger in &triggers {
        let shown = plant.scaler.as_mut().unwrap().asked(trigger).await.shown.unwrap();
        let limit = shown.limit.expect("the trigger has a limit");
        let view = [limit.requests, limit.refused];
        figures.equal(&format!("the scaler's view of {}", trigger.name), view, expected);
    }
}

fn add(a: [u64; 4], b: [u64; 4]) -> [u64; 4] {
    std::array::from_fn(|at| a[at] + b[at])
}

/// Requests admitted and refused, tokens sent and generated, as a worker's `/metrics` has them.
async fn scraped(port: u16) -> [u64; 4] {
    let answer = reqwest::get(format!("http://127.0.0.1:{port}/metrics")).await.unwrap();
    let text = answer.text().await.unwrap();
    let value = |name: &str, label: &str| -> u64 {
        let lines = text.lines().filter(|line| line.starts_with(name) && line.contains(label));
        lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap()).sum()
    };
    [
        value("llm_requests_total", "status=\"success\""),
        value("llm_requests_total", "status=\"rate_limited\""),
        value("llm_tokens_total", "direction=\"input\""),
        value("llm_tokens_total", "direction=\"output\""),
    ]
}
