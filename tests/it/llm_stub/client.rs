//! A client of the stub, as plain as can be.

use std::time::Duration;

use agent_scaler::clock::{Clock, SystemClock};
use agent_scaler::engine::minutes::Used;
use agent_scaler::providers::Provider;
use agent_scaler::providers::Response;
use agent_scaler::providers::Said;
use agent_scaler::timestamp::Timestamp;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::support::examples::{Example, Process};

/// A running stub. Ends with its handle.
pub(crate) struct Stub {
    _process: Process,
    url: String,
}

/// A client with a key.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    url: String,
    key: String,
    agent: Option<String>,
}

/// What a client heard.
#[derive(Debug)]
pub(crate) struct Heard {
    pub(crate) status: u16,
    headers: HeaderMap,
    pub(crate) body: String,
    /// When its head came.
    pub(crate) at: Timestamp,
}

impl Stub {
    /// Starts one with these arguments, on a free port.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        // The client wants it even where nothing is encrypted. Another test may have done so.
        drop(rustls::crypto::ring::default_provider().install_default());
        let example = Example::new("llm-stub").arguments(["--listen=127.0.0.1:0"]).arguments(arguments);
        let (process, url) = example.start_listening();
        Self { _process: process, url }
    }

    /// A client with this key.
    pub(crate) fn client(&self, key: &str) -> Client {
        Client { http: reqwest::Client::new(), url: self.url.clone(), key: key.to_owned(), agent: None }
    }

    /// Gives a command.
    pub(crate) async fn control(&self, command: &Value) {
        let heard = self.client("").post("/control", command).await.unwrap();
        assert_eq!((heard.status, heard.body.as_str()), (204, ""));
    }

    /// What it counted.
    pub(crate) async fn counts(&self) -> Value {
        let text = reqwest::get(format!("{}/counts", self.url)).await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap()
    }

    /// Waits until that is so of what it counted of an account, for twenty seconds at most.
    pub(crate) async fn counts_when(&self, key: &str, so: impl Fn(&Value) -> bool) {
        for _ in 0..2_000 {
            if so(&self.counts().await["accounts"][key]) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never was so: {}", self.counts().await);
    }
}

impl Client {
    /// The same, with a name that it gives with each request.
    pub(crate) fn agent(mut self, name: &str) -> Self {
        self.agent = Some(name.to_owned());
        self
    }

    /// One call of OpenAI's API.
    pub(crate) async fn chat(&self, prompt: &str) -> Heard {
        self.try_chat(prompt).await.unwrap()
    }

    pub(crate) async fn try_chat(&self, prompt: &str) -> reqwest::Result<Heard> {
        self.post("/v1/chat/completions", &chat(prompt, 0, false)).await
    }

    /// One call in a conversation that has had so many results of tools.
    pub(crate) async fn ask(&self, api: Provider, prompt: &str, results: usize, stream: bool) -> Heard {
        if api == Provider::Anthropic {
            return self.post("/v1/messages?v", &messages(prompt, results, stream)).await.unwrap();
        }
        self.post("/v1/chat/completions", &chat(prompt, results, stream)).await.unwrap()
    }

    /// Calls the tool.
    pub(crate) async fn lookup(&self, arguments: &Value) -> Value {
        serde_json::from_str(&self.post("/tools/lookup", arguments).await.unwrap().body).unwrap()
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> reqwest::Result<Heard> {
        let mut request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.key).json(body);
        if path.ends_with("?v") {
            request = request.header("anthropic-version", "2023-06-01");
        }
        if let Some(agent) = &self.agent {
            request = request.header("x-agent", agent);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let at = SystemClock::start().now();
        Ok(Heard { status, headers, body: response.text().await?, at })
    }
}

impl Heard {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// What it says of limits.
    pub(crate) fn said(&self, provider: Provider) -> Said {
        self.read(|response| provider.said(response))
    }

    pub(crate) fn retry_after(&self, provider: Provider) -> Option<Duration> {
        self.said(provider).wait
    }

    pub(crate) fn used(&self, provider: Provider) -> Used {
        provider.usage(&self.body).unwrap_or_else(|| panic!("no usage in {}", self.body))
    }

    /// Arguments of the tool call that it is, if it is one.
    pub(crate) fn lookup(&self, api: Provider) -> Option<Value> {
        let answer: Value = serde_json::from_str(&self.body).unwrap();
        if api == Provider::Anthropic {
            let block = &answer["content"][0];
            return (block["type"] == "tool_use").then(|| block["input"].clone());
        }
        let arguments = &answer["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"];
        arguments.as_str().map(|text| serde_json::from_str(text).unwrap())
    }

    /// Its final text.
    pub(crate) fn text(&self, api: Provider) -> String {
        let answer: Value = serde_json::from_str(&self.body).unwrap();
        let text = if api == Provider::Anthropic {
            &answer["content"][0]["text"]
        } else {
            &answer["choices"][0]["message"]["content"]
        };
        text.as_str().unwrap().to_owned()
    }

    fn read<T>(&self, question: impl FnOnce(&Response<'_>) -> T) -> T {
        let header = |name: &str| self.headers.get(name)?.to_str().ok();
        question(&Response { status: self.status, headers: &header, body: &self.body, at: self.at })
    }
}

/// A question in OpenAI's words.
fn chat(prompt: &str, results: usize, stream: bool) -> Value {
    let mut messages = vec![json!({"role": "user", "content": prompt})];
    for number in 0..results {
        let id = format!("call_{number}");
        let function = json!({"name": "lookup", "arguments": "{}"});
        let calls = json!([{"id": id, "type": "function", "function": function}]);
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": calls}));
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": "Found."}));
    }
    json!({
        "model": "stub", "messages": messages, "stream": stream, "stream_options": {"include_usage": stream},
    })
}

/// A question in Anthropic's words.
fn messages(prompt: &str, results: usize, stream: bool) -> Value {
    let mut messages = vec![json!({"role": "user", "content": prompt})];
    for number in 0..results {
        let id = format!("toolu_{number}");
        let call = json!([{"type": "tool_use", "id": id, "name": "lookup", "input": {}}]);
        let result = json!([{"type": "tool_result", "tool_use_id": id, "content": "Found."}]);
        messages.push(json!({"role": "assistant", "content": call}));
        messages.push(json!({"role": "user", "content": result}));
    }
    json!({"model": "stub", "max_tokens": 1_000, "messages": messages, "stream": stream})
}
