//! Redis: lists, and streams with a consumer group.

use serde_json::json;

use super::{IDLE, MAX, OURS, Rival, Says, busy, compete, expect};
use crate::objects::{Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};
use crate::servers;
use crate::workers::Lifetime;

pub(in super::super) async fn on_a_list(stage: Stage) {
    let (mut scene, address) = set(stage, Queue::List).await;
    let list = json!({"address": address, "listName": Queue::TASKS, "listLength": "1"});
    let rivals = [Rival { name: "keda", trigger: json!({"type": "redis", "metadata": list}) }];
    let ours = Trigger::new(Call::External, Queue::List, &scene.host, MAX);
    compete(&mut scene, &ours, &rivals).await;

    expect(&scene, "an empty list", &[(OURS, IDLE), ("keda", IDLE)]).await;
    let push = |list, count: usize| format!("LPUSH {list}{}", " task".repeat(count));
    run(&scene, &[push(Queue::TASKS, 5)]).await;
    expect(&scene, "5 wait", &[(OURS, busy(5)), ("keda", busy(5))]).await;
    run(&scene, &[push(Queue::PROCESSING, 2)]).await;
    expect(&scene, "5 wait and 2 run", &[(OURS, busy(7)), ("keda", busy(5))]).await;
    // KEDA ends the workers of tasks that run.
    run(&scene, &[format!("DEL {}", Queue::TASKS)]).await;
    expect(&scene, "2 run and nothing waits", &[(OURS, busy(2)), ("keda", IDLE)]).await;
    run(&scene, &[format!("DEL {}", Queue::PROCESSING)]).await;
    expect(&scene, "all are done", &[(OURS, IDLE), ("keda", IDLE)]).await;
}

pub(in super::super) async fn on_a_stream(stage: Stage) {
    let (mut scene, address) = set(stage, Queue::Stream).await;
    let rival = |name, measure: &str| {
        let stream = json!({
            "address": address, "stream": Queue::TASKS, "consumerGroup": Queue::GROUP, measure: "1",
        });
        Rival { name, trigger: json!({"type": "redis-streams", "metadata": stream}) }
    };
    run(&scene, &["XGROUP CREATE tasks workers 0 MKSTREAM".to_owned()]).await;
    let rivals = [rival("keda-pending", "pendingEntriesCount"), rival("keda-lag", "lagCount")];
    let ours = Trigger::new(Call::External, Queue::Stream, &scene.host, MAX);
    compete(&mut scene, &ours, &rivals).await;
    let table = |ours, pending, lag| [(OURS, ours), ("keda-pending", pending), ("keda-lag", lag)];

    expect(&scene, "an empty stream", &table(IDLE, IDLE, IDLE)).await;
    let add = "XADD tasks * task go".to_owned();
    run(&scene, &vec![add.clone(); 5]).await;
    // Nothing is pending before somebody reads: at zero replicas nobody does.
    expect(&scene, "5 wait", &table(busy(5), IDLE, busy(5))).await;
    run(&scene, &["XREADGROUP GROUP workers one COUNT 2 STREAMS tasks >".to_owned()]).await;
    expect(&scene, "3 wait and 2 run", &table(busy(5), busy(2), busy(3))).await;
    run(&scene, &["XREADGROUP GROUP workers one COUNT 9 STREAMS tasks >".to_owned()]).await;
    expect(&scene, "5 run and nothing waits", &table(busy(5), busy(5), IDLE)).await;

    // A worker that deletes what it has acknowledged leaves a stream whose lag Redis cannot tell.
    let ids = ids(&scene).await;
    run(&scene, &[format!("XACK tasks workers {}", ids[0]), format!("XDEL tasks {}", ids[0])]).await;
    run(&scene, &vec![add; 4]).await;
    let all = self::ids(&scene).await;
    // One that waited is deleted too: it was withdrawn.
    run(&scene, &[format!("XDEL tasks {}", all[5])]).await;
    // KEDA takes an unknown lag for none, and scales to zero beside three tasks that wait.
    expect(&scene, "3 wait and 4 run, and there is no lag", &table(busy(7), busy(4), IDLE)).await;
    run(&scene, &["XGROUP DESTROY tasks workers".to_owned()]).await;
    expect(&scene, "no group, and 7 entries", &table(busy(7), Says::Error, busy(7))).await;
}

async fn set(stage: Stage, queue: Queue) -> (Scene, String) {
    let address = format!("{}:6379", Stage::address(stage.number, 1));
    let setting = Setting { lifetime: Lifetime::Idle, ..Setting::on(queue) };
    (Scene::set(stage, setting).await, address)
}

/// Runs commands, each of words without spaces.
async fn run(scene: &Scene, commands: &[String]) {
    let mut connection = servers::connect(&scene.redis.url()).await.unwrap();
    for command in commands {
        let mut words = command.split(' ');
        let mut command = redis::cmd(words.next().unwrap());
        command.arg(words.collect::<Vec<_>>()).exec_async(&mut connection).await.unwrap();
    }
}

/// The ids of all entries of the stream.
async fn ids(scene: &Scene) -> Vec<String> {
    let mut connection = servers::connect(&scene.redis.url()).await.unwrap();
    let mut range = redis::cmd("XRANGE");
    range.arg(Queue::TASKS).arg("-").arg("+");
    let entries: Vec<(String, Vec<String>)> = range.query_async(&mut connection).await.unwrap();
    entries.into_iter().map(|(id, _)| id).collect()
}
