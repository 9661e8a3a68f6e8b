//! What holds for every framework.

use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::signals::{Cause, InFlight};
use agent_scaler::sources::{ALL, Plan, ReadError};

use super::super::redis::{
    address, client_at, client_of, connect, endpoint, password, plan, read, read_one, text,
};
use crate::support::proxy::{Mode, Proxy};
use crate::support::servers::Redis;
use crate::support::tree::root;

/// Every source of this kind, and the least that it takes to name a queue.
const SOURCES: [(&str, &[(&str, &str)]); 7] = [
    ("redis-sorted-set", &[("sortedSetName", "QUEUE"), ("scoreUnit", "seconds")]),
    ("celery", &[("queue", "QUEUE")]),
    ("bullmq", &[("queue", "QUEUE")]),
    ("rq", &[("queue", "QUEUE")]),
    ("sidekiq", &[("queue", "QUEUE")]),
    ("dramatiq", &[("queue", "QUEUE")]),
    ("taskiq", &[("queue", "QUEUE")]),
];

fn of(source: &str, keys: &[(&str, &str)], queue: &str) -> Arc<dyn Plan> {
    let keys: Vec<_> = keys.iter().map(|(key, value)| (*key, value.replace("QUEUE", queue))).collect();
    let keys: Vec<_> = keys.iter().map(|(key, value)| (*key, value.as_str())).collect();
    let plan = plan(source, &keys);
    plan.starting_in(Duration::from_secs(30)).unwrap_or(plan)
}

fn all(queue: &str) -> Vec<Arc<dyn Plan>> {
    SOURCES.iter().map(|(source, keys)| of(source, keys, queue)).collect()
}

#[test]
fn no_source_of_this_kind_is_left_out() {
    let redis = ALL
        .iter()
        .filter(|spec| spec.connections.iter().any(|kind| kind.name == "redis"))
        .map(|spec| spec.name);
    let others: Vec<_> = redis.filter(|name| !["redis", "redis-streams"].contains(name)).collect();
    assert_eq!(others, SOURCES.map(|(source, _)| source));
}

#[tokio::test]
async fn keys_that_do_not_exist_are_a_known_zero() {
    let redis = Redis::plain();
    let mut client = client_of(&redis).await;
    for ((source, _), result) in SOURCES.iter().zip(read(&mut client, &all("none")).await) {
        let reading = result.unwrap();
        assert_eq!(reading.ready, Some(0), "{source}");
        assert_eq!(
            reading.due.unwrap_or(0) + reading.soon.unwrap_or(0) + reading.delayed.unwrap_or(0),
            0,
            "{source}"
        );
        assert_eq!((reading.oldest, reading.ceiling), (None, None), "{source}");
        let known = (*source != "redis-sorted-set").then_some(InFlight::Known(0));
        assert_eq!(reading.in_flight, known, "{source}");
    }
}

#[tokio::test]
async fn a_thousand_queues_take_a_handful_of_round_trips() {
    let redis = Redis::plain();
    let proxy = Proxy::start(redis.port()).await;
    let mut client = client_at(proxy.port()).await;
    let plans: Vec<_> = (0..1_000)
        .map(|number: usize| {
            let (source, keys) = SOURCES[number % SOURCES.len()];
            of(source, keys, &format!("acme:{number}"))
        })
        .collect();
    proxy.round_trips();
    let readings = read(&mut client, &plans).await;
    // Some eight thousand commands: those of four thousand go out together.
    let round_trips = proxy.round_trips();
    assert!(round_trips <= 3, "{round_trips}");
    assert!(readings.iter().all(|reading| matches!(reading, Ok(reading) if reading.ready == Some(0))));
}

