//! A conversation in the words of the two API families: OpenAI's chat completions and Anthropic's messages.

use agent_scaler::providers::Provider;
use serde_json::{Value, json};

use crate::conversation::{Call, Conversation, Turn};
use crate::tools::TOOLS;

/// The request format of a provider's API.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Api {
    /// Anthropic's messages.
    Messages,
    /// OpenAI's chat completions; `most` is the name of the bound on an answer's tokens.
    ChatCompletions { most: &'static str },
}

/// The name that OpenAI gives the bound on an answer's tokens, reasoning included.
const MOST: &str = "max_completion_tokens";

/// Its older name: some providers know no other.
const OLDER_MOST: &str = "max_tokens";

impl Api {
    /// The format of a provider.
    pub(crate) const fn of(provider: Provider) -> Self {
        match provider {
            Provider::Anthropic => Self::Messages,
            Provider::OpenAi
            | Provider::AzureOpenAi
            | Provider::Groq
            | Provider::Gemini
            | Provider::Vertex
            | Provider::Bedrock
            | Provider::Moonshot
            | Provider::Xai
            | Provider::Cerebras
            | Provider::Gateway => Self::ChatCompletions { most: MOST },
            Provider::Mistral
            | Provider::OpenRouter
            | Provider::Together
            | Provider::Fireworks
            | Provider::DeepSeek
            | Provider::Cohere => Self::ChatCompletions { most: OLDER_MOST },
        }
    }
}

/// The header that carries the API key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyHeader {
    /// This header, with the key unchanged.
    Named(&'static str),
    /// `authorization`, with the key after `Bearer`.
    Bearer,
}

impl KeyHeader {
    /// The header that a provider reads.
    pub(crate) const fn of(provider: Provider) -> Self {
        match provider {
            Provider::Anthropic => Self::Named("x-api-key"),
            Provider::AzureOpenAi => Self::Named("api-key"),
            Provider::OpenAi
            | Provider::Groq
            | Provider::Mistral
            | Provider::Gemini
            | Provider::Vertex
            | Provider::Bedrock
            | Provider::OpenRouter
            | Provider::Together
            | Provider::Fireworks
            | Provider::DeepSeek
            | Provider::Moonshot
            | Provider::Xai
            | Provider::Cohere
            | Provider::Cerebras
            | Provider::Gateway => Self::Bearer,
        }
    }
}

/// The path of the API, below its address.
pub(crate) const fn path(provider: Provider) -> &'static str {
    match provider {
        Provider::Anthropic => "/v1/messages",
        // In Google's addresses the version is part of the base address.
        Provider::Gemini | Provider::Vertex => "/chat/completions",
        Provider::OpenAi
        | Provider::AzureOpenAi
        | Provider::Groq
        | Provider::Mistral
        | Provider::Bedrock
        | Provider::OpenRouter
        | Provider::Together
        | Provider::Fireworks
        | Provider::DeepSeek
        | Provider::Moonshot
        | Provider::Xai
        | Provider::Cohere
        | Provider::Cerebras
        | Provider::Gateway => "/v1/chat/completions",
    }
}

/// The body of a request.
pub(crate) fn request(
    provider: Provider,
    model: &str,
    answer_tokens: u64,
    with_tools: bool,
    conversation: &Conversation,
) -> Value {
    match Api::of(provider) {
        Api::Messages => {
            let mut body = json!({
                "model": model,
                "max_tokens": answer_tokens,
                "messages": anthropic_messages(&conversation.turns),
            });
            if with_tools {
                body["tools"] = TOOLS
                    .iter()
                    .map(|tool| {
                        json!({"name": tool.name, "description": tool.description, "input_schema": (tool.parameters)()})
                    })
                    .collect();
            }
            body
        }
        Api::ChatCompletions { most } => {
            let mut body = json!({
                "model": model,
                most: answer_tokens,
                "messages": conversation.turns.iter().map(openai_message).collect::<Vec<_>>(),
            });
            if with_tools {
                body["tools"] = TOOLS
                    .iter()
                    .map(|tool| {
                        let function =
                            json!({"name": tool.name, "description": tool.description, "parameters": (tool.parameters)()});
                        json!({"type": "function", "function": function})
                    })
                    .collect();
            }
            body
        }
    }
}

