//! The admin port, health and reflection: what the kubelet, Prometheus and people see.

mod decisions;
mod grpc;
mod log;
mod log_process;
mod metrics;
mod panics;
mod probes;
mod readers;

use agent_scaler::scaler::Scaler;
use reqwest::{Response, StatusCode};

/// Gets a page of the admin port.
async fn get(scaler: &Scaler, path: &str) -> Response {
    reqwest::get(format!("http://{}{path}", scaler.admin)).await.unwrap()
}

/// Gets a page with `Authorization`.
async fn get_as(scaler: &Scaler, path: &str, authorization: &str) -> (StatusCode, String) {
    let request = reqwest::Client::new().get(format!("http://{}{path}", scaler.admin));
    read(request.header("authorization", authorization).send().await.unwrap()).await
}

async fn read(response: Response) -> (StatusCode, String) {
    (response.status(), response.text().await.unwrap())
}