/// Every key beside the queue's own, in turn of another type, and in turn out of the user's reach.
#[tokio::test]
async fn a_key_that_cannot_be_read_costs_its_own_figure_and_is_named() {
    for (source, keys) in SOURCES.iter().filter(|(source, _)| *source != "taskiq") {
        let queue = of(source, keys, "acme");
        let redis = Redis::plain();
        let (main, _) = works(&redis, source);
        let mut client = client_of(&redis).await;
        let whole = read_one(&mut client, &queue).await.unwrap();
        assert_eq!((whole.ready, whole.unknown.as_slice()), (Some(3), &[][..]), "{source}");
        for name in queue.names() {
            // Whether it exists is all that is asked of it.
            if name == "rq:suspended" {
                continue;
            }
            let denied = {
                redis.command(&["ACL", "SETUSER", "scaler", "reset", "on", ">hunter2", "+@all", "%R~*"]);
                let others = queue.names().into_iter().filter(|other| *other != name);
                let patterns: Vec<String> = others.map(|other| format!("~{other}")).collect();
                let mut grant = vec!["ACL", "SETUSER", "scaler", "resetkeys"];
                grant.extend(patterns.iter().map(String::as_str));
                redis.command(&grant);
                let keys =
                    [text("url", &address(redis.port())), text("username", "scaler"), password("hunter2")];
                let mut client = connect(&*endpoint(&keys)).await.unwrap();
                read_one(&mut client, &queue).await
            };
            redis.command(&["DEL", name]);
            redis.command(&["XADD", name, "*", "a", "b"]);
            let wrong = read_one(&mut client, &queue).await;
            redis.command(&["DEL", name]);
            works(&redis, source);
            if name == main {
                let (Err(wrong), Err(denied)) = (wrong, denied) else { panic!("{source} needs no {name}") };
                assert!(
                    wrong.to_string().contains(&format!("`{name}` is a stream, and must be a ")),
                    "{wrong}"
                );
                assert!(matches!(denied, ReadError::Denied { .. }), "{denied}");
                continue;
            }
            let (wrong, denied) = (wrong.unwrap(), denied.unwrap());
            assert_eq!((wrong.ready, denied.ready), (Some(3), Some(3)), "{source} {name}");
            let said = wrong
                .unknown
                .iter()
                .any(|cause| cause.to_string().contains(&format!("`{name}` is a stream")));
            assert!(said, "{source} {name}: {:?}", wrong.unknown);
            let said =
                denied.unknown.iter().any(|cause| cause.to_string().contains(&format!("reading `{name}`: ")));
            assert!(said, "{source} {name}: {:?}", denied.unknown);
            let is_of_what_runs = |cause: &Cause| cause.to_string().contains("the number of running tasks");
            if wrong.unknown.iter().any(is_of_what_runs) {
                assert_eq!((wrong.in_flight, denied.in_flight), (None, None), "{source} {name}");
            }
        }
    }
}

/// Puts three tasks into the queue's own key, and says which it is, with its type.
fn works(redis: &Redis, source: &str) -> (&'static str, &'static str) {
    let (key, kind) = match source {
        "redis-sorted-set" => ("acme", "zset"),
        "celery" => ("acme", "list"),
        "bullmq" => ("bull:acme:wait", "list"),
        "rq" => ("rq:queue:acme", "list"),
        "sidekiq" => ("queue:acme", "list"),
        "dramatiq" => ("dramatiq:acme", "list"),
        _ => panic!("{source}"),
    };
    redis.command(&["DEL", key]);
    for task in ["1", "2", "3"] {
        let command = if kind == "zset" { vec!["ZADD", key, "1", task] } else { vec!["LPUSH", key, task] };
        redis.command(&command);
    }
    (key, kind)
}

#[tokio::test]
async fn an_id_that_is_too_long_to_be_read_costs_the_age_and_not_the_number() {
    let redis = Redis::plain();
    for (source, keys) in SOURCES.iter().filter(|(source, _)| ["bullmq", "rq"].contains(source)) {
        let queue = of(source, keys, "acme");
        let (main, _) = works(&redis, source);
        for end in ["LPUSH", "RPUSH"] {
            redis.command(&[end, main, &"x".repeat(2 << 20)]);
        }
        let mut client = client_of(&redis).await;
        for _ in 0..3 {
            let reading = read_one(&mut client, &queue).await.unwrap();
            assert_eq!((reading.ready, reading.in_flight), (Some(5), Some(InFlight::Known(0))), "{source}");
            let causes: Vec<String> = reading.unknown.iter().map(ToString::to_string).collect();
            assert!(causes[0].contains("the age of the oldest task"), "{source}: {causes:?}");
            assert!(causes[0].contains("the answer takes more than 1024 KiB"), "{source}: {causes:?}");
        }
    }
}

