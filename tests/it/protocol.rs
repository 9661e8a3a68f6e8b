//! Every RPC through a real client: what KEDA is told, and what it is not.

use std::time::Duration;

use agent_scaler::scaler::proto::{MetricSpec, ScaledObjectRef};
use tokio::time::{Instant, timeout};
use tonic::Code;

use crate::support::harness::{Harness, PATIENCE, eventually, metrics_request, queue, scripted, trigger};

#[tokio::test]
async fn the_spec_is_one_metric_with_target_one_in_both_fields_whatever_the_backend_does() {
    let harness = Harness::start().await;
    harness.script.hangs("jobs");
    let specs =
        harness.client().get_metric_spec(scripted("jobs", &[])).await.unwrap().into_inner().metric_specs;
    #[expect(deprecated, reason = "KEDA before 2.17 reads the integer")]
    let spec = MetricSpec { metric_name: "agent-replicas".into(), target_size: 1, target_size_float: 1.0 };
    assert_eq!(specs, [spec]);
}

#[tokio::test]
async fn metric_names_are_compared_without_their_case_and_others_are_not_found() {
    let harness = Harness::start().await;
    let jobs = scripted("jobs", &[]);
    harness.script.shows("jobs", queue(3, 0));
    let answer = harness.client().get_metrics(metrics_request(&jobs, "AGENT-Replicas")).await.unwrap();
    #[expect(deprecated, reason = "both fields are compared")]
    let fields: Vec<_> = answer
        .into_inner()
        .metric_values
        .iter()
        .map(|value| (value.metric_name.clone(), value.metric_value, value.metric_value_float))
        .collect();
    assert_eq!(fields, [("agent-replicas".to_owned(), 3, 3.0)]);
    let status = harness.client().get_metrics(metrics_request(&jobs, "s0-agent-replicas")).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::NotFound, "no metric named `s0-agent-replicas` (hint: the only one is `agent-replicas`)")
    );
}

#[tokio::test]
async fn an_empty_queue_is_a_known_zero_and_inactive() {
    let harness = Harness::start().await;
    let jobs = scripted("jobs", &[]);
    harness.script.shows("jobs", queue(0, 0));
    assert_eq!(harness.value(&jobs).await.unwrap(), 0.0);
    assert!(!harness.is_active(&jobs).await.unwrap());
    harness.script.shows("jobs", queue(0, 1));
    eventually("active while a task runs", async || {
        harness.is_active(&jobs).await.ok().filter(|active| *active)
    })
    .await;
    assert_eq!(harness.value(&jobs).await.unwrap(), 1.0);
}

#[tokio::test]
async fn a_backend_that_hangs_makes_the_first_calls_wait_half_a_second_and_no_later_one() {
    let harness = Harness::with("tick: 30s").await;
    let jobs = scripted("jobs", &[]);
    harness.script.hangs("jobs");
    let started = Instant::now();
    let status = harness.value(&jobs).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert!(started.elapsed() >= Duration::from_millis(500), "{:?}", started.elapsed());
    harness.clock.advance(Duration::from_secs(1));
    for _ in 0..20 {
        assert_eq!(harness.is_active(&jobs).await.unwrap_err().code(), Code::Unavailable);
    }
    assert!(started.elapsed() < Duration::from_secs(5), "twenty more took {:?}", started.elapsed());
}

