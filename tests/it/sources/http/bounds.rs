//! What a trigger, or a server that lies, can cost the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use agent_scaler::engine::decision::LimitedBy;
use agent_scaler::fields::Fields;
use agent_scaler::scaler::proto::ScaledObjectRef;
use agent_scaler::sources::{Client, ReadError};
use tonic::Code;

use super::{client, plan, read, spec, text_of, texts, waiting};
use crate::support::answerer::{Answer, Answerer, Said};
use crate::support::harness::{Harness, trigger};
use crate::support::proxy::{Mode, Proxy};

#[tokio::test]
async fn paths_that_hang_cost_their_own_triggers_only() {
    let tasks = Arc::new(AtomicU64::new(3));
    let said = Arc::clone(&tasks);
    let web = Answerer::start(move |asked| {
        if asked.path.starts_with("/hang") {
            return Answer::Hang;
        }
        Answer::Say(200, format!(r#"{{"waiting": {}}}"#, said.load(Ordering::SeqCst)))
    })
    .await;
    let file = format!("tick: 500ms\nconnections: {{ web: {{ type: http, url: \"{}\" }} }}", web.url());
    let harness = Harness::with(&file).await;
    for number in 0..40 {
        // Nobody has read it yet.
        harness.value(&over_http(&format!("hang-{number}"))).await.unwrap_err();
    }
    let good = over_http("zzz-good");
    for waiting in [3, 4, 5] {
        tasks.store(u64::from(waiting), Ordering::SeqCst);
        harness.settles(&good, waiting, LimitedBy::Demand).await;
    }
    harness.value(&over_http("hang-0")).await.unwrap_err();
}

#[test]
fn an_expression_whose_work_grows_faster_than_the_document_is_refused() {
    for path in [
        "$..[?$..[?$..[?$..*]]]",
        "$..*..*..*",
        "$[?@..*]",
        "$[?@[?@[?@]]]",
        "$[?match(@.a, '(a+)+$')]",
        "$[0,0,0,0][0,0,0,0][0,0,0,0]",
        "$[*,*][*,*][*,*][*,*]",
    ] {
        let values = texts(&[("path", "/queue"), ("readyPath", path)]);
        let mut fields = Fields::new("metadata", &values);
        assert!((spec().parse)(&mut fields).is_none(), "{path}");
        let problems = fields.finish();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert_eq!(problems[0].path, "metadata.readyPath");
    }
}

#[tokio::test]
async fn no_error_repeats_a_word_of_what_was_answered() {
    for said in [
        Said::new(200, "DB_PASSWORD=hunter2"),
        Said::new(200, r#"{"hunter2": "hunter2"}"#),
        Said::new(200, r#"{"waiting": "hunter2"}"#),
        Said::new(200, r#"{"waiting": 3 hunter2"#),
        Said::new(500, "hunter2"),
        Said { headers: vec![("location", "http://hunter2/".to_owned())], ..Said::new(302, "hunter2") },
        Said { headers: vec![("content-type", "text/hunter2".to_owned())], ..Said::new(200, "hunter2") },
        Said { headers: vec![("www-authenticate", "hunter2".to_owned())], ..Said::new(401, "hunter2") },
    ] {
        let web = Answerer::start(move |_| said.clone()).await;
        let mut client = client(&web.url(), None).await;
        let error = read(&mut client, &[waiting()]).await.remove(0).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn a_document_of_any_shape_is_read_or_refused_and_never_grows_in_memory() {
    let (objects, lists) = (r#"{"":1},"#.repeat(140_000), "[],".repeat(200_000));
    for (body, message) in [
        (
            format!("[{objects}0]"),
            "the answer at /queue has more than 131072 values (980,003 bytes, text/plain)",
        ),
        (
            format!("[{lists}0]"),
            "the answer at /queue has more than 131072 values (600,003 bytes, text/plain)",
        ),
        ("[".repeat(1 << 20), "the answer at /queue is not JSON (1,048,576 bytes, text/plain)"),
        (
            format!("{{\"a\": [{}0]}}", "0,".repeat(100_000)),
            "`readyPath`: more than 50000 values are on the way, or 2000000 for all triggers of the document: name the \
             members, where the path has `..` or `*`",
        ),
    ] {
        let web = Answerer::start(move |_| Said::new(200, body.clone())).await;
        let mut client = client(&web.url(), None).await;
        let plan = plan(&[("path", "/queue"), ("readyPath", "$..waiting")]);
        let error = read(&mut client, &[plan]).await.remove(0).unwrap_err();
        assert_eq!(error, super::unexpected(&web, message.to_owned()));
    }
}

#[tokio::test]
async fn headers_without_end_are_refused() {
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "x: y\r\n".repeat(200));
    let long = format!("HTTP/1.1 200 OK\r\nx: {}\r\n\r\n", "y".repeat(10 << 20));
    let web = Answerer::start(|_| Said::new(200, r#"{"waiting": 3}"#)).await;
    for head in [many, long] {
        let proxy = Proxy::start(web.port()).await;
        proxy.switch(Mode::Say(head.leak().as_bytes()));
        let mut client = client(&format!("http://127.0.0.1:{}", proxy.port()), None).await;
        let error = read(&mut client, &[waiting()]).await.remove(0).unwrap_err();
        assert!(matches!(error, ReadError::Unreachable { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_path_that_is_late_loses_no_connection_and_a_server_that_is_gone_does() {
    let web = Answerer::start(|_| Answer::Hang).await;
    let mut hanging = client(&web.url(), None).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(1);
    hanging.answer_by(deadline);
    let late = hanging.read(&[waiting()]).await.remove(0).unwrap_err();
    assert!(tokio::time::Instant::now() < deadline);
    assert_eq!(late, ReadError::Deadline { endpoint: super::address(&web) });
    assert!(hanging.mends_itself());

    let mut gone = client("http://127.0.0.1:1", None).await;
    let error = read(&mut gone, &[waiting()]).await.remove(0).unwrap_err();
    assert!(matches!(error, ReadError::Unreachable { .. }), "{error}");
    assert!(!gone.mends_itself());
}

#[tokio::test]
async fn a_parameter_of_the_connection_is_not_the_triggers_to_set() {
    let web = Answerer::start(|_| Said::new(200, r#"{"waiting": 3}"#)).await;
    let keys = [("url", web.url()), ("queryParameters", "namespace=own".to_owned())];
    let keys: Vec<(&str, &str)> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let mut client: Box<dyn Client> = super::connect(&texts(&keys)).await;
    for query in [
        "namespace=acme",
        "a=1&namespace=acme",
        "a=1;namespace=acme",
        "Namespace=acme",
        "%6eamespace=acme",
        "%256eamespace=acme",
        "namespace",
        "namespace[]=acme",
        "namespace%5B0%5D=acme",
        "+namespace=acme",
        "namespace%20=acme",
    ] {
        let path = format!("/queue?{query}");
        let results = read(&mut client, &[plan(&[("path", &path), ("readyPath", "$.waiting")])]).await;
        let Err(ReadError::Denied { message, .. }) = &results[0] else { panic!("{query}: {results:?}") };
        assert!(message.contains("sets the parameter `namespace` itself"), "{message}");
    }
    assert_eq!(web.count(), 0);
    // Whoever wrote it learns of it at once.
    let file = format!(
        "connections: {{ web: {{ type: http, url: \"{}\", queryParameters: namespace=own }} }}",
        web.url()
    );
    let harness = Harness::with(&file).await;
    let refused = harness.value(&at("sly", "/queue?namespace=acme")).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    assert!(refused.message().contains("sets the parameter `namespace` itself"), "{refused}");
    let path = "/queue?state=namespace&namespaces=2";
    let results = read(&mut client, &[plan(&[("path", path), ("readyPath", "$.waiting")])]).await;
    assert!(results[0].is_ok(), "{results:?}");
    assert_eq!(text_of(&web), "/queue?state=namespace&namespaces=2&namespace=own");
}

#[test]
fn a_path_is_matched_without_its_query() {
    let plan = plan(&[("path", "/queues/acme?of=other"), ("readyPath", "$.waiting")]);
    assert_eq!(plan.names(), ["/queues/acme"]);
}

/// A trigger that reads a path of its own name.
fn over_http(name: &str) -> ScaledObjectRef {
    at(name, &format!("/{name}"))
}

fn at(name: &str, path: &str) -> ScaledObjectRef {
    trigger(name, &[("source", "http"), ("connection", "web"), ("path", path), ("readyPath", "$.waiting")])
}
