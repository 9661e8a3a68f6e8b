//! Servers that say more than they were asked, and keys that somebody has filled with more than anybody reads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use agent_scaler::sources::{ALL, Plan, ReadError};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::{
    address, client_at, client_of, connect, endpoint, endpoint_of, list, password, read, seen, text,
};
use crate::support::servers::Redis;

/// What a socket may hold of an answer that nobody reads any more, and what answers may cost by their lines.
const IN_BUFFERS: usize = 12 << 20;

/// What it does on one command.
enum Say {
    /// Answers.
    This(String),
    /// Answers with the first text, and then without end with the second.
    Forever(String, &'static str),
    /// Never answers.
    Nothing,
}

/// A server that answers as a test likes.
struct Liar {
    port: u16,
    sent: Arc<AtomicUsize>,
    heard: Arc<Mutex<Vec<String>>>,
    _tasks: JoinSet<()>,
}

impl Liar {
    async fn start(say: impl Fn(&[&str]) -> Say + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sent, heard, say) =
            (Arc::<AtomicUsize>::default(), Arc::<Mutex<Vec<String>>>::default(), Arc::new(say));
        let (counted, noted) = (Arc::clone(&sent), Arc::clone(&heard));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (say, counted, noted) = (Arc::clone(&say), Arc::clone(&counted), Arc::clone(&noted));
                connections.spawn(async move { drop(serve(stream, &*say, &counted, &noted).await) });
            }
        });
        Self { port, sent, heard, _tasks: tasks }
    }

    fn sent(&self) -> usize {
        self.sent.swap(0, Ordering::Relaxed)
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

async fn serve(
    stream: TcpStream,
    say: &(dyn Fn(&[&str]) -> Say + Send + Sync),
    sent: &AtomicUsize,
    heard: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let mut words = Vec::new();
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(());
        }
        for _ in 0..line[1..].trim().parse::<usize>().unwrap() {
            let mut length = String::new();
            stream.read_line(&mut length).await?;
            let mut word = vec![0; length[1..].trim().parse::<usize>().unwrap() + 2];
            stream.read_exact(&mut word).await?;
            words.push(String::from_utf8_lossy(&word[..word.len() - 2]).into_owned());
        }
        heard.lock().unwrap().push(words.join(" "));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let (first, rest) = match say(&words) {
            Say::This(text) => (text, None),
            Say::Forever(text, rest) => (text, Some(rest.repeat(4_096))),
            Say::Nothing => std::future::pending().await,
        };
        stream.write_all(first.as_bytes()).await?;
        sent.fetch_add(first.len(), Ordering::Relaxed);
        while let Some(rest) = &rest {
            stream.write_all(rest.as_bytes()).await?;
            sent.fetch_add(rest.len(), Ordering::Relaxed);
        }
    }
}

/// What an honest server says to what is asked beside the queues.
fn honest(words: &[&str]) -> Say {
    let text = match words[0] {
        "TIME" => "*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n",
        "LLEN" => ":7\r\n",
        "HELLO" => "%1\r\n$5\r\nproto\r\n:3\r\n",
        _ => "+OK\r\n",
    };
    Say::This(text.to_owned())
}

/// Beginnings of answers that have no end, and how they go on.
const ENDLESS: [(&str, &str); 14] = [
    ("$4294967296\r\n", "x"),
    ("*1000000000\r\n", ":1\r\n"),
    ("*1000000000\r\n", "*0\r\n"),
    ("*1000000000\r\n", "_\r\n"),
    ("%1000000000\r\n", ":1\r\n"),
    ("~1000000000\r\n", ":1\r\n"),
    (">1000000000\r\n", "+invalidate\r\n"),
    ("|1000000000\r\n", ":1\r\n"),
    ("=4294967296\r\n", "x"),
    ("!4294967296\r\n", "x"),
    ("+", "x"),
    ("-ERR ", "x"),
    ("(", "1"),
    ("", "*1\r\n"),
];

#[tokio::test]
async fn an_answer_without_end_costs_no_more_than_all_answers_may() {
    for (first, rest) in ENDLESS {
        let liar = Liar::start(move |words| match words {
            ["LLEN", "bad"] => Say::Forever(first.to_owned(), rest),
            words => honest(words),
        })
        .await;
        let mut client = client_at(liar.port).await;
        let plans = [list("acme:tasks"), list("bad")];
        let results = read(&mut client, &plans).await;
        assert_eq!(results[0], Ok(seen(7, None)), "{first:?} {rest:?}");
        assert!(results[1].is_err(), "{first:?} {rest:?}: {results:?}");
        let sent = liar.sent();
        assert!(sent < 4 * IN_BUFFERS, "{first:?} {rest:?}: {sent}");
    }
}

