//! The answers that reports are read from, and the numbers in them.

use redis::{ServerError, Value};

use crate::timestamp::Timestamp;

/// Why what workers report cannot be read.
#[derive(Clone, Debug, PartialEq)]
pub enum Unreadable {
    /// Redis said no about `key`, which should hold a `kind`.
    Refused {
        /// The key.
        key: String,
        /// What it should hold.
        kind: &'static str,
        /// What Redis said.
        error: ServerError,
    },
    /// The answer about `key` has a shape that it never has.
    Nonsense {
        /// The key.
        key: String,
    },
    /// There are more fields in `key` than are read.
    TooMany {
        /// The key.
        key: String,
        /// The most that are read.
        most: usize,
    },
    /// Redis's clock went back since the read before: what is live was asked for by a time to come.
    ClockWentBack,
}

/// A field of a hash, with its value.
pub(super) type Field<'a> = (&'a str, &'a str);

/// The fields of a hash that was asked for by `HSCAN 0 COUNT most`, which gives all of them unless there
/// are more. Fields that are no UTF-8 are none of the protocol's.
///
/// # Errors
/// When Redis refuses, the answer makes no sense, or there are more fields.
pub(super) fn fields<'a>(answer: &'a Value, key: &str, most: usize) -> Result<Vec<Field<'a>>, Unreadable> {
    let nonsense = || Unreadable::Nonsense { key: key.to_owned() };
    if let Value::ServerError(error) = answer {
        return Err(Unreadable::Refused { key: key.to_owned(), kind: "hash", error: error.clone() });
    }
    let Value::Array(parts) = answer else { return Err(nonsense()) };
    let [cursor, Value::Array(words)] = parts.as_slice() else { return Err(nonsense()) };
    if text(cursor) != Some("0") {
        return Err(Unreadable::TooMany { key: key.to_owned(), most });
    }
    let (pairs, rest) = words.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(nonsense());
    }
    Ok(pairs.iter().filter_map(|[name, value]| Some((text(name)?, text(value)?))).collect())
}

/// A number of things.
///
/// # Errors
/// When Redis refuses, or the answer makes no sense.
pub(super) fn count(answer: &Value, key: &str, kind: &'static str) -> Result<u64, Unreadable> {
    if let Value::ServerError(error) = answer {
        return Err(Unreadable::Refused { key: key.to_owned(), kind, error: error.clone() });
    }
    let Value::Int(number) = answer else { return Err(Unreadable::Nonsense { key: key.to_owned() }) };
    u64::try_from(*number).map_err(|_| Unreadable::Nonsense { key: key.to_owned() })
}

/// A whole number that is not negative, in digits; anything else is unknown.
pub(super) fn number(text: &str) -> Option<u64> {
    // A sign is none of the protocol's, though Rust's own parser takes a plus.
    if text.starts_with('+') { None } else { text.parse().ok() }
}

/// The most that is believed of what workers count in a minute: no provider admits a million million tokens. A sum of
/// minutes and scopes stays far below what a number can hold.
const MOST_COUNTED: u64 = 1_000_000_000_000;

/// Something that is counted; what nobody can have counted is unknown.
pub(super) fn amount(text: &str) -> Option<u64> {
    number(text).filter(|amount| *amount <= MOST_COUNTED)
}

/// A point in time.
pub(super) fn timestamp(text: &str) -> Option<Timestamp> {
    number(text).map(Timestamp::from_millis)
}

fn text(answer: &Value) -> Option<&str> {
    let Value::BulkString(bytes) = answer else { return None };
    str::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_is_whole_or_nothing() {
        let word = |text: &str| Value::BulkString(text.into());
        let scan = |cursor: &str, words: &[&str]| {
            Value::Array(vec![word(cursor), Value::Array(words.iter().map(|text| word(text)).collect())])
        };
        assert_eq!(fields(&scan("0", &["a", "1", "b", "2"]), "key", 9), Ok(vec![("a", "1"), ("b", "2")]));
        assert_eq!(fields(&scan("0", &[]), "key", 9), Ok(vec![]));
        let too_many = Unreadable::TooMany { key: "key".to_owned(), most: 9 };
        assert_eq!(fields(&scan("17", &["a", "1"]), "key", 9), Err(too_many));
        let nonsense = Unreadable::Nonsense { key: "key".to_owned() };
        for bad in [
            Value::Nil,
            Value::Int(1),
            Value::Array(vec![]),
            Value::Array(vec![word("0"), Value::Nil]),
            scan("0", &["a"]),
        ] {
            assert_eq!(fields(&bad, "key", 9), Err(nonsense.clone()), "{bad:?}");
        }
        let foreign = Value::Array(vec![Value::BulkString(vec![0xff]), word("1"), word("a"), word("2")]);
        let scan = Value::Array(vec![word("0"), foreign]);
        assert_eq!(fields(&scan, "key", 9), Ok(vec![("a", "2")]));
    }

    #[test]
    fn what_nobody_can_have_counted_is_unknown() {
        assert_eq!(amount("1000000000000"), Some(MOST_COUNTED));
        assert_eq!([amount("1000000000001"), amount("-1"), amount("18446744073709551615")], [None; 3]);
    }

    #[test]
    fn a_number_is_digits_and_nothing_else() {
        assert_eq!(number("0"), Some(0));
        assert_eq!(number("18446744073709551615"), Some(u64::MAX));
        for bad in ["", "-1", "+1", "1.5", "1e3", " 1", "NaN", "18446744073709551616", "soon"] {
            assert_eq!(number(bad), None, "{bad}");
        }
    }
}
