//! Redis says by itself that something has happened.

use std::sync::Arc;

use agent_scaler::sources::{Endpoint, Listener, Plan, ReadError};

use super::{
    PATIENCE, RIGHTS, address, endpoint, endpoint_of, list, list_with_processing, password, refused, stream,
    text, until,
};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis_cluster::RedisCluster;
use crate::support::sentinels::{MASTER, Watched};
use crate::support::servers::{Options, Redis, Tls};

/// What comes on top of the least rights for who is to be told, as the errors name it.
const ON_TOP: &str = "+client|tracking";

#[tokio::test]
async fn every_kind_of_change_is_heard_once_for_each_time_that_somebody_looks() {
    let redis = Redis::plain();
    redis.command(&["XGROUP", "CREATE", "acme:stream", "workers", "$", "MKSTREAM"]);
    let plans = [
        list("acme:tasks"),
        list_with_processing("acme:low", "acme:low:busy"),
        stream("acme:stream", "workers"),
        stream("acme:none", "workers"),
        list("acme:still"),
    ];
    let mut ear = ear_at(redis.port()).await;
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![0, 1, 2, 3, 4]), "new ones are to be read");
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![]));
    for (words, index) in [
        (&["LPUSH", "acme:tasks", "a"][..], 0),
        (&["RPOPLPUSH", "acme:tasks", "acme:low:busy"], 1),
        (&["XADD", "acme:stream", "*", "task", "x"], 2),
        (&["XADD", "acme:none", "*", "task", "x"], 3),
    ] {
        redis.command(words);
        heard(&mut ear).await;
        let due = watch(&mut ear, &plans).await.unwrap();
        assert!(due.contains(&index) && !due.contains(&4), "{words:?}: {due:?}");
    }
    // Nobody looks meanwhile: a thousand tasks are one message.
    for _ in 0..1_000 {
        redis.command(&["LPUSH", "acme:tasks", "a"]);
    }
    heard(&mut ear).await;
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![0]));
    redis.command(&["FLUSHALL"]);
    heard(&mut ear).await;
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![0, 1, 2, 3, 4]));
    assert_eq!(ear.doubt(), None);
}

#[tokio::test]
async fn who_is_not_listened_to_any_more_is_not_heard() {
    let redis = Redis::plain();
    let [tasks, low] = [list("acme:tasks"), list("acme:low")];
    let mut ear = ear_at(redis.port()).await;
    assert_eq!(watch(&mut ear, &[tasks.clone(), low.clone()]).await, Ok(vec![0, 1]));
    assert_eq!(watch(&mut ear, std::slice::from_ref(&low)).await, Ok(vec![]), "it is listened to already");
    redis.command(&["LPUSH", "acme:tasks", "a"]);
    redis.command(&["LPUSH", "acme:low", "a"]);
    heard(&mut ear).await;
    until(async || watch(&mut ear, std::slice::from_ref(&low)).await == Ok(vec![0])).await;
    assert_eq!(watch(&mut ear, &[low, tasks]).await, Ok(vec![1]));
}

#[tokio::test]
async fn thousands_of_queues_are_heard_on_one_connection() {
    let redis = Redis::plain();
    let plans: Vec<Arc<dyn Plan>> = (0..5_000).map(|number| list(&format!("acme:tasks:{number}"))).collect();
    let mut ear = ear_at(redis.port()).await;
    assert_eq!(watch(&mut ear, &plans).await.unwrap().len(), 5_000);
    redis.command(&["LPUSH", "acme:tasks:4321", "a"]);
    heard(&mut ear).await;
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![4_321]));
    let clients: String = redis::from_redis_value(redis.command(&["CLIENT", "LIST"])).unwrap();
    assert_eq!(clients.matches("resp=3").count().max(1), 1, "{clients}");
}

#[tokio::test]
async fn a_connection_that_is_killed_says_so_and_the_next_one_begins_anew() {
    let redis = Redis::plain();
    let plans = [list("acme:tasks")];
    let mut ear = ear_at(redis.port()).await;
    watch(&mut ear, &plans).await.unwrap();
    redis.command(&["CLIENT", "KILL", "SKIPME", "yes", "TYPE", "normal"]);
    heard(&mut ear).await;
    let broken = ReadError::Unreachable {
        endpoint: address(redis.port()),
        message: "the connection broke".to_owned(),
    };
    assert_eq!(watch(&mut ear, &plans).await, Err(broken));
    let mut ear = ear_at(redis.port()).await;
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![0]), "who knows what has happened in between");
    redis.command(&["LPUSH", "acme:tasks", "a"]);
    heard(&mut ear).await;
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![0]));
}

