//! A master that sentinels watch: it dies, it is demoted, and not every sentinel knows.

use std::time::Duration;

use agent_scaler::sources::{Client, ReadError};

use tokio::time::Instant;

use super::{LONG, RIGHTS, connect, endpoint_of, let_in, list, password, read_one, refused, seen, text};
use crate::support::proxy::{Mode, Proxy};
use crate::support::redis_cluster::info;
use crate::support::sentinels::{MASTER, Watched};
use crate::support::servers::{Redis, Tls};

#[tokio::test]
async fn when_the_master_dies_reads_go_on_with_its_replica() {
    let mut watched = Watched::start(Tls::Off);
    watched.master.command(&["RPUSH", "acme:tasks", "a"]);
    watched.wait_for("it is replicated", |watched| {
        watched.replica.command(&["EXISTS", "acme:tasks"]) == redis::Value::Int(1)
    });
    let endpoint = endpoint_of("redis-sentinel", &[text("urls", &watched.urls()), text("master", MASTER)]);
    let mut client = connect(&*endpoint).await.unwrap();
    let tasks = list("acme:tasks");
    assert_eq!(read_one(&mut client, &tasks).await, Ok(seen(1, None)));
    watched.master.kill();
    let broken =
        ReadError::Unreachable { endpoint: endpoint.address(), message: "the connection broke".to_owned() };
    assert_eq!(read_one(&mut client, &tasks).await, Err(broken));
    let mut client = reconnected(&*endpoint).await;
    assert_eq!(read_one(&mut client, &tasks).await, Ok(seen(1, None)));
    assert_eq!(info(&watched.replica, "replication", "role"), "master");
}

#[tokio::test]
async fn a_master_that_is_demoted_and_still_answers_is_noticed() {
    let watched = Watched::start(Tls::Off);
    let endpoint = endpoint_of("redis-sentinel", &[text("urls", &watched.urls()), text("master", MASTER)]);
    let mut client = connect(&*endpoint).await.unwrap();
    let tasks = list("acme:tasks");
    assert_eq!(read_one(&mut client, &tasks).await, Ok(seen(0, None)));
    // By hand, so that nobody cuts our connection.
    watched.master.command(&["REPLICAOF", "127.0.0.1", &watched.replica.port().to_string()]);
    let demoted = ReadError::Unreachable {
        endpoint: endpoint.address(),
        message: "it is no master any more".to_owned(),
    };
    assert_eq!(read_one(&mut client, &tasks).await, Err(demoted));
}

#[tokio::test]
async fn a_sentinel_that_knows_a_former_master_is_not_believed() {
    let (watched, former) = (Watched::start(Tls::Off), Redis::plain());
    former.command(&["RPUSH", "acme:tasks", "long gone"]);
    let says = format!(
        "*8\r\n$4\r\nname\r\n$4\r\n{MASTER}\r\n$2\r\nip\r\n$9\r\n127.0.0.1\r\n$4\r\nport\r\n${}\r\n{}\r\n\
         $12\r\nconfig-epoch\r\n$1\r\n0\r\n",
        former.port().to_string().len(),
        former.port()
    );
    let stale = Proxy::start(former.port()).await;
    stale.switch(Mode::Say(says.leak().as_bytes()));
    assert!(watched.sentinels[0].command(&["SENTINEL", "FAILOVER", MASTER]).is_some());
    watched.wait_for("all know the new master", |watched| {
        watched.sentinels.iter().all(|sentinel| {
            sentinel.says("port") == Some(watched.replica.port().to_string())
                && sentinel.says("config-epoch").is_some_and(|epoch| epoch != "0")
        })
    });
    let alone = format!("redis://127.0.0.1:{}", stale.port());
    let urls = format!("{alone},{}", watched.urls());
    // Alone it is believed, which is what makes the other half of this test say something.
    for (urls, ready) in [(alone, 1), (urls, 0)] {
        let endpoint = endpoint_of("redis-sentinel", &[text("urls", &urls), text("master", MASTER)]);
        let mut client = connect(&*endpoint).await.unwrap();
        assert_eq!(read_one(&mut client, &list("acme:tasks")).await, Ok(seen(ready, None)), "{urls}");
    }
}

