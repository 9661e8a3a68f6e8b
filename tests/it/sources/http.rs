//! JSON over HTTP.

mod bounds;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::signals::{Cause, InFlight, Reading};
use agent_scaler::fields::{Fields, Value};
use agent_scaler::secret::{Revealed, Secret};
use agent_scaler::sources::{ALL, Client, Plan, ReadError, Sighting, Spec};

use crate::support::answerer::{Answerer, Said};
use crate::support::proxy::{Mode, Proxy};

/// How long a test waits for what should come at once.
const PATIENCE: Duration = Duration::from_secs(30);

const QUEUE: &str = r#"{"queues": [{"name": "a", "waiting": 3}, {"name": "b", "waiting": 4}], "running": "2",
                        "oldest": "2027-01-15T07:59:00Z"}"#;

#[tokio::test]
async fn the_numbers_of_a_document_are_read_with_one_request_however_many_read_it() {
    let web = Answerer::start(|_| Said {
        headers: vec![("date", "Fri, 15 Jan 2027 08:00:00 GMT".to_owned())],
        ..Said::new(200, QUEUE)
    })
    .await;
    let mut client = client(&web.url(), Some("hunter2")).await;
    let both = [
        ("path", "/queues?of=acme"),
        ("readyPath", "$.queues[*].waiting"),
        ("runningPath", "$.running"),
        ("oldestPath", "$.oldest"),
        ("oldestUnit", "rfc3339"),
    ];
    let one = [("path", "/queues?of=acme"), ("readyPath", "$.queues[?@.name == 'b'].waiting")];
    let plans = [plan(&both), plan(&one)];
    let all = Reading {
        ready: Some(7),
        in_flight: Some(InFlight::Known(2)),
        oldest: Some(Duration::from_secs(60)),
        ..Reading::default()
    };
    let part = Reading { ready: Some(4), ..Reading::default() };
    assert_eq!(read(&mut client, &plans).await, [Ok(all.into()), Ok(part.into())]);
    let asked = web.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].uri.to_string(), "/v1/queues?of=acme");
    assert_eq!(asked[0].headers["x-api-key"], "hunter2");
}