#[tokio::test]
async fn a_way_that_is_cut_without_a_word_is_noticed_by_the_next_look() {
    let redis = Redis::plain();
    let proxy = Proxy::start(redis.port()).await;
    let plans = [list("acme:tasks")];
    let mut ear = ear_at(proxy.port()).await;
    watch(&mut ear, &plans).await.unwrap();
    proxy.switch(Mode::Stall);
    tokio::time::pause();
    tokio::time::timeout(PATIENCE, ear.watch(&plans)).await.unwrap_err();
    tokio::time::resume();
}

#[tokio::test]
async fn where_tracking_is_refused_events_are_listened_to_and_not_relied_on() {
    let redis = Redis::plain();
    redis.command(&["CONFIG", "SET", "notify-keyspace-events", "KA"]);
    let let_in = |on_top: &[&str]| {
        let rights: Vec<&str> = RIGHTS.split(' ').collect();
        let user = ["ACL", "SETUSER", "scaler", "reset", "on", ">hunter2", "~acme:*"];
        redis.command(&[&user[..], &rights, on_top].concat());
    };
    let keys = [text("url", &format!("{}/3", redis.url())), text("username", "scaler"), password("hunter2")];
    let endpoint = endpoint(&keys);
    let denied = |message: &str| ReadError::Denied {
        endpoint: endpoint.address(),
        message: format!("{message}; the user needs `{ON_TOP}` on top"),
    };
    let of_tracking = "this user has no permissions to run the 'client|tracking' command";
    let plans = [list("acme:tasks"), stream("acme:stream", "workers")];

    let_in(&[]);
    let mut ear = listen(&*endpoint).await.unwrap();
    let of_events = "this user has no permissions to run the 'subscribe' command";
    assert_eq!(watch(&mut ear, &plans).await, Err(denied(of_events)));

    let_in(&["+subscribe", "+unsubscribe", "&__keyspace@3__:acme:*"]);
    let mut ear = listen(&*endpoint).await.unwrap();
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![0, 1]));
    assert_eq!(ear.doubt(), Some(&denied(of_tracking)));
    for (words, index) in [
        (&["LPUSH", "acme:tasks", "a"][..], 0),
        (&["XADD", "acme:stream", "*", "task", "x"], 1),
        (&["LPUSH", "acme:tasks", "a"], 0),
    ] {
        let mut pipeline = redis::pipe();
        pipeline.cmd("SELECT").arg(3).cmd(words[0]).arg(&words[1..]);
        pipeline.exec(&mut redis.connection()).unwrap();
        heard(&mut ear).await;
        assert_eq!(watch(&mut ear, &plans).await, Ok(vec![index]), "{words:?}");
    }

    redis.command(&["ACL", "LOG", "RESET"]);
    super::let_in(&redis, &[]);
    let mut ear = listen(&*endpoint).await.unwrap();
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![0, 1]));
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![]));
    assert_eq!(ear.doubt(), None);
    assert_eq!(refused(&redis), "array([])");
}

#[tokio::test]
async fn who_does_not_speak_the_newer_protocol_pushes_nothing_and_repeats_no_password() {
    let redis = Redis::start(Options { password: Some("swordfish"), ..Options::default() });
    let proxy = Proxy::start(redis.port()).await;
    proxy.switch(Mode::Say(
        b"-ERR unknown command 'HELLO', with args beginning with: '3' 'AUTH' 'default' 'hunter2'\r\n",
    ));
    let old = endpoint(&[text("url", &address(proxy.port())), password("hunter2")]);
    let denied = ReadError::Denied {
        endpoint: old.address(),
        message: "it does not speak RESP3, which Redis 6 and later do".to_owned(),
    };
    assert_eq!(listen(&*old).await.map(drop), Err(denied));
    for (keys, message) in [
        (vec![], "it wants a password: give the connection `password`"),
        (vec![password("hunter2")], "wrong username or password, or the user is off"),
    ] {
        let endpoint = endpoint(&[&[text("url", &redis.url())][..], &keys].concat());
        let denied = ReadError::Denied { endpoint: endpoint.address(), message: message.to_owned() };
        assert_eq!(listen(&*endpoint).await.map(drop), Err(denied));
    }
}

