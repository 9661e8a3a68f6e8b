//! A conversation with a model, in no provider's words: what is kept in a checkpoint and sent with every request.

use agent_scaler::engine::minutes::Used;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Version of what is written; a checkpoint of another is not used.
const VERSION: u32 = 1;

/// Stands in place of a tool result that was left out.
const LEFT_OUT: &str = "[left out: the conversation became too long]";

/// How far a task has got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Conversation {
    version: u32,
    pub(crate) turns: Vec<Turn>,
    /// Answers of the model.
    pub(crate) steps: u32,
    /// Tokens that were sent and generated for this task.
    pub(crate) input_tokens: u64,
    pub(crate) output_tokens: u64,
    /// Input tokens that the last request counted for; what came after it is estimated.
    pub(crate) last_input_tokens: Option<u64>,
    /// Milliseconds in which a worker ran it, and those of them that a rate limit cost.
    pub(crate) ran_ms: u64,
    pub(crate) throttled_ms: u64,
}

/// One turn.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "lowercase")]
pub(crate) enum Turn {
    /// What the user wants.
    User { text: String },
    /// What the model said, and what it wants to be called.
    Model { text: String, calls: Vec<Call> },
    /// What a tool answered.
    Tool { call: String, text: String },
}

/// A call of a tool that the model asks for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Call {
    pub(crate) id: String,
    pub(crate) tool: String,
    pub(crate) arguments: Value,
}

