//! Headroom that a gateway's gauges tell, through a real Prometheus that scrapes them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_scaler::engine::decision::LimitedBy;

use super::{limit, two};
use crate::support::answerer::{Answerer, Said};
use crate::support::harness::{Harness, eventually, queue};
use crate::support::prometheus::{Prometheus, Setup};

/// What a gateway's gauge shows, and how often it was scraped.
struct Gauge {
    left: AtomicU64,
    scrapes: AtomicU64,
}

/// A gateway whose gauge goes up and down by so much from scrape to scrape.
async fn gateway(jitter: u64) -> (Arc<Gauge>, Answerer, Prometheus) {
    let gauge = Arc::new(Gauge { left: AtomicU64::new(3), scrapes: AtomicU64::new(0) });
    let told = Arc::clone(&gauge);
    let exporter = Answerer::start(move |_| {
        let jitter = jitter * (told.scrapes.fetch_add(1, Ordering::SeqCst) % 2);
        let left = told.left.load(Ordering::SeqCst) + jitter;
        let labels = r#"model_group="sonnet",litellm_model_name="a",api_base="x""#;
        Said::new(200, format!("litellm_remaining_requests_metric{{{labels}}} {left}\n"))
    })
    .await;
    let prometheus = Prometheus::start(Setup { scrapes: Some(exporter.port()), ..Setup::default() }).await;
    (gauge, exporter, prometheus)
}

async fn harness(prometheus: &Prometheus) -> Harness {
    let file = format!(
        "connections: {{ script: {{ type: scripted }}, prom: {{ type: prometheus, url: \"{}\" }} }}\n\
         llmLimits:\n  prod: {{ workersConnection: script, scope: prod, requestsPerMinute: 60, \
         weights: {{ acme: 1, calm: 3 }}, prometheusConnection: prom, headroomPreset: litellm, \
         headroomModel: sonnet }}\n",
        prometheus.url()
    );
    Harness::with(&file).await
}

#[tokio::test]
async fn a_gateway_that_has_little_left_stops_growth_and_takes_nothing_away() {
    let (gauge, _exporter, mut prometheus) = gateway(1).await;
    let harness = harness(&prometheus).await;
    let (flood, calm) = two(&harness).await;
    harness.settles(&flood, 3, LimitedBy::LlmLimit).await;
    let is_scarce = async || limit(&harness, &flood)?.cap?.scarce.then_some(());
    eventually("scarcity", is_scarce).await;
    // What the neighbour does not want is not lost, but nobody takes it while so little is left.
    harness.script.shows("calm", queue(0, 2));
    harness.settles(&calm, 2, LimitedBy::Demand).await;
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(harness.value(&flood).await.unwrap(), 3.0);
    }
    let told = limit(&harness, &flood).unwrap().headroom.unwrap();
    assert!(
        ["3", "4"]
            .map(|left| format!("headroom of litellm sonnet on prom: {left} requests/min left"))
            .contains(&told),
        "{told}"
    );

    gauge.left.store(50, Ordering::SeqCst);
    harness.settles(&flood, 10, LimitedBy::LlmLimit).await;
    gauge.left.store(3, Ordering::SeqCst);
    eventually("scarcity", is_scarce).await;
    assert_eq!(harness.value(&flood).await.unwrap(), 10.0);

    prometheus.kill();
    let cause = eventually("a cause", async || {
        limit(&harness, &flood)?.headroom.filter(|told| told.contains("not known"))
    });
    let cause = cause.await;
    assert!(cause.contains(&prometheus.url()), "{cause}");
    assert_eq!(harness.value(&flood).await.unwrap(), 10.0);
    assert_eq!(harness.report(&flood).unwrap().error, None);
}

#[tokio::test]
async fn a_gauge_that_stands_still_holds_nobody_back() {
    let (gauge, _exporter, prometheus) = gateway(0).await;
    eventually("scrapes", async || (gauge.scrapes.load(Ordering::SeqCst) > 3).then_some(())).await;
    let harness = harness(&prometheus).await;
    let (flood, _calm) = two(&harness).await;
    harness.settles(&flood, 3, LimitedBy::LlmLimit).await;
    harness.script.shows("calm", queue(0, 2));
    harness.settles(&flood, 10, LimitedBy::LlmLimit).await;
    let shown = limit(&harness, &flood).unwrap();
    assert!(!shown.cap.unwrap().scarce);
    assert_eq!(
        shown.headroom.as_deref(),
        Some(
            "headroom of litellm sonnet on prom: not known: there is no gauge, or none has changed for two minutes"
        )
    );
}
