//! A Redis Cluster: queues on all of its masters, and masters that die, hang, move their slots and talk nonsense.

use std::sync::Arc;
use std::time::Duration;

use agent_scaler::engine::limit::Allowance;
use agent_scaler::sources::{Client, Plan, Published, ReadError, Sighting};
use redis::{FromRedisValue, cmd};
use tokio::time::Instant;

use super::{
    LONG, PATIENCE, RIGHTS, connect, endpoint, endpoint_of, let_in, list, list_with_processing, password,
    read, read_one, refused, seen, spec, stream, text, until,
};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis_cluster::{RedisCluster, calls};
use crate::support::servers::{Redis, Tls};

/// What comes on top of the least rights in a cluster, as the errors name it.
const ON_TOP: &str = "+cluster|slots +asking";

#[tokio::test]
async fn a_thousand_queues_cost_one_round_trip_to_each_master() {
    let cluster = RedisCluster::start(Tls::Off);
    cluster.command(&["RPUSH", "acme:tasks:7", "a"]);
    let mut client = client_of(&cluster).await;
    let plans: Vec<Arc<dyn Plan>> = (0..1_000)
        .map(|number| list_with_processing(&format!("acme:tasks:{number}"), &format!("acme:busy:{number}")))
        .collect();
    let expected: Vec<_> = (0..1_000).map(|number| Ok(seen(u64::from(number == 7), Some(0)))).collect();
    // The first read of each node logs in there.
    assert_eq!(read(&mut client, &plans).await, expected);
    cluster.everywhere(&["CONFIG", "RESETSTAT"]);
    assert_eq!(read(&mut client, &plans).await, expected);
    let asked: Vec<(u64, bool)> =
        cluster.nodes.iter().map(|node| (calls(node, "time"), calls(node, "llen") > 0)).collect();
    assert_eq!(asked, [(1, true), (1, true), (1, true), (0, false), (0, false), (0, false)]);
    let all: u64 = cluster.nodes.iter().map(|node| calls(node, "llen")).sum();
    assert_eq!(all, 2_000, "nobody was asked for what another serves");
}

