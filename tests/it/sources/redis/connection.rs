//! Getting in, being kept out, and losing the connection.

use agent_scaler::fields::Value;
use agent_scaler::sources::{Endpoint, ReadError};

use super::{
    PATIENCE, RIGHTS, address, client_at, connect, endpoint, list, password, password_file, read, read_one,
    seen, stream, text,
};
use crate::support::proxy::{Mode, Proxy};
use crate::support::servers::{Options, Redis, Tls};

#[tokio::test]
async fn a_user_with_the_least_rights_reads_everything_over_tls() {
    let redis = Redis::start(Options { tls: Tls::Server, ..Options::default() });
    let rights: Vec<&str> = RIGHTS.split(' ').collect();
    redis.command(&[&["ACL", "SETUSER", "scaler", "on", ">hunter2", "~acme:*"], &rights[..]].concat());
    let mut pipeline = redis::pipe();
    pipeline.cmd("SELECT").arg(3);
    pipeline.cmd("RPUSH").arg("acme:tasks").arg("a");
    pipeline.cmd("XADD").arg("acme:stream").arg("1-1").arg("task").arg("x");
    pipeline.cmd("XADD").arg("acme:stream").arg("1-2").arg("task").arg("x");
    pipeline.cmd("XADD").arg("acme:stream").arg("1-3").arg("task").arg("x");
    // In the middle, so that entries have to be counted.
    pipeline.cmd("XGROUP").arg("CREATE").arg("acme:stream").arg("workers").arg("1-1");
    pipeline.exec(&mut redis.connection()).unwrap();

    let keys = [
        text("url", &format!("{}/3", redis.url())),
        text("username", "scaler"),
        password("hunter2"),
        file(&redis, "ca", "ca.crt"),
    ];
    let endpoint = endpoint(&keys);
    let mut client = connect(&*endpoint).await.unwrap();
    let plans = [list("acme:tasks"), stream("acme:stream", "workers"), list("other:tasks")];
    let denied = ReadError::Denied {
        endpoint: endpoint.address(),
        message: format!(
            "reading `other:tasks`: this user has no permissions to access one of the keys used as \
             arguments; the user needs `{RIGHTS} ~other:tasks`"
        ),
    };
    let expected = [Ok(seen(1, None)), Ok(seen(2, Some(0))), Err(denied)];
    assert_eq!(read(&mut client, &plans).await, expected);
}

#[tokio::test]
async fn who_is_not_let_in_learns_why() {
    let closed = Redis::start(Options { password: Some("swordfish"), ..Options::default() });
    let open = Redis::plain();
    open.command(&["ACL", "SETUSER", "blind", "on", ">hunter2", "-@all"]);
    let user = |name| text("username", name);
    for (redis, mut keys, message) in [
        (&closed, vec![], "it wants a password: give the connection `password`"),
        (&closed, vec![password("hunter2")], "wrong username or password, or the user is off"),
        (
            &closed,
            vec![password("hunter2"), user("scaler")],
            "wrong username or password, or the user is off",
        ),
        (&open, vec![password("hunter2")], "its default user has no password: leave `password` out"),
        (
            &open,
            vec![password("hunter2"), user("blind")],
            &format!("this user has no permissions to run the 'time' command; the user needs `{RIGHTS}`"),
        ),
    ] {
        keys.push(text("url", &redis.url()));
        let endpoint = endpoint(&keys);
        let denied = ReadError::Denied { endpoint: endpoint.address(), message: message.to_owned() };
        assert_eq!(refusal(&*endpoint).await, denied);
    }
}

