//! One request to the model: what is sent, what comes back, and what that means.

use std::sync::Mutex;

use agent_scaler::engine::limit::LimitSeen;
use agent_scaler::engine::minutes::Used;
use agent_scaler::providers::{Provider, Refusal, Response};
use agent_scaler::secret::Revealed;
use agent_scaler::timestamp::Timestamp;

use crate::clock::RedisClock;
use crate::conversation::Conversation;
use crate::http;
use crate::settings::ModelSettings;
use crate::wire::{self, Answer};

/// Most bytes of an answer: several times the longest that a model gives.
const MOST: usize = 4 * 1024 * 1024;

/// Most characters of an error that are kept in a record.
const EXCERPT: usize = 300;

/// The model of this worker.
pub(crate) struct Model {
    client: reqwest::Client,
    settings: ModelSettings,
    worker: String,
    with_tools: bool,
    /// The API key that was last read.
    key: Mutex<Option<Revealed>>,
}

/// What a request came to.
pub(crate) enum Reply {
    /// An answer.
    Answer { answer: Answer, used: Used, seen: LimitSeen },
    /// Refused because of a limit; `again` says whether that passes within minutes.
    Refused { seen: LimitSeen, again: bool },
    /// The endpoint did not do its work; another try may help.
    Failed { reason: String, seen: LimitSeen, is_admitted: bool },
    /// The request is wrong, and will be again.
    Wrong(String),
}

impl Model {
    pub(crate) fn new(
        client: reqwest::Client,
        settings: ModelSettings,
        worker: &str,
        with_tools: bool,
    ) -> Self {
        Self { client, settings, worker: worker.to_owned(), with_tools, key: Mutex::default() }
    }

    /// Most tokens of one answer.
    pub(crate) const fn answer_tokens(&self) -> u64 {
        self.settings.answer_tokens
    }

    /// Whether use by others can be told from what the provider says is left.
    pub(crate) const fn tells_use_by_others(&self) -> bool {
        self.settings.provider.refills_continuously()
    }

    /// Sends a conversation.
    pub(crate) async fn ask(&self, conversation: &Conversation, clock: &RedisClock) -> Reply {
        let ModelSettings { provider, base_url, name, timeout, answer_tokens, .. } = &self.settings;
        let key = match self.key() {
            Ok(key) => key,
            Err(reason) => return failed(reason, false),
        };
        let body = wire::request(*provider, name, *answer_tokens, self.with_tools, conversation);
        let request = self.client.post(format!("{base_url}{}", wire::path(*provider)));
        let request = match provider {
            Provider::Anthropic => {
                request.header("x-api-key", key.expose()).header("anthropic-version", "2023-06-01")
            }
            Provider::AzureOpenAi => request.header("api-key", key.expose()),
            _ => request.bearer_auth(key.expose()),
        };
        // Names who asks in the logs of a gateway; providers pass over it.
        let request = request.header("x-agent", &self.worker).timeout(*timeout).json(&body);
        let reply = match http::send(request, MOST).await {
            Ok(reply) => reply,
            // An address may hold a user's credentials.
            Err(error) => return failed(chain(&error.without_url()), false),
        };
        self.understand(&reply, clock.now())
    }

    /// What an answer means.
    fn understand(&self, reply: &http::Reply, at: Timestamp) -> Reply {
        let provider = self.settings.provider;
        let header = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok());
        let response = Response { status: reply.status, headers: &header, body: &reply.body, at };
        let said = provider.said(&response);
        let reason = || format!("status {}: {}", reply.status, excerpt(&reply.body));
        match (said.refusal, reply.status) {
            (Some(Refusal::Rate), _) => Reply::Refused { seen: said.seen, again: true },
            (Some(Refusal::Spend | Refusal::Quota), _) => Reply::Refused { seen: said.seen, again: false },
            (None, _) if reply.is_cut => Reply::Wrong(format!("the answer is longer than {MOST} bytes")),
            (None, _) => match wire::answer(provider, &reply.body) {
                // Without a count a request is still one.
                Some(answer) => Reply::Answer {
                    answer,
                    used: provider.usage(&reply.body).unwrap_or(Used { requests: 1, ..Used::default() }),
                    seen: said.seen,
                },
                None => failed(format!("no answer in the words of {provider}"), true),
            },
            // A key that is refused may be a rotated one, whose file changes in a moment; and all tasks of this
            // worker would fail with it, of which none is to blame.
            (Some(Refusal::Overload), _) | (Some(Refusal::Other), 401 | 403 | 408 | 409 | 425 | 500..) => {
                Reply::Failed { reason: reason(), seen: said.seen, is_admitted: false }
            }
            (Some(Refusal::Other), _) => Reply::Wrong(reason()),
        }
    }

    /// The API key as its file has it now. While the file cannot be read, as in the moment in which it is
    /// replaced, the last one is used.
    fn key(&self) -> Result<Revealed, String> {
        let Ok(mut last) = self.key.lock() else { return Err("the API key is lost".to_owned()) };
        match self.settings.key.reveal() {
            Ok(key) if !key.expose().is_empty() => Ok(last.insert(key).clone()),
            Ok(_) => last.clone().ok_or_else(|| "the file with the API key is empty".to_owned()),
            Err(error) => last.clone().ok_or_else(|| error.to_string()),
        }
    }
}

fn failed(reason: String, is_admitted: bool) -> Reply {
    Reply::Failed { reason, seen: LimitSeen::default(), is_admitted }
}

/// The beginning of what an endpoint says of an error.
pub(crate) fn excerpt(body: &str) -> String {
    body.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(EXCERPT).collect()
}

/// An error and its causes, in one line.
pub(crate) fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    std::iter::successors(Some(error), |error| error.source())
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(": ")
}