#[tokio::test]
async fn an_empty_queue_is_zero_and_an_empty_document_is_not() {
    let empty = Answerer::start(|_| Said::new(200, r#"{"waiting": 0}"#)).await;
    let mut client_of_empty = client(&empty.url(), None).await;
    let zero = Reading { ready: Some(0), ..Reading::default() };
    assert_eq!(read(&mut client_of_empty, &[waiting()]).await, [Ok(zero.into())]);
    let none = Answerer::start(|_| Said::new(200, "{}")).await;
    let mut client_of_none = client(&none.url(), None).await;
    let message = "`readyPath`: there is nothing at $.waiting".to_owned();
    assert_eq!(read(&mut client_of_none, &[waiting()]).await, [Err(unexpected(&none, message))]);
}

/// A server that was updated, and has another name for running tasks.
#[tokio::test]
async fn a_running_path_that_finds_nothing_leaves_waiting_tasks_known() {
    let web = Answerer::start(|_| Said::new(200, r#"{"waiting": 3, "active": 2}"#)).await;
    let mut client = client(&web.url(), None).await;
    let plan = plan(&[
        ("path", "/queue"),
        ("readyPath", "$.waiting"),
        ("runningPath", "$.running"),
        ("oldestPath", "$.oldest[0].since"),
    ]);
    let unknown = vec![Cause::new(
        "the number of running tasks is not known: `runningPath`: there is nothing at $.running",
    )];
    let reading = Reading { ready: Some(3), unknown, ..Reading::default() };
    assert_eq!(read(&mut client, &[plan]).await, [Ok(reading.into())]);
}

#[tokio::test]
async fn whatever_else_is_answered_is_an_error_of_few_words() {
    for (web, message) in [
        (
            Answerer::start(|_| Said::new(404, "no such queue")).await,
            "404 Not Found at /queue (13 bytes, text/plain)",
        ),
        (
            Answerer::start(|asked| {
                Said::new(200, format!("<html>{}", asked.headers["x-api-key"].to_str().unwrap()))
            })
            .await,
            "the answer at /queue is not JSON (13 bytes, text/plain)",
        ),
        (
            Answerer::start(|_| Said::new(200, r#"{"waiting": 3"#)).await,
            "the answer at /queue is not JSON (13 bytes, text/plain)",
        ),
        (
            Answerer::start(|_| Said::new(200, "")).await,
            "the answer at /queue is not JSON (0 bytes, text/plain)",
        ),
        (
            Answerer::start(|_| Said::new(200, format!("[{}", "1,".repeat(1 << 20)))).await,
            "the answer is larger than 1024 KiB, and was not read",
        ),
        (
            Answerer::start(|_| Said {
                headers: vec![("location", "http://10.0.0.1/".to_owned())],
                ..Said::new(302, "")
            })
            .await,
            "302 Found: redirects are not followed; give the connection the address itself",
        ),
    ] {
        let mut client = client(&web.url(), Some("hunter2")).await;
        assert_eq!(read(&mut client, &[waiting()]).await, [Err(unexpected(&web, message.to_owned()))]);
    }
    for (status, anonymous, message) in [
        (
            401,
            true,
            "401: it wants credentials: give the connection `bearerToken`, `username` and `password`, or \
             `customAuthHeader`",
        ),
        (401, false, "401: it does not take the credentials of the connection"),
        (403, true, "403: it lets nobody in without credentials, or nobody from here"),
        (403, false, "403: the credentials of the connection lack the right to read this"),
    ] {
        let web = Answerer::start(move |_| Said::new(status, "no")).await;
        let mut client = client(&web.url(), (!anonymous).then_some("hunter2")).await;
        let denied = ReadError::Denied { endpoint: address(&web), message: message.to_owned() };
        assert_eq!(read(&mut client, &[waiting()]).await, [Err(denied)]);
    }
}

#[tokio::test]
async fn a_server_that_breaks_off_or_stalls_shows_nothing() {
    let web = Answerer::start(|_| Said::new(200, r#"{"waiting": 3}"#)).await;
    let proxy = Proxy::start(web.port()).await;
    let url = format!("http://127.0.0.1:{}", proxy.port());
    for length in [0, 10, 60] {
        let mut client = client(&url, None).await;
        proxy.switch(Mode::CutAfter(length));
        let broken = ReadError::Unreachable {
            endpoint: format!("{url}/v1"),
            message: "the connection broke".to_owned(),
        };
        assert_eq!(read(&mut client, &[waiting()]).await, [Err(broken)], "{length}");
    }
    proxy.switch(Mode::Stall);
    let mut client = client(&url, None).await;
    tokio::time::pause();
    tokio::time::timeout(360 * PATIENCE, client.read(&[waiting()])).await.unwrap_err();
    tokio::time::resume();
    proxy.switch(Mode::Pass);
    let reading = Reading { ready: Some(3), ..Reading::default() };
    assert_eq!(read(&mut client, &[waiting()]).await, [Ok(reading.into())]);
}

#[test]
fn a_path_that_leads_elsewhere_and_a_jsonpath_that_is_none_are_refused() {
    let keys = [
        ("path", "http://169.254.169.254/latest"),
        ("readyPath", "$.waiting["),
        ("oldestPath", "waiting"),
        ("oldestUnit", "minutes"),
    ];
    let values = texts(&keys);
    let mut fields = Fields::new("metadata", &values);
    assert!((spec().parse)(&mut fields).is_none());
    let problems: Vec<String> = fields.finish().into_iter().map(|problem| problem.path).collect();
    let expected = ["path", "readyPath", "oldestPath", "oldestUnit"].map(|key| format!("metadata.{key}"));
    assert_eq!(problems, expected);
}

fn waiting() -> Arc<dyn Plan> {
    plan(&[("path", "/queue"), ("readyPath", "$.waiting")])
}

fn plan(keys: &[(&str, &str)]) -> Arc<dyn Plan> {
    let values = texts(keys);
    let mut fields = Fields::new("metadata", &values);
    (spec().parse)(&mut fields).unwrap_or_else(|| panic!("{:?}", fields.finish()))
}

/// A client of the server's `/v1`, with a key or without.
async fn client(url: &str, key: Option<&str>) -> Box<dyn Client> {
    let mut values = texts(&[("url", &format!("{url}/v1"))]);
    if let Some(key) = key {
        values.extend(texts(&[("customAuthHeader", "X-API-Key")]));
        let secret = Secret::Variable { name: "KEY".to_owned(), value: Revealed::new(key) };
        values.insert("customAuthValue".to_owned(), Value::Secret(secret));
    }
    connect(&values).await
}

async fn connect(values: &BTreeMap<String, Value>) -> Box<dyn Client> {
    let mut fields = Fields::new("connections.main", values);
    let endpoint =
        (spec().connections[0].parse)(&mut fields).unwrap_or_else(|| panic!("{:?}", fields.finish()));
    endpoint.connect().await.unwrap()
}

/// Where the server was asked, the only time.
fn text_of(web: &Answerer) -> String {
    let asked = web.asked();
    assert_eq!(asked.len(), 1);
    asked[0].uri.to_string()
}

async fn read(client: &mut Box<dyn Client>, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
    tokio::time::timeout(PATIENCE, client.read(plans)).await.unwrap()
}

fn unexpected(web: &Answerer, message: String) -> ReadError {
    ReadError::Unexpected { endpoint: address(web), message }
}

fn address(web: &Answerer) -> String {
    format!("{}/v1", web.url())
}

fn spec() -> &'static Spec {
    ALL.iter().find(|spec| spec.name == "http").unwrap()
}

fn texts(keys: &[(&str, &str)]) -> BTreeMap<String, Value> {
    keys.iter().map(|(key, value)| ((*key).to_owned(), Value::Text((*value).to_owned()))).collect()
}