fn openai_message(turn: &Turn) -> Value {
    match turn {
        Turn::User { text } => json!({"role": "user", "content": text}),
        Turn::Tool { call, text } => json!({"role": "tool", "tool_call_id": call, "content": text}),
        Turn::Model { text, calls } if calls.is_empty() => json!({"role": "assistant", "content": text}),
        Turn::Model { text, calls } => {
            let calls: Vec<Value> = calls
                .iter()
                .map(|call| {
                    let function = json!({"name": call.tool, "arguments": call.arguments.to_string()});
                    json!({"id": call.id, "type": "function", "function": function})
                })
                .collect();
            json!({"role": "assistant", "content": text, "tool_calls": calls})
        }
    }
}

/// Anthropic wants all results of one answer's calls in one message of the user.
fn anthropic_messages(turns: &[Turn]) -> Vec<Value> {
    let mut messages: Vec<Value> = Vec::new();
    let mut results: Vec<Value> = Vec::new();
    for turn in turns {
        if let Turn::Tool { call, text } = turn {
            results.push(json!({"type": "tool_result", "tool_use_id": call, "content": text}));
            continue;
        }
        if !results.is_empty() {
            messages.push(json!({"role": "user", "content": std::mem::take(&mut results)}));
        }
        if let Turn::User { text } = turn {
            messages.push(json!({"role": "user", "content": text}));
        }
        if let Turn::Model { text, calls } = turn {
            let said = (!text.is_empty()).then(|| json!({"type": "text", "text": text}));
            let calls = calls.iter().map(
                |call| json!({"type": "tool_use", "id": call.id, "name": call.tool, "input": call.arguments}),
            );
            messages.push(
                json!({"role": "assistant", "content": said.into_iter().chain(calls).collect::<Vec<_>>()}),
            );
        }
    }
    if !results.is_empty() {
        messages.push(json!({"role": "user", "content": results}));
    }
    messages
}

/// What the model answered.
#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) calls: Vec<Call>,
    /// Whether it ends where the longest answer ends that was allowed.
    pub(crate) is_cut: bool,
}

/// An answer; `None` if it is none in the provider's words.
pub(crate) fn answer(provider: Provider, body: &str) -> Option<Answer> {
    let body: Value = serde_json::from_str(body).ok()?;
    match Api::of(provider) {
        Api::Messages => {
            let (mut text, mut calls) = (String::new(), Vec::new());
            for block in body.get("content")?.as_array()? {
                match block.get("type")?.as_str()? {
                    "text" => text.push_str(block.get("text")?.as_str()?),
                    "tool_use" => calls.push(Call {
                        id: block.get("id")?.as_str()?.to_owned(),
                        tool: block.get("name")?.as_str()?.to_owned(),
                        arguments: block.get("input")?.clone(),
                    }),
                    _ => {}
                }
            }
            let is_cut = body.get("stop_reason").is_some_and(|reason| reason == "max_tokens");
            Some(Answer { text, calls, is_cut })
        }
        Api::ChatCompletions { .. } => {
            let choice = body.get("choices")?.get(0)?;
            // Text that was generated before the provider behind a gateway failed is not an answer.
            if choice.get("finish_reason").is_some_and(|reason| reason == "error") {
                return None;
            }
            let message = choice.get("message")?;
            let text = message.get("content").and_then(Value::as_str).unwrap_or_default().to_owned();
            let calls = message.get("tool_calls").and_then(Value::as_array);
            let calls = calls.into_iter().flatten().map(openai_call).collect::<Option<_>>()?;
            let is_cut = choice.get("finish_reason").is_some_and(|reason| reason == "length");
            Some(Answer { text, calls, is_cut })
        }
    }
}

