//! What the kubelet and Prometheus see.

use super::*;

#[tokio::test]
async fn each_probe_fails_for_its_own_reason() {
    let mut place = Place::new(Kind::Stream, &[]);
    place.redis.kill();
    let mut worker = place.worker("first", &[]);
    for (page, status) in [("livez", 200), ("startupz", 503), ("readyz", 503)] {
        assert_eq!(worker.status(page).await, status, "{page} without Redis");
    }
    place.redis.restart();
    worker.answers("startupz", 200).await;
    worker.answers("readyz", 200).await;
    place.redis.kill();
    worker.answers("readyz", 503).await;
    for (page, status) in [("livez", 200), ("startupz", 200)] {
        assert_eq!(worker.status(page).await, status, "{page} after Redis went away");
    }
    // Empty: the group is gone with everything else.
    place.redis.restart();
    worker.answers("readyz", 200).await;
    place.put("task-0", "[steps=1 think=0] go");
    place.all(&ids(1), "done").await;
    worker.leaves(PATIENCE);
}

#[tokio::test]
async fn metrics_have_the_names_that_published_agents_use() {
    let place = Place::new(Kind::Stream, &[]);
    place.put("task-0", "[steps=3 think=0 output=40 input=100 tool=0] go");
    let worker = place.worker("first", &["--input-price", "1", "--output-price", "10"]);
    place.all(&ids(1), "done").await;
    let page = within(PATIENCE, "the end of the task", async || {
        let page = reqwest::get(format!("{}/metrics", worker.url)).await.unwrap().text().await.unwrap();
        page.contains(r#"agent_tasks_total{queue="tasks",model="model",status="success"} 1"#).then_some(page)
    })
    .await;
    for line in [
        r#"agent_task_duration_seconds_bucket{queue="tasks",model="model",le="7200.0"} 1"#,
        r#"agent_active_tasks{queue="tasks",model="model"}"#,
        r#"llm_requests_total{queue="tasks",model="model",status="success"} 3"#,
        r#"llm_tokens_total{queue="tasks",model="model",direction="input"} 300"#,
        r#"llm_tokens_total{queue="tasks",model="model",direction="output"} 120"#,
        r#"llm_request_duration_seconds_count{queue="tasks",model="model"} 3"#,
        r#"llm_cost_dollars_total{queue="tasks",model="model"} 0.0015"#,
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
}
