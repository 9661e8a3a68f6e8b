//! Visibility timeouts of SQS queues that the same files declare.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Node;

/// Amazon's default visibility timeout, in seconds.
const DEFAULT: u64 = 30;

/// Adds the queue of an object of the ACK controller or of Crossplane.
pub(super) fn add(found: &mut BTreeMap<String, Duration>, node: &Node, name: &str) {
    let version = node["apiVersion"].as_str().unwrap_or_default();
    if node["kind"] != "Queue" || !version.contains("sqs") {
        return;
    }
    let (spec, annotations) = (&node["spec"], &node["metadata"]["annotations"]);
    let provider = &spec["forProvider"];
    let names = [&spec["queueName"], &provider["name"], &annotations["crossplane.io/external-name"]];
    let name = names.into_iter().find_map(Node::as_str).unwrap_or(name);
    let timeouts =
        [&spec["visibilityTimeout"], &provider["visibilityTimeoutSeconds"], &provider["visibilityTimeout"]];
    let number = |node: &Node| node.as_u64().or_else(|| node.as_str()?.parse().ok());
    let seconds = timeouts.into_iter().find_map(number).unwrap_or(DEFAULT);
    found.insert(name.to_owned(), Duration::from_secs(seconds));
}
