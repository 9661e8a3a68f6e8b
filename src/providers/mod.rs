//! LLM providers: reads an answer for its limits, its refusal and its use of tokens (docs/providers.md).
//!
//! Nothing here waits or sends: a worker passes in each response. Providers word the same thing in many ways,
//! and gateways pass on the answers of other providers. So each step knows shapes and not providers. `headroom`
//! reads the headers of all families. `fault` finds codes and sentences in any body. `refusal` classifies them
//! by status, codes, windows and numbers. `wait` finds the end and bounds it. A provider's name decides only
//! where one sign has two meanings.

mod calendar;
mod fault;
mod headroom;
mod refusal;
mod spoken;
mod times;
mod usage;
mod wait;
mod window;

#[cfg(test)]
mod tests;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::engine::limit::Block;
use crate::engine::limit::LimitSeen;
use crate::engine::limit::Why;
use crate::engine::minutes::Used;
use crate::timestamp::Timestamp;

/// How long a spent budget blocks if the answer does not say when it is renewed. Some budgets are renewed as
/// soon as the customer pays. One call in ten minutes finds that out, and costs nothing while the budget is
/// spent.
const BUDGET_PAUSE: Duration = Duration::from_secs(10 * 60);

/// A provider whose answers are understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Provider {
    /// Anthropic's own API; its models on other clouds send no such headers.
    Anthropic,
    /// OpenAI's own API.
    OpenAi,
    /// OpenAI's models in Azure.
    AzureOpenAi,
    /// Groq.
    Groq,
    /// Mistral's own API.
    Mistral,
    /// Google's Gemini API, by its OpenAI-compatible endpoint.
    Gemini,
    /// Google Vertex AI, by its OpenAI-compatible endpoint.
    Vertex,
    /// Amazon Bedrock, by its OpenAI-compatible endpoint.
    Bedrock,
    /// OpenRouter.
    OpenRouter,
    /// Together AI.
    Together,
    /// Fireworks AI.
    Fireworks,
    /// DeepSeek's own API.
    DeepSeek,
    /// Moonshot AI (Kimi).
    Moonshot,
    /// xAI (Grok).
    Xai,
    /// Cohere, by its OpenAI-compatible endpoint.
    Cohere,
    /// Cerebras.
    Cerebras,
    /// A gateway that speaks OpenAI's API in front of others: LiteLLM, Kong, Cloudflare, API Management.
    Gateway,
}

impl Provider {
    /// Every value.
    pub const ALL: [Self; 17] = [
        Self::Anthropic,
        Self::OpenAi,
        Self::AzureOpenAi,
        Self::Groq,
        Self::Mistral,
        Self::Gemini,
        Self::Vertex,
        Self::Bedrock,
        Self::OpenRouter,
        Self::Together,
        Self::Fireworks,
        Self::DeepSeek,
        Self::Moonshot,
        Self::Xai,
        Self::Cohere,
        Self::Cerebras,
        Self::Gateway,
    ];

    /// The word by which settings name it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Anthropic => "anthropic",
            Self::OpenAi => "openai",
            Self::AzureOpenAi => "azure-openai",
            Self::Groq => "groq",
            Self::Mistral => "mistral",
            Self::Gemini => "gemini",
            Self::Vertex => "vertex",
            Self::Bedrock => "bedrock",
            Self::OpenRouter => "openrouter",
            Self::Together => "together",
            Self::Fireworks => "fireworks",
            Self::DeepSeek => "deepseek",
            Self::Moonshot => "moonshot",
            Self::Xai => "xai",
            Self::Cohere => "cohere",
            Self::Cerebras => "cerebras",
            Self::Gateway => "gateway",
        }
    }

    /// Whether its limits are buckets that fill all the time. What leaves such a bucket beside the own use was used
    /// by others; of a window that begins anew nothing of the kind can be told.
    pub const fn refills_continuously(self) -> bool {
        match self {
            Self::Anthropic | Self::OpenAi | Self::Groq => true,
            Self::AzureOpenAi
            | Self::Mistral
            | Self::Gemini
            | Self::Vertex
            | Self::Bedrock
            | Self::OpenRouter
            | Self::Together
            | Self::Fireworks
            | Self::DeepSeek
            | Self::Moonshot
            | Self::Xai
            | Self::Cohere
            | Self::Cerebras
            | Self::Gateway => false,
        }
    }

    /// Everything that a response says of the limits it counts against.
    ///
    /// A dimension of which neither the limit nor the rest is known is absent; so is a block whose end nobody
    /// can tell, as after a 429 without `retry-after`: how long to wait then is the worker's own affair.
    pub fn said(self, response: &Response<'_>) -> Said {
        let headroom = headroom::of(self, response);
        let Some(fault) = fault::Fault::read(response) else {
            return Said { seen: LimitSeen { headroom, ..LimitSeen::default() }, ..Said::default() };
        };
        let verdict = refusal::judge(self, response, &fault, &headroom);
        let wait = wait::of(self, response, &fault, verdict, &headroom);
        let refusal = verdict.refusal;
        let lasts = match refusal {
            Refusal::Other => None,
            Refusal::Rate | Refusal::Overload => wait,
            Refusal::Spend | Refusal::Quota => Some(wait.unwrap_or(BUDGET_PAUSE)),
        };
        // A provider without capacity that names no time may have some for the next request.
        let others_go_on = verdict.is_alone || refusal == Refusal::Overload && wait.is_none();
        let until = lasts.filter(|_| !others_go_on).map(|lasts| response.at + lasts);
        let blocked = until.zip(refusal.why()).map(|(until, why)| Block { until, why });
        let block_seen = blocked.map(|_| response.at);
        let seen = LimitSeen { headroom, blocked, block_seen, ..LimitSeen::default() };
        Said { seen, refusal: Some(refusal), wait, others_go_on }
    }

    /// What a success used of its limits: one request, and the tokens that count against the limit.
    ///
    /// `body` is the whole answer, or all events of a stream. `None` if it does not name both kinds of tokens,
    /// as a stream of OpenAI's that was not asked to (`stream_options.include_usage`), and if it is an error.
    pub fn usage(self, body: &str) -> Option<Used> {
        if fault::stands_in(body) {
            return None;
        }
        usage::Reported::read(body)?.used(self)
    }
}

