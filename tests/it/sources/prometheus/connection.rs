//! Getting in, being kept out, and losing the connection.

use std::sync::Arc;
use std::time::Duration;

use agent_scaler::fields::Value;
use agent_scaler::secret::Secret;
use agent_scaler::sources::{Plan, ReadError, Sighting};

use super::{PATIENCE, backlog, client, client_at, endpoint, queries, read, secret, text, waiting};
use crate::support::answerer::{Answer, Answerer, Asked, Said};
use crate::support::prometheus::{PASSWORD, Prometheus, Setup};
use crate::support::proxy::{Mode, Proxy};
use crate::support::servers::Tls;

#[tokio::test]
async fn who_has_the_password_reads_and_others_learn_why_not() {
    let prometheus = Prometheus::start(Setup { has_password: true, ..Setup::default() }).await;
    let (url, user) = (text("url", &prometheus.url()), text("username", "scaler"));
    let mut right = client(&[url.clone(), user.clone(), secret("password", PASSWORD)]).await;
    assert_eq!(read(&mut right, &backlog("7")).await, Ok(waiting(7)));
    for (keys, message) in [
        (
            vec![url.clone()],
            "401: it wants credentials: give the connection `bearerToken`, `username` and `password`, or \
             `customAuthHeader`",
        ),
        (
            vec![url, user, secret("password", "swordfish")],
            "401: it does not take the credentials of the connection",
        ),
    ] {
        let denied = ReadError::Denied { endpoint: prometheus.url(), message: message.to_owned() };
        let mut client = client(&keys).await;
        assert_eq!(read(&mut client, &backlog("7")).await, Err(denied.clone()));
        // For signals too: what nobody may read is not a number that is missing.
        assert_eq!(read(&mut client, &queries(&[("inFlightQuery", "7")])).await, Err(denied));
    }
}

#[tokio::test]
async fn tls_trusts_and_shows_only_what_the_keys_name() {
    let prometheus = Prometheus::start(Setup { tls: Tls::Mutual, ..Setup::default() }).await;
    let file = |key, name| text(key, prometheus.file(name).to_str().unwrap());
    let (url, ca) = (text("url", &prometheus.url()), file("ca", "ca.crt"));
    let identity = [file("certificate", "client.crt"), file("key", "client.key")];
    let mut right = client(&[&[url.clone(), ca.clone()], &identity[..]].concat()).await;
    assert_eq!(read(&mut right, &backlog("7")).await, Ok(waiting(7)));
    let unreachable = |message: &str| {
        Err(ReadError::Unreachable { endpoint: prometheus.url(), message: message.to_owned() })
    };
    let mut distrusts = client(std::slice::from_ref(&url)).await;
    assert_eq!(
        read(&mut distrusts, &backlog("7")).await,
        unreachable("invalid peer certificate: UnknownIssuer; `ca` names the authority to trust")
    );
    let mut nameless = client(&[url.clone(), ca.clone()]).await;
    let error = read(&mut nameless, &backlog("7")).await.unwrap_err();
    // Each version of it has an alert of its own for that.
    assert!(error.loses_connection() && error.to_string().contains("received fatal alert: "), "{error}");
    for (keys, message) in [
        (vec![url.clone(), file("ca", "web.yml")], "web.yml holds no certificates in PEM"),
        (vec![url.clone(), file("ca", "none")], "none: No such file or directory (os error 2)"),
        (
            vec![url, ca, file("certificate", "client.crt"), file("key", "ca.crt")],
            "ca.crt holds no private key in PEM",
        ),
    ] {
        let error = endpoint(&keys).connect().await.map(|_| "a connection").unwrap_err();
        assert!(error.to_string().ends_with(message), "{error}");
    }
}

#[tokio::test]
async fn a_rotated_token_is_shown_with_the_next_batch() {
    let web = Answerer::start(|asked| {
        let shown = asked.headers.get("authorization").and_then(|value| value.to_str().ok());
        match shown {
            Some("Bearer hunter2-next") => Said::number("7"),
            Some(_) => Said::new(403, "forbidden"),
            None => Said::new(401, "who are you?"),
        }
    })
    .await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "hunter2\n").unwrap();
    let token = ("bearerToken".to_owned(), Value::Secret(Secret::File(file.path().to_owned())));
    let mut client = client(&[text("url", &web.url()), token]).await;
    let denied = ReadError::Denied {
        endpoint: web.url(),
        message: "403: the credentials of the connection lack the right to read this".to_owned(),
    };
    assert_eq!(read(&mut client, &backlog("7")).await, Err(denied));
    std::fs::write(file.path(), "hunter2-next\n").unwrap();
    assert_eq!(read(&mut client, &backlog("7")).await, Ok(waiting(7)));
    std::fs::remove_file(file.path()).unwrap();
    let error = read(&mut client, &backlog("7")).await.unwrap_err();
    assert!(
        error.loses_connection() && error.to_string().contains("cannot read the credential file"),
        "{error}"
    );
}

