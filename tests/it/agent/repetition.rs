//! Requests that come twice: one idempotency key is one task, whatever happens in between.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;

use super::process::{Agent, KINDS, Kind, QUEUE, answer, records};
use crate::support::servers::Redis;

#[tokio::test]
async fn two_hundred_posts_at_once_with_fifty_keys_make_one_task_a_key() {
    for kind in KINDS {
        let redis = Redis::plain();
        // Two processes, as behind a Service: they share nothing but Redis.
        let agents = [Agent::start(&redis, &[kind.flag()]), Agent::start(&redis, &[kind.flag()])];
        let posts = (0..200).map(|number| {
            let (agent, key) = (&agents[number % 2], number / 4);
            let request = agent.post_as(&format!("key-{key}"), &format!("prompt {key}"));
            async move { (key, answer(request).await) }
        });
        let mut ids = BTreeMap::<usize, BTreeSet<String>>::new();
        let (mut new, mut replayed) = (0, 0);
        for (key, answer) in join_all(posts).await {
            ids.entry(key).or_default().insert(answer.id());
            if answer.header("idempotent-replayed").is_some() { replayed += 1 } else { new += 1 }
        }
        assert_eq!((new, replayed), (50, 150), "{kind:?}");
        assert!(ids.len() == 50 && ids.values().all(|ids| ids.len() == 1), "{kind:?}: {ids:?}");
        let ids: BTreeSet<String> = ids.into_values().flatten().collect();
        assert_eq!(queued(&redis, kind), ids.iter().cloned().collect::<Vec<_>>(), "{kind:?}");
        assert_eq!(records(&redis).into_keys().collect::<BTreeSet<_>>(), ids, "{kind:?}");
        // Without a key every post is a task of its own.
        join_all((0..50).map(|_| answer(agents[0].post("prompt")))).await;
        assert_eq!(kind.messages(&redis).len(), 100, "{kind:?}");
    }
}

#[tokio::test]
async fn a_key_with_another_prompt_is_refused() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &[]);
    answer(agent.post_as("order-7", "one")).await.id();
    let refused = answer(agent.post_as("order-7", "another")).await;
    assert_eq!(refused.status, 422, "{refused:?}");
    assert_eq!(Kind::Stream.messages(&redis).len(), 1);
}

#[tokio::test]
async fn a_repetition_tells_how_far_the_task_is() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &[]);
    let id = answer(agent.post_as("order-7", "one")).await.id();
    redis.command(&["HSET", &format!("{QUEUE}:task:{id}"), "status", "done"]);
    let again = answer(agent.post_as("order-7", "one")).await;
    assert_eq!((again.id(), &again.body["status"]), (id, &"done".into()));
}

#[tokio::test]
async fn a_key_is_free_again_after_its_time_or_with_its_record() {
    let redis = Redis::plain();
    let agent = Agent::start(&redis, &["--idempotency-ttl", "1h"]);
    let id = answer(agent.post_as("order-7", "one")).await.id();
    let key = format!("{QUEUE}:key:order-7");
    let left: i64 = redis::cmd("PTTL").arg(&key).query(&mut redis.connection()).unwrap();
    assert!((3_590_000..=3_600_000).contains(&left), "{left}");
    // A record ends a week after its task; the key must not lead to nothing.
    redis.command(&["DEL", &format!("{QUEUE}:task:{id}")]);
    let next = answer(agent.post_as("order-7", "another")).await.id();
    assert_ne!(next, id);
    redis.command(&["DEL", &key]);
    assert_ne!(answer(agent.post_as("order-7", "another")).await.id(), next);
}

/// The ids in the queue, sorted.
fn queued(redis: &Redis, kind: Kind) -> Vec<String> {
    let mut ids: Vec<String> =
        kind.messages(redis).iter().map(|task| task["id"].as_str().unwrap().to_owned()).collect();
    ids.sort_unstable();
    ids
}
