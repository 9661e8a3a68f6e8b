//! Activations: how fast they come, and that each comes once.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::{add, file, list, serve};
use crate::support::harness::{Harness, PATIENCE, eventually};
use crate::support::keda_client::{Keda, Push};
use crate::support::servers::Redis;

/// KEDA counts on a second at most. Redis says itself when a task comes, and our bar is 50 ms; where it may not, a read
/// each 200 ms finds out, and the bar is 300 ms. Both are for a machine that does nothing else.
#[tokio::test]
async fn the_first_task_of_an_empty_list_is_pushed_within_a_second() {
    let by_reads = "+@all -client|tracking -subscribe";
    // Reads that look for a task are a second apart while Redis speaks, and would take half of it in the mean.
    for (how, rights, most) in [("by Redis's word", "+@all", 50), ("by reads", by_reads, 500)] {
        let redis = Redis::plain();
        let words: Vec<&str> = rights.split(' ').collect();
        redis.command(&[&["ACL", "SETUSER", "scaler", "on", ">hunter2", "~*"], &words[..]].concat());
        let password = redis.file("password");
        std::fs::write(&password, "hunter2").unwrap();
        let file = format!(
            "connections: {{ main: {{ type: redis, url: \"{}\", username: scaler, password: {{ file: {} }} }} }}\n\
             tick: 5s\n",
            redis.url(),
            password.display()
        );
        let (median, p95) = first_tasks(&redis, &file, how).await;
        assert!(median <= Duration::from_millis(most), "{how}: {median:?}");
        assert!(p95 <= Duration::from_secs(1), "{how}: {p95:?}");
    }
}

/// Lets first tasks come to 40 queues, and gives the median and the 95th percentile of the time until
/// KEDA is told.
async fn first_tasks(redis: &Redis, file: &str, how: &str) -> (Duration, Duration) {
    const TIMES: usize = 40;
    let harness = Harness::with(file).await;
    let keda = Keda::dial(&[harness.scaler.grpc]).await;
    let mut pushes = Vec::new();
    for number in 0..TIMES {
        let mut push = keda.push(&list(&format!("job{number}"), &[]));
        assert!(!push.event().await, "nothing waits yet");
        pushes.push(push);
    }
    let mut connection = redis.connection();
    let mut latencies = Vec::new();
    for (number, push) in pushes.iter_mut().enumerate() {
        // Tasks come when they like: without this each would come just after a read.
        sleep(Duration::from_millis(number as u64 * 37 % 200)).await;
        redis::cmd("LPUSH").arg(format!("job{number}:tasks")).arg("x").exec(&mut connection).unwrap();
        let pushed_at = Instant::now();
        assert!(push.event().await);
        latencies.push(pushed_at.elapsed());
    }
    latencies.sort_unstable();
    let (median, p95) = (latencies[TIMES / 2 - 1], latencies[TIMES * 95 / 100 - 1]);
    report(&format!(
        "activation {how}: median {median:.1?}, p95 {p95:.1?}, worst {:.1?}",
        latencies[TIMES - 1]
    ));
    (median, p95)
}

/// Upstream: `TestExternalPushScaler_Run`, 5 × 500 streams; here all on one connection, and twice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_2500_streams_on_one_connection_each_gets_each_activation_once() {
    let redis = Redis::plain();
    let harness = Harness::with(&format!("{}tick: 1s\n", file(&redis))).await;
    let keda = Keda::dial(&[harness.scaler.grpc]).await;
    let names: Vec<String> = (0..2_500).map(|number| format!("job{number}")).collect();
    let began = Instant::now();
    let mut pushes: Vec<Push> = names.iter().map(|name| keda.push(&list(name, &[]))).collect();
    for push in &mut pushes {
        assert!(!push.event().await, "nothing waits yet");
    }
    let opened = began.elapsed();
    let began = Instant::now();
    for_each(&redis, &names, &["RPUSH", "task"]);
    for push in &mut pushes {
        assert!(push.event().await);
    }
    report(&format!("2,500 streams: open in {opened:.0?}, all activated in {:.0?}", began.elapsed()));
    assert_eq!(keda.opened(), [1], "one connection carries them all");

    // More work, then none: by the time that this is seen, a second event would have come.
    for_each(&redis, &names, &["RPUSH", "task"]);
    everywhere(&harness, &names, 2).await;
    for_each(&redis, &names, &["LPOP", "2"]);
    everywhere(&harness, &names, 0).await;
    assert!(pushes.iter_mut().all(|push| push.events().is_empty()));

    for_each(&redis, &names, &["RPUSH", "task"]);
    for push in &mut pushes {
        assert!(push.event().await, "the second activation");
    }
    assert!(pushes.iter_mut().all(|push| push.events().is_empty()));
}

#[tokio::test]
async fn a_stream_that_is_opened_again_begins_with_what_is_true_by_then() {
    let redis = Redis::plain();
    let (_harness, keda) = serve(&redis).await;
    let support = list("support", &[]);
    let mut first = keda.push(&support);
    assert!(!first.event().await);
    drop(first);
    add(&redis, "support:tasks", 1);
    let mut second = keda.push(&support);
    let mut states = vec![second.event().await];
    if states == [false] {
        // The new stream was faster than the next read.
        states.push(second.event().await);
    }
    assert_eq!(states.pop(), Some(true));
}

#[tokio::test]
async fn a_connection_that_has_its_age_is_replaced_and_its_streams_go_on() {
    let redis = Redis::plain();
    let harness = Harness::with(&format!("{}maxConnectionAge: 1s\n", file(&redis))).await;
    let keda = Keda::dial(&[harness.scaler.grpc]).await;
    let support = list("support", &[]);
    let mut push = keda.push(&support);
    assert!(!push.event().await);
    eventually("a second connection", async || {
        keda.poll(&support).await.unwrap();
        (keda.opened() == [2]).then_some(())
    })
    .await;
    add(&redis, "support:tasks", 1);
    assert!(push.event().await, "on the stream of the old connection");
    assert!(timeout(Duration::ZERO, push.paused()).await.is_err(), "it has not ended");
    drop(harness);
}

/// Runs a command with the list of each name as its first argument.
fn for_each(redis: &Redis, names: &[String], words: &[&str; 2]) {
    let mut pipeline = redis::pipe();
    for name in names {
        pipeline.cmd(words[0]).arg(format!("{name}:tasks")).arg(words[1]);
    }
    pipeline.exec(&mut redis.connection()).unwrap();
}

/// Waits until every trigger has been decided with so many waiting tasks.
async fn everywhere(harness: &Harness, names: &[String], waiting: u64) {
    let seen = async || {
        let reports = harness.scaler.reports();
        let all =
            reports.iter().all(|report| report.decision.want.is_some_and(|want| want.backlog == waiting));
        (reports.len() == names.len() && all).then_some(())
    };
    timeout(PATIENCE, eventually(format!("{waiting} tasks everywhere"), seen)).await.unwrap();
}

#[expect(clippy::print_stdout, reason = "a figure for whoever runs the tests")]
fn report(figure: &str) {
    println!("{figure}");
}
