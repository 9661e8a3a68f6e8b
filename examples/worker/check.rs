//! The checks of single settings. Each keeps its problem and goes on, so that one error names them all.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use agent_scaler::engine::limit::Dimension;
use agent_scaler::providers::Provider;
use agent_scaler::secret::{Revealed, Secret};
use url::Url;

use crate::flags::Flags;
use crate::limiter::Amounts;
#[cfg(feature = "kafka")]
use crate::settings::KafkaSettings;
use crate::settings::{Caps, Kind, ModelSettings, RedisSettings, SqsSettings};

/// Shortest lease: it is renewed three times in it, over a network.
pub(crate) const SHORTEST_LEASE: Duration = Duration::from_secs(1);

/// Shortest of the times for one answer or one task.
const SHORTEST: Duration = Duration::from_millis(100);

/// Tokens whose price providers name.
const MILLION: f64 = 1_000_000.0;

/// The problems so far.
#[derive(Default)]
pub(crate) struct Check(pub(crate) Vec<String>);

/// A text that says something.
pub(crate) fn absent(text: &str) -> Option<String> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.to_owned())
}

/// The host's name, which in Kubernetes is the pod's.
pub(crate) fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    name.as_deref().and_then(absent).unwrap_or_else(|| format!("worker-{}", std::process::id()))
}

impl Check {
    /// Keeps a problem with a flag, which is named with its environment variable.
    pub(crate) fn problem(&mut self, flag: &str, message: &str) {
        let variable = flag.replace('-', "_").to_uppercase();
        self.0.push(format!("--{flag} ({variable}): {message}"));
    }

    /// A text that must be there.
    pub(crate) fn text(&mut self, flag: &str, text: &str) -> Option<String> {
        let text = absent(text);
        if text.is_none() {
            self.problem(flag, "is required");
        }
        text
    }

    /// A number that is at least `least`.
    pub(crate) fn number<T>(&mut self, flag: &str, text: &str, least: T) -> Option<T>
    where
        T: FromStr + PartialOrd + std::fmt::Display,
    {
        match text.trim().parse() {
            Ok(number) if number >= least => Some(number),
            _ => {
                self.problem(flag, &format!("`{text}` is not a whole number of {least} or more"));
                None
            }
        }
    }

    /// A duration that is at least `least`.
    pub(crate) fn time(&mut self, flag: &str, text: &str, least: Duration) -> Option<Duration> {
        match humantime::parse_duration(text.trim()) {
            Ok(time) if time >= least => Some(time),
            Ok(_) => {
                self.problem(flag, &format!("`{text}` is less than {}", humantime::format_duration(least)));
                None
            }
            Err(error) => {
                self.problem(flag, &format!("`{text}`: {error}, e.g. `30s` or `1h 30m`"));
                None
            }
        }
    }

    /// An amount above zero; `None` if it is absent, and if it is bad.
    fn amount(&mut self, flag: &str, text: &str) -> Option<f64> {
        let text = absent(text)?;
        let amount = text.parse().ok().filter(|amount: &f64| amount.is_finite() && *amount > 0.0);
        if amount.is_none() {
            self.problem(flag, &format!("`{text}` is not a number above zero"));
        }
        amount
    }

    /// An address without its last slash; `None` if it is absent, and if it is bad. It may hold credentials, so
    /// it is not repeated.
    pub(crate) fn url(&mut self, flag: &str, text: &str, schemes: &[&str]) -> Option<String> {
        let text = absent(text)?;
        match Url::parse(&text) {
            Ok(url) if schemes.contains(&url.scheme()) && url.has_host() => {
                return Some(text.trim_end_matches('/').to_owned());
            }
            Ok(_) => self
                .problem(flag, &format!("does not begin with `{}://` and a host", schemes.join("://` or `"))),
            Err(error) => self.problem(flag, &format!("is not a URL: {error}")),
        }
        None
    }

    /// A file that can be read now; its content is read when it is needed.
    fn file(&mut self, flag: &str, text: &str) -> Option<PathBuf> {
        let path = PathBuf::from(absent(text)?);
        if let Err(error) = std::fs::read(&path) {
            self.problem(flag, &format!("cannot read {}: {error}", path.display()));
            return None;
        }
        Some(path)
    }

