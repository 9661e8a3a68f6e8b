//! Lists.

use std::sync::Arc;

use agent_scaler::engine::signals::InFlight;
use agent_scaler::fields::Fields;
use agent_scaler::sources::{Plan, ReadError};

use super::{address, client_at, client_of, list, list_with_processing, read, seen, stream};
use crate::support::proxy::Proxy;
use crate::support::servers::Redis;

#[tokio::test]
async fn waiting_and_running_tasks_are_summed_over_their_lists() {
    let redis = Redis::plain();
    redis.command(&["RPUSH", "acme:tasks", "a", "b", "c"]);
    redis.command(&["RPUSH", "acme:low", "d"]);
    redis.command(&["RPUSH", "acme:busy", "e", "f"]);
    let mut client = client_of(&redis).await;
    let readings = read(
        &mut client,
        &[
            list("acme:tasks"),
            list("acme:tasks,acme:low"),
            list_with_processing("acme:tasks,acme:low", "acme:busy,acme:more"),
        ],
    )
    .await;
    assert_eq!(readings, [Ok(seen(3, None)), Ok(seen(4, None)), Ok(seen(4, Some(2)))]);
}

#[tokio::test]
async fn a_list_that_does_not_exist_is_empty() {
    let redis = Redis::plain();
    let mut client = client_of(&redis).await;
    let readings = read(&mut client, &[list("none"), list_with_processing("none", "nothing")]).await;
    assert_eq!(readings, [Ok(seen(0, None)), Ok(seen(0, Some(0)))]);
}

#[tokio::test]
async fn a_key_of_another_type_spoils_its_own_queue_only() {
    let redis = Redis::plain();
    redis.command(&["SET", "text", "x"]);
    redis.command(&["RPUSH", "acme:tasks", "a"]);
    let mut client = client_of(&redis).await;
    let plans = [list("acme:tasks"), list("acme:tasks,text"), stream("text", "workers"), list("acme:tasks")];
    let wrong = |kind: &str, key: &str| {
        Err(ReadError::Unexpected {
            endpoint: address(redis.port()),
            message: format!(
                "`text` is a string, and must be a {kind}: `{key}` takes the {kind} from which workers take their tasks"
            ),
        })
    };
    let expected =
        [Ok(seen(1, None)), wrong("list", "listName"), wrong("stream", "stream"), Ok(seen(1, None))];
    assert_eq!(read(&mut client, &plans).await, expected);
}

/// The trigger names a key of another type as its list of running tasks. Only running tasks are not known then.
#[tokio::test]
async fn an_unreadable_record_of_running_tasks_costs_only_that_figure() {
    let redis = Redis::plain();
    redis.command(&["RPUSH", "acme:tasks", "a", "b"]);
    redis.command(&["RPUSH", "acme:busy", "c"]);
    redis.command(&["ZADD", "acme:set", "1", "d"]);
    redis.command(&["HSET", "acme:hash", "e", "1"]);
    redis.command(&["ACL", "SETUSER", "scaler", "on", ">hunter2", "+@all", "~acme:*", "-type"]);
    let keys = [
        super::text("url", &address(redis.port())),
        super::text("username", "scaler"),
        super::password("hunter2"),
    ];
    let mut without_type = super::connect(&*super::endpoint(&keys)).await.unwrap();
    let mut client = client_of(&redis).await;
    for (name, says, says_without) in [
        (
            "acme:set",
            "`acme:set` is a sorted set, and must be a list: name it in `processingSortedSetName`",
            "`acme:set` holds another type than a list: if it is a sorted set, name it in `processingSortedSetName`",
        ),
        (
            "acme:busy,acme:hash",
            "`acme:hash` is a hash, and must be a list: running tasks are counted in lists (`processingListName`) and \
             sorted sets (`processingSortedSetName`), or workers report them (`workersConnection`)",
            "`acme:hash` holds another type than a list: if it is a sorted set, name it in `processingSortedSetName`",
        ),
    ] {
        let plan = list_with_processing("acme:tasks", name);
        for (client, says) in [(&mut client, says), (&mut without_type, says_without)] {
            let reading = super::read_one(client, &plan).await.unwrap();
            assert_eq!((reading.ready, reading.in_flight), (Some(2), None), "{name}");
            assert_eq!(
                reading.unknown[0].to_string(),
                format!("the number of running tasks is not known: {says}")
            );
        }
    }
    redis.command(&["ACL", "SETUSER", "scaler", "resetkeys", "~acme:tasks"]);
    let reading =
        super::read_one(&mut without_type, &list_with_processing("acme:tasks", "acme:busy")).await.unwrap();
    assert_eq!((reading.ready, reading.in_flight), (Some(2), None));
    let said = reading.unknown[0].to_string();
    assert!(
        said.starts_with("the number of running tasks is not known: reading `acme:busy`: ")
            && said.ends_with("~acme:busy`"),
        "{said}"
    );
}

