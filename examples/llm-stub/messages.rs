//! Anthropic's `POST /v1/messages`.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::endpoint::{self, Api, Asked};
use crate::script::{Answer, Conversation, Turn};
use crate::settings::Style;

/// A call of this API.
pub(crate) struct Messages {
    model: String,
}

impl Api for Messages {
    const STYLE: Style = Style::Anthropic;

    fn read(headers: &HeaderMap, body: &Value) -> Result<Asked<Self>, String> {
        let (messages, model) = endpoint::messages(body)?;
        if !headers.contains_key("anthropic-version") {
            return Err("anthropic-version: header is required".to_owned());
        }
        let max_tokens = body["max_tokens"].as_u64().ok_or("max_tokens: Field required")?;
        let first = messages.iter().find(|message| message["role"] == "user");
        let parts = messages.iter().filter_map(|message| message["content"].as_array()).flatten();
        let tool_results = parts.filter(|part| part["type"] == "tool_result").count();
        Ok(Asked {
            conversation: Conversation {
                first: first.map(|message| endpoint::text(&message["content"])).unwrap_or_default(),
                tool_results: u64::try_from(tool_results).unwrap_or(u64::MAX),
                characters: endpoint::characters(&body["messages"]) + endpoint::characters(&body["system"]),
                tools: body["tools"].as_array().is_some_and(|tools| !tools.is_empty()),
                max_tokens: Some(max_tokens),
            },
            user: body["metadata"]["user_id"].as_str().map(str::to_owned),
            stream: body["stream"] == true,
            api: Self { model: model.clone() },
            model,
        })
    }

    fn whole(&self, number: u64, turn: &Turn) -> Value {
        let mut message = self.message(number, turn);
        message["content"] = json!([block(number, turn)]);
        message["stop_reason"] = json!(reason(turn));
        message["usage"]["output_tokens"] = json!(turn.need.output_tokens);
        message
    }

    fn events(&self, number: u64, turn: &Turn) -> [Vec<String>; 3] {
        let mut start = block(number, turn);
        let deltas: Vec<_> = match &turn.answer {
            Answer::Text(text) => {
                start["text"] = json!("");
                let texts = endpoint::pieces(text).into_iter();
                texts.map(|piece| json!({"type": "text_delta", "text": piece})).collect()
            }
            Answer::Lookup { .. } => {
                let input = start["input"].take().to_string();
                start["input"] = json!({});
                vec![json!({"type": "input_json_delta", "partial_json": input})]
            }
        };
        let before = vec![
            event("message_start", json!({"message": self.message(number, turn)})),
            event("content_block_start", json!({"index": 0, "content_block": start})),
            event("ping", json!({})),
        ];
        let pieces = deltas.into_iter();
        let pieces = pieces.map(|delta| event("content_block_delta", json!({"index": 0, "delta": delta})));
        let after = vec![
            event("content_block_stop", json!({"index": 0})),
            event(
                "message_delta",
                json!({
                    "delta": {"stop_reason": reason(turn), "stop_sequence": null},
                    "usage": {"output_tokens": turn.need.output_tokens},
                }),
            ),
            event("message_stop", json!({})),
        ];
        [before, pieces.collect(), after]
    }
}

impl Messages {
    /// A message that has just begun.
    fn message(&self, number: u64, turn: &Turn) -> Value {
        json!({
            "id": format!("msg_{number}"),
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": {
                "input_tokens": turn.need.input_tokens,
                "cache_creation_input_tokens": 0,
                "cache_read_input_tokens": 0,
                "output_tokens": 1,
            },
        })
    }
}

fn event(name: &str, mut data: Value) -> String {
    data["type"] = json!(name);
    format!("event: {name}\ndata: {data}\n\n")
}

fn block(number: u64, turn: &Turn) -> Value {
    match &turn.answer {
        Answer::Text(text) => json!({"type": "text", "text": text}),
        Answer::Lookup { query, seconds } => json!({
            "type": "tool_use",
            "id": format!("toolu_{number}"),
            "name": "lookup",
            "input": {"query": query, "seconds": seconds},
        }),
    }
}

const fn reason(turn: &Turn) -> &'static str {
    match turn.answer {
        Answer::Text(_) if turn.cut => "max_tokens",
        Answer::Text(_) => "end_turn",
        Answer::Lookup { .. } => "tool_use",
    }
}
