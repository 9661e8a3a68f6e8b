//! Prometheus: a query whose answer may be missing.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::routing::get;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::{IDLE, MAX, OURS, Rival, Says, busy, compete, expect};
use crate::objects::{Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};
use crate::support::prometheus::{Prometheus, Setup};
use crate::workers::Lifetime;

pub(in super::super) async fn on_prometheus(stage: Stage) {
    let exporter = Exporter::start().await;
    let prometheus = Prometheus::start(Setup { scrapes: Some(exporter.port), ..Setup::default() }).await;
    let connections = format!("  prom: {{ type: prometheus, url: \"{}\" }}", prometheus.url());
    let setting = Setting { lifetime: Lifetime::Idle, connections, ..Setting::on(Queue::List) };
    let mut scene = Scene::set(stage, setting).await;
    let ours = Trigger::on(Call::External, &scene.host, "prom", "prometheus", MAX)
        .key("query", "tasks_waiting")
        .key("inFlightQuery", "tasks_running");
    let rival = |name, ignores: &str| {
        let query = json!({
            "serverAddress": prometheus.url(), "query": "tasks_waiting", "threshold": "1",
            "ignoreNullValues": ignores,
        });
        Rival { name, trigger: json!({"type": "prometheus", "metadata": query}) }
    };
    let rivals = [rival("keda", "true"), rival("keda-strict", "false")];
    compete(&mut scene, &ours, &rivals).await;
    let table = |ours, keda, strict| [(OURS, ours), ("keda", keda), ("keda-strict", strict)];

    expect(&scene, "nothing", &table(IDLE, IDLE, IDLE)).await;
    exporter.says("tasks_waiting 5\ntasks_running 0\n");
    expect(&scene, "5 wait", &table(busy(5), busy(5), busy(5))).await;
    exporter.says("tasks_waiting 0\ntasks_running 2\n");
    expect(&scene, "2 run and nothing waits", &table(busy(2), IDLE, IDLE)).await;
    exporter.says("tasks_waiting NaN\ntasks_running 2\n");
    expect(&scene, "2 run, and the backlog is no number", &table(busy(2), IDLE, Says::Error)).await;
    exporter.says("tasks_waiting{queue=\"a\"} 3\ntasks_waiting{queue=\"b\"} 4\ntasks_running 2\n");
    expect(&scene, "2 run, and there are two backlogs", &table(busy(2), Says::Error, Says::Error)).await;
    exporter.says("tasks_waiting 5\ntasks_running 2\n");
    expect(&scene, "5 wait and 2 run", &table(busy(7), busy(5), busy(5))).await;
    // The target is lost: its series end, and the query finds nothing.
    exporter.serving.abort();
    exporter.says("");
    expect(&scene, "the exporter is gone", &table(busy(7), IDLE, Says::Error)).await;
}

/// What Prometheus scrapes.
struct Exporter {
    port: u16,
    page: Arc<Mutex<String>>,
    serving: JoinHandle<()>,
}

impl Exporter {
    async fn start() -> Self {
        let page = Arc::new(Mutex::new("tasks_waiting 0\ntasks_running 0\n".to_owned()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let served = Arc::clone(&page);
        let routes = Router::new()
            .route("/", get(async move || served.lock().unwrap_or_else(PoisonError::into_inner).clone()));
        let serving = tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
        Self { port, page, serving }
    }

    fn says(&self, page: &str) {
        page.clone_into(&mut self.page.lock().unwrap_or_else(PoisonError::into_inner));
    }
}
