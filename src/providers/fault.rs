//! The codes, sentences and times in an error, for any shape of body.
//!
//! `error` is an object, a text, a list or absent, and codes and sentences have a dozen names. So the whole
//! error is walked, and the name of each leaf decides whether it is kept as a code, a text or a time.

mod success;

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::Response;
use super::window::Window;

/// Fields that hold a code for software.
const CODES: [&str; 10] = [
    "type",
    "code",
    "status",
    "reason",
    "param",
    "error_code",
    "errorcode",
    "error_type",
    "limit_source",
    "__type",
];

/// Fields that hold a sentence for people.
const TEXTS: [&str; 9] =
    ["message", "detail", "details", "title", "error", "raw", "msg", "description", "error_description"];

/// Fields that hold a duration to wait, or the point in time to wait for.
const WAITS: [&str; 8] = [
    "retrydelay",
    "retry_after",
    "retry_after_seconds",
    "retryafter",
    "estimated_time",
    "resets_in_seconds",
    "resets_at",
    "reset_at",
];

/// Headers that hold a code.
const CODE_HEADERS: [&str; 4] = ["x-amzn-errortype", "x-ms-error-code", "x-ratelimit-type", "policy-id"];

/// Bounds on the depth that is walked, the leaves of a kind that are kept, the characters of each, and the
/// bytes of text in all. A provider's error is far smaller; a proxy's error page may be of any size.
const DEEPEST: usize = 8;
const MOST: usize = 64;
const LONGEST: usize = 2_000;
const LONGEST_TEXT: usize = 8_000;

/// Words of a clause that offers something for sale. Such a clause names limits of other plans.
const OFFERS: [&str; 15] = [
    "upgrad",
    "unlock",
    "purchase",
    "a payment",
    "increase your",
    "quota increase",
    "request an increase",
    "need more",
    "raise your",
    "subscribe",
    "to get higher",
    "higher rate limit",
    "contact",
    "more information",
    "visit",
];

/// The error of one response.
#[derive(Default)]
pub(super) struct Fault {
    /// The HTTP status. For an error inside a success it is the status in the body, or 0 if the body has none.
    pub(super) status: u16,
    /// Google's violated quotas.
    pub(super) violations: Vec<Violation>,
    /// Headers that stand inside the body, by their names in lower case.
    headers: BTreeMap<String, String>,
    /// Durations that the body names by a key of their own.
    pub(super) waits: Vec<String>,
    /// In lower case.
    codes: Vec<String>,
    text: String,
    /// The text in lower case and in pieces, without addresses and offers.
    clauses: Vec<String>,
}

/// One quota of Google's that is violated.
pub(super) struct Violation {
    /// Its names in one text, from which the window is read.
    name: String,
    /// How much it admits. Google leaves out a zero.
    value: Option<String>,
    /// Whether it has a `quotaId`: only then does a missing value mean zero.
    has_id: bool,
}

impl Violation {
    pub(super) fn window(&self) -> Option<Window> {
        Window::named_in(&self.name)
    }

    /// Whether the plan has none of it.
    pub(super) fn is_of_zero(&self) -> bool {
        self.has_id && self.value.as_deref().is_none_or(|value| value.trim() == "0")
    }
}

/// Whether an answer with the status of a success is an error.
pub(super) fn stands_in(body: &str) -> bool {
    success::failure(body).is_some()
}

impl Fault {
    /// The error of a response; `None` if it is a success.
    pub(super) fn read(response: &Response<'_>) -> Option<Self> {
        let mut fault = Self::default();
        if (200..300).contains(&response.status) {
            let answer = success::failure(response.body)?;
            fault.status = success::status(&answer);
            fault.walk(&answer, 0);
        } else {
            fault.status = response.status;
            match serde_json::from_str::<Value>(response.body) {
                Ok(body) => fault.walk(&body, 0),
                Err(_) => match success::events(response.body).next() {
                    Some(event) => fault.walk(&event, 0),
                    None => fault.tell(response.body),
                },
            }
        }
        let codes = CODE_HEADERS.iter().filter_map(|name| response.header(name));
        fault.codes.extend(codes.map(str::to_lowercase));
        if let Some(message) = response.header("x-error-message") {
            fault.tell(message);
        }
        fault.clauses = clauses(&fault.text);
        Some(fault)
    }

