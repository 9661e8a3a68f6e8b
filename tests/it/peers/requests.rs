//! Requests that do not end, and answers that nobody takes.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::{END, MEMORY, PROMPT, Raw, keda_is_answered, message, probes_answer};
use crate::support::program::Program;

/// The window of a client that takes its answers.
const OPEN: u32 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_sent_requests_cost_bounded_memory_and_nobody_else() {
    let program = Program::start("");
    let mut open = Vec::new();
    // Each announces 64 KiB, sends nearly all of it, and then is silent.
    for _ in 0..4 {
        let mut raw = Raw::connect(program.grpc, OPEN).await;
        for _ in 0..1_500 {
            let Ok((answer, mut body)) = raw.begin("IsActive").await else { break };
            if body.send_data(message(65_000, 63_000), false).is_err() {
                break;
            }
            open.push((answer, body));
        }
    }
    held(&program).await;
    let (status, took) = program.terminate();
    assert!(status.success() && took < END, "{status}, {took:?}");
    drop(open);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_that_are_opened_and_not_sent_cost_bounded_memory_and_end() {
    let program = Program::start("");
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::connect(program.grpc, OPEN).await;
        for _ in 0..15_000 {
            match timeout(PROMPT, raw.begin("StreamIsActive")).await {
                Ok(Ok(call)) => open.push(call),
                Ok(Err(_)) | Err(_) => break,
            }
        }
    }
    held(&program).await;
    let (answer, _body) = open.pop().unwrap();
    let ended = timeout(Duration::from_secs(15), answer).await;
    assert!(ended.is_ok(), "a request that does not arrive is given up");
}

/// The window of each stream is zero: an answer is made and never sent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_takes_cost_bounded_memory_and_hold_up_no_end() {
    let program = Program::start("");
    let mut open = Vec::new();
    for _ in 0..3 {
        let mut raw = Raw::connect(program.grpc, 0).await;
        for _ in 0..15_000 {
            let Ok(Ok((answer, mut body))) = timeout(PROMPT, raw.begin("GetMetricSpec")).await else { break };
            if body.send_data(message(0, 0), true).is_err() {
                break;
            }
            open.push((answer, body));
        }
    }
    held(&program).await;
    let (status, took) = program.terminate();
    assert!(status.success() && took < END, "{status}, {took:?}");
    drop(open);
}

/// For two seconds KEDA and the kubelet are answered, and the memory stays within the chart's limit.
async fn held(program: &Program) {
    let (began, mut slowest) = (Instant::now(), Duration::ZERO);
    while began.elapsed() < Duration::from_secs(2) {
        slowest = slowest.max(keda_is_answered(program.grpc).await);
        probes_answer(program.admin).await;
    }
    let peak = program.peak_memory() >> 20;
    assert!(peak < MEMORY >> 20 && slowest < PROMPT, "{peak} MiB, {slowest:?}");
}
