//! SQS, on moto: its counts are exact and at once, which those of AWS are not.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use serde_json::json;

use super::{IDLE, MAX, OURS, Rival, busy, compete, expect};
use crate::objects::{Call, Queue, Trigger};
use crate::scene::{Scene, Setting, Stage};
use crate::support::moto::{Moto, REGION};
use crate::workers::Lifetime;

pub(in super::super) async fn on_sqs(stage: Stage) {
    let moto = tokio::task::block_in_place(Moto::start);
    let client = moto.client();
    let url = moto.create_queue("tasks").await;
    let connection = connection(&moto);
    let setting = Setting { lifetime: Lifetime::Idle, connections: connection, ..Setting::on(Queue::List) };
    let mut scene = Scene::set(stage, setting).await;
    login(&scene).await;
    let ours = Trigger::on(Call::External, &scene.host, "sqs", "aws-sqs-queue", MAX).key("queueURL", &url);
    let queue = json!({
        "queueURL": url, "queueLength": "1", "awsRegion": REGION, "awsEndpoint": moto.url(),
    });
    let waiting = [queue.clone(), json!({"scaleOnInFlight": "false"})];
    let trigger = |parts: &[serde_json::Value]| {
        let keys = parts.iter().flat_map(|part| part.as_object().unwrap().clone());
        let metadata: serde_json::Map<_, _> = keys.collect();
        json!({"type": "aws-sqs-queue", "metadata": metadata, "authenticationRef": {"name": "aws"}})
    };
    let rivals = [
        Rival { name: "keda", trigger: trigger(&[queue]) },
        Rival { name: "keda-waiting", trigger: trigger(&waiting) },
    ];
    compete(&mut scene, &ours, &rivals).await;
    let table = |ours, keda, waiting| [(OURS, ours), ("keda", keda), ("keda-waiting", waiting)];

    expect(&scene, "an empty queue", &table(IDLE, IDLE, IDLE)).await;
    for _ in 0..5 {
        client.send_message().queue_url(&url).message_body("task").send().await.unwrap();
    }
    expect(&scene, "5 wait", &table(busy(5), busy(5), busy(5))).await;
    let mut taken = take(&client, &url, 2).await;
    expect(&scene, "3 wait and 2 run", &table(busy(5), busy(5), busy(3))).await;
    taken.extend(take(&client, &url, 3).await);
    expect(&scene, "5 run and nothing waits", &table(busy(5), busy(5), IDLE)).await;
    client.send_message().queue_url(&url).message_body("later").delay_seconds(900).send().await.unwrap();
    expect(&scene, "5 run and one is delayed", &table(busy(5), busy(5), IDLE)).await;
    delete(&client, &url, taken).await;
    // AWS's counts slip to zero now and then: a zero has to last a minute before it ends anything.
    expect(&scene, "all are done, a moment ago", &table(busy(5), IDLE, IDLE)).await;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    expect(&scene, "all are done, a minute ago", &table(IDLE, IDLE, IDLE)).await;
}

/// The connection `sqs`, as a server's file has it.
pub(in super::super) fn connection(moto: &Moto) -> String {
    let key = "accessKeyId: { env: AWS_ACCESS_KEY_ID }, secretAccessKey: { env: AWS_SECRET_ACCESS_KEY }";
    format!(
        "  sqs: {{ type: aws, region: {REGION}, endpoint: \"{}\", accounts: \"123456789012\", {key} }}",
        moto.url()
    )
}

/// Takes so many messages for long: their receipts.
pub(in super::super) async fn take(client: &Client, url: &str, count: i32) -> Vec<String> {
    let receive = client.receive_message().queue_url(url).max_number_of_messages(count);
    let received = receive.visibility_timeout(600).send().await.unwrap();
    let receipts = received.messages().iter().map(|message| message.receipt_handle.clone().unwrap());
    let receipts: Vec<String> = receipts.collect();
    assert_eq!(i32::try_from(receipts.len()), Ok(count));
    receipts
}

/// Deletes messages in one call, so that no read sees a part of them.
pub(in super::super) async fn delete(client: &Client, url: &str, receipts: Vec<String>) {
    let entries = receipts.into_iter().enumerate().map(|(number, receipt)| {
        let entry = DeleteMessageBatchRequestEntry::builder().id(number.to_string());
        entry.receipt_handle(receipt).build().unwrap()
    });
    let delete = client.delete_message_batch().queue_url(url).set_entries(Some(entries.collect()));
    assert!(delete.send().await.unwrap().failed().is_empty());
}

/// KEDA wants credentials, which moto does not look at.
async fn login(scene: &Scene) {
    let named = |kind: &str, version: &str| json!({"kind": kind, "apiVersion": version, "metadata": {"name": "aws", "namespace": scene.namespace}});
    let mut secret = named("Secret", "v1");
    secret["stringData"] = json!({"id": "test", "key": "test"});
    scene.api.apply(&secret).await;
    let mut authentication = named("TriggerAuthentication", "keda.sh/v1alpha1");
    let reference = |parameter, key| json!({"parameter": parameter, "name": "aws", "key": key});
    authentication["spec"]["secretTargetRef"] =
        json!([reference("awsAccessKeyID", "id"), reference("awsSecretAccessKey", "key")]);
    scene.api.apply(&authentication).await;
}
