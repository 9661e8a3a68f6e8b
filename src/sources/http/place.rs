//! Where a document is on its server.

use std::str::FromStr;

/// A path behind the connection's address, with a query or without: it cannot lead anywhere else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place(pub(super) String);

impl Place {
    /// Longest path, in bytes.
    const LONGEST: usize = 1_000;
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |message: &str| Err(message.to_owned());
        if text.len() > Self::LONGEST {
            return Err(format!("longer than {} bytes", Self::LONGEST));
        }
        if !text.starts_with('/') || text.starts_with("//") {
            return wrong("must begin with one `/`: scheme and host are the connection's");
        }
        if text.chars().any(|character| !character.is_ascii_graphic() || matches!(character, '\\' | '#')) {
            return wrong("holds a character that has no place in it: write it as `%…`");
        }
        let path = text.split('?').next().unwrap_or_default().to_ascii_lowercase();
        if path.contains("%2f") || path.contains("%5c") {
            return wrong("hides a slash, so that nobody knows where it leads");
        }
        // Servers and proxies disagree about when dots are resolved, so there are none.
        let is_dots = |segment: &str| matches!(segment.replace("%2e", ".").as_str(), "." | "..");
        if path.split('/').any(is_dots) {
            return wrong("must not contain `.` or `..` as a segment");
        }
        Ok(Self(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_nowhere_but_down() {
        for good in ["/", "/queues/acme", "/queues/acme?state=ready&x=%2F..", "/a..b/...", "/a%20b"] {
            assert_eq!(good.parse(), Ok(Place(good.to_owned())));
        }
        for bad in [
            "",
            "queues",
            "http://evil.example/",
            "//evil.example/",
            "/\\evil.example",
            "/../admin",
            "/a/..",
            "/a/%2e%2E/b",
            "/a/.%2e/b",
            "/./a",
            "/a%2f..%2fb",
            "/a%5Cb",
            "/a#b",
            "/a b",
            "/a\nb",
            "/größe",
        ] {
            assert!(bad.parse::<Place>().is_err(), "{bad:?}");
        }
    }
}
