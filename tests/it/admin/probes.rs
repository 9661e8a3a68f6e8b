//! The kubelet's probes.

use std::io::{Read as _, Write as _};
use std::sync::mpsc;

use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime;
use tokio::time::timeout;

use super::{get, read};
use crate::support::harness::{Harness, PATIENCE, eventually, scripted};

#[tokio::test]
async fn a_server_is_alive_and_ready_whatever_its_backends_do() {
    let harness = Harness::start().await;
    harness.script.breaks("jobs");
    let jobs = scripted("jobs", &[]);
    eventually("the failure", async || harness.value(&jobs).await.err()).await;
    for path in ["/livez", "/readyz"] {
        assert_eq!(
            read(get(&harness.scaler, path).await).await,
            (StatusCode::OK, "ok\n".to_owned()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_server_that_is_stopping_is_not_ready() {
    let harness = Harness::start().await;
    let address = harness.scaler.admin;
    // A question that has begun before the end is answered after it.
    let mut kubelet = TcpStream::connect(address).await.unwrap();
    kubelet.write_all(b"GET /readyz HTTP/1.1\r\n").await.unwrap();
    // The server has taken the connection, and what was said on it, once it has answered another.
    get(&harness.scaler, "/livez").await;
    let stopping = tokio::spawn(harness.scaler.stop());
    eventually("no new connections", async || TcpStream::connect(address).await.err()).await;
    kubelet.write_all(b"Host: it\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, kubelet.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.ends_with("\r\n\r\nshutting down"), "{answer}");
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
}

/// A computation that never waits takes a thread for itself.
#[test]
fn probes_answer_while_every_thread_that_serves_keda_is_busy() {
    let busy = runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let harness = busy.block_on(Harness::start());
    let ((began, begins), (end, ends)) = (mpsc::channel(), mpsc::channel::<()>());
    busy.spawn(async move {
        began.send(()).unwrap();
        ends.recv().unwrap_err();
    });
    begins.recv().unwrap();
    for path in ["/livez", "/readyz"] {
        let mut kubelet = std::net::TcpStream::connect(harness.scaler.admin).unwrap();
        kubelet.set_read_timeout(Some(PATIENCE)).unwrap();
        kubelet.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes()).unwrap();
        let mut answer = String::new();
        kubelet.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{path}: {answer}");
    }
    drop(end);
    busy.block_on(harness.scaler.stop());
}

#[tokio::test]
async fn a_page_that_does_not_exist_is_not_found() {
    let harness = Harness::start().await;
    assert_eq!(get(&harness.scaler, "/").await.status(), StatusCode::NOT_FOUND);
    assert_eq!(get(&harness.scaler, "/decisions/acme").await.status(), StatusCode::NOT_FOUND);
}
