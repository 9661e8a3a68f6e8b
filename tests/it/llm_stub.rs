//! The stand-in for an LLM provider over HTTP: what it admits, what it counts, what it says in bad times.

mod client;

use std::time::Duration;

use agent_scaler::engine::minutes::Used;
use agent_scaler::providers::Provider;
use agent_scaler::providers::Refusal;
use serde_json::json;
use tokio::time::Instant;

pub(crate) use client::{Heard, Stub};

use crate::support::examples::Example;

/// 200 requests of eight workers with two keys: each key admits its burst and its rate and no more, and what
/// the stub counts is what the workers saw.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_admits_what_the_buckets_allow_and_counts_what_clients_saw() {
    let stub = Stub::start(&["--requests-per-minute=60", "--minute=4s", "--burst=0.5", "--first-token=0ms"]);
    let began = Instant::now();
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let stub = stub.client(&format!("key-{}", worker % 2)).agent(&format!("worker-{worker}"));
        workers.spawn(async move {
            let (mut admitted, mut refused, mut used) = (0, 0, Used::default());
            for _ in 0..25 {
                let heard = stub.chat("[output=3 think=0]").await;
                match heard.said(Provider::OpenAi).refusal {
                    None => {
                        admitted += 1;
                        used.add(heard.used(Provider::OpenAi));
                    }
                    Some(refusal) => {
                        assert_eq!(refusal, Refusal::Rate);
                        assert!(heard.retry_after(Provider::OpenAi).is_some());
                        refused += 1;
                    }
                }
                tokio::time::sleep(Duration::from_millis(80)).await;
            }
            (worker, admitted, refused, used)
        });
    }
    let workers = workers.join_all().await;
    let lasted = began.elapsed().as_secs_f64();

    let counts = stub.counts().await;
    for key in 0..2 {
        let account = &counts["accounts"][format!("key-{key}")];
        let own = || workers.iter().filter(|(worker, ..)| worker % 2 == key);
        for (worker, admitted, refused, used) in own() {
            let expected = json!({
                "admitted": admitted, "refused": refused, "failed": 0,
                "input_tokens": used.input_tokens, "output_tokens": used.output_tokens,
            });
            assert_eq!(account["agents"][format!("worker-{worker}")], expected);
            assert_eq!(used.requests, *admitted);
        }
        let admitted: u64 = own().map(|(_, admitted, ..)| admitted).sum();
        let refused: u64 = own().map(|(_, _, refused, _)| refused).sum();
        assert_eq!((&account["admitted"], &account["refused"]), (&json!(admitted), &json!(refused)));
        assert_eq!(account["reasons"], json!({"requests": refused}));
        assert_eq!(account["running"], json!(0));
        // Half a minute's amount at once, and fifteen a second. Asked fifty times a second, it is never idle;
        // two less, because the last ones may have come back after the last was asked for.
        #[expect(clippy::cast_precision_loss, reason = "a small number")]
        let (admitted, allowed) = (admitted as f64, 30.0 + 15.0 * lasted);
        assert!((allowed - 3.0 - 15.0 * 0.2..=allowed).contains(&admitted), "{admitted} of {allowed}");
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
    let client = stub.client("key");
    for stream in [false, true] {
        let asked = client.ask(Provider::OpenAi, "[steps=1 output=900 think=60]", 0, stream);
        let gave_up = tokio::time::timeout(Duration::from_millis(500), asked).await;
        assert!(gave_up.is_err());
        // It may take a moment to see that nobody is there.
        stub.counts_when(|account| account["running"] == 0).await;
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

    stub.control(&json!({"exhausted": "spend", "for": "300ms"})).await;
    assert_eq!(refusal("key").await, (429, Some(Refusal::Spend)));
    assert_eq!(refusal("new").await, (429, Some(Refusal::Spend)));
    tokio::time::sleep(Duration::from_millis(300)).await;
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
    assert_eq!(account["reasons"], json!({"spend": 1, "529": 1, "reset": 1}));
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
