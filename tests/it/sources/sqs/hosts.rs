//! Every way to write a queue's URL, against a moto that has a queue of that name in two regions.

use agent_scaler::sources::ReadError;
use aws_sdk_sqs::config::Region;

use super::{client, queue, read, refused, seen};
use crate::support::moto::{ACCOUNT, Moto, REGION};

/// Every spelling of the part before the account in the URL of a queue in `region`.
fn origins(region: &str) -> Vec<String> {
    let mut origins: Vec<String> = [
        "https://sqs.REGION.amazonaws.com",
        "http://sqs.REGION.amazonaws.com:80",
        "https://sqs.REGION.amazonaws.com.",
        "https://SQS.REGION.AmazonAWS.com",
        "https://sqs-fips.REGION.amazonaws.com",
        "https://REGION.queue.amazonaws.com",
        "https://sqs.REGION.api.aws",
        "https://sqs-fips.REGION.api.aws",
        "https://vpce-0a1b-c2d3.sqs.REGION.vpce.amazonaws.com",
        "http://sqs.REGION.localhost.localstack.cloud:4566",
        "http://REGION.queue.localhost.localstack.cloud:4566",
        "http://localhost:4566/queue/REGION",
    ]
    .map(|origin| origin.replace("REGION", region))
    .into();
    if region == "us-east-1" {
        origins.push("https://queue.amazonaws.com".to_owned());
    }
    origins
}

#[tokio::test]
async fn a_queue_of_the_same_name_in_another_region_is_never_read() {
    let moto = Moto::shared();
    let there = moto.client().config().to_builder().region(Region::from_static("us-east-1")).build();
    let there = aws_sdk_sqs::Client::from_conf(there);
    there.create_queue().queue_name("agent-tasks").send().await.unwrap();
    // The one that must not be read in its place.
    let here = moto.create_queue("agent-tasks").await;
    for _ in 0..3 {
        moto.client().send_message().queue_url(&here).message_body("{}").send().await.unwrap();
    }
    let mut client = client(&moto.url()).await;
    for ending in ["agent-tasks", "agent-tasks/"] {
        let url = |origin: &String| queue(&format!("{origin}/{ACCOUNT}/{ending}"));
        for origin in origins("us-east-1") {
            assert_eq!(
                refused(&mut client, &url(&origin)).await,
                format!(
                    "{}: the URL of `agent-tasks` is of the region us-east-1, and the connection is of {REGION}: name \
                     a connection to us-east-1",
                    moto.url()
                ),
                "{origin}"
            );
        }
        let plans: Vec<_> = origins(REGION).iter().map(url).collect();
        for (reading, origin) in read(&mut client, &plans).await.into_iter().zip(origins(REGION)) {
            assert_eq!(reading, Ok(seen(3, 0)), "{origin}");
        }
    }
}

#[tokio::test]
async fn a_host_outside_aws_is_refused_where_aws_is_asked() {
    let mut client = super::connect(&*super::endpoint_of_aws(&[])).await.unwrap();
    for host in ["localhost:4566", "sqs.eu-west-1.amazonaws.com.evil.example", "sqs.eu-west-1.amazonaws.co"] {
        let queue = queue(&format!("https://{host}/{ACCOUNT}/agent-tasks"));
        let Err(ReadError::Unexpected { message, .. }) = super::read_one(&mut client, &queue).await else {
            panic!("{host} is taken for AWS");
        };
        assert!(
            message.starts_with("the URL of `agent-tasks` has the host ")
                && message.contains(
                    "the connection asks https://sqs.eu-west-1.amazonaws.com: name the queue without"
                ),
            "{message}"
        );
    }
}
