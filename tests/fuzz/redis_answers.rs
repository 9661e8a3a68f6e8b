//! What a Redis, or somebody who answers in its place, sends: all layouts of queues, and what workers report.

use std::collections::BTreeMap;
use std::time::Duration;

use agent_scaler::config::server::Server;
use agent_scaler::config::trigger;
use agent_scaler::sources::{ALL, Client, Plan};
use proptest::collection::vec;
use proptest::prelude::*;
use tokio::runtime::Runtime;
use tokio::sync::Mutex;

use crate::budget::{fuzz, is_short};
use crate::liar::Liar;
use crate::text::{Cut, cut, cuts, text};

/// One reply of RESP.
#[derive(Clone, Debug)]
enum Reply {
    Integer(i64),
    Bulk(Vec<u8>),
    Simple(String),
    Error(String),
    Array(Vec<Self>),
    Map(Vec<Self>),
    Nil,
    /// An announcement that nothing follows.
    Announced(&'static str),
}

/// What decides which commands are answered rightly, the replies to the others, and what of them is cut.
type Told = (usize, Vec<Reply>, Vec<Cut>);

/// How long an input may last, since an answer that is not complete is waited for. The server's own deadline is longer.
const DEADLINE: Duration = Duration::from_millis(200);

/// Everything that is read in one batch.
const TRIGGERS: &[&[(&str, &str)]] = &[
    &[("source", "redis"), ("listName", "a,b"), ("processingListName", "c")],
    &[("source", "redis-streams"), ("stream", "s"), ("consumerGroup", "g")],
    &[("source", "redis-sorted-set"), ("sortedSetName", "z"), ("scoreUnit", "seconds")],
    &[("source", "celery"), ("queue", "a"), ("prioritySteps", "3,6"), ("unacked", "true")],
    &[("source", "bullmq"), ("queue", "a")],
    &[("source", "rq"), ("queue", "a"), ("withScheduler", "true")],
    &[("source", "sidekiq"), ("queue", "a"), ("busy", "true"), ("scheduled", "true")],
    &[("source", "dramatiq"), ("queue", "a")],
    &[("source", "taskiq"), ("queue", "t")],
];

fn reply() -> impl Strategy<Value = Reply> {
    let group =
        prop::sample::select(vec!["name", "g", "pending", "lag", "entries-read", "last-delivered-id", "1-1"]);
    let leaf = prop_oneof![
        4 => (0..1_000_i64).prop_map(Reply::Integer),
        1 => any::<i64>().prop_map(Reply::Integer),
        2 => text().prop_map(|text| Reply::Bulk(text.into_bytes())),
        2 => group.prop_map(|word| Reply::Bulk(word.as_bytes().to_vec())),
        1 => vec(any::<u8>(), 0..20).prop_map(Reply::Bulk),
        1 => "[A-Z]{1,10}( [a-z 0-9:.]{0,30})?".prop_map(Reply::Error),
        1 => "(OK|QUEUED|[a-z]{0,10})".prop_map(Reply::Simple),
        1 => Just(Reply::Nil),
        1 => Just(Reply::Error("MOVED 1 127.0.0.1:1".to_owned())),
    ];
    leaf.prop_recursive(4, 40, 8, |inner| {
        prop_oneof![
            4 => vec(inner.clone(), 0..10).prop_map(Reply::Array),
            1 => vec(inner, 0..8).prop_map(Reply::Map),
        ]
    })
}

/// Announcements of more than follows, and types that Redis does not use here.
fn announced() -> impl Strategy<Value = Reply> {
    prop::sample::select(vec![
        "$4294967296\r\n",
        "*2147483647\r\n",
        "*-2\r\n",
        "%3\r\n",
        "(99999999999999999999\r\n",
        ",1e999\r\n",
        "#x\r\n",
        ">2\r\n+a\r\n+b\r\n",
        "~1\r\n:1\r\n",
        "|1\r\n+a\r\n+b\r\n:1\r\n",
        "$-1\r\n",
        "_\r\n",
    ])
    .prop_map(Reply::Announced)
}

#[test]
fn whatever_redis_answers_is_a_reading_or_a_short_error() {
    let liar = Liar::start((0, Vec::new(), Vec::new()), answer);
    let file =
        format!("connections: {{ main: {{ type: redis, url: \"redis://127.0.0.1:{}\" }} }}", liar.port);
    let server = Server::parse(&file, ALL).unwrap();
    let mut plans = Vec::new();
    let mut endpoint = None;
    for keys in TRIGGERS {
        let mut metadata: BTreeMap<String, String> =
            keys.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        metadata.insert("connection".to_owned(), "main".to_owned());
        let trigger = trigger::parse(&server, "acme", "tasks", &metadata).unwrap();
        plans.push(trigger.plan.clone());
        endpoint = Some(trigger.connection.clone());
    }
    let connection = endpoint.unwrap();
    let reports = connection.kind.reports.unwrap();
    plans.push((reports.workers)("acme", Duration::from_secs(60)));
    plans.push((reports.limit)("prod"));
    let runtime = Runtime::new().unwrap();
    let answered = std::cell::Cell::new(0_u32);
    let client = Mutex::new(None::<Box<dyn Client>>);
    // What is cut off is waited for: seldom.
    let cuts = prop_oneof![9 => Just(Vec::new()), 1 => cuts()];
    let reply = prop_oneof![60 => reply(), 1 => announced()];
    let strategy = (any::<usize>(), vec(reply, 1..12), cuts);
    fuzz("redis", &strategy, |told| {
        let is_cut = !told.2.is_empty();
        liar.tell(told);
        runtime.block_on(async {
            let mut client = client.lock().await;
            if client.is_none() {
                let connecting = tokio::time::timeout(DEADLINE, connection.endpoint.connect()).await;
                *client = connecting.ok().and_then(Result::ok);
            }
            let Some(open) = client.as_mut() else { return Ok(()) };
            let read = read(open, &plans);
            let outcome = tokio::time::timeout(DEADLINE, read).await;
            // What is left over of answers of this input would be taken for those to the next.
            if is_cut || outcome.is_err() || outcome.as_ref().is_ok_and(|(_, lost)| *lost) {
                *client = None;
            }
            let (texts, _) = outcome.unwrap_or_default();
            answered.set(answered.get() + u32::from(texts.iter().any(|text| text.starts_with("Queue"))));
            texts.iter().try_for_each(|text| is_short(text))
        })
    });
    assert!(answered.get() > 0, "no answer was ever understood");
}

/// What is said of each plan, and whether the connection is lost.
async fn read(client: &mut Box<dyn Client>, plans: &[std::sync::Arc<dyn Plan>]) -> (Vec<String>, bool) {
    let results = client.read(plans).await;
    assert_eq!(results.len(), plans.len());
    let lost = results.iter().any(|result| result.as_ref().is_err_and(|error| error.loses_connection()));
    let said = results.iter().map(|result| match result {
        Ok(seen) => format!("{seen:?}"),
        Err(error) => error.to_string(),
    });
    (said.collect(), lost)
}

/// The answer to one command: as it should be while a connection is made, and then as was told.
fn answer(came: &mut Vec<u8>, told: &Told) -> Option<(Vec<u8>, bool)> {
    let (words, length) = command(came)?;
    came.drain(..length);
    let word = words.first()?.to_uppercase();
    let (salt, replies, cuts) = told;
    let said = match word.as_str() {
        "CLIENT" | "AUTH" | "SELECT" | "MULTI" => b"+OK\r\n".to_vec(),
        "PING" => b"+PONG\r\n".to_vec(),
        "HELLO" => b"-ERR unknown command\r\n".to_vec(),
        _ if replies.is_empty() => b":0\r\n".to_vec(),
        "TIME" if replies.len() != 7 => b"*2\r\n$10\r\n1800000000\r\n$1\r\n0\r\n".to_vec(),
        _ => {
            // The same command has the same answer within an input: mostly the right one.
            let sum = words
                .iter()
                .flat_map(|word| word.bytes())
                .fold(*salt, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(byte)));
            let told = &replies[(sum >> 8) % replies.len()];
            let reply = right(&word).filter(|_| !sum.is_multiple_of(8)).unwrap_or_else(|| told.clone());
            let mut said = Vec::new();
            write(&reply, &mut said);
            cut(said, cuts)
        }
    };
    Some((said, true))
}