/// The status of an error that came within a success, if it names one: gateways answer 200 before they know how the
/// provider behind them answers.
pub(crate) fn status_within(body: &str) -> Option<u16> {
    let body: Value = serde_json::from_str(body).ok()?;
    let error = body.get("error").or_else(|| body.get("choices")?.get(0)?.get("error"))?;
    let code = error.get("code").or_else(|| error.get("status"))?;
    let code = code.as_u64().or_else(|| code.as_str()?.parse().ok())?;
    u16::try_from(code).ok().filter(|code| (400..600).contains(code))
}

fn openai_call(call: &Value) -> Option<Call> {
    let function = call.get("function")?;
    let arguments = function.get("arguments")?;
    // A model may write arguments that are no JSON; the tool then says so, and the model can try again.
    let text = arguments.as_str().and_then(|text| serde_json::from_str(text).ok());
    let arguments = text.unwrap_or_else(|| arguments.clone());
    Some(Call {
        id: call.get("id")?.as_str()?.to_owned(),
        tool: function.get("name")?.as_str()?.to_owned(),
        arguments,
    })
}

#[cfg(test)]
mod tests {
    use agent_scaler::engine::minutes::Used;

    use super::*;

    fn conversation() -> Conversation {
        let call =
            |id: &str| Call { id: id.to_owned(), tool: "lookup".to_owned(), arguments: json!({"query": id}) };
        let mut conversation = Conversation::new("why?");
        conversation.model_said("wait".to_owned(), vec![call("a"), call("b")], Used::default());
        conversation.tool_said("a".to_owned(), "one".to_owned());
        conversation.tool_said("b".to_owned(), "two".to_owned());
        conversation
    }

    #[test]
    fn each_provider_has_its_path_and_its_name_for_the_bound_on_tokens() {
        let asked = |provider: Provider| {
            let body = request(provider, "m", 7, false, &conversation());
            let most = [MOST, OLDER_MOST].into_iter().find(|most| body[most] == 7).unwrap();
            format!("{provider} {}{} {most}", crate::check::address(provider), path(provider))
        };
        let expected = "\
anthropic https://api.anthropic.com/v1/messages max_tokens
openai https://api.openai.com/v1/chat/completions max_completion_tokens
azure-openai https://NAME.openai.azure.com/openai/v1/chat/completions max_completion_tokens
groq https://api.groq.com/openai/v1/chat/completions max_completion_tokens
mistral https://api.mistral.ai/v1/chat/completions max_tokens
gemini https://generativelanguage.googleapis.com/v1beta/openai/chat/completions max_completion_tokens
vertex https://aiplatform.googleapis.com/v1/projects/PROJECT/locations/LOCATION/endpoints/openapi/chat/completions max_completion_tokens
bedrock https://bedrock-runtime.REGION.amazonaws.com/openai/v1/chat/completions max_completion_tokens
openrouter https://openrouter.ai/api/v1/chat/completions max_tokens
together https://api.together.xyz/v1/chat/completions max_tokens
fireworks https://api.fireworks.ai/inference/v1/chat/completions max_tokens
deepseek https://api.deepseek.com/v1/chat/completions max_tokens
moonshot https://api.moonshot.ai/v1/chat/completions max_completion_tokens
xai https://api.x.ai/v1/chat/completions max_completion_tokens
cohere https://api.cohere.ai/compatibility/v1/chat/completions max_tokens
cerebras https://api.cerebras.ai/v1/chat/completions max_completion_tokens
gateway http://litellm.NAMESPACE.svc:4000/v1/chat/completions max_completion_tokens";
        assert_eq!(Provider::ALL.map(asked).join("\n"), expected);
    }

