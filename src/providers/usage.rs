//! The tokens that an answer says it used.

use serde_json::{Map, Value};

use super::Provider;
use crate::engine::minutes::Used;

/// The object `usage` of an answer; of a stream, what its events say together.
pub(super) struct Reported(Map<String, Value>);

impl Reported {
    /// Reads an answer in JSON, or the events of a stream; `None` if nothing speaks of usage.
    pub(super) fn read(body: &str) -> Option<Self> {
        let mut reported = Map::new();
        if let Ok(answer) = serde_json::from_str::<Value>(body) {
            reported.extend(of(&answer));
        } else {
            let events = body.lines().filter_map(|line| line.strip_prefix("data:"));
            for event in events.filter_map(|data| serde_json::from_str::<Value>(data.trim()).ok()) {
                // Later events count from the beginning, so that the last word is the whole.
                reported.extend(of(&event));
            }
        }
        (!reported.is_empty()).then_some(Self(reported))
    }

    /// The use that counts against the limit; `None` unless both kinds of tokens are named.
    pub(super) fn used(&self, provider: Provider) -> Option<Used> {
        let any = |names: &[&str]| names.iter().find_map(|name| self.tokens(name));
        let input = any(&["prompt_tokens", "input_tokens", "inputTokens", "promptTokenCount"])?;
        let output = any(&["completion_tokens", "output_tokens", "outputTokens", "candidatesTokenCount"])?;
        // Gemini counts tokens of thought apart from those of the answer.
        let thought = self.tokens("thoughtsTokenCount").unwrap_or(0);
        // At other providers tokens from the cache cost less, but count in full against the limit.
        let input_tokens = if provider == Provider::Anthropic {
            // Tokens read from the cache do not count against the limit; tokens written to it do.
            input.saturating_add(self.tokens("cache_creation_input_tokens").unwrap_or(0))
        } else if provider == Provider::Groq {
            input.saturating_sub(self.detail("prompt_tokens_details", "cached_tokens").unwrap_or(0))
        } else {
            input
        };
        Some(Used { requests: 1, input_tokens, output_tokens: output.saturating_add(thought) })
    }

    /// A number of tokens; `None` if it is absent or nonsense.
    fn tokens(&self, name: &str) -> Option<u64> {
        self.0.get(name)?.as_u64()
    }

    /// A number of tokens of one of the objects that detail another.
    fn detail(&self, object: &str, name: &str) -> Option<u64> {
        self.0.get(object)?.get(name)?.as_u64()
    }
}

/// `usage` of an answer or an event: at its top, in the message that a stream of Anthropic's begins with, in
/// the response that one of OpenAI's newer API ends with, or in Groq's own part. Gemini's own API calls it
/// `usageMetadata`.
fn of(value: &Value) -> impl Iterator<Item = (String, Value)> {
    let nested =
        ["message", "response", "x_groq"].into_iter().filter_map(|name| value.get(name)?.get("usage"));
    let found = nested
        .chain(value.get("usage"))
        .chain(value.get("usageMetadata"))
        .filter_map(Value::as_object)
        .flatten();
    found.filter(|(_, tokens)| !tokens.is_null()).map(|(name, tokens)| (name.clone(), tokens.clone()))
}

#[cfg(test)]
mod tests {
    use crate::engine::minutes::Used;
    use crate::providers::Provider;

    #[test]
    fn usage_is_what_counts_against_the_limit() {
        let anthropic = r#"{"usage":{"input_tokens":20,"cache_creation_input_tokens":300,
            "cache_read_input_tokens":4000,"output_tokens":50}}"#;
        let openai = r#"{"usage":{"prompt_tokens":125,"completion_tokens":48,"total_tokens":173,
            "prompt_tokens_details":{"cached_tokens":98}}}"#;
        for (provider, body, input_tokens, output_tokens) in [
            (Provider::Anthropic, anthropic, 320, 50),
            (Provider::OpenAi, openai, 125, 48),
            (Provider::AzureOpenAi, openai, 125, 48),
            (Provider::Mistral, openai, 125, 48),
            (Provider::Groq, openai, 27, 48),
        ] {
            let expected = Used { requests: 1, input_tokens, output_tokens };
            assert_eq!(provider.usage(body), Some(expected), "{provider}");
        }
        for silent in
            ["", "{}", "[]", "null", "not JSON", r#"{"usage":null}"#, r#"{"usage":{"prompt_tokens":5}}"#]
        {
            for provider in Provider::ALL {
                assert_eq!(provider.usage(silent), None, "{provider} {silent}");
            }
        }
        let failed = r#"{"error":{"code":429},"usage":{"prompt_tokens":5,"completion_tokens":0}}"#;
        assert_eq!(Provider::OpenRouter.usage(failed), None);
        let negative = r#"{"usage":{"prompt_tokens":-5,"completion_tokens":1}}"#;
        assert_eq!(Provider::OpenAi.usage(negative), None);
    }

    #[test]
    fn usage_of_a_stream_is_its_last_word() {
        let anthropic = "event: message_start\n\
            data: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":25,\"output_tokens\":1}}}\n\n\
            event: ping\ndata: {\"type\": \"ping\"}\n\n\
            event: message_delta\ndata: {\"type\":\"message_delta\",\"usage\":{\"output_tokens\":15}}\n\n";
        let expected = Used { requests: 1, input_tokens: 25, output_tokens: 15 };
        assert_eq!(Provider::Anthropic.usage(anthropic), Some(expected));
        let openai = "data: {\"choices\":[{\"delta\":{\"content\":\"Hi\"}}],\"usage\":null}\n\n\
            data: {\"choices\":[],\"usage\":{\"prompt_tokens\":25,\"completion_tokens\":15}}\n\ndata: [DONE]\n\n";
        assert_eq!(Provider::OpenAi.usage(openai), Some(expected));
        let groq = "data: {\"x_groq\":{\"usage\":{\"prompt_tokens\":25,\"completion_tokens\":15}}}\n\ndata: [DONE]\n";
        assert_eq!(Provider::Groq.usage(groq), Some(expected));
        assert_eq!(Provider::OpenAi.usage("data: {\"choices\":[]}\n\ndata: [DONE]\n\n"), None);
    }
}
