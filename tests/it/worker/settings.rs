//! What a worker says of settings that make no sense.

use super::*;

#[test]
fn one_error_names_every_setting_that_is_wrong() {
    let worker = Example::new("worker").arguments([
        "--listen",
        "127.0.0.1:0",
        "--redis-url",
        "http://user:hunter2@redis",
        "--queue-kind",
        "pile",
        "--slots",
        "0",
        "--lease",
        "10",
        "--provider",
        "oracle",
        "--api-key-file",
        "/nowhere/key",
        "--max-cost",
        "5",
        "--requests-per-minute",
        "few",
        "--worker",
        "a/b",
    ]);
    let mut process = worker.start();
    assert_eq!(process.ended_within(PATIENCE).code(), Some(2));
    let said = process.printed_so_far();
    assert!(!said.contains("hunter2"), "{said}");
    let mut named: Vec<&str> =
        said.lines().filter_map(|line| line.trim().strip_prefix("--")?.split(' ').next()).collect();
    named.sort_unstable();
    assert_eq!(
        named,
        [
            "api-key-file",
            "lease",
            "max-cost",
            "model",
            "provider",
            "queue",
            "queue-kind",
            "redis-url",
            "requests-per-minute",
            "slots",
            "worker"
        ],
        "{said}"
    );
}