#[tokio::test]
async fn every_master_of_a_cluster_is_heard_and_one_that_is_replaced_too() {
    let mut cluster = RedisCluster::start(Tls::Off);
    let queues: Vec<String> = (0..3).map(|index| cluster.queue_on(index)).collect();
    let plans: Vec<Arc<dyn Plan>> = queues.iter().map(|queue| list(queue)).collect();
    let endpoint = endpoint_of("redis-cluster", &[text("urls", &cluster.urls())]);
    let mut ear = listen(&*endpoint).await.unwrap();
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![0, 1, 2]));
    for (index, queue) in queues.iter().enumerate() {
        cluster.command(&["LPUSH", queue, "a"]);
        heard(&mut ear).await;
        assert_eq!(watch(&mut ear, &plans).await, Ok(vec![index]));
    }
    cluster.nodes[1].kill();
    heard(&mut ear).await;
    watch(&mut ear, &plans).await.unwrap_err();
    let mut fresh = None;
    until(async || {
        let Ok(mut ear) = listen(&*endpoint).await else { return false };
        let is_whole = watch(&mut ear, &plans).await == Ok(vec![0, 1, 2]);
        fresh = is_whole.then_some(ear);
        is_whole
    })
    .await;
    let mut ear = fresh.unwrap();
    cluster.command(&["LPUSH", &queues[1], "a"]);
    heard(&mut ear).await;
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![1]));
}

#[tokio::test]
async fn slots_that_move_are_noticed_by_the_next_look() {
    let cluster = RedisCluster::start(Tls::Off);
    let queue = cluster.queue_on(0);
    let slot: u16 =
        redis::from_redis_value(cluster.nodes[0].command(&["CLUSTER", "KEYSLOT", &queue])).unwrap();
    let to: String = redis::from_redis_value(cluster.nodes[1].command(&["CLUSTER", "MYID"])).unwrap();
    let endpoint = endpoint_of("redis-cluster", &[text("urls", &cluster.urls())]);
    let mut ear = listen(&*endpoint).await.unwrap();
    let plans = [list(&queue)];
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![0]));
    for node in [1, 0, 2] {
        cluster.nodes[node].command(&["CLUSTER", "SETSLOT", &slot.to_string(), "NODE", &to]);
    }
    let moved =
        ReadError::Unreachable { endpoint: endpoint.address(), message: "its slots have moved".to_owned() };
    assert_eq!(watch(&mut ear, &plans).await, Err(moved));
}

#[tokio::test]
async fn the_master_that_sentinels_name_is_heard_until_it_is_one_no_more() {
    let watched = Watched::start(Tls::Server);
    let ca = text("ca", watched.master.file("ca.crt").to_str().unwrap());
    let keys = [text("urls", &watched.urls()), text("master", MASTER), ca];
    let endpoint = endpoint_of("redis-sentinel", &keys);
    let mut ear = listen(&*endpoint).await.unwrap();
    let plans = [list("acme:tasks")];
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![0]));
    watched.master.command(&["LPUSH", "acme:tasks", "a"]);
    heard(&mut ear).await;
    assert_eq!(watch(&mut ear, &plans).await, Ok(vec![0]));
    watched.master.command(&["REPLICAOF", "127.0.0.1", &watched.replica.best_port().to_string()]);
    until(async || {
        matches!(watch(&mut ear, &plans).await, Err(ReadError::Unreachable { message, .. })
            if message == "it is no master any more")
    })
    .await;
}

async fn ear_at(port: u16) -> Box<dyn Listener> {
    listen(&*endpoint(&[text("url", &address(port))])).await.unwrap()
}

async fn listen(endpoint: &dyn Endpoint) -> Result<Box<dyn Listener>, ReadError> {
    let listener = tokio::time::timeout(PATIENCE, endpoint.listen()).await.unwrap();
    listener.map(|listener| listener.unwrap_or_else(|| panic!("Redis can push")))
}

async fn watch(ear: &mut Box<dyn Listener>, plans: &[Arc<dyn Plan>]) -> Result<Vec<usize>, ReadError> {
    tokio::time::timeout(PATIENCE, ear.watch(plans)).await.unwrap()
}

async fn heard(ear: &mut Box<dyn Listener>) {
    tokio::time::timeout(PATIENCE, ear.heard()).await.unwrap_or_else(|_| panic!("nothing is heard"));
}