#[tokio::test]
async fn one_that_speaks_unasked_is_cut_off() {
    let liar = Liar::start(|words| match words {
        ["TIME"] => Say::This("*2\r\n$10\r\n1700000000\r\n$1\r\n0\r\n".to_owned()),
        ["AUTH", ..] => Say::Forever("+OK\r\n".to_owned(), ">2\r\n+message\r\n+x\r\n"),
        words => honest(words),
    })
    .await;
    let endpoint = endpoint(&[text("url", &address(liar.port)), password("hunter2")]);
    assert!(endpoint.connect().await.is_err());
    let sent = liar.sent();
    assert!(sent < IN_BUFFERS, "{sent}");
}

#[tokio::test]
async fn a_listener_takes_in_no_more_than_its_keys_may_have_changed() {
    for (first, rest) in [
        (">2\r\n$10\r\ninvalidate\r\n*1000000000\r\n", "$1\r\nx\r\n"),
        (">2\r\n$10\r\ninvalidate\r\n*1\r\n$4294967296\r\n", "x"),
        ("", ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nx\r\n"),
    ] {
        let liar = Liar::start(move |words| match words {
            ["LLEN", _] => Say::Forever(format!(":7\r\n{first}"), rest),
            words => honest(words),
        })
        .await;
        let endpoint = endpoint(&[text("url", &address(liar.port))]);
        let mut listener = endpoint.listen().await.unwrap().unwrap();
        let plans: [Arc<dyn Plan>; 1] = [list("acme:tasks")];
        // The flood begins behind the answer.
        let mut watched = listener.watch(&plans).await;
        while watched.is_ok() {
            listener.heard().await;
            watched = listener.watch(&plans).await;
        }
        let sent = liar.sent();
        assert!(sent < IN_BUFFERS, "{sent}");
    }
}

#[tokio::test]
async fn a_sentinel_and_a_node_may_say_no_more_than_what_they_are_asked() {
    for (kind, word, keys) in
        [("redis-sentinel", "SENTINEL", vec![text("master", "main")]), ("redis-cluster", "CLUSTER", vec![])]
    {
        let liar = Liar::start(move |words| {
            if words[0] == word {
                Say::Forever("*1000000000\r\n".to_owned(), "$1\r\nx\r\n")
            } else {
                honest(words)
            }
        })
        .await;
        let keys = [vec![text("urls", &format!("redis://127.0.0.1:{}", liar.port))], keys].concat();
        assert!(endpoint_of(kind, &keys).connect().await.is_err());
        let sent = liar.sent();
        assert!(sent < 2 * IN_BUFFERS, "{kind}: {sent}");
    }
}

#[tokio::test]
async fn what_was_answered_in_time_counts() {
    let liar = Liar::start(|words| match words {
        ["LLEN", "slow"] => Say::Nothing,
        words => honest(words),
    })
    .await;
    let mut client = client_at(liar.port).await;
    let plans = [list("acme:tasks"), list("slow"), list("acme:low")];
    let deadline = ReadError::Deadline { endpoint: address(liar.port) };
    for _ in 0..2 {
        client.answer_by(Instant::now() + Duration::from_millis(300));
        let results = read(&mut client, &plans).await;
        assert_eq!(results, [Ok(seen(7, None)), Err(deadline.clone()), Err(deadline.clone())]);
        assert!(client.mends_itself());
    }
}

#[tokio::test]
async fn a_cluster_leads_nobody_to_where_it_cannot_be() {
    for host in ["169.254.169.254", "0.0.0.0", "224.0.0.1", "203.0.113.9"] {
        let slots = format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n${}\r\n{host}\r\n:7000\r\n", host.len());
        let liar = Liar::start(move |words| match words {
            ["CLUSTER", ..] => Say::This(slots.clone()),
            words => honest(words),
        })
        .await;
        let keys = [text("urls", &format!("redis://127.0.0.1:{}", liar.port)), password("hunter2")];
        let mut client = connect(&*endpoint_of("redis-cluster", &keys)).await.unwrap();
        let results = read(&mut client, &[list("acme:tasks")]).await;
        let denied = ReadError::Denied {
            endpoint: format!("redis://{host}:7000"),
            message: "it was named by another server, and lies where that one does not: name it in `urls`"
                .to_owned(),
        };
        assert_eq!(results, [Err(denied)], "{host}");
    }
}

#[tokio::test]
async fn a_node_sends_nobody_to_a_stranger() {
    let stranger = Liar::start(honest).await;
    let port = stranger.port;
    let own = Arc::new(AtomicUsize::new(0));
    let known = Arc::clone(&own);
    let liar = Liar::start(move |words| match words {
        ["CLUSTER", ..] => {
            let own = known.load(Ordering::Relaxed);
            Say::This(format!("*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:{own}\r\n"))
        }
        ["LLEN", _] => Say::This(format!("-MOVED 1 127.0.0.1:{port}\r\n")),
        words => honest(words),
    })
    .await;
    own.store(usize::from(liar.port), Ordering::Relaxed);
    let keys = [text("urls", &format!("redis://127.0.0.1:{}", liar.port)), password("hunter2")];
    let mut client = connect(&*endpoint_of("redis-cluster", &keys)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(250)).await;
    let results = read(&mut client, &[list("acme:tasks")]).await;
    assert!(matches!(&results[0], Err(ReadError::Unexpected { .. })), "{results:?}");
    assert_eq!(stranger.heard(), Vec::<String>::new());
}

#[tokio::test]
async fn a_workers_hash_that_is_too_long_costs_its_own_workers_only() {
    let redis = Redis::plain();
    let long = "x".repeat(8 << 20);
    for worker in 0..5 {
        redis.command(&["HSET", "agent-scaler:{bad}:workers", &worker.to_string(), &long]);
    }
    redis.command(&["RPUSH", "bad", "a"]);
    let reports = ALL[0].connections[0].reports.unwrap();
    let workers = |scope| (reports.workers)(scope, Duration::from_secs(60));
    let mut client = client_of(&redis).await;
    let plans = [workers("acme"), workers("bad"), workers("other"), list("bad"), (reports.limit)("acme")];
    for round in 0..3 {
        let results = client.read(&plans).await;
        for (index, result) in results.iter().enumerate() {
            assert_eq!(result.is_ok(), index != 1, "{round} {index}: {result:?}");
        }
        let Err(ReadError::Unexpected { message, .. }) = &results[1] else { panic!("{:?}", results[1]) };
        assert!(message.starts_with("the answer takes more than 4096 KiB and is not read"), "{message}");
    }
    let sent: redis::InfoDict = redis::cmd("INFO").arg("stats").query(&mut redis.connection()).unwrap();
    let sent: u64 = sent.get("total_net_output_bytes").unwrap();
    assert!(sent < 3 * IN_BUFFERS as u64, "it was asked for again: {sent}");
}

#[tokio::test]
async fn a_queue_whose_own_answer_is_too_long_costs_itself_only() {
    let redis = Redis::plain();
    redis.command(&["LPUSH", "rq:queue:bad", &"x".repeat(16 << 20)]);
    redis.command(&["RPUSH", "acme:tasks", "a"]);
    let mut client = client_of(&redis).await;
    let rq = super::plan("rq", &[("queue", "bad")]);
    let plans = [list("acme:tasks"), rq, list("acme:tasks")];
    for _ in 0..3 {
        let results = read(&mut client, &plans).await;
        assert_eq!((&results[0], &results[2]), (&Ok(seen(1, None)), &Ok(seen(1, None))));
        // Its own length is known, and how old the task is is not.
        let reading = results[1].as_ref().unwrap();
        assert_eq!((reading.ready, reading.oldest, reading.unknown.len()), (Some(1), None, 1));
    }
}

#[tokio::test]
async fn however_many_queues_are_too_long_at_once_the_others_are_read_with_the_next() {
    let redis = Redis::plain();
    let mut client = client_of(&redis).await;
    let mut plans: Vec<Arc<dyn Plan>> = Vec::new();
    for number in 0..40 {
        plans.push(super::plan("rq", &[("queue", &format!("bad{number}"))]));
        plans.push(list(&format!("acme:{number}")));
    }
    for round in 0..4 {
        let results = read(&mut client, &plans).await;
        let others = results.iter().skip(1).step_by(2);
        assert!(round == 1 || others.into_iter().all(|result| *result == Ok(seen(0, None))), "{round}");
        if round == 0 {
            for number in 0..40 {
                redis.command(&["LPUSH", &format!("rq:queue:bad{number}"), &"x".repeat(2 << 20)]);
            }
        }
    }
}

#[tokio::test]
async fn a_listener_reads_no_answer_that_somebody_can_make_long() {
    let redis = Redis::plain();
    redis.command(&["HSET", "bull:bad:meta", "paused", &"x".repeat(16 << 20)]);
    redis.command(&["SET", "bull:bad:limiter", &"x".repeat(16 << 20)]);
    let endpoint = endpoint(&[text("url", &redis.url())]);
    let mut listener = endpoint.listen().await.unwrap().unwrap();
    let plans = [super::plan("bullmq", &[("queue", "bad")]), list("acme:tasks")];
    assert_eq!(listener.watch(&plans).await, Ok(vec![0, 1]));
    redis.command(&["RPUSH", "acme:tasks", "a"]);
    listener.heard().await;
    assert_eq!(listener.watch(&plans).await, Ok(vec![1]));
    redis.command(&["HSET", "bull:bad:meta", "paused", "1"]);
    listener.heard().await;
    assert_eq!(listener.watch(&plans).await, Ok(vec![0]));
}
