//! ScaledJobs whose tasks end together, also while their queue cannot be read: as many Jobs as tasks, none for nothing.

use crate::kubelet::{Exit, Phase};
use crate::objects::{self, Call, Queue, Trigger};
use crate::scenarios::rivals::sqs;
use crate::scene::{Scene, Setting, Stage};
use crate::servers;
use crate::support::moto::Moto;
use crate::workers::Lifetime;

/// A server's default: KEDA polls five times within it.
const TICK: &str = "5s";

/// Most Jobs at a time: more than there are tasks.
const MAX: u32 = 50;

/// Longer than a zero of SQS has to last before it ends replicas.
const LONG: u64 = 70;

pub(super) async fn on_a_list(stage: Stage) {
    let setting = Setting { lifetime: Lifetime::Idle, tick: TICK, ..Setting::on(Queue::List) };
    let scene = Scene::set(stage, setting).await;
    let trigger = Trigger::new(Call::External, Queue::List, &scene.host, MAX);
    play(scene, &trigger, Tasks::List).await;
}

pub(super) async fn on_sqs(stage: Stage) {
    let moto = tokio::task::block_in_place(Moto::start);
    let url = moto.create_queue("tasks").await;
    let connections = sqs::connection(&moto);
    let setting = Setting { lifetime: Lifetime::Idle, tick: TICK, connections, ..Setting::on(Queue::List) };
    let scene = Scene::set(stage, setting).await;
    let trigger = Trigger::on(Call::External, &scene.host, "sqs", "aws-sqs-queue", MAX);
    play(scene, &trigger.key("queueURL", &url), Tasks::Sqs { moto, url, taken: Vec::new() }).await;
}

async fn play(mut scene: Scene, trigger: &Trigger, mut tasks: Tasks) {
    let trigger = trigger.clone().key("workload", "job");
    scene.apply(&objects::scaled_job(scene.namespace, &trigger)).await;
    // KEDA begins twice with a new ScaledJob, and breaks off what it was creating the first time.
    scene.holds("no Jobs without tasks", 3, |seen| seen.jobs == 0).await;

    each_gets_a_job(&mut scene, &mut tasks, 10, 10).await;
    tasks.end(&scene).await;
    end_pods(&scene);
    scene.note("ten tasks and their Jobs end together");
    scene.holds("no more Jobs", LONG, |seen| seen.jobs == 10).await;
    assert_eq!(scene.sample().replicas, 0, "Jobs that are not done");

    each_gets_a_job(&mut scene, &mut tasks, 3, 13).await;
    tasks.end(&scene).await;
    tasks.fail(&mut scene);
    end_pods(&scene);
    scene.note("three tasks and their Jobs end, and nobody can read the queue");
    scene.holds("no more Jobs", 30, |seen| seen.jobs == 13).await;
    assert_eq!(scene.sample().said, "unknown");
    tasks.recover(&mut scene).await;
    scene.note("the queue can be read again");
    scene.holds("no more Jobs", 15, |seen| seen.jobs == 13).await;

    each_gets_a_job(&mut scene, &mut tasks, 2, 15).await;
    tasks.end(&scene).await;
    end_pods(&scene);
    scene.until("no Job is left at work", 20, |seen| seen.replicas == 0).await;
    scene.holds("no more Jobs", 10, |seen| seen.jobs == 15).await;
    scene.note("15 Jobs for 15 tasks");
}

/// Tasks come, each gets a Job, and each Job takes one. So many Jobs there are then.
async fn each_gets_a_job(scene: &mut Scene, tasks: &mut Tasks, count: u32, jobs: u64) {
    tasks.put(scene, count).await;
    scene.note(format!("{count} tasks come"));
    scene.until(&format!("{jobs} Jobs"), 30, |seen| seen.jobs == jobs).await;
    scene.until("their pods work", 30, |seen| seen.ready == usize::try_from(count).unwrap()).await;
    tasks.take(scene, count).await;
    scene.holds("no more while they run", 10, |seen| seen.jobs == jobs).await;
}

/// Every pod has done its work.
fn end_pods(scene: &Scene) {
    let pods = scene.cluster.pods.of(scene.namespace);
    for (name, _) in pods.iter().filter(|(_, phase)| **phase == Phase::Ready) {
        scene.cluster.pods.end(scene.namespace, name, Exit::Succeeded);
    }
}

/// The backend of the tasks.
enum Tasks {
    /// In the scene's own Redis.
    List,
    /// In a queue of a stand-in for SQS.
    Sqs { moto: Moto, url: String, taken: Vec<String> },
}

impl Tasks {
    async fn put(&self, scene: &Scene, count: u32) {
        match self {
            Self::List => {
                for _ in 0..count {
                    redis(scene, &["LPUSH", Queue::TASKS, "task"]).await;
                }
            }
            Self::Sqs { moto, url, .. } => {
                for _ in 0..count {
                    moto.client().send_message().queue_url(url).message_body("task").send().await.unwrap();
                }
            }
        }
    }

    async fn take(&mut self, scene: &Scene, count: u32) {
        match self {
            Self::List => {
                for _ in 0..count {
                    redis(scene, &["RPOPLPUSH", Queue::TASKS, Queue::PROCESSING]).await;
                }
            }
            Self::Sqs { moto, url, taken } => {
                taken.extend(sqs::take(&moto.client(), url, i32::try_from(count).unwrap()).await);
            }
        }
    }

    async fn end(&mut self, scene: &Scene) {
        match self {
            Self::List => redis(scene, &["DEL", Queue::PROCESSING]).await,
            Self::Sqs { moto, url, taken } => {
                sqs::delete(&moto.client(), url, std::mem::take(taken)).await;
            }
        }
    }

    fn fail(&self, scene: &mut Scene) {
        match self {
            Self::List => scene.redis.kill(),
            Self::Sqs { moto, .. } => moto.pause(),
        }
    }

    async fn recover(&self, scene: &mut Scene) {
        match self {
            Self::List => scene.redis.start().await,
            Self::Sqs { moto, .. } => moto.resume(),
        }
    }
}

async fn redis(scene: &Scene, words: &[&str]) {
    let mut connection = servers::connect(&scene.redis.url()).await.unwrap();
    let (name, arguments) = words.split_first().unwrap();
    ::redis::cmd(name).arg(arguments).exec_async(&mut connection).await.unwrap();
}