#[tokio::test]
async fn a_request_carries_what_the_connection_says_and_the_query_as_it_is() {
    let web = Answerer::start(|_| Said::number("7")).await;
    let keys = [
        text("url", &format!("{}/prometheus/", web.url())),
        text("customHeaders", "X-Scope-OrgID=acme, X-Other=one"),
        text("customAuthHeader", "X-API-Key"),
        secret("customAuthValue", "hunter2"),
        text("queryParameters", "namespace=a&b,dedup=true"),
    ];
    let mut client = client(&keys).await;
    assert_eq!(read(&mut client, &backlog(r#"sum(x{a="b c&d"})"#)).await, Ok(waiting(7)));
    let asked = web.asked();
    assert_eq!(asked.len(), 1);
    assert_eq!(
        asked[0].uri.to_string(),
        "/prometheus/api/v1/query?namespace=a%26b&dedup=true&query=sum%28x%7Ba%3D%22b+c%26d%22%7D%29"
    );
    let header = |name| asked[0].headers.get(name).unwrap().to_str().unwrap();
    assert_eq!(["x-scope-orgid", "x-other", "x-api-key"].map(header), ["acme", "one", "hunter2"]);
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_no_credential_goes_with_it() {
    let elsewhere = Answerer::start(|_| Said::number("7")).await;
    let target = elsewhere.url();
    let web = Answerer::start(move |asked| Said {
        headers: vec![("location", format!("{target}{}", asked.uri))],
        ..Said::new(307, "")
    })
    .await;
    let mut client = client(&[text("url", &web.url()), secret("bearerToken", "hunter2")]).await;
    let message =
        "307 Temporary Redirect: redirects are not followed; give the connection the address itself"
            .to_owned();
    let error = ReadError::Unexpected { endpoint: web.url(), message };
    assert_eq!(read(&mut client, &backlog("7")).await, Err(error));
    assert_eq!((web.asked().len(), elsewhere.asked().len()), (1, 0));
}

#[tokio::test]
async fn of_nonsense_its_length_and_kind_are_said_and_no_word() {
    let echo = |asked: &Asked| format!("<html>{:?}</html>", asked.headers.get("authorization").unwrap());
    for (web, message) in [
        (
            Answerer::start(move |asked| Said::new(200, echo(asked))).await,
            "this is no answer of Prometheus (29 bytes, text/plain)",
        ),
        (
            Answerer::start(|_| Said::new(502, "<h1>Bad\n  Gateway</h1>")).await,
            "502 Bad Gateway, at /api/v1/query (22 bytes, text/plain)",
        ),
        (
            Answerer::start(|_| Said::new(200, r#"{"status":"success","data":{"resultType":"sca"#)).await,
            "this is no answer of Prometheus (45 bytes, text/plain)",
        ),
        (
            Answerer::start(|_| {
                Said::new(500, r#"{"status":"success","data":{"resultType":"scalar","result":[0,"7"]}}"#)
            })
            .await,
            "500 Internal Server Error, at /api/v1/query (68 bytes, text/plain)",
        ),
        (
            Answerer::start(|_| Said::new(200, "x".repeat((128 << 10) + 1))).await,
            "the answer is larger than 128 KiB, and was not read",
        ),
        (
            Answerer::start(|_| Said {
                headers: vec![("date", "Fri, 15 Jan 2027 08:01:01 GMT".to_owned())],
                ..Said::number("7")
            })
            .await,
            "the result is 61 s old, so it comes out of a cache",
        ),
        (
            Answerer::start(|_| {
                Said::new(503, r#"{"status":"error","errorType":"unavailable","error":"hunter2"}"#)
            })
            .await,
            "the server does not answer the query (unavailable)",
        ),
    ] {
        let mut client = client(&[text("url", &web.url()), secret("bearerToken", "hunter2")]).await;
        let error = ReadError::Unexpected { endpoint: web.url(), message: message.to_owned() };
        assert_eq!(read(&mut client, &backlog("7")).await, Err(error));
    }
}

#[tokio::test]
async fn a_body_without_a_length_is_bounded_too() {
    let prometheus = Prometheus::start(Setup::default()).await;
    let proxy = Proxy::start(prometheus.port()).await;
    let endless = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", " ".repeat(3 << 20));
    proxy.switch(Mode::Say(endless.leak().as_bytes()));
    let url = format!("http://127.0.0.1:{}", proxy.port());
    let mut client = client_at(&url).await;
    let message = "the answer is larger than 128 KiB, and was not read".to_owned();
    let error = ReadError::Unexpected { endpoint: url, message };
    assert_eq!(read(&mut client, &backlog("7")).await, Err(error));
}

#[tokio::test]
async fn a_server_that_is_gone_refuses_and_one_that_is_back_answers() {
    let mut prometheus = Prometheus::start(Setup::default()).await;
    let mut client = client_at(&prometheus.url()).await;
    assert_eq!(read(&mut client, &backlog("7")).await, Ok(waiting(7)));
    prometheus.kill();
    for _ in 0..2 {
        let error = read(&mut client, &backlog("7")).await.unwrap_err();
        assert!(
            matches!(&error, ReadError::Unreachable { message, .. }
            if message == "connection refused" || message == "the connection broke"),
            "{error}"
        );
    }
    prometheus.restart().await;
    assert_eq!(read(&mut client, &backlog("7")).await, Ok(waiting(7)));
}

#[tokio::test]
async fn half_an_answer_is_none() {
    let prometheus = Prometheus::start(Setup::default()).await;
    let proxy = Proxy::start(prometheus.port()).await;
    let url = format!("http://127.0.0.1:{}", proxy.port());
    for length in [0, 1, 20, 100, 150] {
        let mut client = client_at(&url).await;
        proxy.switch(Mode::CutAfter(length));
        let broken =
            ReadError::Unreachable { endpoint: url.clone(), message: "the connection broke".to_owned() };
        for plan in [backlog("7"), queries(&[("inFlightQuery", "7")])] {
            assert_eq!(read(&mut client, &plan).await, Err(broken.clone()), "{length}");
        }
    }
}

#[tokio::test]
async fn a_server_that_stalls_is_waited_for_as_long_as_the_caller_likes() {
    let prometheus = Prometheus::start(Setup::default()).await;
    let proxy = Proxy::start(prometheus.port()).await;
    let mut client = client_at(&format!("http://127.0.0.1:{}", proxy.port())).await;
    proxy.switch(Mode::Stall);
    // Time goes on by itself, as soon as everybody waits.
    tokio::time::pause();
    let plans = [backlog("7")];
    tokio::time::timeout(360 * PATIENCE, client.read(&plans)).await.unwrap_err();
    tokio::time::resume();
    proxy.switch(Mode::Pass);
    assert_eq!(read(&mut client, &plans[0]).await, Ok(waiting(7)));
}

#[tokio::test]
async fn what_is_not_http_is_noticed() {
    let prometheus = Prometheus::start(Setup::default()).await;
    let proxy = Proxy::start(prometheus.port()).await;
    let url = format!("http://127.0.0.1:{}", proxy.port());
    proxy.switch(Mode::Say(b"+PONG\r\n"));
    let mut client = client_at(&url).await;
    let message = "it does not speak HTTP, or not with this encryption".to_owned();
    let error = ReadError::Unreachable { endpoint: url, message };
    assert_eq!(read(&mut client, &backlog("7")).await, Err(error));
}

#[tokio::test]
async fn forty_queries_of_one_batch_are_forty_requests_and_eight_at_a_time() {
    let web = Answerer::start(|_| Said { after: Duration::from_millis(50), ..Said::number("7") }).await;
    let mut client = client_at(&web.url()).await;
    let plans: Vec<Arc<dyn Plan>> = (0..40).map(|number| backlog(&format!("x{number}"))).collect();
    let results = tokio::time::timeout(PATIENCE, client.read(&plans)).await.unwrap();
    assert_eq!(results, vec![Ok(waiting(7)); 40]);
    assert_eq!((web.asked().len(), web.most_at_a_time()), (40, 8));
}

#[tokio::test]
async fn a_query_that_hangs_costs_its_own_signal_and_no_other_query() {
    let web = Answerer::start(|asked| {
        let hangs = asked.uri.query().is_some_and(|query| query.contains("hang"));
        if hangs { Answer::Hang } else { Said::number("7").into() }
    })
    .await;
    let mut client = client_at(&web.url()).await;
    let mut plans: Vec<Arc<dyn Plan>> = (0..20).map(|number| backlog(&format!("hang{number}"))).collect();
    plans.push(backlog("quick"));
    plans.push(queries(&[("inFlightQuery", "hang"), ("arrivalsQuery", "quick")]));
    let deadline = tokio::time::Instant::now() + Duration::from_secs(2);
    client.answer_by(deadline);
    let mut results = client.read(&plans).await;
    assert!(tokio::time::Instant::now() < deadline);
    let Some(Ok(Sighting::Queried(queried))) = results.pop() else { panic!("{results:?}") };
    assert_eq!(queried.arrivals.map(|told| told.is_ok()), Some(true));
    let late = "there was no answer in time to the query";
    assert_eq!(queried.in_flight.unwrap().unwrap_err().to_string(), late);
    assert_eq!(results.pop(), Some(Ok(waiting(7))));
    let late = ReadError::Unexpected { endpoint: web.url(), message: late.to_owned() };
    assert_eq!(results, vec![Err(late); 20]);
    assert!(client.mends_itself());
}

#[tokio::test]
async fn a_result_of_many_series_is_counted_and_not_kept() {
    let series = r#"{"metric":{"job":"acme"},"value":[1800000000,"1"]}"#;
    let many = vec![series; 2_000].join(",");
    let body = format!(r#"{{"status":"success","data":{{"resultType":"vector","result":[{many}]}}}}"#);
    let web = Answerer::start(move |_| Said::new(200, body.clone())).await;
    let mut client = client_at(&web.url()).await;
    let message =
        "2000 series in the result, and one is wanted: wrap the query in `sum(…)` or `max(…)`".to_owned();
    let error = ReadError::Unexpected { endpoint: web.url(), message };
    assert_eq!(read(&mut client, &backlog("7")).await, Err(error));
}
