//! What the worst metadata costs before and after rights are known: the bar is 1 ms, whatever a caller sends.

#![expect(clippy::unwrap_used, reason = "a benchmark may fail")]

use std::collections::BTreeMap;
use std::hint::black_box;

use agent_scaler::config::server::Server;
use agent_scaler::config::trigger::parse;
use agent_scaler::sources::ALL;
use criterion::{Criterion, criterion_group, criterion_main};

const FILE: &str = "connections: { main: { type: redis, url: \"redis://127.0.0.1\" } }\n";

const TENANTS: &str = "tenants: { acme: { connections: { main: [\"acme:*\"] } } }\n";

criterion_group!(benches, metadata);
criterion_main!(benches);

fn metadata(criterion: &mut Criterion) {
    let (open, closed) = (server(FILE), server(&format!("{FILE}{TENANTS}")));
    let mut group = criterion.benchmark_group("reading metadata, bar 1 ms");
    for (name, server, namespace, keys) in [
        (
            "one usual trigger",
            &closed,
            "acme",
            of(&[("source", "redis"), ("connection", "main"), ("listName", "acme:tasks")]),
        ),
        ("64 KB of a stranger", &closed, "zeta", values(60, 1_000)),
        ("64 KB of a tenant", &closed, "acme", values(60, 1_000)),
        ("one unknown key of 60 KB", &open, "zeta", of(&[(&"x".repeat(60_000), "")])),
        ("60 unknown keys of 40 letters", &open, "zeta", unknown_keys()),
        ("48 KB of unknown keys", &open, "zeta", values(60, 700)),
        ("names that are all wrong", &open, "zeta", celery(&"a,".repeat(255), "3")),
        ("the same name, again and again", &open, "zeta", celery(&["a"; 256].join(","), "3")),
        ("more commands than a trigger may have", &open, "zeta", celery(&numbers(256), &numbers(256))),
    ] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                drop(black_box(
                    parse(server, namespace, "jobs", black_box(&keys)).map_err(|error| error.to_string()),
                ))
            });
        });
    }
    group.finish();
    let mut group = criterion.benchmark_group("what a namespace may use, all of it");
    let most = celery(&numbers(181), &numbers(10));
    group.bench_function("1,993 commands", |bencher| {
        bencher.iter(|| black_box(parse(&open, "zeta", "jobs", black_box(&most)).unwrap()));
    });
    group.finish();
}

fn server(file: &str) -> Server {
    Server::parse(file, ALL).unwrap()
}

fn celery(queues: &str, steps: &str) -> BTreeMap<String, String> {
    of(&[("source", "celery"), ("connection", "main"), ("queue", queues), ("prioritySteps", steps)])
}

fn numbers(count: usize) -> String {
    (1..=count).map(|number| number.to_string()).collect::<Vec<_>>().join(",")
}

/// Keys that nobody knows, with values of some size.
fn values(count: usize, size: usize) -> BTreeMap<String, String> {
    let pairs = (0..count).map(|number| (format!("taskPerReplica{number}"), "x".repeat(size)));
    pairs.chain([("connection".to_owned(), "main".to_owned())]).collect()
}

/// As many and as long keys as get the most expensive hints, with no source that says which keys are meant.
fn unknown_keys() -> BTreeMap<String, String> {
    (0..60)
        .map(|number| {
            (
                format!("{number}{}", "ensureEvenDistributionOfPartitionX".repeat(2))[..38].to_owned(),
                String::new(),
            )
        })
        .collect()
}

fn of(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}
