//! Frameworks with their own exporters, a real Prometheus that scrapes them, and what the presets make of both.

use std::net::TcpListener;
use std::time::Duration;

use agent_scaler::engine::queries::Queried;

use super::super::prometheus::{PATIENCE, client_at, plan, queried, queries, read, waiting};
use super::{Driver, Stage};
use crate::support::prometheus::{Prometheus, Setup};

#[tokio::test]
async fn dramatiqs_own_metrics_tell_what_runs_and_how_long_it_takes() {
    let port = free_port();
    let metrics = tempfile::tempdir().unwrap();
    let stage = Stage::of("python").await;
    let stage = stage.with("dramatiq_prom_host", "127.0.0.1").with("dramatiq_prom_port", &port.to_string());
    let stage = stage.with("dramatiq_prom_db", metrics.path().to_str().unwrap());
    let mut dramatiq = stage.driver("python", "dramatiq", &["driver.py"]);
    let _worker = stage.worker("python", "dramatiq", &["-m", "dramatiq", "driver", "-p", "1", "-t", "4"]);
    let prometheus = Prometheus::start(Setup { scrapes: Some(port), ..Setup::default() }).await;
    let mut client = client_at(&prometheus.url()).await;
    let plan = queries(&[("queryPreset", "dramatiq"), ("queryQueue", "research")]);

    // A rate needs two scrapes, so what was done before the first does not count. Prometheus may take five seconds to
    // begin: tasks for fifteen, and then three that run on.
    dramatiq.ask("send_lasting 200 0.3").await;
    let served = until(async || {
        let seen = queried(&mut client, &plan).await;
        let tail = seen.services.as_ref().and_then(|tail| tail.as_ref().ok());
        tail.is_some_and(|tail| tail.percentile.known().is_some()).then_some(seen)
    });
    let Queried { service, services, in_flight, .. } = served.await;
    let mean = service.unwrap().unwrap();
    assert!(
        (Duration::from_millis(290)..Duration::from_secs(5)).contains(&mean),
        "{mean:?}, and not in seconds"
    );
    let tail = services.unwrap().unwrap();
    assert!(tail.percentile.p95 >= mean / 2 && !tail.is_at_least, "{tail:?}");
    assert!(in_flight.unwrap().unwrap() <= 4, "no more than it has threads");
    until(async || (queried(&mut client, &plan).await.in_flight == Some(Ok(0))).then_some(())).await;

    dramatiq.ask("send 3").await;
    until(async || (queried(&mut client, &plan).await.in_flight == Some(Ok(3))).then_some(())).await;
}

#[tokio::test]
async fn bullmqs_own_metrics_tell_what_waits_and_what_runs() {
    let stage = Stage::of("node").await;
    let (redis, port) = (stage.redis.port().to_string(), free_port());
    let mut bullmq: Driver =
        stage.driver("node", "bullmq", &["driver.js", "produce", "6", &redis, "research"]);
    for command in ["add 3", r#"add 2 {"priority":5}"#, r#"add 4 {"delay":600000}"#] {
        bullmq.ask(command).await;
    }
    let _exporter =
        stage.worker("node", "bullmq", &["driver.js", "export", "6", &redis, "research", &port.to_string()]);
    let prometheus = Prometheus::start(Setup { scrapes: Some(port), ..Setup::default() }).await;
    let mut client = client_at(&prometheus.url()).await;
    let keys = [("queryPreset", "bullmq"), ("queryQueue", "research")];
    let (backlog, signals) = (plan(&keys), queries(&keys));
    until(async || (read(&mut client, &backlog).await == Ok(waiting(5))).then_some(())).await;
    assert_eq!(queried(&mut client, &signals).await.in_flight, Some(Ok(0)));

    let _worker = stage.worker("node", "bullmq", &["driver.js", "work", "6", &redis, "research", "2"]);
    until(async || (read(&mut client, &backlog).await == Ok(waiting(3))).then_some(())).await;
    until(async || (queried(&mut client, &signals).await.in_flight == Some(Ok(2))).then_some(())).await;
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Asks until there is an answer.
async fn until<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    // What is shown is scraped each second, and rates need several scrapes.
    tokio::time::timeout(3 * PATIENCE, asking).await.unwrap()
}
