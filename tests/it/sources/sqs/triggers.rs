//! Triggers on SQS as a server reads them.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_scaler::config::server::Server;
use agent_scaler::config::trigger::{self, Refusal, Trigger};
use agent_scaler::sources::ALL;

const FILE: &str = "\
connections:
  sqs-eu: { type: aws, region: eu-west-1 }
  redis-main: { type: redis, url: \"redis://localhost\" }
";

const TENANTS: &str = "tenants: { acme: { connections: { sqs-eu: [\"acme-*\"] } } }\n";

const URL: &str = "https://sqs.eu-west-1.amazonaws.com/123456789012/acme-tasks";

/// KEDA's own trigger, every key of it, with another type.
#[test]
fn each_key_of_kedas_scaler_says_where_it_went() {
    let error = parsed(
        FILE,
        &[
            ("source", "aws-sqs-queue"),
            ("connection", "sqs-eu"),
            ("queueURL", URL),
            ("scaleOnDelayed", "false"),
            ("queueLength", "5"),
            ("activationQueueLength", "0"),
            ("scaleOnInFlight", "true"),
            ("awsRegion", "eu-west-1"),
            ("awsEndpoint", "http://localhost:4566"),
            ("awsRoleArn", "arn:aws:iam::123456789012:role/x"),
            ("identityOwner", "operator"),
            ("queueURLFromEnv", "hunter2"),
            ("awsSecretAccessKeyFromEnv", "hunter2"),
        ],
    );
    let text = error.unwrap_err().to_string();
    for line in [
        "metadata.queueLength: unknown key (hint: `tasksPerReplica`: tasks that one replica runs at a time)",
        "metadata.activationQueueLength: unknown key (hint: `activationBacklog`)",
        "metadata.scaleOnInFlight: unknown key (hint: leave it out: messages in flight always count, as running tasks)",
        "metadata.awsRegion: unknown key (hint: name a `connection`: the server's file holds its `region`)",
        "metadata.awsEndpoint: unknown key (hint: name a `connection`: the server's file holds its `endpoint`)",
        "metadata.awsRoleArn: unknown key (hint: name a `connection`: the server's file holds its credentials, and \
         the role that it takes (`roleArn`))",
        "metadata.identityOwner: unknown key (hint: name a `connection`: ",
        "metadata.queueURLFromEnv: is refused: variables of the workers are not read (hint: write the value itself",
        "metadata.awsSecretAccessKeyFromEnv: is refused, because KEDA sends a secret with it (hint: credentials \
         belong in the server's file: `connections.NAME.secretAccessKey: { file: PATH }`)",
    ] {
        assert!(text.contains(line), "{line}\nis not in\n{text}");
    }
    assert!(text.starts_with("9 problems in the trigger metadata:") && !text.contains("hunter2"), "{text}");
}

/// `check` and the server parse alike, and neither asks AWS for it.
#[test]
fn the_region_of_a_url_is_compared_with_that_of_the_connection() {
    let local =
        "connections: { sqs-eu: { type: aws, region: eu-west-1, endpoint: \"http://localhost:4566\" } }\n";
    for file in [FILE, local] {
        for url in [
            "https://sqs-fips.us-east-1.amazonaws.com/123456789012/agent-tasks",
            "https://queue.amazonaws.com/123456789012/agent-tasks",
            "http://localhost:4566/queue/us-east-1/123456789012/agent-tasks",
        ] {
            let keys = [("source", "aws-sqs-queue"), ("connection", "sqs-eu"), ("queueURL", url)];
            let error = parsed(file, &keys).unwrap_err().to_string();
            let wanted = "metadata.connection: the URL of `agent-tasks` is of the region us-east-1, and the connection \
                          is of eu-west-1: name a connection to us-east-1";
            assert!(error.contains(wanted), "{error}");
        }
    }
}

#[test]
fn an_idle_queue_that_rests_is_not_stale() {
    let of = |keys: &[(&str, &str)]| parsed(FILE, keys).unwrap().policy.fresh_for;
    let paid = of(&[("source", "aws-sqs-queue"), ("connection", "sqs-eu"), ("queueURL", URL)]);
    let free = of(&[("source", "redis"), ("connection", "redis-main"), ("listName", "a")]);
    assert_eq!((paid, free), (Duration::from_secs(45), Duration::from_secs(15)));
}

#[test]
fn a_tenants_patterns_look_at_the_last_part_of_a_url() {
    let file = format!("{FILE}{TENANTS}");
    let of = |queue: &str| {
        parsed(&file, &[("source", "aws-sqs-queue"), ("connection", "sqs-eu"), ("queueURL", queue)])
    };
    assert!(of(URL).is_ok());
    assert!(of("acme-tasks").is_ok());
    // The error about rights comes before the error about the region.
    for foreign in ["zeta-tasks", "https://acme-x/123456789012/zeta-tasks", "acme-tasks,zeta-tasks"] {
        assert_eq!(
            of(foreign).unwrap_err().to_string(),
            "namespace `acme` may not read `zeta-tasks` on the connection `sqs-eu`",
            "{foreign}"
        );
    }
}

fn parsed(file: &str, keys: &[(&str, &str)]) -> Result<Trigger, Refusal> {
    let server = Server::parse(file, ALL).unwrap();
    let metadata: BTreeMap<String, String> =
        keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    trigger::parse(&server, "acme", "tasks", &metadata)
}
