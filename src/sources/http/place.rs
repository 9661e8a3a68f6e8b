//! Where a document is on its server.

use std::fmt;
use std::str::FromStr;

/// A path behind the connection's address, with a query or without: it cannot lead anywhere else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Place {
    text: String,
    /// Where its query begins, or it ends.
    query_at: usize,
}

impl Place {
    /// Longest path, in bytes.
    const LONGEST: usize = 1_000;

    /// The path without its query.
    pub(super) fn path(&self) -> &str {
        &self.text[..self.query_at]
    }

    /// Its query; empty if there is none.
    pub(super) fn query(&self) -> &str {
        self.text[self.query_at..].trim_start_matches('?')
    }

    /// The path with its query.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > Self::LONGEST {
            return Err(format!("longer than {} bytes", Self::LONGEST));
        }
        if !text.starts_with('/') || text.starts_with("//") {
            return Err("must begin with one `/`: scheme and host are the connection's".to_owned());
        }
        if text.chars().any(|character| !character.is_ascii_graphic() || matches!(character, '\\' | '#')) {
            return Err("holds a character that has no place in it: write it as `%…`".to_owned());
        }
        let query_at = text.find('?').unwrap_or(text.len());
        let (path, query) = text.split_at(query_at);
        check_path(path)?;
        if escaped(query).is_some_and(|bytes| bytes.iter().any(u8::is_ascii_control)) {
            return Err("hides a control character in its query".to_owned());
        }
        Ok(Self { text: text.to_owned(), query_at })
    }
}

/// Servers and proxies disagree about what they resolve before they choose whom to ask: dots, escapes of what needs
/// none, parameters of a segment. So whatever any of them would take for another path is refused.
fn check_path(path: &str) -> Result<(), String> {
    let Some(escaped) = escaped(path) else { return Err("holds a `%` that is no escape".to_owned()) };
    let hides =
        |byte: u8| byte.is_ascii_alphanumeric() || byte.is_ascii_control() || b"-._~/\\%;?#".contains(&byte);
    if escaped.iter().any(|byte| hides(*byte)) {
        return Err("hides a character with `%`, so that nobody knows where it leads".to_owned());
    }
    // Where nobody checks that they are UTF-8, two bytes can stand for a dot or a slash.
    if std::str::from_utf8(&escaped).is_err() {
        return Err("has escapes that are not UTF-8".to_owned());
    }
    let is_dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    if path.split('/').any(is_dots) {
        return Err("must not contain `.` or `..` as a segment".to_owned());
    }
    Ok(())
}

/// The bytes that `text` writes as `%…`; `None` if a `%` is followed by something else than two digits.
fn escaped(text: &str) -> Option<Vec<u8>> {
    let digit =
        |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let byte = |rest: &str| Some(digit(rest.as_bytes().first())? << 4 | digit(rest.as_bytes().get(1))?);
    text.split('%').skip(1).map(byte).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_nowhere_but_down() {
        for (path, query) in [
            ("/", ""),
            ("/queues/acme", ""),
            ("/queues/acme", "state=ready&x=%2F.."),
            ("/a..b/...", ""),
            ("/a%20b/acme%3Atasks/%C3%B6;v=1", ""),
            ("/q", "a=/../?&b=%25"),
        ] {
            let text = if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") };
            let place: Place = text.parse().unwrap();
            assert_eq!((place.as_str(), place.path(), place.query()), (text.as_str(), path, query));
        }
        for bad in [
            "",
            "queues",
            "http://evil.example/",
            "//evil.example/",
            "/\\evil.example",
            "/../admin",
            "/a/..",
            "/a/..;/b",
            "/a/..;x=1/b",
            "/a/.;/b",
            "/a/%2e%2E/b",
            "/a/.%2e/b",
            "/a/..%3b/b",
            "/a/%252e%252e/b",
            "/a/%61dmin",
            "/a/%c0%ae%c0%ae/b",
            "/a/%e0%80%af",
            "/./a",
            "/a%2f..%2fb",
            "/a%5Cb",
            "/a%3Fb",
            "/a%00",
            "/a%0d%0aHost:%20evil",
            "/a%",
            "/a%2",
            "/a%+f",
            "/a%zz",
            "/a#b",
            "/a b",
            "/a\nb",
            "/größe",
            "/q?namespace%00=acme",
            "/q?a=%0d%0a",
        ] {
            assert!(bad.parse::<Place>().is_err(), "{bad:?}");
        }
    }
}