    /// All sentences of the error, one per line.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether one of the codes contains one of these words.
    pub(super) fn has_code(&self, words: &[&str]) -> bool {
        self.codes.iter().any(|code| words.iter().any(|word| code.contains(word)))
    }

    /// Whether the text, offers left out, contains one of these phrases.
    pub(super) fn says(&self, phrases: &[&str]) -> bool {
        self.clauses.iter().any(|clause| phrases.iter().any(|phrase| clause.contains(phrase)))
    }

    /// Whether one clause contains one of the first phrases and one of the second. Words with hyphens are left
    /// out, because they are names of limits, such as `free-models-per-day-high-balance`.
    pub(super) fn says_both(&self, first: &[&str], second: &[&str]) -> bool {
        let is_word = |word: &&str| word.matches(['-', '_']).count() < 2;
        let prose = |clause: &String| clause.split(' ').filter(is_word).collect::<Vec<_>>().join(" ");
        let holds = |clause: &str, phrases: &[&str]| phrases.iter().any(|phrase| clause.contains(phrase));
        self.clauses.iter().map(prose).any(|clause| holds(&clause, first) && holds(&clause, second))
    }

    /// The longest window that codes, quotas or the text name.
    pub(super) fn window(&self) -> Option<Window> {
        let named = self.codes.iter().chain(&self.clauses).filter_map(|text| Window::named_in(text));
        named.chain(self.violations.iter().filter_map(Violation::window)).max()
    }

    /// The number right behind a word: `Limit 6000`, `Requested ~12903`, `Limit: 2,000,000`.
    pub(super) fn number(&self, word: &str) -> Option<u64> {
        let text = self.text.to_lowercase();
        let behind = text.match_indices(word).map(|(index, found)| &text[index + found.len()..]);
        behind.filter_map(leading_count).next()
    }

