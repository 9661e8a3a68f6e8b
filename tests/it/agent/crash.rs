//! What is in Redis after the process was killed at any moment.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::process::{Agent, KINDS, answer, records};
use crate::support::servers::Redis;

/// Requests that are under way when the process is killed.
const CALLERS: usize = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_record_has_its_message_whenever_the_process_is_killed() {
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    for kind in KINDS {
        let redis = Redis::plain();
        let (mut promised, mut unanswered) = (BTreeSet::new(), BTreeSet::new());
        for round in 0..6 {
            let mut agent = Agent::start(&redis, &[kind.flag()]);
            let mut callers = JoinSet::new();
            let requests = Arc::new((agent.client.clone(), format!("{}/tasks", agent.api)));
            for caller in 0..CALLERS {
                callers.spawn(post_until_it_is_dead(Arc::clone(&requests), format!("{round}-{caller}")));
            }
            sleep(Duration::from_micros(random.u64(5_000..150_000))).await;
            agent.process.kill();
            for (ids, key) in callers.join_all().await {
                promised.extend(ids);
                unanswered.insert(key);
            }
        }
        let queued: Vec<String> =
            kind.messages(&redis).iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect();
        let once: BTreeSet<String> = queued.iter().cloned().collect();
        assert_eq!(once.len(), queued.len(), "a task is in twice; {kind:?}, seed {seed}");
        assert_eq!(records(&redis).into_keys().collect::<BTreeSet<_>>(), once, "{kind:?}, seed {seed}");
        assert!(!promised.is_empty() && promised.is_subset(&once), "{kind:?}, seed {seed}");
        assert_eq!(unanswered.len(), 6 * CALLERS);

        // A caller without an answer asks again, and there is one task, whether the first request made it or not.
        let agent = Agent::start(&redis, &[kind.flag()]);
        let mut found = 0;
        for key in &unanswered {
            let id = answer(agent.post_as(key, "prompt")).await.id();
            found += usize::from(once.contains(&id));
        }
        let all = kind.messages(&redis).len();
        assert_eq!(all, once.len() + unanswered.len() - found, "{kind:?}, seed {seed}");
        assert_eq!(once.len(), promised.len() + found, "{kind:?}, seed {seed}");
    }
}

/// Puts tasks in under keys of this name until nobody answers: the tasks that were promised, and the last key.
async fn post_until_it_is_dead(
    requests: Arc<(reqwest::Client, String)>,
    name: String,
) -> (Vec<String>, String) {
    let (client, url) = &*requests;
    let mut ids = Vec::new();
    loop {
        let key = format!("{name}-{}", ids.len());
        let body = serde_json::json!({ "prompt": "prompt" });
        let request = client.post(url).json(&body).header("Idempotency-Key", &key);
        // A body may be cut off as well.
        let Ok(response) = request.send().await else { return (ids, key) };
        assert_eq!(response.status(), 202);
        let Ok(body) = response.json::<serde_json::Value>().await else { return (ids, key) };
        ids.push(body["id"].as_str().unwrap().to_owned());
    }
}
