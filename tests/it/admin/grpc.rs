//! Health and reflection, on the port that KEDA uses.

use tokio::time::timeout;
use tokio_stream::StreamExt;
use tokio_stream::once;
use tonic::Code;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::support::harness::{Harness, PATIENCE};

const SERVICE: &str = "externalscaler.ExternalScaler";

#[tokio::test]
async fn health_is_serving_for_the_server_and_its_service_and_knows_no_other() {
    let harness = Harness::start().await;
    let mut client = HealthClient::new(channel(&harness).await);
    for service in ["", SERVICE] {
        let answer = client.check(asked(service)).await.unwrap().into_inner();
        assert_eq!(answer, HealthCheckResponse { status: ServingStatus::Serving.into() }, "`{service}`");
    }
    assert_eq!(client.check(asked("keda")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn whoever_watches_health_is_told_of_the_end() {
    let harness = Harness::start().await;
    let mut client = HealthClient::new(channel(&harness).await);
    let mut watched = Vec::new();
    for service in ["", SERVICE] {
        let mut told = client.watch(asked(service)).await.unwrap().into_inner();
        assert_eq!(told.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
        watched.push(told);
    }
    let stopping = tokio::spawn(harness.scaler.stop());
    for told in &mut watched {
        let status = timeout(PATIENCE, told.message()).await.unwrap().unwrap().unwrap().status();
        assert_eq!(status, ServingStatus::NotServing);
    }
    drop(watched);
    timeout(PATIENCE, stopping).await.unwrap().unwrap();
}

/// The services that a version of reflection lists.
macro_rules! listed {
    ($version:ident, $harness:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

        let list = MessageRequest::ListServices(String::new());
        let request = ServerReflectionRequest { host: String::new(), message_request: Some(list) };
        let mut client = ServerReflectionClient::new(channel($harness).await);
        let mut answers = client.server_reflection_info(once(request)).await.unwrap().into_inner();
        let answer = answers.next().await.unwrap().unwrap().message_response;
        let Some(MessageResponse::ListServicesResponse(services)) = answer else { panic!("{answer:?}") };
        let mut names: Vec<String> = services.service.into_iter().map(|service| service.name).collect();
        names.sort_unstable();
        names
    }};
}

#[tokio::test]
async fn reflection_lists_our_service_in_both_versions() {
    let harness = Harness::start().await;
    let health = "grpc.health.v1.Health";
    assert_eq!(listed!(v1, &harness), [SERVICE, health, "grpc.reflection.v1.ServerReflection"]);
    assert_eq!(listed!(v1alpha, &harness), [SERVICE, health, "grpc.reflection.v1alpha.ServerReflection"]);
}

async fn channel(harness: &Harness) -> Channel {
    Endpoint::from_shared(format!("http://{}", harness.scaler.grpc)).unwrap().connect().await.unwrap()
}

fn asked(service: &str) -> HealthCheckRequest {
    HealthCheckRequest { service: service.into() }
}
