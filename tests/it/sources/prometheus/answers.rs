//! What each answer of a real Prometheus means.

use agent_scaler::sources::ReadError;

use super::{backlog, client_at, read, waiting};
use crate::support::prometheus::{Prometheus, Setup};

#[tokio::test]
async fn every_answer_is_a_number_of_tasks_or_an_error_and_never_an_invented_zero() {
    let prometheus = Prometheus::start(Setup::default()).await;
    let mut client = client_at(&prometheus.url()).await;
    for (promql, tasks) in [
        ("vector(7)", 7),
        ("7", 7),
        ("vector(0)", 0),
        ("-0", 0),
        ("acme_none or vector(0)", 0),
        // A part of a task is one, and a rounding error none.
        ("2.2", 3),
        ("0.01", 1),
        ("0.1 + 0.2 - 0.3 + 2", 2),
        ("1e300", u64::MAX),
    ] {
        assert_eq!(read(&mut client, &backlog(promql)).await, Ok(waiting(tasks)), "{promql}");
    }
    let two = r#"label_replace(vector(1), "a", "b", "", "") or label_replace(vector(2), "a", "c", "", "")"#;
    for (promql, message) in [
        (
            "sum(acme_none)",
            "no result: no series fits, or its last sample is older than five minutes; where that does mean none, \
             write `… or vector(0)`",
        ),
        ("vector(0) / vector(0)", "the result is NaN, as a rate or percentile is without samples"),
        ("1 / 0", "the result is infinite"),
        ("-1 / 0", "the result is infinite"),
        ("vector(-1)", "the result is negative: -1"),
        (two, "2 series in the result, and one is wanted: wrap the query in `sum(…)` or `max(…)`"),
        ("vector(1)[5m:1m]", "the result is a matrix, and a number is wanted"),
        (r#""seven""#, "the result is a string, and a number is wanted"),
        ("sum(", "the query is wrong at 1:5: Prometheus's own page says why"),
    ] {
        let error = ReadError::Unexpected { endpoint: prometheus.url(), message: message.to_owned() };
        assert_eq!(read(&mut client, &backlog(promql)).await, Err(error), "{promql}");
    }
}

#[tokio::test]
async fn one_wrong_query_spoils_no_other() {
    let prometheus = Prometheus::start(Setup::default()).await;
    let mut client = client_at(&prometheus.url()).await;
    let plans = [backlog("3"), backlog("sum("), backlog("4")];
    let results = client.read(&plans).await;
    assert_eq!((&results[0], &results[2]), (&Ok(waiting(3)), &Ok(waiting(4))));
    assert!(matches!(&results[1], Err(ReadError::Unexpected { .. })), "{:?}", results[1]);
}
