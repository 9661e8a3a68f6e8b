//! What goes wrong on the way to an HTTP server, in words that name the remedy and never a credential.

use std::error::Error;
use std::io;

use reqwest::header::HeaderValue;

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
        // What follows are the names that the certificate is for.
        let kind = text.split(';').next().unwrap_or_default();
        return format!("{}; `ca` names the authority to trust", shortened(kind));
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

/// The kind of an answer, where it is one of those that servers and proxies give: another may be any text.
pub(super) fn kind(content_type: &HeaderValue) -> Option<&'static str> {
    const KINDS: [&str; 8] = [
        "application/json",
        "application/octet-stream",
        "application/problem+json",
        "application/xml",
        "text/css",
        "text/html",
        "text/plain",
        "text/xml",
    ];
    let essence = content_type.to_str().ok()?.split(';').next()?.trim();
    KINDS.into_iter().find(|kind| kind.eq_ignore_ascii_case(essence))
}

/// A number of bytes as people read it: 1,204.
pub(super) fn with_separators(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap_or_default())
        .collect();
    groups.join(",")
}

/// The first words of an error of the HTTP client, in one line.
fn shortened(text: &str) -> String {
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

    #[test]
    fn a_kind_is_one_of_a_few_and_a_length_has_separators() {
        let kind = |text| kind(&HeaderValue::from_static(text));
        assert_eq!(kind("Text/HTML; charset=hunter2"), Some("text/html"));
        assert_eq!((kind("text/hunter2"), kind("")), (None, None));
        let lengths = [0, 999, 1_204, 1 << 20].map(with_separators);
        assert_eq!(lengths, ["0", "999", "1,204", "1,048,576"]);
    }
}
