//! Those who read pages, and those who do not.

use std::time::Duration;

use reqwest::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use super::{get, get_as, read};
use crate::support::harness::{Harness, PATIENCE, eventually, queue, scripted};

/// Triggers of a large page, each with a long name: more than a MB for each reader if it were whole.
const TRIGGERS: usize = 600;

/// The names of the server's metrics that name neither a tenant nor anything of theirs.
const ANONYMOUS: [&str; 5] = [
    "agent_scaler_certificate_errors_total",
    "agent_scaler_decision_panics_total",
    "agent_scaler_log_lines_dropped_total",
    "agent_scaler_request_duration_seconds",
    "agent_scaler_requests_total",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn readers_who_do_not_read_delay_neither_calls_nor_other_readers() {
    let harness = Harness::with("tick: 1s\n").await;
    let jobs = scripted("jobs", &[]);
    harness.script.shows("jobs", queue(1, 0));
    harness.value(&jobs).await.unwrap();
    for number in 0..TRIGGERS {
        let name = format!("{}{number}", "long-".repeat(40));
        harness.script.shows(&name, queue(1, 0));
        let mut trigger = scripted(&name, &[]);
        trigger.name = format!("object-{number}");
        harness.value(&trigger).await.ok();
    }
    eventually("all triggers", async || (harness.scaler.reports().len() > TRIGGERS).then_some(())).await;
    let mut idle = Vec::new();
    for number in 0..12 {
        // With a small buffer of its own, most of the page stays with the server.
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4_096).unwrap();
        let mut reader = socket.connect(harness.scaler.admin).await.unwrap();
        let page = if number % 2 == 0 { "/decisions" } else { "/metrics" };
        reader.write_all(format!("GET {page} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).await.unwrap();
        idle.push(reader);
    }
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        let asked = Instant::now();
        harness.value(&jobs).await.unwrap();
        slowest = slowest.max(asked.elapsed());
    }
    assert!(slowest < Duration::from_millis(500), "{slowest:?}");
    for path in ["/decisions", "/metrics"] {
        let (status, text) =
            timeout(PATIENCE, async { read(get(&harness.scaler, path).await).await }).await.unwrap();
        assert_eq!(status, StatusCode::OK);
        assert!(
            text.contains("\"object-0\"") && text.contains(&format!("\"object-{}\"", TRIGGERS - 1)),
            "{path}"
        );
    }
}

#[tokio::test]
async fn metrics_that_name_tenants_are_for_those_with_the_token() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "monday").unwrap();
    let harness = Harness::with(&format!("adminToken: {{ file: {} }}\n", file.path().display())).await;
    harness.script.shows("jobs", queue(1, 0));
    harness.value(&scripted("jobs", &[])).await.unwrap();
    let (status, open) = read(get(&harness.scaler, "/metrics").await).await;
    assert_eq!(status, StatusCode::OK);
    assert!(open.ends_with("# EOF\n"), "{open}");
    let samples = open.lines().filter(|line| !line.starts_with('#'));
    let strange: Vec<&str> =
        samples.filter(|line| !ANONYMOUS.iter().any(|name| line.starts_with(name))).collect();
    assert!(strange.is_empty(), "{strange:?}");
    let (status, all) = get_as(&harness.scaler, "/metrics", "bearer monday").await;
    assert_eq!(status, StatusCode::OK);
    assert!(all.contains("namespace=\"acme\"") && all.contains("connection=\"script\""), "{all}");
    let (status, _) = get_as(&harness.scaler, "/metrics", "Bearer tuesday").await;
    assert_eq!(status, StatusCode::UNAUTHORIZED, "a wrong token is noticed");
}

/// A browser that was led here under another site's name says that name.
#[tokio::test]
async fn without_a_token_pages_are_for_requests_under_a_name_of_ours() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "monday").unwrap();
    let open = Harness::with("adminHosts: [scaler.example.com]\n").await;
    let guarded = Harness::with(&format!("adminToken: {{ file: {} }}\n", file.path().display())).await;
    for path in ["/metrics", "/decisions", "/decisions/acme/jobs"] {
        let refused = said(&open, path, "evil.example.com").await;
        assert!(
            refused.starts_with("HTTP/1.1 421 ") && refused.contains("`adminHosts`"),
            "{path}: {refused}"
        );
        for ours in
            ["localhost:8080", "10.0.0.7:8080", "agent-scaler-http.keda.svc:8080", "scaler.example.com"]
        {
            assert!(!said(&open, path, ours).await.starts_with("HTTP/1.1 421 "), "{path} at {ours}");
        }
        assert!(!said(&guarded, path, "evil.example.com").await.starts_with("HTTP/1.1 421 "), "{path}");
    }
    for path in ["/livez", "/readyz"] {
        assert!(said(&open, path, "evil.example.com").await.starts_with("HTTP/1.1 200 "), "{path}");
    }
}

/// The answer to a request for `host`.
async fn said(harness: &Harness, path: &str, host: &str) -> String {
    let mut socket = TcpStream::connect(harness.scaler.admin).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, socket.read_to_string(&mut answer)).await.unwrap().unwrap();
    answer
}
