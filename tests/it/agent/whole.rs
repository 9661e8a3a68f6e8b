//! The whole way: the API, the worker and a provider, as three processes.

use std::time::Duration;

use super::process::{Agent, KINDS, QUEUE, answer};
use crate::support::examples::Example;
use crate::support::servers::Redis;

/// How long a task may take whose steps take no time.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_prompt_becomes_a_result() {
    for kind in KINDS {
        let redis = Redis::plain();
        let agent = Agent::start(&redis, &[kind.flag()]);
        let (_provider, provider) =
            Example::new("llm-stub").arguments(["--listen", "127.0.0.1:0"]).start_listening();
        let key = redis.file("api-key");
        std::fs::write(&key, "key").unwrap();
        let settings = [
            ("REDIS_URL", redis.url()),
            ("QUEUE", QUEUE.to_owned()),
            ("BASE_URL", provider.clone()),
            ("TOOLS_URL", format!("{provider}/tools")),
            ("API_KEY_FILE", key.to_str().unwrap().to_owned()),
            ("MODEL", "stub".to_owned()),
            ("LISTEN", "127.0.0.1:0".to_owned()),
        ];
        let worker = Example::new("worker").environment(settings).arguments([kind.flag()]).start();

        let id = answer(agent.post("[steps=2 think=0.05 tool=0.05] say hello")).await.id();
        let url = format!("/tasks/{id}/result");
        let result = async {
            loop {
                let result = agent.get(&url).await;
                if result.status != 202 {
                    return result;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let result = tokio::time::timeout(PATIENCE, result).await;
        let result = result.unwrap_or_else(|_| panic!("no result:\n{}", worker.printed_so_far()));
        assert_eq!(result.status, 200, "{result:?}");
        assert!(!result.body["result"].as_str().unwrap().is_empty(), "{result:?}");
        let status = agent.get(&format!("/tasks/{id}")).await.body;
        assert_eq!((&status["status"], &status["attempts"]), (&"done".into(), &1.into()), "{status}");
        assert!(status["steps"].is_u64(), "{status}");
        for time in ["enqueuedAt", "startedAt", "endedAt"] {
            assert!(status[time].is_string(), "{status}");
        }
        assert!(status["queueWaitSeconds"].as_f64().unwrap() < 20.0, "{status}");
        let left: Vec<_> = kind.messages(&redis);
        assert!(left.is_empty(), "{left:?}");
    }
}