/// What comes next in a conversation.
#[derive(Debug, PartialEq)]
pub(crate) enum Next<'a> {
    /// The model is to be asked.
    Ask,
    /// A tool is to be called.
    Call(&'a Call),
    /// There is a result.
    Done(&'a str),
}

impl Conversation {
    /// The beginning of one.
    pub(crate) fn new(prompt: &str) -> Self {
        Self {
            version: VERSION,
            turns: vec![Turn::User { text: prompt.to_owned() }],
            steps: 0,
            input_tokens: 0,
            output_tokens: 0,
            last_input_tokens: None,
            ran_ms: 0,
            throttled_ms: 0,
        }
    }

    /// One that another worker began; `None` if it is not one that we understand.
    pub(crate) fn restore(checkpoint: &str) -> Option<Self> {
        serde_json::from_str(checkpoint)
            .ok()
            .filter(|conversation: &Self| conversation.version == VERSION && !conversation.turns.is_empty())
    }

    /// What another worker needs to go on.
    pub(crate) fn checkpoint(&self) -> String {
        // Texts, numbers and JSON under fixed names: nothing of it can be refused.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What comes next. Calls of the last answer that have no result yet are made first, so a worker that resumes
    /// calls again only what was under way.
    pub(crate) fn next(&self) -> Next<'_> {
        let answered = self.turns.iter().rev().take_while(|turn| matches!(turn, Turn::Tool { .. })).count();
        let last = self.turns.len().checked_sub(answered + 1).and_then(|index| self.turns.get(index));
        match last {
            Some(Turn::Model { text, calls }) if calls.is_empty() && answered == 0 => Next::Done(text),
            Some(Turn::Model { calls, .. }) => calls.get(answered).map_or(Next::Ask, Next::Call),
            Some(Turn::User { .. } | Turn::Tool { .. }) | None => Next::Ask,
        }
    }

    /// The model said this.
    pub(crate) fn model_said(&mut self, text: String, calls: Vec<Call>, used: Used) {
        self.turns.push(Turn::Model { text, calls });
        self.steps += 1;
        self.input_tokens = self.input_tokens.saturating_add(used.input_tokens);
        self.output_tokens = self.output_tokens.saturating_add(used.output_tokens);
        self.last_input_tokens = Some(used.input_tokens);
    }

    /// A tool answered this.
    pub(crate) fn tool_said(&mut self, call: String, text: String) {
        self.turns.push(Turn::Tool { call, text });
    }

    /// Tokens of the next request: what the last one counted for and what was added, at four characters a token.
    pub(crate) fn estimate(&self) -> u64 {
        let since = self
            .last_input_tokens
            .and_then(|_| self.turns.iter().rposition(|turn| matches!(turn, Turn::Model { .. })));
        let added = self.turns.get(since.unwrap_or(0)..).unwrap_or_default();
        let characters: usize = added.iter().map(Turn::bytes).sum();
        self.last_input_tokens.unwrap_or(0) + u64::try_from(characters / 4).unwrap_or(0) + 1
    }

    /// Leaves tool results out, from the oldest on, until the texts fit into `most` bytes; `false` if they do not
    /// fit even so. The turns stay, because a provider refuses a call without a result.
    pub(crate) fn fit(&mut self, most: usize) -> bool {
        let mut bytes: usize = self.turns.iter().map(Turn::bytes).sum();
        for turn in &mut self.turns {
            if bytes <= most {
                break;
            }
            if let Turn::Tool { text, .. } = turn
                && text.len() > LEFT_OUT.len()
            {
                bytes -= text.len() - LEFT_OUT.len();
                LEFT_OUT.clone_into(text);
            }
        }
        bytes <= most
    }
}

impl Turn {
    fn bytes(&self) -> usize {
        match self {
            Self::User { text } => text.len(),
            Self::Tool { call, text } => call.len() + text.len(),
            Self::Model { text, calls } => {
                let calls = calls.iter().map(|call| call.id.len() + call.tool.len() + size(&call.arguments));
                text.len() + calls.sum::<usize>()
            }
        }
    }
}

/// Bytes of the texts in a JSON value.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(size).sum(),
        Value::Object(values) => values.iter().map(|(key, value)| key.len() + size(value)).sum(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(id: &str) -> Call {
        Call { id: id.to_owned(), tool: "lookup".to_owned(), arguments: serde_json::json!({"query": "x"}) }
    }

    fn used(input: u64) -> Used {
        Used { requests: 1, input_tokens: input, output_tokens: 10 }
    }

    #[test]
    fn a_conversation_goes_on_where_its_checkpoint_ends() {
        let mut conversation = Conversation::new("why?");
        assert_eq!(conversation.next(), Next::Ask);
        conversation.model_said(String::new(), vec![call("a"), call("b")], used(100));
        conversation.tool_said("a".to_owned(), "one".to_owned());
        let mut restored = Conversation::restore(&conversation.checkpoint()).unwrap();
        assert_eq!(restored, conversation);
        assert_eq!(restored.next(), Next::Call(&call("b")));
        restored.tool_said("b".to_owned(), "two".to_owned());
        assert_eq!(restored.next(), Next::Ask);
        restored.model_said("because".to_owned(), Vec::new(), used(200));
        assert_eq!(restored.next(), Next::Done("because"));
        assert_eq!((restored.steps, restored.input_tokens, restored.output_tokens), (2, 300, 20));
    }

    #[test]
    fn a_checkpoint_that_is_none_is_refused() {
        let other = Conversation { version: 2, ..Conversation::new("why?") }.checkpoint();
        for text in ["", "{}", "[1]", other.as_str()] {
            assert_eq!(Conversation::restore(text), None, "{text}");
        }
    }

    #[test]
    fn the_oldest_tool_results_make_room() {
        let mut conversation = Conversation::new("why?");
        for id in ["a", "b"] {
            conversation.model_said(String::new(), vec![call(id)], used(100));
            conversation.tool_said(id.to_owned(), "x".repeat(1_000));
        }
        assert!(conversation.fit(1_500));
        let texts = conversation.turns.iter().filter_map(|turn| match turn {
            Turn::Tool { text, .. } => Some(text.len()),
            Turn::User { .. } | Turn::Model { .. } => None,
        });
        assert_eq!(texts.collect::<Vec<_>>(), [LEFT_OUT.len(), 1_000]);
        assert!(!conversation.fit(10));
        assert_eq!(conversation.turns.len(), 5, "no turn is missing");
    }

    #[test]
    fn the_next_request_is_estimated_from_the_last() {
        let mut conversation = Conversation::new(&"x".repeat(400));
        assert_eq!(conversation.estimate(), 101);
        conversation.model_said(String::new(), vec![call("a")], used(5_000));
        conversation.tool_said("a".to_owned(), "x".repeat(4_000));
        assert!((6_000..6_020).contains(&conversation.estimate()));
    }
}