#[tokio::test]
async fn a_user_without_rights_learns_which_it_takes_and_with_them_reads() {
    let redis = Redis::plain();
    redis.command(&["ACL", "SETUSER", "scaler", "on", ">hunter2", "-@all", "+select", "+time"]);
    let keys = [text("url", &address(redis.port())), text("username", "scaler"), password("hunter2")];
    let mut client = connect(&*endpoint(&keys)).await.unwrap();
    let document = std::fs::read_to_string(root().join("docs/redis.md")).unwrap();
    for (source, keys) in SOURCES.iter().filter(|(source, _)| *source != "taskiq") {
        let queue = of(source, keys, "acme");
        let Err(ReadError::Denied { message, .. }) = read_one(&mut client, &queue).await else {
            panic!("{source} needs no rights");
        };
        let rights = message.split("the user needs `").nth(1).unwrap().split(" ~").next().unwrap();
        let row = document.lines().find(|line| line.starts_with(&format!("| `{source}` | `+"))).unwrap();
        let on_top = rights.strip_prefix("-@all +select +time ").unwrap();
        assert!(row.contains(&format!("| `{on_top}`")), "docs/redis.md says {row}, and it takes {on_top}");
        let mut grant = vec!["ACL", "SETUSER", "scaler", "resetkeys"];
        let patterns: Vec<String> = queue.names().iter().map(|name| format!("~{name}")).collect();
        grant.extend(rights.split(' '));
        grant.extend(patterns.iter().map(String::as_str));
        redis.command(&grant);
        match read_one(&mut client, &queue).await {
            Ok(reading) if *source == "sidekiq" => {
                assert_eq!((reading.ready, reading.in_flight), (Some(0), None));
                let [cause] = &reading.unknown[..] else { panic!("{:?}", reading.unknown) };
                let message = cause.to_string();
                assert!(
                    message.starts_with(
                        "the number of running tasks is not known: following the names in `processes`: "
                    ),
                    "{message}"
                );
                assert!(
                    message.ends_with(
                        "that needs Redis 7, `+sort_ro %R~*`, and no cluster; do without by `busy: \"false\"`"
                    ),
                    "{message}"
                );
                redis.command(&["ACL", "SETUSER", "scaler", "%R~*"]);
                let reading = read_one(&mut client, &queue).await.unwrap();
                assert_eq!((reading.in_flight, reading.unknown), (Some(InFlight::Known(0)), Vec::new()));
            }
            Ok(reading) => assert_eq!((reading.ready, reading.unknown), (Some(0), Vec::new()), "{source}"),
            // The one that follows names needs to read every key for what runs.
            Err(error) => panic!("{source}: {error}"),
        }
        redis.command(&["ACL", "SETUSER", "scaler", "resetkeys", "-@all", "+select", "+time"]);
    }
}

#[tokio::test]
async fn nonsense_and_a_connection_that_breaks_are_errors() {
    let redis = Redis::plain();
    for (source, keys) in SOURCES {
        let queue = of(source, keys, "acme");
        for mode in [Mode::Say(b"*2\r\n$4\r\nacme\r\n:7\r\n"), Mode::CutAfter(9), Mode::Cut] {
            let proxy = Proxy::start(redis.port()).await;
            let mut client = client_at(proxy.port()).await;
            proxy.switch(mode);
            assert!(read_or_wait(&mut client, &queue).await, "{source} {mode:?}");
        }
    }
}

/// Whether a read fails, or has no end that the reader's deadline would not make.
async fn read_or_wait(client: &mut Box<dyn agent_scaler::sources::Client>, queue: &Arc<dyn Plan>) -> bool {
    let reading =
        tokio::time::timeout(Duration::from_millis(300), client.read(std::slice::from_ref(queue))).await;
    reading.is_err() || reading.is_ok_and(|results| results.iter().all(Result::is_err))
}

#[tokio::test]
async fn the_commands_that_are_named_are_those_that_redis_was_sent() {
    for (source, keys) in SOURCES {
        let redis = Redis::plain();
        let queue = of(source, keys, "acme");
        let mut client = client_of(&redis).await;
        redis.command(&["CONFIG", "RESETSTAT"]);
        read_one(&mut client, &queue).await.unwrap();
        let answer: String = redis::from_redis_value(redis.command(&["INFO", "commandstats"])).unwrap();
        let mut sent: Vec<String> = answer
            .lines()
            .filter_map(|line| line.strip_prefix("cmdstat_"))
            .map(|line| {
                let (name, calls) = line.split_once(":calls=").unwrap();
                format!("{} {}", name.replace('|', " "), calls.split(',').next().unwrap())
            })
            // What this test, its harness and every client's login send.
            .filter(|line| {
                !["info", "client", "config", "hello", "select"].iter().any(|own| line.starts_with(own))
            })
            .collect();
        let mut named: Vec<String> = Vec::new();
        let commands = queue.commands();
        // What depends on an answer that was not there was not sent.
        for command in
            commands.iter().filter(|command| !command.contains("ID") && !command.contains("ZRANGE"))
        {
            let words: Vec<&str> = command.split(' ').collect();
            let name = if words[0] == "XINFO" { "xinfo groups".to_owned() } else { words[0].to_lowercase() };
            named.push(name);
        }
        named.sort_unstable();
        let mut counted: Vec<String> = Vec::new();
        for names in named.chunk_by(|one, other| one == other) {
            counted.push(format!("{} {}", names[0], names.len()));
        }
        sent.sort_unstable();
        assert_eq!(sent, counted, "{source}: {commands:?}");
    }
}
