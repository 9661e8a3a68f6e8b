//! The stand-in for an LLM provider over HTTP: what it admits, what it counts, what it says in bad times.

mod client;

use std::time::Duration;

use agent_scaler::engine::minutes::Used;
use agent_scaler::providers::Provider;
use agent_scaler::providers::Refusal;
use serde_json::json;
use tokio::time::Instant;

pub(crate) use client::{Client, Heard, Stub};

use crate::support::examples::Example;

/// One request as its client saw it: seconds at which it was sent and answered.
#[derive(Clone, Copy)]
struct Seen {
    sent: f64,
    answered: f64,
    admitted: bool,
    used: Used,
}

/// 200 requests of eight workers with two keys: each key admits its burst and its rate and no more, and what
/// the stub counts is what the workers saw.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_admits_what_the_buckets_allow_and_counts_what_clients_saw() {
    // Half a minute's amount at once, which is 30, and 15 a second.
    let stub = Stub::start(&["--requests-per-minute=60", "--minute=4s", "--burst=0.5", "--first-token=0ms"]);
    let began = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let client = stub.client(&format!("key-{}", worker % 2)).agent(&format!("worker-{worker}"));
        workers.spawn(async move {
            let mut seen = Vec::new();
            for _ in 0..25 {
                seen.push(one(&client, began).await);
                tokio::time::sleep(Duration::from_millis(80)).await;
            }
            (worker, seen)
        });
    }
    let workers = workers.join_all().await;

    let counts = stub.counts().await;
    for key in 0..2 {
        let account = &counts["accounts"][format!("key-{key}")];
        let own: Vec<_> = workers.iter().filter(|(worker, _)| worker % 2 == key).collect();
        for (worker, seen) in &own {
            assert_eq!(account["agents"][format!("worker-{worker}")], tally(seen));
        }
        let all: Vec<Seen> = own.iter().flat_map(|(_, seen)| seen.iter().copied()).collect();
        let expected = tally(&all);
        assert_eq!(account["reasons"], json!({"requests": expected["refused"]}));
        for (name, number) in expected.as_object().unwrap() {
            assert_eq!(&account[name], number, "{name}");
            let minutes = account["minutes"].as_object().unwrap().values();
            assert_eq!(
                minutes.map(|minute| minute[name].as_u64().unwrap()).sum::<u64>(),
                number.as_u64().unwrap()
            );
        }
        check_against_the_bucket(30.0, 15.0, &all);
    }
}

async fn one(client: &Client, began: Instant) -> Seen {
    let sent = began.elapsed().as_secs_f64();
    let heard = client.chat("[output=3 think=0]").await;
    let answered = began.elapsed().as_secs_f64();
    match heard.said(Provider::OpenAi).refusal {
        None => Seen { sent, answered, admitted: true, used: heard.used(Provider::OpenAi) },
        Some(refusal) => {
            assert_eq!(refusal, Refusal::Rate);
            assert!(heard.retry_after(Provider::OpenAi).is_some());
            Seen { sent, answered, admitted: false, used: Used::default() }
        }
    }
}

/// What the stub should have counted.
fn tally(seen: &[Seen]) -> serde_json::Value {
    let mut used = Used::default();
    seen.iter().for_each(|seen| used.add(seen.used));
    let refused = seen.iter().filter(|seen| !seen.admitted).count();
    json!({
        "admitted": used.requests, "refused": refused, "failed": 0,
        "input_tokens": used.input_tokens, "output_tokens": used.output_tokens,
    })
}

