//! Workers and Redis are killed at random, and no task is lost: a ledger that does not pass through Redis says so.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::deployment::{End, Law};
use crate::figures::Figures;
use crate::gateway::{Call, Gateway};
use crate::plant::{Plant, Setup};
use crate::redis_server::Disk;
use crate::tasks::Kind;

const MINUTE: Duration = Duration::from_secs(5);

/// Its Deployments: one with each kind of queue.
const BOTH: [(&str, Kind); 2] = [("lists", Kind::List), ("streams", Kind::Stream)];

/// Tasks of each, and their steps.
const TASKS: usize = 100;
const STEPS: usize = 3;
const WORKERS: u32 = 3;

/// When Redis is killed, in parts of the tasks that are done; and how long it is away.
const REDIS_DIES: [f64; 2] = [0.3, 0.6];
const REDIS_AWAY: Duration = Duration::from_millis(1_500);

/// Time from one blow to the next.
const BLOWS_EVERY: Duration = Duration::from_millis(700);

/// Blows of each kind.
#[derive(Debug, Default)]
struct Blows {
    killed: BTreeMap<String, Instant>,
    told: u32,
    redis: Vec<(Instant, Instant)>,
}

pub(super) async fn play(folder: PathBuf) -> Figures {
    let mut figures = Figures::default();
    let mut plant = Plant::start(Setup {
        folder: &folder,
        minute: MINUTE,
        disk: Disk::Always,
        provider: &[],
        limit: None,
    })
    .await;
    let gateway = Gateway::start(&plant.stub.url).await;
    for (name, kind) in BOTH {
        let flags = [
            "--base-url",
            &gateway.url,
            "--slots",
            "3",
            "--lease",
            "2s",
            "--attempts",
            "30",
            "--grace",
            "20s",
            "--young",
            "500ms",
        ];
        let at = plant.deploy(name, kind, Law::Fixed(WORKERS), WORKERS, &flags).await;
        plant.queues[at].put(TASKS, "steps=3 think=0.6 tool=0.2 output=20").await;
    }
    let seed = fastrand::u64(..);
    figures.note(format!("seed {seed}"));
    let blows = storm(&mut plant, fastrand::Rng::with_seed(seed)).await;
    let finished = plant.until_finished(12.0).await;
    plant.drain().await;
    figures.note(format!(
        "{} workers killed, {} told to end, Redis killed {} times",
        blows.killed.len(),
        blows.told,
        blows.redis.len()
    ));
    figures.holds("every task comes to an end", finished);
    judge(&mut figures, &mut plant, &gateway.calls(), &blows).await;
    figures
}

/// Strikes until most tasks are done.
async fn storm(plant: &mut Plant, mut dice: fastrand::Rng) -> Blows {
    let mut blows = Blows::default();
    let all = (TASKS * BOTH.len()) as f64;
    loop {
        plant.minutes(BLOWS_EVERY.as_secs_f64() / MINUTE.as_secs_f64()).await;
        let mut done = 0;
        for queue in &mut plant.queues {
            done += queue.fates().await.expect("Redis is there").done;
        }
        let part = done as f64 / all;
        if part > 0.9 {
            return blows;
        }
        if REDIS_DIES.get(blows.redis.len()).is_some_and(|at| part > *at) {
            let began = Instant::now();
            plant.redis.kill();
            sleep(REDIS_AWAY).await;
            plant.redis.run().await;
            blows.redis.push((began, Instant::now()));
            for at in 0..plant.queues.len() {
                let connection = plant.redis.connection().await;
                plant.queues[at].reconnected(connection);
            }
            continue;
        }
        let deployment = dice.usize(..plant.deployments.len());
        let deployment = &mut plant.deployments[deployment];
        if deployment.workers.is_empty() {
            continue;
        }
        let worker = dice.usize(..deployment.workers.len());
        if dice.bool() {
            let name = deployment.kill(worker);
            blows.killed.insert(name, Instant::now());
        } else {
            deployment.tell(worker);
            blows.told += 1;
        }
    }
}

/// Compares what was put in with what the gateway saw.
async fn judge(figures: &mut Figures, plant: &mut Plant, calls: &[Call], blows: &Blows) {
    let mut answered: BTreeMap<(&str, usize), Vec<&Call>> = BTreeMap::new();
    for call in calls.iter().filter(|call| call.answered.is_some()) {
        answered.entry((&call.task, call.step)).or_default().push(call);
    }
    let (mut lost, mut without_result, mut messages) = (Vec::new(), 0, 0);
    for queue in &mut plant.queues {
        let results = queue.field("result").await;
        for id in &queue.put {
            lost.extend((!answered.contains_key(&(id.as_str(), STEPS))).then(|| id.clone()));
            without_result += usize::from(!results.contains_key(id));
        }
        messages += queue.messages().await;
    }
    figures.equal("tasks whose last step nobody did", lost, Vec::<String>::new());
    figures.equal("tasks without a result", without_result, 0);
    figures.equal("messages that are left", messages, 0);
    let (mut by_kill, mut by_redis, mut unexplained) = (0, 0, Vec::new());
    for ((task, step), calls) in answered.iter().filter(|(_, calls)| calls.len() > 1) {
        for (call, again) in calls.iter().zip(&calls[1..]) {
            let at = call.answered.unwrap();
            let until = again.answered.unwrap();
            if blows.killed.get(&call.worker).is_some_and(|killed| *killed <= until) {
                by_kill += 1;
            } else if blows
                .redis
                .iter()
                .any(|(from, to)| at <= *to + Duration::from_secs(2) && until >= *from)
            {
                by_redis += 1;
            } else {
                unexplained.push(format!("{task} step {step} by {} and {}", call.worker, again.worker));
            }
        }
    }
    let unanswered = calls.iter().filter(|call| call.answered.is_none()).count();
    figures.note(format!(
        "{} calls answered for {} steps, {unanswered} broken off; steps done twice: {by_kill} after a kill, {by_redis} \
         around an outage of Redis",
        answered.values().map(Vec::len).sum::<usize>(),
        answered.len(),
    ));
    figures.equal("steps done twice without a reason", unexplained, Vec::new());
    let gone = || plant.deployments.iter().flat_map(|deployment| &deployment.gone);
    let bad: Vec<String> = gone()
        .filter(|gone| gone.end == End::Own || (gone.end == End::Told && !gone.status.success()))
        .map(|gone| format!("{} {:?} {}", gone.name, gone.end, gone.status))
        .collect();
    figures.equal("workers that ended badly", bad, Vec::new());
}