#[tokio::test]
async fn a_sentinel_that_hangs_or_talks_nonsense_is_outvoted() {
    let watched = Watched::start(Tls::Off);
    let proxy = Proxy::start(watched.sentinels[0].port()).await;
    let urls = format!("redis://127.0.0.1:{},{}", proxy.port(), watched.urls());
    let endpoint = endpoint_of("redis-sentinel", &[text("urls", &urls), text("master", MASTER)]);
    for mode in
        [Mode::Stall, Mode::Cut, Mode::Say(b"*2\r\n$2\r\nip\r\n$1\r\nx\r\n"), Mode::Say(b"HTTP/1.1 400\r\n")]
    {
        proxy.switch(mode);
        let mut client = connect(&*endpoint).await.unwrap();
        assert_eq!(read_one(&mut client, &list("acme:tasks")).await, Ok(seen(0, None)), "{mode:?}");
    }
}

#[tokio::test]
async fn who_finds_no_master_learns_why() {
    let (watched, redis) = (Watched::start(Tls::Off), Redis::plain());
    let sentinel = watched.sentinels[0].port();
    let first = format!("redis://127.0.0.1:{sentinel}");
    let mute = Proxy::start(sentinel).await;
    mute.switch(Mode::Cut);
    for (urls, master, message) in [
        (first, "mian", format!("sentinel 127.0.0.1:{sentinel}: it knows no master named `mian`")),
        (
            redis.url(),
            MASTER,
            format!(
                "sentinel 127.0.0.1:{}: it is no sentinel: `urls` are the addresses of sentinels",
                redis.port()
            ),
        ),
        (
            format!("redis://127.0.0.1:{}", mute.port()),
            MASTER,
            format!("sentinel 127.0.0.1:{}: the connection broke", mute.port()),
        ),
    ] {
        let endpoint = endpoint_of("redis-sentinel", &[text("urls", &urls), text("master", master)]);
        let error = connect(&*endpoint).await.map(drop).unwrap_err();
        assert!(error.to_string().ends_with(&message), "{error}");
    }
}

#[tokio::test]
async fn a_user_with_the_least_rights_reads_over_tls_and_sentinels_have_a_login_of_their_own() {
    let watched = Watched::start(Tls::Server);
    for server in [&watched.master, &watched.replica] {
        let rights: Vec<&str> = RIGHTS.split(' ').collect();
        server.command(&[&["ACL", "SETUSER", "scaler", "on", ">hunter2", "~acme:*"], &rights[..]].concat());
    }
    for sentinel in &watched.sentinels {
        let user = ["ACL", "SETUSER", "looker", "on", ">swordfish", "-@all", "+sentinel|master"];
        assert!(sentinel.command(&user).is_some());
    }
    let sentinel_password = ("sentinelPassword".to_owned(), password("swordfish").1);
    let keys = [
        text("urls", &watched.urls()),
        text("master", MASTER),
        text("database", "3"),
        text("ca", watched.master.file("ca.crt").to_str().unwrap()),
        text("username", "scaler"),
        password("hunter2"),
        text("sentinelUsername", "looker"),
        sentinel_password,
    ];
    let endpoint = endpoint_of("redis-sentinel", &keys);
    let Err(ReadError::Denied { message, .. }) = connect(&*endpoint).await.map(drop) else {
        panic!("let in")
    };
    assert!(message.ends_with("; the user needs `+role` on top"), "{message}");
    for server in [&watched.master, &watched.replica] {
        server.command(&["ACL", "LOG", "RESET"]);
        let_in(server, &["servers that sentinels watch"]);
    }
    let mut client = connect(&*endpoint).await.unwrap();
    assert_eq!(read_one(&mut client, &list("acme:tasks")).await, Ok(seen(0, None)));
    let mut ear = endpoint.listen().await.unwrap().unwrap();
    let plans = [list("acme:tasks")];
    assert_eq!((ear.watch(&plans).await, ear.doubt()), (Ok(vec![0]), None));
    assert_eq!(ear.watch(&plans).await, Ok(vec![]));
    assert_eq!(refused(&watched.master), "array([])");

    let wrong = [&keys[..7], &[("sentinelPassword".to_owned(), password("hunter3").1)]].concat();
    let error = connect(&*endpoint_of("redis-sentinel", &wrong)).await.map(drop).unwrap_err();
    assert!(error.to_string().ends_with("wrong username or password, or the user is off"), "{error}");
}

/// A client, once there is a master again.
async fn reconnected(endpoint: &dyn agent_scaler::sources::Endpoint) -> Box<dyn Client> {
    let started = Instant::now();
    loop {
        match connect(endpoint).await {
            Ok(client) => return client,
            Err(error) => assert!(started.elapsed() < LONG, "no new master: {error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