/// Between any two requests there are at most a burst and what comes back in that time; and when one is refused,
/// less than one was left of all that there was.
fn check_against_the_bucket(burst: f64, rate: f64, seen: &[Seen]) {
    let admitted: Vec<_> = seen.iter().filter(|seen| seen.admitted).collect();
    #[expect(clippy::cast_precision_loss, reason = "a small number")]
    let between = |from: f64, to: f64| {
        admitted.iter().filter(|seen| from <= seen.sent && seen.answered <= to).count() as f64
    };
    for first in &admitted {
        for last in admitted.iter().filter(|last| last.answered >= first.sent) {
            let (number, seconds) = (between(first.sent, last.answered), last.answered - first.sent);
            assert!(number <= burst + rate * seconds, "{number} in {seconds} s");
        }
    }
    for refused in seen.iter().filter(|seen| !seen.admitted) {
        // The least that there can have been: all took as late as they can have, so that most was lost at the
        // brim, and those that were under way at that moment had taken theirs before.
        let (mut level, mut at) = (burst, 0.0);
        let mut taken: Vec<_> = admitted.iter().filter(|seen| seen.answered <= refused.sent).collect();
        taken.sort_by(|one, other| one.answered.total_cmp(&other.answered));
        for seen in taken {
            level = (level + rate * (seen.answered - at)).min(burst) - 1.0;
            at = seen.answered;
        }
        level = (level + rate * (refused.sent - at)).min(burst);
        let under_way = |seen: &&&Seen| seen.answered > refused.sent && seen.sent <= refused.answered;
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let left = level - admitted.iter().filter(under_way).count() as f64;
        assert!(left < 1.0, "refused at {} s with {left} left", refused.sent);
    }
}

#[tokio::test]
async fn a_conversation_follows_its_script_through_either_api() {
    let stub = Stub::start(&["--first-token=0ms"]);
    for api in [Provider::OpenAi, Provider::Anthropic] {
        let client = stub.client(api.label());
        let (mut calls, mut results) = (0, 0);
        let began = Instant::now();
        let text = loop {
            let heard =
                client.ask(api, "[steps=3 output=7 input=1000 think=0 tool=0.1]", results, false).await;
            calls += 1;
            let used = Used { requests: 1, input_tokens: 1_000, output_tokens: 7 };
            assert_eq!(heard.used(api), used);
            let Some(arguments) = heard.lookup(api) else { break heard.text(api) };
            assert_eq!(arguments, json!({"query": format!("step {calls} of 3"), "seconds": 0.1}));
            let answer = client.lookup(&arguments).await;
            assert_eq!(answer["result"], format!("What is known of step {calls} of 3."));
            results += 1;
        };
        assert_eq!((calls, text.as_str()), (3, "All has been looked up and is"));
        assert!(began.elapsed() >= Duration::from_millis(200), "the tool did not take its time");
    }
}

#[tokio::test]
async fn a_stream_says_what_an_answer_in_one_piece_says() {
    let stub = Stub::start(&["--first-token=0ms"]);
    for api in [Provider::OpenAi, Provider::Anthropic] {
        let client = stub.client("key");
        for prompt in ["[steps=1 output=60 think=0]", "[steps=2 think=0 tool=0.5]"] {
            let whole = client.ask(api, prompt, 0, false).await;
            let streamed = client.ask(api, prompt, 0, true).await;
            assert_eq!(streamed.header("content-type"), Some("text/event-stream"));
            assert_eq!(streamed.used(api), whole.used(api));
            assert!(streamed.body.matches("\n\n").count() > 4, "{}", streamed.body);
        }
    }
    let counts = stub.counts().await;
    assert_eq!(counts["accounts"]["key"]["admitted"], json!(8));
    assert_eq!(counts["accounts"]["key"]["output_tokens"], json!(4 * (60 + 50)));
}

#[tokio::test]
async fn who_goes_away_in_the_middle_is_not_charged_for_the_answer() {
    let stub = Stub::start(&["--output-tokens-per-minute=1000"]);
    for stream in [false, true] {
        let client = stub.client("key");
        let asked = tokio::spawn(async move {
            client.ask(Provider::OpenAi, "[steps=1 output=900 think=60]", 0, stream).await;
        });
        stub.counts_when("key", |account| account["running"] == 1).await;
        asked.abort();
        stub.counts_when("key", |account| account["running"] == 0).await;
    }
    let account = &stub.counts().await["accounts"]["key"];
    // The second was admitted as well: what the first might have generated had come back.
    assert_eq!((&account["admitted"], &account["abandoned"]), (&json!(2), &json!(2)));
    assert_eq!((&account["output_tokens"], &account["most_running"]), (&json!(0), &json!(1)));
}

