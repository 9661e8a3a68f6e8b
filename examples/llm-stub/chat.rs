//! OpenAI's `POST /v1/chat/completions`.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::endpoint::{self, Api, Asked};
use crate::script::{Answer, Conversation, Turn};
use crate::settings::Style;

/// A call of this API.
pub(crate) struct Chat {
    model: String,
    /// Whether a stream ends with an event that tells its usage.
    usage: bool,
}

impl Api for Chat {
    const STYLE: Style = Style::OpenAi;

    fn read(_: &HeaderMap, body: &Value) -> Result<Asked<Self>, String> {
        let (messages, model) = endpoint::messages(body)?;
        let role = |message: &&Value, wanted: &str| message["role"].as_str() == Some(wanted);
        let first = messages.iter().find(|message| role(message, "user"));
        let tool_results = messages.iter().filter(|message| role(message, "tool")).count();
        let max_tokens = ["max_completion_tokens", "max_tokens"].iter().find_map(|name| body[*name].as_u64());
        Ok(Asked {
            conversation: Conversation {
                first: first.map(|message| endpoint::text(&message["content"])).unwrap_or_default(),
                tool_results: u64::try_from(tool_results).unwrap_or(u64::MAX),
                characters: endpoint::characters(&body["messages"]),
                tools: body["tools"].as_array().is_some_and(|tools| !tools.is_empty()),
                max_tokens,
            },
            user: body["user"].as_str().map(str::to_owned),
            stream: body["stream"] == true,
            api: Self { model: model.clone(), usage: body["stream_options"]["include_usage"] == true },
            model,
        })
    }

    fn whole(&self, number: u64, turn: &Turn) -> Value {
        let message = match &turn.answer {
            Answer::Text(text) => json!({"role": "assistant", "content": text, "refusal": null}),
            Answer::Lookup { .. } => {
                json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [call(number, turn)]})
            }
        };
        json!({
            "id": format!("chatcmpl-{number}"),
            "object": "chat.completion",
            "created": 0,
            "model": self.model,
            "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": reason(turn)}],
            "usage": usage(turn),
        })
    }

    fn events(&self, number: u64, turn: &Turn) -> [Vec<String>; 3] {
        let first = self.chunk(number, &json!({"role": "assistant", "content": ""}), None);
        let pieces = match &turn.answer {
            Answer::Text(text) => {
                let texts = endpoint::pieces(text).into_iter();
                texts.map(|piece| self.chunk(number, &json!({"content": piece}), None)).collect()
            }
            Answer::Lookup { .. } => {
                let mut call = call(number, turn);
                let arguments = call["function"]["arguments"].take();
                call["index"] = json!(0);
                call["function"]["arguments"] = json!("");
                let rest = json!([{"index": 0, "function": {"arguments": arguments}}]);
                vec![
                    self.chunk(number, &json!({"tool_calls": [call]}), None),
                    self.chunk(number, &json!({"tool_calls": rest}), None),
                ]
            }
        };
        let mut after = vec![self.chunk(number, &json!({}), Some(reason(turn)))];
        if self.usage {
            let mut last = self.envelope(number);
            last["choices"] = json!([]);
            last["usage"] = usage(turn);
            after.push(event(&last));
        }
        after.push("data: [DONE]\n\n".to_owned());
        [vec![first], pieces, after]
    }
}

impl Chat {
    fn chunk(&self, number: u64, delta: &Value, finish_reason: Option<&str>) -> String {
        let mut chunk = self.envelope(number);
        chunk["choices"] =
            json!([{"index": 0, "delta": delta, "logprobs": null, "finish_reason": finish_reason}]);
        if self.usage {
            chunk["usage"] = Value::Null;
        }
        event(&chunk)
    }

    fn envelope(&self, number: u64) -> Value {
        json!({
            "id": format!("chatcmpl-{number}"),
            "object": "chat.completion.chunk",
            "created": 0,
            "model": self.model,
        })
    }
}

fn event(value: &Value) -> String {
    format!("data: {value}\n\n")
}

fn call(number: u64, turn: &Turn) -> Value {
    let Answer::Lookup { query, seconds } = &turn.answer else { return Value::Null };
    let arguments = json!({"query": query, "seconds": seconds}).to_string();
    json!({
        "id": format!("call_{number}"),
        "type": "function",
        "function": {"name": "lookup", "arguments": arguments},
    })
}

const fn reason(turn: &Turn) -> &'static str {
    match turn.answer {
        Answer::Text(_) if turn.cut => "length",
        Answer::Text(_) => "stop",
        Answer::Lookup { .. } => "tool_calls",
    }
}

fn usage(turn: &Turn) -> Value {
    json!({
        "prompt_tokens": turn.need.input_tokens,
        "completion_tokens": turn.need.output_tokens,
        "total_tokens": turn.need.input_tokens + turn.need.output_tokens,
        "prompt_tokens_details": {"cached_tokens": 0},
    })
}
