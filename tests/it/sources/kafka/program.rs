//! The program itself, on a cluster.

use super::*;

use std::fs;
use std::process::Command;

/// What `plan` prints for the group of that topic's name, and how it ends.
fn plan_of(servers: &str, topic: &str, flags: &[&str]) -> (Option<i32>, String) {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let brokers: String = servers.split(',').map(|server| format!("\"{server}\",")).collect();
    let server = format!("connections: {{ main: {{ type: kafka, bootstrapServers: [{brokers}] }} }}\n");
    fs::write(path("server.yaml"), server).unwrap();
    let object = format!(
        "apiVersion: keda.sh/v1alpha1\nkind: ScaledObject\nmetadata: {{ name: support, namespace: acme }}\nspec:\n  triggers:\n  \
         - type: external-push\n    metadata:\n      source: kafka\n      connection: main\n      \
         topic: {topic}\n      consumerGroup: {topic}\n      offsetResetPolicy: earliest\n"
    );
    fs::write(path("object.yaml"), object).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_agent-scaler"))
        .args(["plan", "-f"])
        .arg(path("object.yaml"))
        .arg("--config")
        .arg(path("server.yaml"))
        .args(flags)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr].concat()).into_owned();
    (output.status.code(), text)
}

#[tokio::test]
async fn a_dry_run_sees_what_waits_and_stops_at_the_partitions() {
    let kafka = Kafka::shared();
    kafka.create_topic("planned", 3, 1).await;
    kafka.send("planned", 0..3, 5);
    kafka.commit("planned", "planned", [(0, 5), (1, 1)]);
    let (code, text) = plan_of(&kafka.bootstrap(Listener::Plain), "planned", &["--verbose"]);
    for words in [
        "topic planned of group planned, from the earliest",
        "7 waiting, 2 running",
        "3 replicas",
        "OffsetFetch group=planned topics=planned; ListOffsets latest topics=planned isolation=read_uncommitted",
    ] {
        assert!(text.contains(words), "{words}\nis not in\n{text}");
    }
    assert_eq!(code, Some(0), "{text}");
}

#[tokio::test]
async fn a_dry_run_says_what_is_wrong_and_nothing_else() {
    let kafka = Kafka::shared();
    let (code, text) = plan_of(&kafka.bootstrap(Listener::Plain), "unplanned", &[]);
    assert!(text.contains("there is no topic `unplanned`"), "{text}");
    // The client library would have a line for each of its attempts.
    assert!(!text.contains("librdkafka") && !text.contains("%3|"), "{text}");
    assert_eq!(code, Some(3), "{text}");
}