/// As Laravel keeps them: `Illuminate/Queue/RedisQueue.php`, `LuaScripts.php`.
#[tokio::test]
async fn running_and_delayed_tasks_in_sorted_sets_are_counted() {
    let server = Redis::plain();
    let queue = "laravel_database_queues:default";
    server.command(&["RPUSH", queue, "a", "b", "c"]);
    let (now, _): (u64, u64) = redis::from_redis_value(server.command(&["TIME"])).unwrap();
    let (reserved, delayed) = (format!("{queue}:reserved"), format!("{queue}:delayed"));
    for (set, second, job) in [
        (&reserved, now + 90, "d"),
        (&reserved, now + 60, "e"),
        // Its worker was killed, and the next one puts it back.
        (&reserved, now - 5, "f"),
        (&delayed, now - 1, "g"),
        (&delayed, now + 20, "h"),
        (&delayed, now + 600, "i"),
    ] {
        server.command(&["ZADD", set, &second.to_string(), job]);
    }
    let mut client = client_of(&server).await;
    let base = [("listName", queue), ("processingSortedSetName", &*reserved)];
    let plan = super::plan("redis", &base);
    assert!(plan.shows_running());
    assert_eq!(super::read_one(&mut client, &plan).await, Ok(seen(3, Some(3))), "whatever their scores are");
    let keys = [
        &base[..],
        &[
            ("processingScoreUnit", "seconds"),
            ("delayedSortedSetName", &*delayed),
            ("delayedScoreUnit", "seconds"),
        ],
    ];
    let plan = super::plan("redis", &keys.concat()).starting_in(std::time::Duration::from_secs(30)).unwrap();
    let reading = super::read_one(&mut client, &plan).await.unwrap();
    let figures = (reading.ready, reading.due, reading.soon, reading.delayed, reading.in_flight);
    assert_eq!(figures, (Some(3), Some(2), Some(1), Some(1), Some(InFlight::Known(2))));
    // With nothing else left, what is due wakes a worker that moves it.
    server.command(&["DEL", queue, &reserved]);
    let reading = super::read_one(&mut client, &plan).await.unwrap();
    assert_eq!((reading.ready, reading.due, reading.in_flight), (Some(0), Some(1), Some(InFlight::Known(0))));
}

#[test]
fn keys_about_sorted_sets_without_an_effect_are_refused() {
    let (name, unit) = (("listName", "a"), "seconds");
    for (keys, problem) in [
        (
            vec![name, ("processingScoreUnit", unit)],
            "processingScoreUnit: says nothing without `processingSortedSetName`",
        ),
        (
            vec![name, ("delayedScoreUnit", unit)],
            "delayedScoreUnit: says nothing without `delayedSortedSetName`",
        ),
        (
            vec![name, ("delayedSortedSetName", "b")],
            "delayedScoreUnit: is required by `delayedSortedSetName`",
        ),
        (
            vec![name, ("processingSortedSetName", "b"), ("processingScoreUnit", "days")],
            "processingScoreUnit: `days`: neither `seconds` nor `milliseconds`",
        ),
        (
            vec![name, ("processingListName", "b"), ("processingSortedSetName", "a")],
            "processingSortedSetName: `a` is named twice",
        ),
    ] {
        let values = keys.iter().map(|(key, value)| super::text(key, value)).collect();
        let mut fields = Fields::new("metadata", &values);
        assert!((super::spec("redis").parse)(&mut fields).is_none());
        let problems: Vec<String> = fields.finish().iter().map(ToString::to_string).collect();
        assert!(
            problems.len() == 1 && problems[0].starts_with(&format!("metadata.{problem}")),
            "{problems:?}"
        );
    }
}

#[tokio::test]
async fn a_thousand_queues_take_one_round_trip() {
    let redis = Redis::plain();
    redis.command(&["RPUSH", "acme:tasks:7", "a"]);
    let proxy = Proxy::start(redis.port()).await;
    let mut client = client_at(proxy.port()).await;
    let plans: Vec<Arc<dyn Plan>> = (0..1_000)
        .map(|number| list_with_processing(&format!("acme:tasks:{number}"), &format!("acme:busy:{number}")))
        .collect();
    let expected: Vec<_> = (0..1_000).map(|number| Ok(seen(u64::from(number == 7), Some(0)))).collect();
    proxy.round_trips();
    assert_eq!(read(&mut client, &plans).await, expected);
    assert_eq!(proxy.round_trips(), 1);
}

#[tokio::test]
async fn more_queues_than_one_pipeline_holds_are_all_read() {
    let redis = Redis::plain();
    redis.command(&["RPUSH", "acme:tasks:2000", "a"]);
    let mut client = client_of(&redis).await;
    let plans: Vec<Arc<dyn Plan>> = (0..2_001).map(|number| list(&format!("acme:tasks:{number}"))).collect();
    let expected: Vec<_> = (0..2_001).map(|number| Ok(seen(u64::from(number == 2_000), None))).collect();
    assert_eq!(read(&mut client, &plans).await, expected);
}
