//! What goes wrong on the way to an HTTP server, in words that name the remedy and never a credential.

use std::error::Error;
use std::io;

/// Longest part of a foreign text that is repeated.
const LONGEST: usize = 160;

/// Why a request had no answer.
pub(super) fn of_request(error: &reqwest::Error) -> String {
    let mut root: &(dyn Error + 'static) = error;
    let mut broken = false;
    while let Some(cause) = root.source() {
        root = cause;
        if let Some(error) = root.downcast_ref::<io::Error>() {
            if error.kind() == io::ErrorKind::ConnectionRefused {
                return "connection refused".to_owned();
            }
            broken |=
                [io::ErrorKind::ConnectionReset, io::ErrorKind::BrokenPipe, io::ErrorKind::UnexpectedEof]
                    .contains(&error.kind());
        }
    }
    let text = root.to_string();
    if text.starts_with("invalid peer certificate") {
        return format!("{}; `ca` names the authority to trust", shortened(&text));
    }
    if text.starts_with("received fatal alert") {
        return shortened(&text);
    }
    if text.contains("invalid HTTP")
        || text.contains("invalid message")
        || text.contains("InvalidContentType")
    {
        return "it does not speak HTTP, or not with this encryption".to_owned();
    }
    // Whether the end came before, within or after the head of an answer makes no difference to anybody.
    let ended =
        ["connection closed", "error reading a body", "unexpected EOF", "end of file", "connection error"];
    if broken || error.is_body() || error.is_decode() || ended.iter().any(|words| text.contains(words)) {
        return "the connection broke".to_owned();
    }
    shortened(&text)
}

/// The first words of a foreign text, in one line.
pub(super) fn shortened(text: &str) -> String {
    let mut words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    words.retain(|character| !character.is_control());
    if words.chars().count() <= LONGEST {
        return words;
    }
    words.chars().take(LONGEST).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_foreign_text_is_one_short_line() {
        assert_eq!(shortened("a\n b\u{7}\tc"), "a b c");
        assert_eq!(shortened(&"x".repeat(LONGEST + 1)).chars().count(), LONGEST + 1);
        assert!(shortened(&"x".repeat(LONGEST + 1)).ends_with('…'));
    }
}