    pub(crate) fn redis(&mut self, flags: &Flags) -> Option<RedisSettings> {
        let before = self.0.len();
        let url = self.url("redis-url", &flags.redis_url, &["redis", "rediss"]);
        if url.is_none() && self.0.len() == before {
            self.problem("redis-url", "is required");
        }
        let password = self.file("redis-password-file", &flags.redis_password_file).map(Secret::File);
        let ca = self.file("redis-ca", &flags.redis_ca);
        if ca.is_some() && url.as_ref().is_some_and(|url| url.starts_with("redis:")) {
            self.problem("redis-ca", "needs a `--redis-url` that begins with `rediss://`");
        }
        let username = absent(&flags.redis_username);
        if username.is_some() && absent(&flags.redis_password_file).is_none() {
            self.problem("redis-username", "needs `--redis-password-file`");
        }
        Some(RedisSettings { url: Revealed::new(url?), username, password, ca })
    }

    pub(crate) fn kind(&mut self, flags: &Flags) -> Option<Kind> {
        match flags.queue_kind.trim() {
            "stream" => Some(Kind::Stream { group: self.text("group", &flags.group)? }),
            "list" => {
                let processing = absent(&flags.processing_list);
                let processing = processing.unwrap_or_else(|| format!("{}:processing", flags.queue.trim()));
                if processing == flags.queue.trim() {
                    self.problem("processing-list", "is the queue itself");
                }
                Some(Kind::List { processing })
            }
            "sqs" => self.sqs(flags).map(Kind::Sqs),
            #[cfg(feature = "kafka")]
            "kafka" => self.kafka(flags).map(Kind::Kafka),
            #[cfg(not(feature = "kafka"))]
            "kafka" => {
                self.problem("queue-kind", "this worker was built without Kafka (feature `kafka`)");
                None
            }
            other => {
                let kinds = "none of `stream`, `list`, `sqs` and `kafka`";
                self.problem("queue-kind", &format!("`{other}` is {kinds}"));
                None
            }
        }
    }

    fn sqs(&mut self, flags: &Flags) -> Option<SqsSettings> {
        let before = self.0.len();
        let url = self.url("queue-url", &flags.queue_url, &["http", "https"]);
        if url.is_none() && self.0.len() == before {
            self.problem("queue-url", "is required for SQS");
        }
        let endpoint = self.url("endpoint-url", &flags.endpoint_url, &["http", "https"]);
        let dead = self.url("dead-letters", &flags.dead_letters, &["http", "https"]);
        Some(SqsSettings { url: url?, region: absent(&flags.region), endpoint, dead })
    }

    #[cfg(feature = "kafka")]
    fn kafka(&mut self, flags: &Flags) -> Option<KafkaSettings> {
        let brokers = self.text("brokers", &flags.brokers);
        let topic = self.text("topic", &flags.topic);
        let group = self.text("group", &flags.group);
        let properties = self.file("kafka-properties-file", &flags.kafka_properties_file);
        let (brokers, topic, group) = (brokers?, topic?, group?);
        let dead = absent(&flags.dead_letters).unwrap_or_else(|| format!("{topic}.dead"));
        if dead == topic {
            self.problem("dead-letters", "is the topic itself");
        }
        Some(KafkaSettings { brokers, topic, group, dead, properties })
    }

    /// The name of the queue; a broker's queue has one of its own.
    pub(crate) fn queue(&mut self, flags: &Flags, kind: Option<&Kind>) -> Option<String> {
        let own = kind.and_then(|kind| match kind {
            Kind::Stream { .. } | Kind::List { .. } => None,
            Kind::Sqs(sqs) => sqs.url.rsplit('/').next().map(str::to_owned),
            #[cfg(feature = "kafka")]
            Kind::Kafka(kafka) => Some(kafka.topic.clone()),
        });
        match absent(&flags.queue).or(own) {
            Some(queue) => Some(queue),
            // What is wrong with the kind comes first.
            None if kind.is_none() && matches!(flags.queue_kind.trim(), "sqs" | "kafka") => None,
            None => self.text("queue", &flags.queue),
        }
    }