impl fmt::Display for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl FromStr for Provider {
    type Err = UnknownProvider;

    fn from_str(text: &str) -> Result<Self, UnknownProvider> {
        let found = Self::ALL.into_iter().find(|provider| provider.label() == text);
        found.ok_or_else(|| UnknownProvider { name: text.to_owned() })
    }
}

/// A name that is no provider's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no provider is named `{name}`: use {}", labels())]
pub struct UnknownProvider {
    /// What was given.
    pub name: String,
}

/// The label of each provider, for an error text.
fn labels() -> String {
    Provider::ALL.map(Provider::label).join(", ")
}

/// One response of a provider.
#[derive(Clone, Copy)]
pub struct Response<'a> {
    /// The HTTP status.
    pub status: u16,
    /// The value of a header, by its name in lower case.
    pub headers: &'a dyn Fn(&str) -> Option<&'a str>,
    /// The body, or all events of a stream. A success may hold an error too.
    pub body: &'a str,
    /// When it came.
    pub at: Timestamp,
}

impl<'a> Response<'a> {
    fn header(&self, name: &str) -> Option<&'a str> {
        (self.headers)(name).map(str::trim).filter(|value| !value.is_empty())
    }
}

impl fmt::Debug for Response<'_> {
    /// Without headers and body, which hold what users wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { status, headers: _, body: _, at } = self;
        f.debug_struct("Response").field("status", status).field("at", at).finish_non_exhaustive()
    }
}

/// What one response says of the limits it counts against.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// Limits, what is left of them, and until when everything is refused. Daily use is not said by any
    /// provider: `used_today` is empty.
    pub seen: LimitSeen,
    /// Why it is no success; `None` if it is one.
    pub refusal: Option<Refusal>,
    /// How long this request is to wait: at most five minutes for a rate, and at most its window for a budget.
    /// `None` if the answer names no time, or if waiting does not help.
    pub wait: Option<Duration>,
    /// Whether other requests under the same limit may be sent at once. They may if the refusal is about this
    /// request alone, about a budget that the others do not use, or about a server's capacity, of which the
    /// next may get some.
    pub others_go_on: bool,
}

impl Default for Said {
    /// A success that speaks of no limit.
    fn default() -> Self {
        Self { seen: LimitSeen::default(), refusal: None, wait: None, others_go_on: true }
    }
}

/// Why a response is not a success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Too much at once: worth a retry, after the time that the provider asks for.
    Rate,
    /// The budget in money is used up: not worth a retry before the block ends.
    Spend,
    /// A budget for a day or a month is used up, or the plan has none: not worth a retry before the block ends.
    Quota,
    /// The provider is overloaded: worth a retry.
    Overload,
    /// Anything else. It says nothing of limits: whether to try again depends on the status.
    Other,
}

impl Refusal {
    /// The reason of a block; `None` if there is no reason to block anything.
    pub const fn why(self) -> Option<Why> {
        match self {
            Self::Rate => Some(Why::Rate),
            Self::Spend => Some(Why::Spend),
            Self::Quota => Some(Why::Quota),
            Self::Overload => Some(Why::Overload),
            Self::Other => None,
        }
    }
}