#[tokio::test]
async fn a_master_that_dies_costs_its_own_queues_only_until_its_replica_takes_over() {
    let mut cluster = RedisCluster::start(Tls::Off);
    let queues: Vec<String> = (0..3).map(|index| cluster.queue_on(index)).collect();
    queues.iter().for_each(|queue| drop(cluster.command(&["RPUSH", queue, "a"])));
    let group = format!("{{{}}}", queues[1]);
    cluster.command(&["XGROUP", "CREATE", &group, "workers", "$", "MKSTREAM"]);
    let plans = [list(&queues[0]), list(&queues[1]), list(&queues[2]), stream(&group, "workers")];
    let mut client = client_of(&cluster).await;
    let before = read(&mut client, &plans).await;
    assert_eq!(before[..3], [Ok(seen(1, None)), Ok(seen(1, None)), Ok(seen(1, None))]);
    // Acknowledged writes are not replicated yet, which is Redis's own promise and not ours.
    cluster.command(&["WAIT", "1", "1000"]);
    wait_for_replicas(&cluster);

    let dead = format!("redis://127.0.0.1:{}", cluster.nodes[1].port());
    cluster.nodes[1].kill();
    let (started, mut failed) = (Instant::now(), 0);
    loop {
        let results = read(&mut client, &plans).await;
        assert_eq!(
            [&results[0], &results[2]],
            [&Ok(seen(1, None)), &Ok(seen(1, None))],
            "others are read on"
        );
        match &results[1] {
            Ok(reading) => {
                assert_eq!(reading, &seen(1, None));
                break;
            }
            Err(error) => {
                failed += 1;
                let text = error.to_string();
                let known =
                    text.contains(&dead) || text.contains("nobody who serves") || text.contains("is down");
                assert!(known, "{text}");
            }
        }
        assert!(started.elapsed() < LONG, "never taken over: {:?}", results[1]);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(failed > 0, "nobody noticed");
    assert_eq!(read(&mut client, &plans).await[3], before[3]);
}

#[tokio::test]
async fn a_node_that_hangs_costs_its_own_queues_only_and_is_left_alone_for_a_while() {
    let cluster = RedisCluster::start(Tls::Off);
    let proxy = in_front_of(&cluster, 0).await;
    let plans = [list(&cluster.queue_on(0)), list(&cluster.queue_on(1))];
    let mut client = client_of(&cluster).await;
    assert_eq!(read(&mut client, &plans).await, [Ok(seen(0, None)), Ok(seen(0, None))]);
    proxy.switch(Mode::Stall);
    let late = ReadError::Deadline { endpoint: format!("redis://127.0.0.1:{}", proxy.port()) };
    assert_eq!(read(&mut client, &plans).await, [Err(late.clone()), Ok(seen(0, None))]);
    // Asked again at once it is not waited for again.
    let started = Instant::now();
    assert_eq!(read(&mut client, &plans).await, [Err(late), Ok(seen(0, None))]);
    assert!(started.elapsed() < Duration::from_millis(1_500), "{:?}", started.elapsed());
}

/// The list of running tasks is on the node that hangs, and the list of waiting tasks is not.
#[tokio::test]
async fn a_node_that_hangs_costs_only_its_own_figures() {
    let cluster = RedisCluster::start(Tls::Off);
    let proxy = in_front_of(&cluster, 0).await;
    let (waiting, running) = (cluster.queue_on(1), cluster.queue_on(0));
    cluster.command(&["RPUSH", &waiting, "a"]);
    let plans = [list_with_processing(&waiting, &running), list_with_processing(&running, &waiting)];
    let mut client = client_of(&cluster).await;
    assert_eq!(read(&mut client, &plans).await, [Ok(seen(1, Some(0))), Ok(seen(0, Some(1)))]);
    proxy.switch(Mode::Stall);
    let results = read(&mut client, &plans).await;
    let reading = results[0].as_ref().unwrap();
    assert_eq!((reading.ready, reading.in_flight), (Some(1), None));
    let late = ReadError::Deadline { endpoint: format!("redis://127.0.0.1:{}", proxy.port()) };
    assert_eq!(reading.unknown[0].to_string(), format!("the number of running tasks is not known: {late}"));
    assert_eq!(results[1], Err(late));
}

#[tokio::test]
async fn nonsense_and_half_answers_of_a_node_cost_its_own_queues_only() {
    let cluster = RedisCluster::start(Tls::Off);
    let proxy = in_front_of(&cluster, 0).await;
    let mine = cluster.queue_on(0);
    let plans = [list(&mine), list(&cluster.queue_on(1))];
    let endpoint = format!("redis://127.0.0.1:{}", proxy.port());
    let broken =
        ReadError::Unreachable { endpoint: endpoint.clone(), message: "the connection broke".into() };
    let odd = ReadError::Unexpected { endpoint, message: "the answer to TIME makes no sense".into() };
    for (mode, error) in [
        (Mode::CutAfter(20), broken.clone()),
        (Mode::Cut, broken.clone()),
        (Mode::Say(b":1\r\n:1\r\n"), odd),
        (Mode::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n"), broken),
    ] {
        let mut client = client_of(&cluster).await;
        assert_eq!(read(&mut client, &plans).await, [Ok(seen(0, None)), Ok(seen(0, None))]);
        proxy.switch(mode);
        assert_eq!(read(&mut client, &plans).await, [Err(error), Ok(seen(0, None))], "{mode:?}");
        proxy.switch(Mode::Pass);
        let healed = async { read(&mut client, &plans).await == [Ok(seen(0, None)), Ok(seen(0, None))] };
        if !healed.await {
            until(async || read_one(&mut client, &plans[0]).await.is_ok()).await;
        }
    }
}

#[tokio::test]
async fn a_slot_on_its_way_and_one_that_has_moved_are_followed() {
    let cluster = RedisCluster::start(Tls::Off);
    let queue = cluster.queue_on(0);
    let slot: u16 =
        redis::from_redis_value(cluster.nodes[0].command(&["CLUSTER", "KEYSLOT", &queue])).unwrap();
    let slot = slot.to_string();
    let [from, to] = [0, 1].map(|index| id(&cluster.nodes[index]));
    let mut client = client_of(&cluster).await;
    let plans = [list(&queue), list(&cluster.queue_on(2))];
    assert_eq!(read(&mut client, &plans).await, [Ok(seen(0, None)), Ok(seen(0, None))]);

    cluster.nodes[1].command(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from]);
    cluster.nodes[0].command(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to]);
    let mut arrived = redis::pipe();
    arrived.cmd("ASKING").cmd("RPUSH").arg(&queue).arg("a");
    arrived.exec(&mut cluster.nodes[1].connection()).unwrap();
    assert_eq!(read(&mut client, &plans).await, [Ok(seen(1, None)), Ok(seen(0, None))], "asked there");

    for node in [1, 0, 2] {
        cluster.nodes[node].command(&["CLUSTER", "SETSLOT", &slot, "NODE", &to]);
    }
    assert_eq!(read(&mut client, &plans).await, [Ok(seen(1, None)), Ok(seen(0, None))], "moved there");
    cluster.everywhere(&["CONFIG", "RESETSTAT"]);
    until(async || {
        cluster.everywhere(&["CONFIG", "RESETSTAT"]);
        read(&mut client, &plans).await == [Ok(seen(1, None)), Ok(seen(0, None))]
            && calls(&cluster.nodes[0], "llen") == 0
    })
    .await;
}

