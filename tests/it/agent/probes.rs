//! The probes, which mean different things, and the end of the process.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::process::{Agent, Kind, answer, records};
use crate::support::harness::{PATIENCE, eventually};
use crate::support::proxy::{Mode, Proxy};
use crate::support::servers::Redis;

#[tokio::test]
async fn the_probes_tell_never_reached_from_away_and_from_dead() {
    let redis = Redis::plain();
    let proxy = Proxy::start(redis.port()).await;
    proxy.switch(Mode::Stall);
    let agent = Agent::at(&format!("redis://127.0.0.1:{}", proxy.port()), &["--redis-timeout", "1s"]);
    assert_eq!(probes(&agent).await, [200, 503, 503]);
    proxy.switch(Mode::Pass);
    eventually("Redis reached", async || (probes(&agent).await == [200, 200, 200]).then_some(())).await;
    proxy.switch(Mode::Stall);
    eventually("Redis away", async || (probes(&agent).await == [200, 503, 200]).then_some(())).await;
    assert_eq!(agent.metric("redis_up").await, Some(0.0));
    proxy.switch(Mode::Pass);
    eventually("Redis back", async || (probes(&agent).await == [200, 200, 200]).then_some(())).await;
}

#[tokio::test]
async fn a_request_that_has_begun_is_answered_after_sigterm() {
    let redis = Redis::plain();
    let mut agent = Agent::start(&redis, &[]);
    eventually("readiness", async || (probes(&agent).await == [200, 200, 200]).then_some(())).await;
    let place = agent.api.strip_prefix("http://").unwrap().to_owned();
    let mut caller = TcpStream::connect(&place).await.unwrap();
    let body = r#"{"prompt": "hello"}"#;
    let head = format!(
        "POST /tasks HTTP/1.1\r\nhost: it\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    caller.write_all(format!("{head}{}", &body[..9]).as_bytes()).await.unwrap();
    // The server has taken the connection, and what was said on it, once it has answered another.
    agent.get("/tasks/7").await;
    agent.process.signal("TERM");
    eventually("no new connections", async || TcpStream::connect(&place).await.err()).await;
    // The kubelet still gets its answers.
    assert_eq!(probes(&agent).await, [200, 503, 200]);
    caller.write_all(&body.as_bytes()[9..]).await.unwrap();
    let mut said = String::new();
    timeout(PATIENCE, caller.read_to_string(&mut said)).await.unwrap().unwrap();
    assert!(said.starts_with("HTTP/1.1 202 Accepted\r\n"), "{said}");
    assert_eq!(agent.process.ended_within(PATIENCE).code(), Some(0));
    assert_eq!((Kind::Stream.messages(&redis).len(), records(&redis).len()), (1, 1));
}

#[tokio::test]
async fn a_caller_that_never_ends_does_not_hold_the_process_for_ever() {
    let redis = Redis::plain();
    let mut agent = Agent::start(&redis, &["--drain", "1s"]);
    let mut caller = TcpStream::connect(agent.api.strip_prefix("http://").unwrap()).await.unwrap();
    caller.write_all(b"POST /tasks HTTP/1.1\r\nhost: it\r\n").await.unwrap();
    agent.get("/tasks/7").await;
    agent.process.signal("TERM");
    assert_eq!(agent.process.ended_within(PATIENCE).code(), Some(0));
}

#[tokio::test]
async fn the_metrics_tell_what_was_asked_answered_and_seen() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &[]);
    for _ in 0..3 {
        answer(agent.post("hello")).await.id();
    }
    answer(agent.post("")).await;
    agent.get("/tasks/7").await;
    agent.get("/nowhere/7").await;
    let by = |method: &str, route: &str, status: u16| {
        format!(r#"requests_total{{method="{method}",route="{route}",status="{status}"}}"#)
    };
    for (name, value) in [
        (by("POST", "/tasks", 202), 3.0),
        (by("POST", "/tasks", 400), 1.0),
        (by("GET", "/tasks/{id}", 404), 1.0),
        (by("GET", "other", 404), 1.0),
        ("tasks_enqueued_total".to_owned(), 3.0),
        (r#"request_duration_seconds_count{route="/tasks"}"#.to_owned(), 4.0),
    ] {
        assert_eq!(agent.metric(&name).await, Some(value), "{name}");
    }
    eventually("the backlog", async || (agent.metric("backlog").await == Some(3.0)).then_some(())).await;
    assert_eq!(agent.metric("redis_up").await, Some(1.0));
    // Nobody said anything of a limit.
    assert_eq!(agent.metric("limit_used_ratio").await, None);
}

/// /livez, /readyz and /startupz.
async fn probes(agent: &Agent) -> [u16; 3] {
    let mut statuses = [0; 3];
    for (status, path) in statuses.iter_mut().zip(["/livez", "/readyz", "/startupz"]) {
        *status = agent.look(path).await.0.as_u16();
    }
    statuses
}
