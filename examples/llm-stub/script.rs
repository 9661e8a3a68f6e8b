//! What the stub answers: the script that a conversation's first message may give, and where it stands.

use std::time::Duration;

use crate::account::Need;

/// What is read of a conversation, whichever API it came through.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    /// The first message of the user.
    pub(crate) first: String,
    /// Results of tools so far.
    pub(crate) tool_results: u64,
    /// Characters of everything that was sent.
    pub(crate) characters: u64,
    /// Whether the client has tools.
    pub(crate) tools: bool,
    /// Most tokens that the client wants.
    pub(crate) max_tokens: Option<u64>,
}

/// `[steps=5 output=200 input=1000 think=0.5 tool=0.2]` in the first message of the user.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Directives {
    /// Calls in all; all but the last answer with a tool call.
    steps: u64,
    /// Tokens of each answer.
    output: u64,
    /// Tokens charged for each question, instead of a quarter of its characters.
    input: Option<u64>,
    /// Latency of each answer, instead of one by its length.
    think: Option<Duration>,
    /// Seconds that the tool is to take.
    tool: f64,
}

/// One answer.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Turn {
    pub(crate) answer: Answer,
    pub(crate) need: Need,
    /// Latency, where it does not follow from the length.
    pub(crate) think: Option<Duration>,
    /// Whether it ends because the client wanted no more.
    pub(crate) cut: bool,
}

/// What an answer consists of.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Answer {
    /// A final text.
    Text(String),
    /// A call of the tool `lookup`.
    Lookup { query: String, seconds: f64 },
}

impl Conversation {
    /// The next answer. A client without tools that gave no script gets its text at once.
    pub(crate) fn turn(&self) -> Turn {
        let given = Directives::find(&self.first);
        let script = given.unwrap_or(Directives::DEFAULT);
        let step = self.tool_results + 1;
        let steps = if given.is_some() || self.tools { script.steps } else { 1 };
        let output = script.output.min(self.max_tokens.unwrap_or(u64::MAX)).max(1);
        let answer = if step < steps {
            Answer::Lookup { query: format!("step {step} of {steps}"), seconds: script.tool }
        } else {
            Answer::Text(text(output))
        };
        Turn {
            answer,
            need: Need {
                input_tokens: script.input.unwrap_or_else(|| self.characters.div_ceil(4).max(1)),
                output_tokens: output,
                most_output: self.max_tokens.unwrap_or(output).max(output),
            },
            think: script.think,
            cut: output < script.output,
        }
    }
}

impl Directives {
    const DEFAULT: Self = Self { steps: 3, output: 50, input: None, think: None, tool: 0.0 };

    /// The first pair of brackets that holds directives and nothing else.
    fn find(text: &str) -> Option<Self> {
        text.split('[').skip(1).find_map(|rest| Self::read(rest.split_once(']')?.0))
    }

    fn read(text: &str) -> Option<Self> {
        let mut directives = Self::DEFAULT;
        let mut words = text.split_ascii_whitespace().peekable();
        words.peek()?;
        for word in words {
            let (name, value) = word.split_once('=')?;
            let seconds = || value.parse().ok().filter(|seconds: &f64| (0.0..=86_400.0).contains(seconds));
            match name {
                "steps" => directives.steps = value.parse().ok()?,
                "output" => directives.output = value.parse().ok()?,
                "input" => directives.input = Some(value.parse().ok()?),
                "think" => directives.think = Some(Duration::from_secs_f64(seconds()?)),
                "tool" => directives.tool = seconds()?,
                _ => return None,
            }
        }
        Some(directives)
    }
}

/// A text of so many tokens, if a word is one.
fn text(tokens: u64) -> String {
    const WORDS: [&str; 8] = ["All ", "has ", "been ", "looked ", "up ", "and ", "is ", "well. "];
    let words = (0_u64..tokens).zip(WORDS.iter().cycle()).map(|(_, word)| *word);
    words.collect::<String>().trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(first: &str, tool_results: u64, max_tokens: Option<u64>) -> Turn {
        let conversation =
            Conversation { first: first.to_owned(), tool_results, characters: 41, tools: true, max_tokens };
        conversation.turn()
    }

    #[test]
    fn the_first_message_may_hold_a_script() {
        let script = "Look at [1] and [2]. [steps=2 output=7 input=1000 think=0.5 tool=0.2] Thanks.";
        let first = turn(script, 0, None);
        assert_eq!(
            first,
            Turn {
                answer: Answer::Lookup { query: "step 1 of 2".to_owned(), seconds: 0.2 },
                need: Need { input_tokens: 1_000, output_tokens: 7, most_output: 7 },
                think: Some(Duration::from_millis(500)),
                cut: false,
            }
        );
        let last = turn(script, 1, Some(5));
        assert_eq!(last.answer, Answer::Text("All has been looked up".to_owned()));
        assert_eq!((last.need.output_tokens, last.need.most_output, last.cut), (5, 5, true));
    }

    #[test]
    fn what_is_no_script_is_none() {
        for text in
            ["", "[]", "[ ]", "[steps]", "[steps=-1]", "[steps=x]", "[speed=1]", "[think=inf]", "[steps=1"]
        {
            assert_eq!(Directives::find(text), None, "{text}");
        }
        let plain = turn("Hello", 2, Some(1_000));
        assert_eq!(plain.need, Need { input_tokens: 11, output_tokens: 50, most_output: 1_000 });
        assert!(matches!(plain.answer, Answer::Text(_)));
    }
}