#[tokio::test]
async fn a_user_with_the_least_rights_reads_a_cluster_over_tls() {
    let cluster = RedisCluster::start(Tls::Server);
    let [mine, other] = [cluster.queue_on(0), cluster.queue_on(2)];
    cluster.command(&["RPUSH", &mine, "a"]);
    let rights: Vec<&str> = RIGHTS.split(' ').collect();
    let user = ["ACL", "SETUSER", "scaler", "on", ">hunter2", "~acme:*"];
    cluster.everywhere(&[&user[..], &rights].concat());
    let keys = [
        text("urls", &cluster.urls()),
        text("username", "scaler"),
        password("hunter2"),
        text("ca", cluster.nodes[0].file("ca.crt").to_str().unwrap()),
    ];
    let endpoint = endpoint_of("redis-cluster", &keys);
    let Err(ReadError::Denied { message, .. }) = connect(&*endpoint).await.map(drop) else {
        panic!("let in")
    };
    assert!(message.ends_with(&format!("; the user needs `{ON_TOP}` on top")), "{message}");
    cluster.everywhere(&["ACL", "LOG", "RESET"]);
    cluster.nodes.iter().for_each(|node| let_in(node, &["the nodes of a cluster"]));
    let mut client = connect(&*endpoint).await.unwrap();
    let plans = [list(&mine), list(&other), stream("acme:stream", "workers")];
    let expected = [Ok(seen(1, None)), Ok(seen(0, None)), Ok(seen(0, Some(0)))];
    assert_eq!(read(&mut client, &plans).await, expected);
    let mut ear = endpoint.listen().await.unwrap().unwrap();
    assert_eq!((ear.watch(&plans).await, ear.doubt()), (Ok(vec![0, 1, 2]), None));
    assert_eq!(ear.watch(&plans).await, Ok(vec![]));
    let log: Vec<String> = cluster.nodes.iter().map(refused).collect();
    assert_eq!(log, vec!["array([])"; 6]);
    let results = read(&mut client, &[list(&mine), list("elsewhere")]).await;
    assert!(matches!(&results[..], [Ok(_), Err(ReadError::Denied { .. })]), "{results:?}");
    // Who is not let in learns why.
    let wrong = [&keys[..2], &[password("hunter3")], &keys[3..]].concat();
    let error = connect(&*endpoint_of("redis-cluster", &wrong)).await.map(drop).unwrap_err();
    assert!(error.to_string().ends_with("wrong username or password, or the user is off"), "{error}");
}

#[tokio::test]
async fn a_cluster_is_told_from_a_server_and_a_server_from_a_cluster() {
    let (cluster, redis) = (RedisCluster::start(Tls::Off), Redis::plain());
    let plain = endpoint_of("redis-cluster", &[text("urls", &redis.url())]);
    let unexpected = ReadError::Unexpected {
        endpoint: plain.address(),
        message: format!(
            "node 127.0.0.1:{}: it is no node of a cluster: the connection must be of `type: redis`",
            redis.port()
        ),
    };
    assert_eq!(connect(&*plain).await.map(drop), Err(unexpected));
    let node = endpoint(&[text("url", &cluster.nodes[0].url())]);
    let mut client = connect(&*node).await.unwrap();
    let [mine, other] = [cluster.queue_on(0), cluster.queue_on(1)];
    let foreign = ReadError::Unexpected {
        endpoint: node.address(),
        message: format!(
            "reading `{other}`: it is a node of a cluster: the connection must be of `type: redis-cluster`"
        ),
    };
    assert_eq!(read(&mut client, &[list(&mine), list(&other)]).await, [Ok(seen(0, None)), Err(foreign)]);
}

