//! Parameters that the connection sets, and that nobody may set beside it.

use url::form_urlencoded;

/// The parameter of `own` that `query` would set too, as any server may read it: some take `;` for `&`, some do not tell
/// small letters from capitals, some take `name[]`, `name.x` and ` name` for `name`.
pub(super) fn taken<'a>(own: &'a [(String, String)], query: &str) -> Option<&'a str> {
    let names: Vec<String> = query.split(['&', ';']).flat_map(readings).collect();
    let is_taken = |(name, _): &&(String, String)| {
        // A name that is encoded twice may be any.
        names.iter().any(|other| other.contains('%') || *other == simple(name))
    };
    own.iter().find(is_taken).map(|(name, _)| name.as_str())
}

/// The name of one parameter, decoded once, in its simplest form.
fn readings(pair: &str) -> impl Iterator<Item = String> {
    form_urlencoded::parse(pair.as_bytes()).map(|(name, _)| simple(&name))
}

/// A name without what some servers leave out of it.
fn simple(name: &str) -> String {
    let stem = name.split(['[', ']', '.']).next().unwrap_or_default();
    stem.trim().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_is_known_however_it_is_written() {
        let own = [("dedup".to_owned(), "true".to_owned()), ("Name.space".to_owned(), "a".to_owned())];
        for (query, found) in [
            ("", None),
            ("a=dedup&x=name.space", None),
            ("dedupe=1&ded=2", None),
            ("dedup=", Some("dedup")),
            ("a;DEDUP", Some("dedup")),
            ("%64edup=1", Some("dedup")),
            ("%2564edup=1", Some("dedup")),
            ("dedup%5B%5D=1", Some("dedup")),
            ("+dedup+=1", Some("dedup")),
            ("name.space", Some("Name.space")),
            ("NAME%2Espace=1", Some("Name.space")),
        ] {
            assert_eq!(taken(&own, query), found, "{query}");
        }
        assert_eq!(taken(&[], "%2564edup=1"), None);
    }
}
