//! One connection's trouble is its own.

use agent_scaler::engine::decision::LimitedBy;
use tonic::Code;

use crate::support::harness::{Harness, eventually, queue, scripted};

#[tokio::test]
async fn a_connection_that_hangs_delays_no_other_and_is_counted_by_itself() {
    let harness = Harness::with("connections: { silent: { type: scripted } }").await;
    let (busy, dead) = (scripted("busy", &[]), scripted("dead", &[("connection", "silent")]));
    harness.script.shows("busy", queue(1, 0));
    assert_eq!(harness.value(&dead).await.unwrap_err().code(), Code::Unavailable);
    for waiting in [1, 2, 3] {
        harness.script.shows("busy", queue(waiting, 0));
        harness.settles(&busy, u32::try_from(waiting).unwrap(), LimitedBy::Demand).await;
    }
    let counts = eventually("an error for each queue that was not read in time", async || {
        let page = format!("http://{}/metrics", harness.scaler.admin);
        let metrics = reqwest::get(page).await.unwrap().text().await.unwrap();
        let of = |connection| deadlines(&metrics, connection);
        of("silent").filter(|count| *count > 0).map(|_| of("script"))
    });
    assert_eq!(counts.await, Some(0));
}

/// How often queues of a connection were not read in time; `None` without such a series.
fn deadlines(metrics: &str, connection: &str) -> Option<u64> {
    let series = "agent_scaler_connection_read_errors_total";
    let line = metrics.lines().find(|line| {
        line.starts_with(series)
            && line.contains(&format!("connection=\"{connection}\""))
            && line.contains("kind=\"deadline\"")
    })?;
    line.rsplit(' ').next()?.parse().ok()
}