    #[test]
    fn an_error_within_a_success_may_name_its_status() {
        for (body, status) in [
            (r#"{"error": {"code": 502, "message": "no"}}"#, Some(502)),
            (r#"{"error": {"code": "429"}}"#, Some(429)),
            (r#"{"choices": [{"error": {"code": 400}}]}"#, Some(400)),
            (r#"{"error": {"code": "overloaded"}}"#, None),
            (r#"{"error": {"code": 200}}"#, None),
            (r#"{"error": "no"}"#, None),
            ("no", None),
        ] {
            assert_eq!(status_within(body), status, "{body}");
        }
        let cut = r#"{"choices": [{"message": {"content": "half a"}, "finish_reason": "error"}]}"#;
        assert_eq!(answer(Provider::OpenRouter, cut), None);
    }

    #[test]
    fn openai_gets_a_message_for_each_turn() {
        let body = request(Provider::OpenAi, "m", 7, false, &conversation());
        let call = |id: &str| {
            json!({"id": id, "type": "function",
                "function": {"name": "lookup", "arguments": format!(r#"{{"query":"{id}"}}"#)}})
        };
        let messages = json!([
            {"role": "user", "content": "why?"},
            {"role": "assistant", "content": "wait", "tool_calls": [call("a"), call("b")]},
            {"role": "tool", "tool_call_id": "a", "content": "one"},
            {"role": "tool", "tool_call_id": "b", "content": "two"},
        ]);
        assert_eq!(body, json!({"model": "m", "max_completion_tokens": 7, "messages": messages}));
    }

    #[test]
    fn anthropic_gets_all_results_in_one_message() {
        let body = request(Provider::Anthropic, "m", 7, false, &conversation());
        let call = |id: &str| json!({"type": "tool_use", "id": id, "name": "lookup", "input": {"query": id}});
        let messages = json!([
            {"role": "user", "content": "why?"},
            {"role": "assistant", "content": [{"type": "text", "text": "wait"}, call("a"), call("b")]},
            {"role": "user", "content": [
                {"type": "tool_result", "tool_use_id": "a", "content": "one"},
                {"type": "tool_result", "tool_use_id": "b", "content": "two"},
            ]},
        ]);
        assert_eq!(body, json!({"model": "m", "max_tokens": 7, "messages": messages}));
    }

    #[test]
    fn answers_of_both_families_are_read() {
        let call = Call { id: "a".to_owned(), tool: "lookup".to_owned(), arguments: json!({"query": "x"}) };
        let wanted = Some(Answer { text: "so".to_owned(), calls: vec![call], is_cut: false });
        let openai = r#"{"choices":[{"message":{"content":"so","tool_calls":[{"id":"a","type":"function",
            "function":{"name":"lookup","arguments":"{\"query\":\"x\"}"}}]}}]}"#;
        assert_eq!(answer(Provider::OpenAi, openai), wanted);
        let anthropic = r#"{"content":[{"type":"thinking","thinking":"hm"},{"type":"text","text":"so"},
            {"type":"tool_use","id":"a","name":"lookup","input":{"query":"x"}}]}"#;
        assert_eq!(answer(Provider::Anthropic, anthropic), wanted);
        let cut = Some(Answer { text: "so".to_owned(), calls: Vec::new(), is_cut: true });
        let openai = r#"{"choices":[{"message":{"content":"so"},"finish_reason":"length"}]}"#;
        assert_eq!(answer(Provider::OpenAi, openai), cut);
        let anthropic = r#"{"content":[{"type":"text","text":"so"}],"stop_reason":"max_tokens"}"#;
        assert_eq!(answer(Provider::Anthropic, anthropic), cut);
        for nonsense in ["", "{}", r#"{"choices":[]}"#, r#"{"content":[{"type":"text"}]}"#] {
            assert_eq!(answer(Provider::OpenAi, nonsense), None, "{nonsense}");
            assert_eq!(answer(Provider::Anthropic, nonsense), None, "{nonsense}");
        }
    }
}
