//! What the stub is told at its start.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use agent_scaler::engine::limit::Dimension;
use clap::{Parser, ValueEnum};

use crate::conditions::Command;
use crate::recorded::Recorded;

/// What is behind which path.
const ENDPOINTS: &str = r#"Paths:
  POST /v1/chat/completions   OpenAI's API, streamed or not (also below any other path)
  POST /v1/messages           Anthropic's API, streamed or not
  POST /tools/lookup          the tool that answers call: {"query": "...", "seconds": 0.2}
  POST /control               bad times; what a command does not name stays as it is
  GET  /counts                what was admitted and refused, by account, minute and worker
  GET  /livez

The account is the API key; the worker is the header `x-agent`, else `user` or `metadata.user_id`.

The first user message may hold a script: [steps=5 output=200 input=1000 think=0.5 tool=0.2]
  steps   calls in all; all but the last answer with a call of the tool `lookup` (3)
  output  tokens of each answer (50)
  input   tokens charged for each question, instead of a quarter of its characters
  think   seconds until the answer is whole, instead of a latency by its length
  tool    seconds that the tool is told to take (0)

Commands, with `"for": "30s"` to end by themselves and `"account": "KEY"` for one account alone:
  {"clear": true}                                   ends what other commands began
  {"slow_down": 3}                                  every latency times three
  {"outage": {"answer": "503", "part": 0.5}}        also "529", or "reset": no answer at all
  {"capacity": 0.4}                                 admits 40 % of every limit; headers speak of the whole
  {"exhausted": "quota"}                            every request is refused; also "spend"
  {"external": {"requests_per_minute": 20}}         used by others; also input_ and output_tokens_per_minute
  {"replay": {"answer": "NAME", "if_holds": "WORD"}} a recorded answer of --answers to requests that hold the word,
                                                    or to all; "else": "NAME" to the others, which the stub answers
                                                    otherwise; "reset_in": "1h" is how far RESET in it is ahead.
                                                    It is counted under `replayed` and leaves the buckets as they are"#;

/// A stand-in for an LLM provider that counts exactly what it admits.
///
/// Every API key is an account with buckets of its own, which refill evenly. An amount that is not given is not
/// limited. A request is admitted if every bucket holds what it needs; a refused one costs nothing. Of output
/// tokens it needs what it will generate, whatever its `max_tokens`, as with Anthropic; of tokens in all, its
/// input and its `max_tokens`, of which the rest comes back at the end, as with OpenAI.
#[derive(Debug, Parser)]
#[command(name = "llm-stub", after_long_help = ENDPOINTS)]
pub(crate) struct Settings {
    /// Address to listen on; port 0 chooses a free one.
    #[arg(long, env = "STUB_LISTEN", default_value = "127.0.0.1:8400")]
    pub(crate) listen: SocketAddr,

    /// Requests a minute.
    #[arg(long, env = "STUB_REQUESTS_PER_MINUTE")]
    requests_per_minute: Option<u64>,

    /// Input tokens a minute.
    #[arg(long, env = "STUB_INPUT_TOKENS_PER_MINUTE")]
    input_tokens_per_minute: Option<u64>,

    /// Output tokens a minute.
    #[arg(long, env = "STUB_OUTPUT_TOKENS_PER_MINUTE")]
    output_tokens_per_minute: Option<u64>,

    /// Input and output tokens a minute.
    #[arg(long, env = "STUB_TOKENS_PER_MINUTE")]
    tokens_per_minute: Option<u64>,

    /// Requests a day; a day has 1,440 of its minutes.
    #[arg(long, env = "STUB_REQUESTS_PER_DAY")]
    requests_per_day: Option<u64>,

    /// Requests at a time.
    #[arg(long, env = "STUB_CONCURRENCY")]
    pub(crate) concurrency: Option<u64>,

    /// How much may come at once, as a part of a minute's amount; a request at least.
    #[arg(long, env = "STUB_BURST", default_value_t = 1.0, value_parser = positive)]
    pub(crate) burst: f64,

    /// Length of its minute, so that a test need not last for hours. Headers name real times.
    #[arg(long, env = "STUB_MINUTE", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) minute: Duration,

    /// Whose headers and errors to send; by default those of the endpoint that is called.
    #[arg(long, env = "STUB_PROVIDER_HEADERS")]
    pub(crate) provider_headers: Option<Style>,

    /// Time to the first token.
    #[arg(long, env = "STUB_FIRST_TOKEN", default_value = "200ms", value_parser = humantime::parse_duration)]
    pub(crate) first_token: Duration,

    /// Tokens generated a second.
    #[arg(long, env = "STUB_TOKENS_PER_SECOND", default_value_t = 80.0, value_parser = positive)]
    pub(crate) tokens_per_second: f64,

    /// How far latency varies, as a part of itself: 0.2 is from 80 to 120 per cent.
    #[arg(long, env = "STUB_JITTER", default_value_t = 0.0, value_parser = part)]
    pub(crate) jitter: f64,

    /// File with recorded answers for the command `replay`: an object of answers by name, or a list of answers with
    /// names. An answer has a `status`, `headers`, a `body` in JSON or as a text, and may have `if_holds` and `else`.
    #[arg(long, env = "STUB_ANSWERS", value_name = "FILE", value_parser = Recorded::read)]
    pub(crate) answers: Option<Recorded>,

    /// Seed of its dice.
    #[arg(long, env = "STUB_SEED", default_value_t = 1)]
    pub(crate) seed: u64,

    /// A command to begin with, as `POST /control` takes it; may be repeated.
    #[arg(long = "control", value_name = "JSON", value_parser = Command::read)]
    pub(crate) commands: Vec<Command>,
}

impl Settings {
    /// Amounts by dimension, without concurrency.
    pub(crate) fn amounts(&self) -> BTreeMap<Dimension, u64> {
        let amounts = [
            (Dimension::RequestsPerMinute, self.requests_per_minute),
            (Dimension::InputTokensPerMinute, self.input_tokens_per_minute),
            (Dimension::OutputTokensPerMinute, self.output_tokens_per_minute),
            (Dimension::TokensPerMinute, self.tokens_per_minute),
            (Dimension::RequestsPerDay, self.requests_per_day),
        ];
        amounts.into_iter().filter_map(|(dimension, amount)| Some((dimension, amount?))).collect()
    }
}

/// Whose headers and errors are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Style {
    /// `anthropic-ratelimit-…`.
    Anthropic,
    /// `x-ratelimit-…`, resets as Go durations.
    #[value(name = "openai")]
    OpenAi,
    /// The same with resets in whole seconds and renewal periods.
    #[value(name = "azure-openai")]
    AzureOpenAi,
    /// The same with requests by the day.
    Groq,
    /// Headers that name their window.
    Mistral,
    /// No rate-limit headers, and no `retry-after`; errors are those of the endpoint.
    None,
}

fn positive(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number > 0.0 && number.is_finite() { Ok(number) } else { Err("must be above 0".to_owned()) }
}

fn part(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (0.0..=1.0).contains(&number) { Ok(number) } else { Err("must be from 0 to 1".to_owned()) }
}
