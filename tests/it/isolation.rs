//! One connection's trouble is its own.

use agent_scaler::engine::decision::LimitedBy;
use agent_scaler::scaler::proto::ScaledObjectRef;
use tonic::Code;

use crate::support::harness::{Harness, eventually, metrics_request, queue, scripted, trigger};
use crate::support::servers::Redis;

#[tokio::test]
async fn a_connection_that_hangs_delays_no_other_and_is_counted_by_itself() {
    let harness = Harness::with("connections: { silent: { type: scripted } }").await;
    let (busy, dead) = (scripted("busy", &[]), scripted("dead", &[("connection", "silent")]));
    harness.script.shows("busy", queue(1, 0));
    assert_eq!(harness.value(&dead).await.unwrap_err().code(), Code::Unavailable);
    for waiting in [1, 2, 3] {
        harness.script.shows("busy", queue(waiting, 0));
        harness.settles(&busy, u32::try_from(waiting).unwrap(), LimitedBy::Demand).await;
    }
    let counts = eventually("an error for each queue that was not read in time", async || {
        let page = format!("http://{}/metrics", harness.scaler.admin);
        let metrics = reqwest::get(page).await.unwrap().text().await.unwrap();
        let of = |connection| deadlines(&metrics, connection);
        of("silent").filter(|count| *count > 0).map(|_| of("script"))
    });
    assert_eq!(counts.await, Some(0));
}

#[tokio::test]
async fn a_name_that_kubernetes_does_not_give_is_refused_and_not_shown_as_it_is() {
    let harness = Harness::start().await;
    let good = scripted("jobs", &[]);
    for bad in ["", "Jobs", "a/b", "a\u{1b}[2J\n", &"x".repeat(30_000)] {
        let named = ScaledObjectRef { name: bad.to_owned(), ..good.clone() };
        let spaced = ScaledObjectRef { namespace: bad.to_owned(), ..good.clone() };
        for wrong in [named, spaced] {
            let status = harness.is_active(&wrong).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{bad:?}");
            let text = status.message();
            assert!(text.contains("is not a name that Kubernetes gives"), "{text}");
            assert!(
                text.len() < 400 && text.lines().all(|line| !line.contains(char::is_control)),
                "{text:?}"
            );
        }
    }
    assert!(harness.scaler.reports().is_empty(), "nothing is watched");
}

#[tokio::test]
async fn a_tenant_learns_nothing_of_the_names_of_others_by_code_or_text() {
    let harness = Harness::with(
        "connections: { secret-zeta: { type: scripted } }\n\
         llmLimits: { zeta-prod: { workersConnection: secret-zeta, scope: z, requestsPerMinute: 60 } }\n\
         tenants: { acme: { connections: {} } }",
    )
    .await;
    for (key, others) in
        [("connection", "secret-zeta"), ("workersConnection", "secret-zeta"), ("llmLimit", "zeta-prod")]
    {
        let mut told = Vec::new();
        for name in [others, "nobodys"] {
            let status = harness.is_active(&scripted("jobs", &[(key, name)])).await.unwrap_err();
            told.push((status.code(), status.message().replace(name, "NAME")));
        }
        assert_eq!(told[0], told[1], "{key}");
        assert_eq!(told[0].0, Code::PermissionDenied, "{key}");
    }
}

#[tokio::test]
async fn a_tenant_learns_the_name_of_its_connection_and_not_where_it_leads() {
    let connection = "connections: { main: { type: redis, url: \"redis://127.0.0.1:1\" } }\n";
    let keys = [("source", "redis"), ("connection", "main"), ("listName", "acme:tasks")];
    for (tenants, names, hides) in [
        ("", "redis://127.0.0.1:1/0 cannot be reached", "`main`"),
        ("tenants: { acme: { connections: { main: [\"*\"] } } }", "`main` cannot be reached", "127.0.0.1"),
    ] {
        let harness = Harness::with(&format!("{connection}{tenants}")).await;
        let status = eventually("the reason why nothing was read", async || {
            let status = harness.value(&trigger("jobs", &keys)).await.unwrap_err();
            status.message().contains("never read: ").then_some(status)
        });
        let status = status.await;
        assert_eq!(status.code(), Code::Unavailable);
        assert!(status.message().contains(names), "{}", status.message());
        assert!(!status.message().contains(hides), "{}", status.message());
    }
}

/// A queue that was read once and then cannot be read gives Jobs no number, and an error with the reason.
#[tokio::test]
async fn jobs_get_the_reason_while_their_queue_cannot_be_read() {
    let mut redis = Redis::plain();
    redis.command(&["RPUSH", "acme:tasks", "a", "b"]);
    let file = format!(
        "connections: {{ main: {{ type: redis, url: \"{}\" }} }}\n\
         tenants: {{ acme: {{ connections: {{ main: [\"*\"] }} }} }}",
        redis.url()
    );
    let harness = Harness::with(&file).await;
    let keys = [("source", "redis"), ("connection", "main"), ("listName", "acme:tasks"), ("workload", "job")];
    let jobs = trigger("jobs", &keys);
    harness.settles(&jobs, 2, LimitedBy::Demand).await;
    redis.kill();
    let status = eventually("the reason why nothing was read", async || {
        let status = harness.value(&jobs).await.err()?;
        status.message().contains("last read at ").then_some(status)
    });
    let status = status.await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("`main` cannot be reached"), "{}", status.message());
    assert!(!status.message().contains("127.0.0.1"), "{}", status.message());
}

#[tokio::test]
async fn the_name_of_a_metric_is_shown_as_little_as_any_other() {
    let harness = Harness::start().await;
    let request = metrics_request(&scripted("jobs", &[]), &"\u{1b}[2J".repeat(9_000));
    let status = harness.client().get_metrics(request).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    let text = status.message();
    assert!(text.len() < 500 && !text.contains(char::is_control), "{text:?}");
}

/// How often queues of a connection were not read in time; `None` without such a series.
fn deadlines(metrics: &str, connection: &str) -> Option<u64> {
    let series = "agent_scaler_connection_read_errors_total";
    let line = metrics.lines().find(|line| {
        line.starts_with(series)
            && line.contains(&format!("connection=\"{connection}\""))
            && line.contains("kind=\"deadline\"")
    })?;
    line.rsplit(' ').next()?.parse().ok()
}
