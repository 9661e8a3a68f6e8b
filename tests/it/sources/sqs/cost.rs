//! What a dry run says of the cost.

use serde_json::{Value, json};
use tokio::process::Command;

use super::SECRET;
use crate::support::moto::{Moto, REGION};

#[tokio::test]
async fn a_plan_says_what_a_trigger_costs_in_a_month() {
    Moto::shared().create_queue("paid").await;
    let push = planned("external-push", "paid", "", "json").await;
    let cost = json!({
        "idle": { "calls": 87_600, "dollars": 0.04 },
        "active": { "calls": 525_600, "dollars": 0.21 },
        "listened": { "calls": 2_628_000, "dollars": 1.05 },
        "dollarsPerMillionCalls": 0.4,
        "asOf": 2026,
    });
    assert_eq!(costs(&push), cost);
    let text = planned("external-push", "paid", "", "text").await;
    let line = "\n  a month: $0.04 (88 k calls) idle, $0.21 (526 k calls) active, $1.05 (2.63 M calls) idle and \
                listened for; each server, at $0.40 a million calls (2026)\n";
    assert!(format!("{text}\n").contains(line), "{text}");
}

#[tokio::test]
async fn the_tick_and_the_price_of_fifo_queues_are_in_the_cost() {
    Moto::shared().create_queue("paid").await;
    Moto::shared().create_queue("paid.fifo").await;
    let slow = planned("external-push", "paid,paid.fifo", "tick: 10s", "json").await;
    let cost = json!({
        "idle": { "calls": 175_200, "dollars": 0.08 },
        "active": { "calls": 525_600, "dollars": 0.24 },
        "listened": { "calls": 5_256_000, "dollars": 2.37 },
        "dollarsPerMillionCalls": 0.45,
        "asOf": 2026,
    });
    assert_eq!(costs(&slow), cost);
    let polled = planned("external", "paid", "", "json").await;
    assert_eq!(costs(&polled)["listened"], Value::Null, "nobody listens");
}

/// The server reads at its own pace, which calls to it do not change.
#[tokio::test]
async fn neither_bounds_nor_polls_of_a_scaled_object_change_the_cost() {
    Moto::shared().create_queue("paid").await;
    let usual = costs(&planned("external", "paid", "", "json").await);
    for spec in ["minReplicaCount: 1", "pollingInterval: 1", "minReplicaCount: 1\n  pollingInterval: 600"] {
        let planned = planned_with(spec, ("external", "paid"), "", "json").await;
        assert_eq!(costs(&planned), usual, "{spec}");
    }
}

fn costs(planned: &str) -> Value {
    let planned: Value = serde_json::from_str(planned).unwrap_or_else(|_| panic!("{planned}"));
    assert_eq!(planned["triggers"][0]["decision"]["state"], "fresh", "{planned}");
    planned["triggers"][0]["costPerMonth"].clone()
}

/// What a dry run prints of a trigger of this kind on moto.
async fn planned(kind: &str, queues: &str, server: &str, format: &str) -> String {
    planned_with("minReplicaCount: 0", (kind, queues), server, format).await
}

/// The same of a ScaledObject with more in its `spec`.
async fn planned_with(spec: &str, (kind, queues): (&str, &str), server: &str, format: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
    let url = Moto::shared().url();
    write(
        "server.yaml",
        &format!(
            "connections: {{ sqs: {{ type: aws, region: {REGION}, endpoint: \"{url}\" }} }}\n{server}\n"
        ),
    );
    write(
        "object.yaml",
        &format!(
            "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{ name: tasks }}\nspec:\n  {spec}\n  triggers:\n  - type: {kind}\n    metadata: \
             {{ scalerAddress: \"a:1\", source: aws-sqs-queue, connection: sqs, queueURL: \"{queues}\" }}\n"
        ),
    );
    let mut command = Command::new(env!("CARGO_BIN_EXE_agent-scaler"));
    command.args(["plan", "-f", "object.yaml", "--config", "server.yaml", "--output", format]);
    command.env("AWS_ACCESS_KEY_ID", "AKIATEST").env("AWS_SECRET_ACCESS_KEY", SECRET);
    command.current_dir(folder.path()).kill_on_drop(true);
    String::from_utf8(command.output().await.unwrap().stdout).unwrap()
}