    pub(crate) fn model(&mut self, flags: &Flags) -> Option<ModelSettings> {
        let provider = flags.provider.trim().parse::<Provider>();
        if let Err(error) = &provider {
            self.problem("provider", &error.to_string());
        }
        let before = self.0.len();
        let base_url = self.url("base-url", &flags.base_url, &["http", "https"]);
        let home = || {
            let provider = provider.as_ref().ok()?;
            has_home(*provider).then(|| address(*provider).to_owned())
        };
        let base_url = base_url.or_else(home);
        if base_url.is_none() && self.0.len() == before && provider.is_ok() {
            let example = provider.as_ref().map(|provider| address(*provider)).unwrap_or_default();
            self.problem("base-url", &format!("is required for this provider, e.g. `{example}`"));
        }
        let name = self.text("model", &flags.model);
        let key = self.text("api-key-file", &flags.api_key_file);
        let key = key.and_then(|path| self.file("api-key-file", &path)).map(Secret::File);
        let timeout = self.time("llm-timeout", &flags.llm_timeout, SHORTEST);
        let tool_timeout = self.time("tool-timeout", &flags.tool_timeout, SHORTEST);
        let answer_tokens = self.number("answer-tokens", &flags.answer_tokens, 1);
        Some(ModelSettings {
            provider: provider.ok()?,
            base_url: base_url?,
            name: name?,
            key: key?,
            timeout: timeout?,
            tool_timeout: tool_timeout?,
            answer_tokens: answer_tokens?,
        })
    }

    pub(crate) fn caps(&mut self, flags: &Flags) -> Option<Caps> {
        let steps = self.number("max-steps", &flags.max_steps, 1);
        let tokens = self.number("max-tokens", &flags.max_tokens, 1);
        let cost = self.amount("max-cost", &flags.max_cost);
        let input = self.amount("input-price", &flags.input_price);
        let output = self.amount("output-price", &flags.output_price);
        if cost.is_some() && (input.is_none() || output.is_none()) {
            self.problem("max-cost", "needs `--input-price` and `--output-price`");
        }
        let time = self.time("task-timeout", &flags.task_timeout, SHORTEST);
        let conversation = self.number("conversation-bytes", &flags.conversation_bytes, 1_024);
        let price = (input.unwrap_or(0.0) / MILLION, output.unwrap_or(0.0) / MILLION);
        Some(Caps { steps: steps?, tokens: tokens?, cost, price, time: time?, conversation: conversation? })
    }

    pub(crate) fn amounts(&mut self, flags: &Flags) -> Amounts {
        let given = [
            (Dimension::RequestsPerMinute, "requests-per-minute", &flags.requests_per_minute),
            (Dimension::InputTokensPerMinute, "input-tokens-per-minute", &flags.input_tokens_per_minute),
            (Dimension::OutputTokensPerMinute, "output-tokens-per-minute", &flags.output_tokens_per_minute),
            (Dimension::TokensPerMinute, "tokens-per-minute", &flags.tokens_per_minute),
            (Dimension::Concurrency, "concurrency", &flags.concurrency),
        ];
        given
            .into_iter()
            .filter_map(|(dimension, flag, text)| Some((dimension, self.amount(flag, text)?)))
            .collect()
    }
}

/// The address of a provider's API, without the version. Words in capitals are placeholders for parts that
/// differ between customers.
pub(crate) const fn address(provider: Provider) -> &'static str {
    match provider {
        Provider::Anthropic => "https://api.anthropic.com",
        Provider::OpenAi => "https://api.openai.com",
        Provider::AzureOpenAi => "https://NAME.openai.azure.com/openai",
        Provider::Groq => "https://api.groq.com/openai",
        Provider::Mistral => "https://api.mistral.ai",
        Provider::Gemini => "https://generativelanguage.googleapis.com/v1beta/openai",
        Provider::Vertex => {
            "https://aiplatform.googleapis.com/v1/projects/PROJECT/locations/LOCATION/endpoints/openapi"
        }
        Provider::Bedrock => "https://bedrock-runtime.REGION.amazonaws.com/openai",
        Provider::OpenRouter => "https://openrouter.ai/api",
        Provider::Together => "https://api.together.xyz",
        Provider::Fireworks => "https://api.fireworks.ai/inference",
        Provider::DeepSeek => "https://api.deepseek.com",
        Provider::Moonshot => "https://api.moonshot.ai",
        Provider::Xai => "https://api.x.ai",
        Provider::Cohere => "https://api.cohere.ai/compatibility",
        Provider::Cerebras => "https://api.cerebras.ai",
        Provider::Gateway => "http://litellm.NAMESPACE.svc:4000",
    }
}

/// Whether all customers of a provider have the same address.
const fn has_home(provider: Provider) -> bool {
    match provider {
        Provider::AzureOpenAi | Provider::Vertex | Provider::Bedrock | Provider::Gateway => false,
        Provider::Anthropic
        | Provider::OpenAi
        | Provider::Groq
        | Provider::Mistral
        | Provider::Gemini
        | Provider::OpenRouter
        | Provider::Together
        | Provider::Fireworks
        | Provider::DeepSeek
        | Provider::Moonshot
        | Provider::Xai
        | Provider::Cohere
        | Provider::Cerebras => true,
    }
}