#[tokio::test]
async fn an_outage_is_never_a_zero_and_never_an_error_for_what_was_active() {
    let harness = Harness::start().await;
    let (busy, idle) = (scripted("busy", &[]), scripted("idle", &[]));
    harness.script.shows("busy", queue(12, 3));
    harness.script.shows("idle", queue(0, 0));
    assert_eq!(harness.value(&busy).await.unwrap(), 15.0);
    assert_eq!(harness.value(&idle).await.unwrap(), 0.0);
    harness.script.breaks("busy");
    harness.script.breaks("idle");

    harness.clock.advance(Duration::from_secs(80));
    assert_eq!(harness.value(&busy).await.unwrap(), 15.0);
    assert!(harness.is_active(&busy).await.unwrap());
    assert_eq!(harness.value(&idle).await.unwrap(), 0.0);
    assert_eq!(harness.is_active(&idle).await.unwrap_err().code(), Code::Unavailable);

    harness.clock.advance(Duration::from_secs(11));
    assert_eq!(harness.value(&idle).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(harness.is_active(&idle).await.unwrap_err().code(), Code::Unavailable);
    harness.client().get_metric_spec(idle.clone()).await.unwrap();

    harness.clock.advance(Duration::from_secs(3_600));
    assert_eq!(harness.value(&busy).await.unwrap(), 15.0);
    assert!(harness.is_active(&busy).await.unwrap());

    harness.script.shows("busy", queue(1, 3));
    eventually("the recovery", async || harness.value(&busy).await.ok().filter(|value| *value == 4.0)).await;
}

#[tokio::test]
async fn a_stream_tells_its_state_on_connect_and_every_activation_and_nothing_else() {
    let harness = Harness::start().await;
    let jobs = scripted("jobs", &[]);
    harness.script.shows("jobs", queue(0, 0));
    let mut states = harness.client().stream_is_active(jobs.clone()).await.unwrap().into_inner();
    assert!(!states.message().await.unwrap().unwrap().result, "the state on connect");

    harness.script.shows("jobs", queue(1, 0));
    assert!(states.message().await.unwrap().unwrap().result, "the activation");

    // Through more work, a failure and a return to idle the stream is silent, and it does not end.
    harness.script.shows("jobs", queue(7, 2));
    eventually("more work", async || harness.value(&jobs).await.ok().filter(|value| *value == 9.0)).await;
    harness.script.breaks("jobs");
    harness.clock.advance(Duration::from_secs(91));
    eventually("the outage", async || harness.report(&jobs).filter(|report| report.error.is_some())).await;
    harness.script.shows("jobs", queue(0, 0));
    eventually("idleness", async || harness.value(&jobs).await.ok().filter(|value| *value == 0.0)).await;
    harness.script.shows("jobs", queue(2, 0));
    assert!(states.message().await.unwrap().unwrap().result, "the next message is the next activation");
}

#[tokio::test]
async fn a_stream_on_an_active_trigger_begins_with_yes() {
    let harness = Harness::start().await;
    harness.script.shows("jobs", queue(5, 0));
    let mut states = harness.client().stream_is_active(scripted("jobs", &[])).await.unwrap().into_inner();
    assert!(states.message().await.unwrap().unwrap().result);
}

#[tokio::test]
async fn the_streamed_spec_equals_the_asked_one_and_comes_once() {
    let harness = Harness::start().await;
    let jobs = scripted("jobs", &[]);
    let asked = harness.client().get_metric_spec(jobs.clone()).await.unwrap().into_inner();
    let mut specs = harness.client().stream_metric_spec(jobs).await.unwrap().into_inner();
    assert_eq!(specs.message().await.unwrap(), Some(asked));
    assert!(timeout(Duration::from_millis(300), specs.message()).await.is_err(), "nothing more comes");
}

#[tokio::test]
async fn a_shutdown_ends_streams_with_ok_and_refuses_new_calls() {
    let harness = Harness::start().await;
    let jobs = scripted("jobs", &[]);
    harness.script.shows("jobs", queue(0, 0));
    let mut states = harness.client().stream_is_active(jobs.clone()).await.unwrap().into_inner();
    let mut specs = harness.client().stream_metric_spec(jobs.clone()).await.unwrap().into_inner();
    states.message().await.unwrap().unwrap();
    specs.message().await.unwrap().unwrap();
    let mut client = harness.client();
    let stopped = tokio::spawn(harness.scaler.stop());
    assert_eq!(states.message().await.unwrap(), None, "a clean end, which resets KEDA's back-off");
    assert_eq!(specs.message().await.unwrap(), None);
    drop((states, specs));
    timeout(PATIENCE, stopped).await.expect("the server waits for nobody").unwrap();
    assert_eq!(client.is_active(jobs).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn a_wrong_trigger_gets_the_whole_list_where_keda_makes_an_event_of_it() {
    let harness = Harness::start().await;
    let wrong = scripted("jobs", &[("tasksPerReplica", "ten"), ("maxQueueWeight", "2m")]);
    let list = "2 problems in the trigger metadata:\n  \
        metadata.tasksPerReplica: `ten`: invalid digit found in string \
        (hint: tasks one replica runs at a time, those it fetches ahead included, e.g. `4`)\n  \
        metadata.maxQueueWeight: unknown key (hint: did you mean `maxQueueWait`?)";
    for (rpc, status) in every_rpc(&harness, &wrong).await {
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, list), "{rpc}");
    }
    // KEDA only logs what these two say, and asks for nothing else then.
    let asked = harness.client().get_metric_spec(wrong.clone()).await.unwrap().into_inner();
    let mut streamed = harness.client().stream_metric_spec(wrong).await.unwrap().into_inner();
    assert_eq!(streamed.message().await.unwrap(), Some(asked));
}

#[tokio::test]
async fn an_unknown_connection_is_a_failed_precondition() {
    let harness = Harness::start().await;
    let lost = trigger("jobs", &[("source", "scripted"), ("connection", "scirpt"), ("queueName", "q")]);
    for (rpc, status) in every_rpc(&harness, &lost).await {
        let text = "no connection named `scirpt` (hint: did you mean `script`?)";
        assert_eq!((status.code(), status.message()), (Code::FailedPrecondition, text), "{rpc}");
    }
}

#[tokio::test]
async fn a_namespace_may_use_only_what_its_tenant_has() {
    let tenants = "connections: { main: { type: redis, url: \"redis://127.0.0.1:1\" } }\n\
                   tenants: { acme: { connections: { main: [\"acme:*\"] } } }";
    let harness = Harness::with(tenants).await;
    let of = |list| trigger("jobs", &[("source", "redis"), ("connection", "main"), ("listName", list)]);
    for (rpc, status) in every_rpc(&harness, &of("acme:tasks,zeta:tasks")).await {
        let text = "namespace `acme` may not read `zeta:tasks` on the connection `main`";
        assert_eq!((status.code(), status.message()), (Code::PermissionDenied, text), "{rpc}");
    }
    let stranger = ScaledObjectRef { namespace: "zeta".into(), ..of("acme:tasks") };
    let status = harness.is_active(&stranger).await.unwrap_err();
    assert_eq!(status.message(), "namespace `zeta` may not use the connection `main`");
    harness.client().get_metric_spec(of("acme:tasks")).await.unwrap();
}

#[tokio::test]
async fn one_trigger_too_many_is_refused_and_the_others_go_on() {
    let harness = Harness::with("maxTriggers: 2").await;
    for name in ["a", "b", "c"] {
        harness.script.shows(name, queue(1, 0));
    }
    for name in ["a", "b"] {
        assert_eq!(harness.value(&scripted(name, &[])).await.unwrap(), 1.0);
    }
    let status = harness.value(&scripted("c", &[])).await.unwrap_err();
    assert_eq!(
        (status.code(), status.message()),
        (Code::ResourceExhausted, "2 triggers are watched already, the most that maxTriggers allows")
    );
    assert_eq!(harness.value(&scripted("a", &[])).await.unwrap(), 1.0);
}

#[tokio::test]
async fn a_scaled_object_that_is_edited_without_end_takes_no_place_of_another() {
    let harness = Harness::with("maxTriggers: 100").await;
    harness.script.shows("edited", queue(1, 0));
    harness.script.shows("other", queue(2, 0));
    let edited = |edit: usize| scripted("edited", &[("tasksPerReplica", &edit.to_string())]);
    for edit in 1..=500 {
        harness.client().get_metric_spec(edited(edit)).await.unwrap();
    }
    assert_eq!(harness.value(&scripted("other", &[])).await.unwrap(), 2.0);
    assert_eq!(harness.value(&edited(501)).await.unwrap(), 1.0, "its last edit is served");
    assert_eq!(harness.value(&scripted("other", &[])).await.unwrap(), 2.0);
}

#[tokio::test]
async fn a_namespace_that_fills_the_board_yields_to_others_and_not_to_itself() {
    let harness = Harness::with("maxTriggers: 20").await;
    let of = |namespace: &str, number: usize| {
        let name = format!("{namespace}-{number}");
        harness.script.shows(&name, queue(1, 0));
        ScaledObjectRef { namespace: namespace.to_owned(), ..scripted(&name, &[]) }
    };
    for number in 0..30 {
        harness.client().get_metrics(metrics_request(&of("flood", number), "agent-replicas")).await.ok();
    }
    for number in 0..10 {
        let trigger = of("acme", number);
        assert_eq!(harness.value(&trigger).await.unwrap(), 1.0, "{number}");
    }
    let status = harness.value(&of("acme", 10)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "half of the board is its part");
    let status = harness.value(&of("flood", 99)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    for number in 0..10 {
        assert_eq!(harness.value(&of("acme", number)).await.unwrap(), 1.0, "{number} again");
    }
}

#[tokio::test]
async fn namespaces_that_are_made_up_keep_others_out_for_two_minutes_at_most() {
    let harness = Harness::with("maxTriggers: 20").await;
    let of = |namespace: &str| {
        harness.script.shows(namespace, queue(1, 0));
        ScaledObjectRef { namespace: namespace.to_owned(), ..scripted(namespace, &[]) }
    };
    for number in 0..20 {
        harness.value(&of(&format!("made-up-{number}"))).await.unwrap();
    }
    let streamed = harness.client().stream_is_active(of("made-up-0")).await.unwrap().into_inner();
    let status = harness.value(&of("acme")).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "each namespace has as many as acme would");
    harness.clock.advance(Duration::from_secs(121));
    assert_eq!(harness.value(&of("acme")).await.unwrap(), 1.0);
    let names =
        || harness.scaler.reports().iter().map(|report| report.namespace.to_string()).collect::<Vec<_>>();
    assert_eq!(names(), ["acme", "made-up-0"], "one that a stream waits on stays");
    drop(streamed);
}

#[tokio::test]
async fn a_trigger_has_a_few_streams_of_each_kind_and_those_that_end_make_room() {
    let harness = Harness::start().await;
    harness.script.shows("a", queue(1, 0));
    harness.script.shows("b", queue(1, 0));
    let (a, b) = (scripted("a", &[]), scripted("b", &[]));
    let (mut active, mut specs) = (Vec::new(), Vec::new());
    for _ in 0..32 {
        active.push(harness.client().stream_is_active(a.clone()).await.unwrap());
        specs.push(harness.client().stream_metric_spec(a.clone()).await.unwrap());
    }
    let status = harness.client().stream_is_active(a.clone()).await.unwrap_err();
    assert_eq!(status.message(), "32 streams of this kind are open on this trigger already");
    let status = harness.client().stream_metric_spec(a.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted);
    harness.client().stream_is_active(b.clone()).await.unwrap();
    harness.client().stream_metric_spec(b).await.unwrap();
    drop((active, specs));
    eventually("room for both", async || {
        harness.client().stream_is_active(a.clone()).await.ok()?;
        harness.client().stream_metric_spec(a.clone()).await.ok()
    })
    .await;
}

#[tokio::test]
async fn a_trigger_of_many_queues_takes_as_many_places_as_its_names_need() {
    let harness = Harness::with(
        "maxTriggers: 10\nconnections: { main: { type: redis, url: \"redis://127.0.0.1:1\" } }",
    )
    .await;
    let lists = (0..256).map(|number| format!("acme:{number:0>200}")).collect::<Vec<_>>().join(",");
    let keys = [("source", "redis"), ("connection", "main"), ("listName", &lists[..16_000])];
    let status = harness.is_active(&trigger("many", &keys)).await.unwrap_err();
    assert_eq!(status.code(), Code::ResourceExhausted, "79 long names take more than 10 places: {status}");
    harness.script.shows("one", queue(1, 0));
    assert_eq!(harness.value(&scripted("one", &[])).await.unwrap(), 1.0);
}

#[tokio::test]
async fn specs_alone_keep_no_place_from_a_trigger_whose_number_is_asked_for() {
    let harness = Harness::with("maxTriggers: 20").await;
    for number in 0..30 {
        let name = format!("spec-{number}");
        harness.script.shows(&name, queue(1, 0));
        harness.client().get_metric_spec(scripted(&name, &[])).await.unwrap();
    }
    harness.script.shows("real", queue(1, 0));
    assert_eq!(harness.value(&scripted("real", &[])).await.unwrap(), 1.0);
}

#[tokio::test]
async fn a_trigger_that_nobody_asks_for_is_forgotten_after_a_quarter_of_an_hour() {
    let harness = Harness::start().await;
    let (asked, streamed, gone) = (scripted("asked", &[]), scripted("streamed", &[]), scripted("gone", &[]));
    for trigger in [&asked, &streamed, &gone] {
        harness.script.shows(&trigger.name, queue(1, 0));
        harness.value(trigger).await.unwrap();
    }
    let stream = harness.client().stream_is_active(streamed).await.unwrap().into_inner();
    harness.clock.advance(Duration::from_secs(14 * 60));
    eventually("a fresh reading", async || harness.value(&asked).await.ok()).await;
    harness.clock.advance(Duration::from_secs(2 * 60));
    let names = || harness.scaler.reports().iter().map(|report| report.name.to_string()).collect::<Vec<_>>();
    eventually("two triggers", async || (names() == ["asked", "streamed"]).then_some(())).await;
    drop(stream);
}

#[tokio::test]
async fn two_triggers_of_one_object_differ_by_their_keys_and_kedas_own_keys_make_no_difference() {
    let harness = Harness::start().await;
    harness.script.shows("a", queue(1, 0));
    harness.script.shows("b", queue(2, 0));
    let a = trigger("both", &[("source", "scripted"), ("connection", "script"), ("queueName", "a")]);
    let b = trigger("both", &[("source", "scripted"), ("connection", "script"), ("queueName", "b")]);
    let mut a_again = a.clone();
    a_again.scaler_metadata.insert("enableTLS".into(), "true".into());
    a_again.scaler_metadata.insert("tasksPerReplica".into(), " 1 ".into());
    let mut values = Vec::new();
    for trigger in [&a, &b, &a_again] {
        values.push(harness.value(trigger).await.unwrap());
    }
    assert_eq!((values, harness.scaler.reports().len()), (vec![1.0, 2.0, 1.0], 2));
}

#[tokio::test]
async fn a_request_that_is_too_large_is_refused_before_it_is_read() {
    let harness = Harness::start().await;
    let large = "x".repeat(70_000);
    let status = harness.is_active(&scripted("jobs", &[("queueName2", &large)])).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
}

/// The answer of each RPC that says what is wrong with a trigger.
async fn every_rpc(harness: &Harness, trigger: &ScaledObjectRef) -> [(&'static str, tonic::Status); 3] {
    let request = metrics_request(trigger, "agent-replicas");
    [
        ("IsActive", harness.client().is_active(trigger.clone()).await.unwrap_err()),
        ("StreamIsActive", harness.client().stream_is_active(trigger.clone()).await.unwrap_err()),
        ("GetMetrics", harness.client().get_metrics(request).await.unwrap_err()),
    ]
}