#[tokio::test]
async fn one_node_that_is_up_leads_to_all_others() {
    let mut cluster = RedisCluster::start(Tls::Off);
    let queue = cluster.queue_on(2);
    let urls = cluster.urls();
    cluster.nodes[0].kill();
    let mut client = connect(&*endpoint_of("redis-cluster", &[text("urls", &urls)])).await.unwrap();
    assert_eq!(read_one(&mut client, &list(&queue)).await, Ok(seen(0, None)));
    cluster.nodes.iter_mut().for_each(Redis::kill);
    let gone = endpoint_of("redis-cluster", &[text("urls", &urls)]);
    let Err(ReadError::Unreachable { message, .. }) = connect(&*gone).await.map(drop) else {
        panic!("all are gone")
    };
    assert!(message.ends_with(": connection refused"), "{message}");
}

#[tokio::test]
async fn workers_report_and_are_told_their_shares_through_a_cluster() {
    let cluster = RedisCluster::start(Tls::Off);
    let mut client = client_of(&cluster).await;
    let kind = spec("redis").connections.iter().find(|kind| kind.name == "redis-cluster").unwrap();
    let reports = kind.reports.unwrap();
    // Different slots: nobody could write both in one transaction.
    let limits = ["anthropic/prod", "openai/prod"];
    let shares = limits.map(|limit| Published {
        limit: limit.to_owned(),
        allowances: vec![("acme:tasks".to_owned(), Allowance::default())],
    });
    client.publish(&shares).await.unwrap();
    for limit in limits {
        let key = agent_scaler::workers::keys::share(limit);
        let told: u64 = redis::from_redis_value(cluster.command(&["HLEN", &key])).unwrap();
        assert_eq!(told, 1, "{limit}");
        cluster.command(&["HSET", &agent_scaler::workers::keys::limit(limit), "rpm_limit", "600"]);
    }
    let minute = Duration::from_secs(60);
    let plans = [
        (reports.workers)("acme:tasks", minute),
        (reports.limit)(limits[0]),
        (reports.limit)(limits[1]),
        (reports.workers)("zeta:tasks", minute),
    ];
    let seen = tokio::time::timeout(PATIENCE, client.read(&plans)).await.unwrap();
    let kinds: Vec<&str> = seen
        .iter()
        .map(|result| match result {
            Ok(Sighting::Workers(_)) => "workers",
            Ok(Sighting::Limit(_)) => "limit",
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(kinds, ["workers", "limit", "limit", "workers"]);
}

async fn client_of(cluster: &RedisCluster) -> Box<dyn Client> {
    connect(&*endpoint_of("redis-cluster", &[text("urls", &cluster.urls())])).await.unwrap()
}

/// Has the node at `index` tell everybody that it is to be found behind a proxy.
async fn in_front_of(cluster: &RedisCluster, index: usize) -> Proxy {
    let proxy = Proxy::start(cluster.nodes[index].port()).await;
    let port = proxy.port().to_string();
    cluster.nodes[index].command(&["CONFIG", "SET", "cluster-announce-port", &port]);
    until(async || {
        cluster.nodes.iter().all(|node| {
            let nodes = String::from_redis_value(node.command(&["CLUSTER", "NODES"])).unwrap();
            nodes.contains(&format!("127.0.0.1:{port}@"))
        })
    })
    .await;
    proxy
}

fn id(node: &Redis) -> String {
    cmd("CLUSTER").arg("MYID").query(&mut node.connection()).unwrap()
}

/// Until every replica has all that its master has.
fn wait_for_replicas(cluster: &RedisCluster) {
    cluster.wait_for("replicas are in step", |cluster| {
        let size = |node: &Redis| -> u64 { redis::from_redis_value(node.command(&["DBSIZE"])).unwrap() };
        let (masters, replicas) = cluster.nodes.split_at(3);
        masters.iter().map(size).sum::<u64>() == replicas.iter().map(size).sum::<u64>()
    });
}