#[tokio::test]
async fn a_rotated_password_is_used_by_the_next_connection() {
    let redis = Redis::plain();
    redis.command(&["ACL", "SETUSER", "scaler", "on", ">hunter2", "~*", "+@all"]);
    let secret = redis.file("password");
    let keys = [text("url", &redis.url()), text("username", "scaler"), password_file(secret.clone())];
    let endpoint = endpoint(&keys);

    let missing = ReadError::Unreachable {
        endpoint: endpoint.address(),
        message: format!(
            "cannot read the credential file {}: No such file or directory (os error 2)",
            secret.display()
        ),
    };
    assert_eq!(refusal(&*endpoint).await, missing);

    std::fs::write(&secret, "hunter2\n").unwrap();
    let mut client = connect(&*endpoint).await.unwrap();
    redis.command(&["ACL", "SETUSER", "scaler", "resetpass", ">hunter2-next"]);
    let denied = ReadError::Denied {
        endpoint: endpoint.address(),
        message: "wrong username or password, or the user is off".to_owned(),
    };
    assert_eq!(refusal(&*endpoint).await, denied);
    std::fs::write(&secret, "hunter2-next\n").unwrap();
    connect(&*endpoint).await.unwrap();
    // Redis asks for a password once per connection.
    assert_eq!(read_one(&mut client, &list("acme:tasks")).await, Ok(seen(0, None)));
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_named() {
    let redis = Redis::plain();
    let endpoint = endpoint(&[text("url", &format!("{}/99", redis.url()))]);
    let unexpected = ReadError::Unexpected {
        endpoint: format!("redis://127.0.0.1:{}/99", redis.port()),
        message: "it said ERR DB index is out of range".to_owned(),
    };
    assert_eq!(refusal(&*endpoint).await, unexpected);
}

#[tokio::test]
async fn tls_trusts_and_shows_only_what_the_keys_name() {
    let redis = Redis::start(Options { tls: Tls::Mutual, ..Options::default() });
    std::fs::write(redis.file("empty"), "").unwrap();
    let (encrypted, plain) = (text("url", &redis.url()), text("url", &address(redis.port())));
    let ca = file(&redis, "ca", "ca.crt");
    let certificate = file(&redis, "certificate", "client.crt");
    let identity = [certificate.clone(), file(&redis, "key", "client.key")];
    let good = [&[encrypted.clone(), ca.clone()], &identity[..]].concat();
    let mut client = connect(&*endpoint(&good)).await.unwrap();
    assert_eq!(read_one(&mut client, &list("acme:tasks")).await, Ok(seen(0, None)));

    let tls_port_in_the_clear = text("url", &redis.url().replace("rediss", "redis"));
    let path = |name| redis.file(name).display().to_string();
    for (keys, message) in [
        (
            vec![encrypted.clone()],
            "invalid peer certificate: UnknownIssuer; `ca` names the authority to trust",
        ),
        (vec![encrypted.clone(), ca.clone()], "received fatal alert: CertificateRequired"),
        (
            vec![encrypted.clone(), file(&redis, "ca", "empty")],
            &format!("{} holds no certificates in PEM", path("empty")),
        ),
        (
            vec![encrypted.clone(), file(&redis, "ca", "none")],
            &format!("cannot read {}: No such file or directory (os error 2)", path("none")),
        ),
        (
            vec![encrypted, ca, certificate, file(&redis, "key", "ca.crt")],
            &format!("{} holds no private key in PEM", path("ca.crt")),
        ),
        (vec![tls_port_in_the_clear], "the connection broke"),
    ] {
        let endpoint = endpoint(&keys);
        let unreachable =
            ReadError::Unreachable { endpoint: endpoint.address(), message: message.to_owned() };
        assert_eq!(refusal(&*endpoint).await, unreachable);
    }
    connect(&*endpoint(&[plain])).await.unwrap();
}

#[tokio::test]
async fn a_server_that_is_gone_refuses_and_one_that_is_back_answers() {
    let mut redis = Redis::plain();
    redis.command(&["RPUSH", "acme:tasks", "a"]);
    let mut client = client_at(redis.port()).await;
    redis.kill();
    let endpoint = endpoint(&[text("url", &redis.url())]);
    assert_eq!(refusal(&*endpoint).await, unreachable(redis.port(), "connection refused"));
    redis.restart();
    let broken = unreachable(redis.port(), "the connection broke");
    assert_eq!(read_one(&mut client, &list("acme:tasks")).await, Err(broken));
    let mut client = connect(&*endpoint).await.unwrap();
    assert_eq!(read_one(&mut client, &list("acme:tasks")).await, Ok(seen(0, None)));
}

#[tokio::test]
async fn a_server_that_dies_during_a_read_fails_every_queue_of_it() {
    let mut redis = Redis::plain();
    let mut client = client_at(redis.port()).await;
    redis.command(&["CLIENT", "PAUSE", "60000", "ALL"]);
    let plans = [list("acme:tasks"), stream("acme:tasks", "workers")];
    let (results, ()) = tokio::join!(read(&mut client, &plans), async { redis.kill() });
    let broken = unreachable(redis.port(), "the connection broke");
    assert_eq!(results, [Err(broken.clone()), Err(broken)]);
}

#[tokio::test]
async fn half_an_answer_is_none_and_a_whole_one_before_it_counts() {
    let redis = Redis::plain();
    let proxy = Proxy::start(redis.port()).await;
    let plans = [list("acme:tasks"), list("acme:low")];
    for (length, whole) in [(0, 0), (1, 0), (20, 0), (30, 0), (38, 1)] {
        let mut client = client_at(proxy.port()).await;
        proxy.switch(Mode::CutAfter(length));
        let broken = unreachable(proxy.port(), "the connection broke");
        let mut expected = vec![Err(broken); 2];
        expected.iter_mut().take(whole).for_each(|result| *result = Ok(seen(0, None)));
        assert_eq!(read(&mut client, &plans).await, expected, "{length}");
        proxy.switch(Mode::Pass);
    }
}

#[tokio::test]
async fn a_server_that_stalls_is_waited_for_as_long_as_the_caller_likes() {
    let redis = Redis::plain();
    let proxy = Proxy::start(redis.port()).await;
    let mut client = client_at(proxy.port()).await;
    proxy.switch(Mode::Stall);
    let endpoint = endpoint(&[text("url", &address(proxy.port()))]);
    // Time goes on by itself, as soon as everybody waits.
    tokio::time::pause();
    let plans = [list("acme:tasks")];
    tokio::time::timeout(360 * PATIENCE, client.read(&plans)).await.unwrap_err();
    assert!(tokio::time::timeout(360 * PATIENCE, endpoint.connect()).await.is_err());
    tokio::time::resume();
    proxy.switch(Mode::Pass);
    let mut client = connect(&*endpoint).await.unwrap();
    assert_eq!(read(&mut client, &plans).await, [Ok(seen(0, None))]);
}

#[tokio::test]
async fn what_is_not_redis_is_noticed() {
    let redis = Redis::plain();
    let proxy = Proxy::start(redis.port()).await;
    let mut client = client_at(proxy.port()).await;
    proxy.switch(Mode::Say(b"HTTP/1.1 400 Bad Request\r\n\r\n"));
    let endpoint = endpoint(&[text("url", &address(proxy.port()))]);
    let foreign = unreachable(proxy.port(), "it does not speak Redis's protocol");
    assert_eq!(refusal(&*endpoint).await, foreign);
    let broken = unreachable(proxy.port(), "the connection broke");
    assert_eq!(read_one(&mut client, &list("acme:tasks")).await, Err(broken));
    proxy.switch(Mode::Cut);
    let cut = refusal(&*endpoint).await;
    assert_eq!(cut, unreachable(proxy.port(), "the connection broke"));
}

#[tokio::test]
async fn an_answer_without_sense_is_neither_a_number_nor_the_end_of_the_connection() {
    const TIME: &str = "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n";
    let redis = Redis::plain();
    let proxy = Proxy::start(redis.port()).await;
    let mut client = client_at(proxy.port()).await;
    let tasks = list("acme:tasks");
    for (answer, message) in [
        (format!("{TIME}$1\r\n7\r\n"), "the answer to LLEN acme:tasks makes no sense"),
        (format!("{TIME}:-7\r\n"), "the answer to LLEN acme:tasks makes no sense"),
        (format!("{TIME}$-1\r\n"), "the answer to LLEN acme:tasks makes no sense"),
        (":1700000000\r\n:7\r\n".to_owned(), "the answer to TIME makes no sense"),
        (
            format!("{TIME}-MOVED 3999 127.0.0.1:6381\r\n"),
            "reading `acme:tasks`: it is a node of a cluster: the connection must be of `type: redis-cluster`",
        ),
        (
            format!("{TIME}-LOADING Redis is loading the dataset in memory\r\n"),
            "reading `acme:tasks`: it is loading its data after a start",
        ),
        (
            "-BUSY Redis is busy running a script.\r\n-BUSY Redis is busy running a script.\r\n".to_owned(),
            "it is busy with a script",
        ),
    ] {
        proxy.switch(Mode::Say(answer.leak().as_bytes()));
        let unexpected =
            ReadError::Unexpected { endpoint: address(proxy.port()), message: message.to_owned() };
        assert_eq!(read_one(&mut client, &tasks).await, Err(unexpected));
    }
    proxy.switch(Mode::Pass);
    assert_eq!(read_one(&mut client, &tasks).await, Ok(seen(0, None)));
}

/// Why no connection comes about; the word `hunter2`, which stands for every secret, is not part of it.
async fn refusal(endpoint: &dyn Endpoint) -> ReadError {
    let error = connect(endpoint).await.map(|_| "a connection").unwrap_err();
    for text in [error.to_string(), format!("{error:?}"), format!("{endpoint:?}"), endpoint.address()] {
        assert!(!text.contains("hunter2"), "{text}");
    }
    error
}

fn unreachable(port: u16, message: &str) -> ReadError {
    ReadError::Unreachable { endpoint: address(port), message: message.to_owned() }
}

fn file(redis: &Redis, key: &str, name: &str) -> (String, Value) {
    text(key, redis.file(name).to_str().unwrap())
}