/// What Redis answers to a command, in one case of many.
fn right(word: &str) -> Option<Reply> {
    let bulk = |text: &str| Reply::Bulk(text.as_bytes().to_vec());
    Some(match word {
        "LLEN" | "XLEN" | "ZCARD" | "ZCOUNT" | "HLEN" | "SCARD" => Reply::Integer(3),
        "HSCAN" | "SSCAN" => Reply::Array(vec![bulk("0"), Reply::Array(Vec::new())]),
        "XINFO" => {
            let numbers = [("pending", 1), ("entries-read", 2), ("lag", 1)];
            let mut group = vec![bulk("name"), bulk("g"), bulk("last-delivered-id"), bulk("1-1")];
            group.extend(numbers.iter().flat_map(|(name, number)| [bulk(name), Reply::Integer(*number)]));
            Reply::Array(vec![Reply::Array(group)])
        }
        "XRANGE" => {
            Reply::Array(vec![Reply::Array(vec![bulk("2-1"), Reply::Array(vec![bulk("a"), bulk("b")])])])
        }
        "SMEMBERS" | "ZRANGE" | "LRANGE" => Reply::Array(vec![bulk("a")]),
        _ => return None,
    })
}

fn write(reply: &Reply, said: &mut Vec<u8>) {
    let line = |text: &str| text.chars().filter(|letter| !letter.is_control()).collect::<String>();
    match reply {
        Reply::Integer(number) => said.extend(format!(":{number}\r\n").bytes()),
        Reply::Bulk(bytes) => {
            said.extend(format!("${}\r\n", bytes.len()).bytes());
            said.extend(bytes);
            said.extend(b"\r\n");
        }
        Reply::Simple(text) => said.extend(format!("+{}\r\n", line(text)).bytes()),
        Reply::Error(text) => said.extend(format!("-{}\r\n", line(text)).bytes()),
        Reply::Array(items) => {
            said.extend(format!("*{}\r\n", items.len()).bytes());
            items.iter().for_each(|item| write(item, said));
        }
        Reply::Map(items) => {
            said.extend(format!("%{}\r\n", items.len() / 2).bytes());
            items.iter().take(items.len() / 2 * 2).for_each(|item| write(item, said));
        }
        Reply::Nil => said.extend(b"$-1\r\n"),
        Reply::Announced(text) => said.extend(text.bytes()),
    }
}

/// The words of a command, and its length in bytes; `None` until it has come in full.
fn command(came: &[u8]) -> Option<(Vec<String>, usize)> {
    let (words, mut at) = header(came, 0)?;
    let mut said = Vec::new();
    for _ in 0..words {
        let (length, first) = header(came, at)?;
        said.push(String::from_utf8_lossy(came.get(first..first + length)?).into_owned());
        at = first + length + 2;
        came.get(..at)?;
    }
    Some((said, at))
}

/// The number in the line at `at`, after its first byte, and where the next line begins.
fn header(came: &[u8], at: usize) -> Option<(usize, usize)> {
    let end = came.get(at..)?.windows(2).position(|bytes| bytes == b"\r\n")? + at;
    let number = String::from_utf8_lossy(came.get(at + 1..end)?).parse().ok()?;
    Some((number, end + 2))
}