#[tokio::test]
async fn bad_times_come_and_go_by_command() {
    let stub = Stub::start(&["--first-token=0ms", r#"--control={"account": "early", "exhausted": "quota"}"#]);
    let refusal = async |key: &str| {
        let heard = stub.client(key).chat("[output=1 think=0]").await;
        (heard.status, heard.said(Provider::OpenAi).refusal)
    };
    assert_eq!(refusal("early").await, (429, Some(Refusal::Quota)));
    assert_eq!(refusal("key").await, (200, None));

    stub.control(&json!({"exhausted": "spend", "for": "3s"})).await;
    assert_eq!(refusal("key").await, (429, Some(Refusal::Spend)));
    assert_eq!(refusal("new").await, (429, Some(Refusal::Spend)));
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(refusal("key").await, (200, None));

    stub.control(&json!({"account": "key", "outage": {"answer": "529"}})).await;
    assert_eq!(refusal("key").await, (529, Some(Refusal::Overload)));
    assert_eq!(refusal("new").await, (200, None));
    stub.control(&json!({"account": "key", "clear": true, "slow_down": 10})).await;
    let began = Instant::now();
    stub.client("key").chat("[output=1 think=0.05]").await;
    assert!(began.elapsed() >= Duration::from_millis(500));

    stub.control(&json!({"clear": true, "outage": {"answer": "reset"}})).await;
    let cut = stub.client("key").try_chat("[output=1]").await.unwrap_err();
    assert!(cut.is_request(), "{cut:?}");
    let account = &stub.counts().await["accounts"]["key"];
    assert_eq!((&account["failed"], &account["running"]), (&json!(2), &json!(0)));
    assert_eq!((&account["reasons"]["529"], &account["reasons"]["reset"]), (&json!(1), &json!(1)));
}

#[tokio::test]
async fn an_outage_hits_a_part_of_the_requests() {
    let stub = Stub::start(&["--first-token=0ms", r#"--control={"outage": {"answer": "503", "part": 0.5}}"#]);
    let client = stub.client("key");
    for _ in 0..100 {
        client.chat("[output=1 think=0]").await;
    }
    let account = &stub.counts().await["accounts"]["key"];
    let failed = account["failed"].as_u64().unwrap();
    assert!((30..=70).contains(&failed), "{failed} of 100");
    assert_eq!(account["admitted"], json!(100 - failed));
}

#[tokio::test]
async fn what_it_cannot_read_it_refuses_in_the_words_of_the_api() {
    let stub = Stub::start(&[]);
    let client = stub.client("key");
    for (path, body, message) in [
        ("/v1/chat/completions", json!({"model": "m"}), "messages: is required"),
        ("/v1/messages", json!({"model": "m", "messages": []}), "messages: must not be empty"),
        ("/v1/messages", json!({"model": "m", "messages": [{}]}), "anthropic-version: header is required"),
    ] {
        let heard = client.post(path, &body).await.unwrap();
        let answer: serde_json::Value = serde_json::from_str(&heard.body).unwrap();
        assert_eq!((heard.status, &answer["error"]["message"]), (400, &json!(message)), "{path}");
    }
    let refused = client.post("/control", &json!({"capacity": 2})).await.unwrap();
    assert_eq!((refused.status, refused.body.as_str()), (400, "capacity: must be from 0 to 1"));
    assert_eq!(stub.counts().await, json!({"accounts": {}}));
}

#[test]
fn it_takes_settings_from_the_environment_and_ends_when_told_to() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let example = Example::new("llm-stub").environment([("STUB_LISTEN", "127.0.0.1:0")]).log(log.path());
    let (mut process, url) = example.start_listening();
    assert!(url.starts_with("http://127.0.0.1:") && !url.ends_with(":0"), "{url}");
    process.signal("TERM");
    assert!(process.ended_within(Duration::from_secs(5)).success());
    assert_eq!(std::fs::read_to_string(log.path()).unwrap(), format!("listening on {url}\n"));
}
