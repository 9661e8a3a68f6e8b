//! What a worker needs of Redis's ACL, and what it does when it is not let in any more.

use super::*;
use crate::support::tree::root;

/// The line of the README, with these tests' queue and password.
fn rights() -> Vec<String> {
    let readme = std::fs::read_to_string(root().join("examples/worker/README.md")).unwrap();
    let line = readme.lines().find_map(|line| line.trim().strip_prefix("user agent-worker ")).unwrap();
    assert!(line.contains("~acme:*") && line.contains(">PASSWORD"), "{line}");
    line.replace("~acme:*", "~tasks*").split_whitespace().map(str::to_owned).collect()
}

async fn the_rights_that_the_readme_names_are_enough(kind: Kind) {
    let place = Place::new(kind, &["--requests-per-minute", "60", "--minute", "6s", "--burst", "0.02"]);
    let rights = rights();
    let words: Vec<&str> =
        ["ACL", "SETUSER", "agent-worker"].into_iter().chain(rights.iter().map(String::as_str)).collect();
    place.redis.command(&words);
    let password = place.files.path().join("password");
    std::fs::write(&password, "PASSWORD\n").unwrap();
    let login = ["--redis-username", "agent-worker", "--redis-password-file", password.to_str().unwrap()];
    let limit = ["--limit", LIMIT, "--requests-per-minute", "240", "--concurrency", "4"];
    let settings = [&login[..], &limit].concat();
    let tasks = ids(8);
    tasks.iter().for_each(|id| place.put(id, "[steps=2 think=0.1 tool=0] go"));
    // Taken, killed, claimed, refused, done, handed back: every command that there is.
    let mut first = place.worker("first", &settings);
    within(PATIENCE, "a step", async || tasks.iter().any(|id| place.steps(id) > 0).then_some(())).await;
    first.process.kill();
    let mut second = place.worker("second", &settings);
    place.all(&tasks, "done").await;
    assert!(count(&place.counts().await, &["refused"]) > 0);
    place.put("last", "[steps=2 think=5 tool=0] go");
    within(PATIENCE, "its beginning", async || (place.field("last", "status") == "running").then_some(()))
        .await;
    second.leaves(PATIENCE);
    assert_eq!(place.field("last", "status"), "queued");
    let log = format!("{:?}", place.redis.command(&["ACL", "LOG"]));
    // The library names itself, which Redis 7.2 takes for a command like any other.
    assert_eq!(log.matches("agent-worker").count(), log.matches("client|setinfo").count(), "{log}");
}

#[tokio::test]
async fn the_rights_that_the_readme_names_are_enough_for_a_stream() {
    the_rights_that_the_readme_names_are_enough(Kind::Stream).await;
}

#[tokio::test]
async fn the_rights_that_the_readme_names_are_enough_for_a_list() {
    the_rights_that_the_readme_names_are_enough(Kind::List).await;
}

#[tokio::test]
async fn a_worker_that_redis_lets_in_no_more_makes_way_for_one_that_knows_the_new_password() {
    let place = Place::new(Kind::Stream, &[]);
    place.redis.command(&["ACL", "SETUSER", "agent-worker", "on", ">old", "~*", "+@all"]);
    let password = place.files.path().join("password");
    std::fs::write(&password, "old").unwrap();
    let login = ["--redis-username", "agent-worker", "--redis-password-file", password.to_str().unwrap()];
    let mut worker = place.worker("first", &login);
    worker.answers("readyz", 200).await;
    place.redis.command(&["ACL", "SETUSER", "agent-worker", "resetpass", ">new"]);
    std::fs::write(&password, "new").unwrap();
    // A password that changes ends no connection; whatever ends them next brings it to light.
    place.redis.command(&["CLIENT", "KILL", "USER", "agent-worker"]);
    assert_eq!(worker.process.ended_within(PATIENCE).code(), Some(1));
    let said = worker.process.printed_so_far();
    assert!(said.contains("Redis does not let us in"), "{said}");
    let worker = place.worker("first", &login);
    worker.answers("readyz", 200).await;
}
