//! One request to the model: what is sent, what comes back, and what that means.

use std::sync::Mutex;
use std::time::Duration;

use agent_scaler::engine::limit::{LimitSeen, Why};
use agent_scaler::engine::minutes::Used;
use agent_scaler::providers::{Refusal, Response};
use agent_scaler::secret::Revealed;
use agent_scaler::timestamp::Timestamp;

use crate::clock::RedisClock;
use crate::conversation::Conversation;
use crate::http;
use crate::settings::ModelSettings;
use crate::wire::{self, Answer, Api, KeyHeader};

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
    /// Refused because of a limit.
    Refused(Refused),
    /// The endpoint did not do its work; another try may help.
    Failed(Failure),
    /// The request is wrong, and will be again.
    Wrong(String),
}

/// A refusal because of a limit.
pub(crate) struct Refused {
    pub(crate) seen: LimitSeen,
    pub(crate) why: Why,
    /// How long the provider asks this request to wait, if it says.
    pub(crate) wait: Option<Duration>,
    /// Whether it is about a budget that other requests do not use.
    pub(crate) others_go_on: bool,
    pub(crate) reason: String,
}

/// An endpoint that gave no answer.
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) seen: LimitSeen,
    /// How long the provider asks this request to wait, if it says.
    pub(crate) wait: Option<Duration>,
    /// Whether the provider reported the failure; otherwise it may have answered nevertheless.
    pub(crate) is_told: bool,
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
            Err(reason) => return unanswered(reason),
        };
        let body = wire::request(*provider, name, *answer_tokens, self.with_tools, conversation);
        let request = self.client.post(format!("{base_url}{}", wire::path(*provider)));
        let request = match KeyHeader::of(*provider) {
            KeyHeader::Named(name) => request.header(name, key.expose()),
            KeyHeader::Bearer => request.bearer_auth(key.expose()),
        };
        let request = match Api::of(*provider) {
            Api::Messages => request.header("anthropic-version", "2023-06-01"),
            Api::ChatCompletions { .. } => request,
        };
        // Names who asks in the logs of a gateway; providers pass over it.
        let request = request.header("x-agent", &self.worker).timeout(*timeout).json(&body);
        let reply = match http::send(request, MOST).await {
            Ok(reply) => reply,
            // An address may hold a user's credentials.
            Err(error) => return unanswered(chain(&error.without_url())),
        };
        self.understand(&reply, clock.now())
    }

    /// What an answer means.
    fn understand(&self, reply: &http::Reply, at: Timestamp) -> Reply {
        let provider = self.settings.provider;
        let header = |name: &str| reply.headers.get(name).and_then(|value| value.to_str().ok());
        let response = Response { status: reply.status, headers: &header, body: &reply.body, at };
        let said = provider.said(&response);
        let failed = |reason: String| {
            let (seen, wait) = (said.seen.clone(), said.wait);
            Reply::Failed(Failure { reason, seen, wait, is_told: true })
        };
        let reason = || format!("status {}: {}", reply.status, excerpt(&reply.body));
        let Some(refusal) = said.refusal else {
            if reply.is_cut {
                return Reply::Wrong(format!("the answer is longer than {MOST} bytes"));
            }
            return match wire::answer(provider, &reply.body) {
                // Without a count a request is still one.
                Some(answer) => Reply::Answer {
                    answer,
                    used: provider.usage(&reply.body).unwrap_or(Used { requests: 1, ..Used::default() }),
                    seen: said.seen,
                },
                None => failed(format!("no answer in the words of {provider}: {}", excerpt(&reply.body))),
            };
        };
        let refused = |why| {
            let (seen, wait, others_go_on) = (said.seen.clone(), said.wait, said.others_go_on);
            Reply::Refused(Refused { seen, why, wait, others_go_on, reason: reason() })
        };
        match refusal {
            Refusal::Rate => refused(Why::Rate),
            Refusal::Spend => refused(Why::Spend),
            Refusal::Quota => refused(Why::Quota),
            Refusal::Overload => failed(reason()),
            Refusal::Other if is_worth_a_retry(reply) => failed(reason()),
            Refusal::Other => Reply::Wrong(reason()),
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

/// Whether another try may help against an error that is not about a limit.
fn is_worth_a_retry(reply: &http::Reply) -> bool {
    let status = if reply.status < 400 { wire::status_within(&reply.body) } else { Some(reply.status) };
    // A key that is refused may just have been rotated, and its file is about to change. Otherwise all tasks of
    // this worker would fail without a fault of their own.
    status.is_none_or(|status| matches!(status, 401 | 403 | 408 | 409 | 425 | 500..))
}

/// No response arrived.
fn unanswered(reason: String) -> Reply {
    Reply::Failed(Failure { reason, seen: LimitSeen::default(), wait: None, is_told: false })
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