    /// A header inside the body.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn walk(&mut self, value: &Value, depth: usize) {
        match value {
            Value::Object(fields) if depth < DEEPEST => {
                fields.iter().for_each(|(name, value)| self.field(name, value, depth));
            }
            Value::Array(values) if depth < DEEPEST => {
                values.iter().take(MOST).for_each(|value| self.walk(value, depth + 1));
            }
            // A list of sentences, or a body that is one sentence.
            Value::String(text) => self.tell(text),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {}
        }
    }

    fn field(&mut self, name: &str, value: &Value, depth: usize) {
        let name = name.to_lowercase();
        match value {
            Value::Array(violations) if name == "violations" => {
                let violations = violations.iter().take(MOST).filter_map(Value::as_object);
                self.violations.extend(violations.map(violation));
            }
            Value::Object(headers) if name == "headers" => {
                let texts =
                    headers.iter().filter_map(|(name, value)| Some((name.to_lowercase(), scalar(value)?)));
                self.headers.extend(texts.take(MOST));
            }
            Value::Object(_) | Value::Array(_) => {
                // In Amazon's streams the name of the event is the code of the error.
                if name.ends_with("exception") && self.codes.len() < MOST {
                    self.codes.push(name);
                }
                self.walk(value, depth + 1);
            }
            Value::String(_) | Value::Number(_) => {
                let Some(text) = scalar(value) else { return };
                if CODES.contains(&name.as_str()) && self.codes.len() < MOST {
                    self.codes.push(text.to_lowercase());
                } else if WAITS.contains(&name.as_str()) && self.waits.len() < MOST {
                    self.waits.push(text);
                } else if TEXTS.contains(&name.as_str()) {
                    self.tell(&text);
                    if let Some(inner) = value.as_str().and_then(quoted_body).filter(|_| depth < DEEPEST) {
                        self.walk(&inner, depth + 1);
                    }
                }
            }
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn tell(&mut self, text: &str) {
        if !text.is_empty() && self.text.len() < LONGEST_TEXT {
            self.text.extend(text.chars().take(LONGEST));
            self.text.push('\n');
        }
    }
}

fn violation(fields: &Map<String, Value>) -> Violation {
    let text = |name: &str| fields.get(name).and_then(scalar);
    let names = ["quotaId", "quotaMetric", "subject", "description"].into_iter().filter_map(text);
    Violation {
        name: names.collect::<Vec<_>>().join(" "),
        value: text("quotaValue"),
        has_id: fields.contains_key("quotaId"),
    }
}

/// A body that a gateway passes on inside a sentence: `RateLimitError: VertexAIException - {…}`.
fn quoted_body(text: &str) -> Option<Value> {
    let body = text.get(text.find('{')?..=text.rfind('}')?)?;
    serde_json::from_str(body).ok().filter(Value::is_object)
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.chars().take(LONGEST).collect()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A text in lower case and in pieces, without addresses and offers.
fn clauses(text: &str) -> Vec<String> {
    let words = text.split_whitespace().filter(|word| !word.contains("://"));
    let text = words.collect::<Vec<_>>().join(" ").to_lowercase().replace('’', "'");
    let pieces = text.split(['.', '!', '?', ';', ',', '*']).map(str::trim).filter(|piece| !piece.is_empty());
    pieces.filter(|piece| !OFFERS.iter().any(|offer| piece.contains(offer))).map(str::to_owned).collect()
}

/// A whole number with which a text begins, after `:`, `=` or `~`. Commas may separate thousands.
fn leading_count(text: &str) -> Option<u64> {
    let text = text.trim_start_matches([' ', ':', '=', '~', '`']);
    let end = text.find(|c: char| !c.is_ascii_digit() && c != ',').unwrap_or(text.len());
    // A fraction is not a count. A comma at the end belongs to the sentence.
    if text[end..].starts_with('.') && text[end + 1..].starts_with(|c: char| c.is_ascii_digit()) {
        return None;
    }
    text[..end].trim_end_matches(',').replace(',', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timestamp::Timestamp;

    fn read(status: u16, body: &str) -> Option<Fault> {
        Fault::read(&Response { status, headers: &|_| None, body, at: Timestamp::default() })
    }

    #[test]
    fn codes_and_sentences_are_found_in_every_shape() {
        for body in [
            r#"{"error":{"message":"No room.","code":"full"}}"#,
            r#"[{"error":{"message":"No room.","status":"FULL"}}]"#,
            r#"{"code":"full","error":"No room."}"#,
            r#"{"detail":"No room.","error_type":"full"}"#,
            r#"{"success":false,"errors":[{"message":"No room.","code":"full"}]}"#,
            r#"{"error":{"message":"Provider returned error","metadata":{"raw":"{\"message\":\"No room.\",\"type\":\"full\"}"}}}"#,
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"full\",\"message\":\"No room.\"}}\n\n",
        ] {
            let fault = read(429, body).unwrap();
            assert!(fault.has_code(&["full"]) && fault.says(&["no room"]), "{body}");
        }
        assert!(read(429, "upstream connect error").unwrap().says(&["upstream"]));
        assert!(read(500, "").unwrap().text().is_empty());
    }

    #[test]
    fn an_error_inside_a_success_is_one() {
        for (body, status) in [
            (r#"{"error":{"code":429,"message":"x"}}"#, Some(429)),
            (r#"{"choices":[{"finish_reason":"error","error":{"code":502,"message":"x"}}]}"#, Some(502)),
            (r#"{"status":"failed","error":{"code":"server_error","message":"x"}}"#, Some(0)),
            ("data: {\"choices\":[]}\n\ndata: {\"error\":{\"code\":\"503\"}}\n\n", Some(503)),
            (r#"{"success":false,"result":null,"errors":[{"code":4006,"message":"x"}]}"#, Some(0)),
            (r#"{"choices":[{"message":{"content":"an \"error\": {}"}}],"error":null}"#, None),
            (r#"{"output":[],"error":{}}"#, None),
            (r#"{"object":"batch","status":"failed","errors":{"data":[{"code":"x"}]}}"#, None),
            ("", None),
        ] {
            assert_eq!(read(200, body).map(|fault| fault.status), status, "{body}");
        }
    }

    #[test]
    fn offers_and_addresses_say_nothing() {
        let told = |text: &str| read(429, &serde_json::json!({"error": text}).to_string()).unwrap();
        let fault =
            told("Limit: 2,000,000 tokens per min. Upgrade to 10 per day at https://x/per-month, or wait.");
        assert_eq!((fault.window(), fault.number("limit")), (Some(Window::Minute), Some(2_000_000)));
        assert_eq!(told("Rate limit reached: Limit 0.5, Requested ~12903").number("requested"), Some(12_903));
        assert_eq!(told("Limit 0.5").number("limit"), None);
    }
}
