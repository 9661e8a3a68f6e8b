//! Connections that are opened and not used.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::{END, MEMORY, PROMPT, keda_is_answered, page, probes_answer};
use crate::support::harness::eventually;
use crate::support::program::Program;

/// Connections of an attack; more than either port keeps.
const MANY: usize = 2_000;

#[tokio::test]
async fn silent_connections_keep_nobody_out_and_hold_up_no_end() {
    let program = Program::start("");
    let grpc = silent(program.grpc, MANY, b"").await;
    let began = silent(program.grpc, 500, b"PRI * HTTP/2.0\r\n").await;
    let admin = silent(program.admin, MANY, b"").await;
    let heads = silent(program.admin, 500, b"GET /livez HTTP/1.1\r\nHost: i").await;
    let took = keda_is_answered(program.grpc).await;
    assert!(took < PROMPT, "{took:?}");
    probes_answer(program.admin).await;
    assert!(program.peak_memory() < MEMORY, "{}", program.peak_memory());
    let (status, took) = program.terminate();
    assert!(status.success() && took < END, "{status}, {took:?}");
    drop((grpc, began, admin, heads));
}

/// KEDA's connections are few and old; those of the attack are many and new.
#[tokio::test]
async fn a_connection_that_is_in_use_outlasts_any_number_of_silent_ones() {
    let program = Program::start("");
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{}", program.grpc)).unwrap();
    let connector = endpoint.connect().await.unwrap();
    let mut client =
        agent_scaler::scaler::proto::external_scaler_client::ExternalScalerClient::new(connector);
    let object = crate::support::harness::scripted("jobs", &[]);
    let mut specs = client.stream_metric_spec(object).await.unwrap().into_inner();
    specs.message().await.unwrap().unwrap();
    let silent = silent(program.grpc, MANY, b"").await;
    assert!(timeout(Duration::from_millis(500), specs.message()).await.is_err(), "the stream goes on");
    drop(silent);
}

#[tokio::test]
async fn a_connection_without_a_whole_preface_or_head_is_closed() {
    let program = Program::start("");
    let beginnings: [(SocketAddr, &[u8]); 4] = [
        (program.grpc, b""),
        (program.grpc, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
        (program.admin, b""),
        (program.admin, b"GET /livez HTTP/1.1\r\n"),
    ];
    let mut closed = JoinSet::new();
    for (address, beginning) in beginnings {
        let mut socket = silent(address, 1, beginning).await.remove(0);
        closed.spawn(async move {
            let end = timeout(Duration::from_secs(15), socket.read_to_end(&mut Vec::new())).await;
            assert!(end.is_ok(), "{:?} stays open", String::from_utf8_lossy(beginning));
        });
    }
    while let Some(one) = closed.join_next().await {
        one.unwrap();
    }
}

/// So few descriptors that the program itself needs nearly all of them.
#[tokio::test]
async fn probes_answer_while_file_descriptors_are_out_and_nothing_spins() {
    let program = Program::with_descriptors("", Some(28));
    let held = (silent(program.grpc, 100, b"").await, silent(program.admin, 40, b"").await);
    // Those that wait in the queue of the port before it have their turn first.
    eventually("a probe", async || {
        page(program.admin, "/livez").await.ok().filter(|line| line.contains("200"))
    })
    .await;
    let before = program.processor_time();
    for _ in 0..10 {
        probes_answer(program.admin).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let used = program.processor_time() - before;
    assert!(used < Duration::from_millis(500), "{used:?} of processor time in a second");
    assert!(program.log().len() < 20, "{:#?}", program.log());
    drop(held);
    assert!(keda_is_answered(program.grpc).await < PROMPT);
}

/// Opens connections that say `beginning` and nothing more.
async fn silent(address: SocketAddr, count: usize, beginning: &'static [u8]) -> Vec<TcpStream> {
    use tokio::io::AsyncWriteExt;
    let mut open = Vec::new();
    for _ in 0..count {
        let connected = timeout(Duration::from_secs(2), TcpStream::connect(address)).await;
        let Ok(Ok(mut socket)) = connected else { break };
        // The server may have closed it by now.
        drop(socket.write_all(beginning).await);
        open.push(socket);
    }
    open
}
