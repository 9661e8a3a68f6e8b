//! The shapes of Redis's answers. `None` where an answer has another shape, so that nonsense is noticed.

use redis::{ServerError, Value};

use crate::timestamp::Timestamp;

/// What Redis said instead of answering.
pub(super) const fn refusal(answer: &Value) -> Option<&ServerError> {
    let Value::ServerError(error) = answer else { return None };
    Some(error)
}

/// An integer.
pub(super) const fn integer(answer: &Value) -> Option<i64> {
    let Value::Int(number) = answer else { return None };
    Some(*number)
}

/// A number of things.
pub(super) fn count(answer: &Value) -> Option<u64> {
    integer(answer).and_then(|number| u64::try_from(number).ok())
}

/// A list of answers.
pub(super) fn array(answer: &Value) -> Option<&[Value]> {
    let Value::Array(items) = answer else { return None };
    Some(items)
}

/// A text, which in Redis need not be UTF-8.
pub(super) fn bytes(answer: &Value) -> Option<&[u8]> {
    if let Value::SimpleString(text) = answer {
        return Some(text.as_bytes());
    }
    let Value::BulkString(bytes) = answer else { return None };
    Some(bytes)
}

/// The score of the first member of a sorted set; `Some(None)` if it has none.
pub(super) fn lowest(answer: &Value) -> Option<Option<f64>> {
    let score = match array(answer)? {
        [] => return Some(None),
        // A pair in the protocol's version 3.
        [Value::Array(pair)] => pair.get(1)?,
        [_, score] => score,
        _ => return None,
    };
    if let Value::Double(score) = score {
        return Some(Some(*score));
    }
    str::from_utf8(bytes(score)?).ok()?.parse().ok().map(Some)
}

/// The value of `name` in a flat list of names and values.
pub(super) fn field<'a>(fields: &'a [Value], name: &str) -> Option<&'a Value> {
    let (pairs, _) = fields.as_chunks::<2>();
    pairs.iter().find(|[key, _]| bytes(key) == Some(name.as_bytes())).map(|[_, value]| value)
}

/// The answer to `TIME`: seconds and microseconds.
pub(super) fn time(answer: &Value) -> Option<Timestamp> {
    let [seconds, micros] = array(answer)? else { return None };
    let millis = decimal(seconds)?.checked_mul(1_000)?.checked_add(decimal(micros)? / 1_000)?;
    Some(Timestamp::from_millis(millis))
}

fn decimal(answer: &Value) -> Option<u64> {
    str::from_utf8(bytes(answer)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_two_decimal_texts_and_nothing_else() {
        let text = |text: &str| Value::BulkString(text.into());
        let good = Value::Array(vec![text("1700000000"), text("123456")]);
        assert_eq!(time(&good), Some(Timestamp::from_millis(1_700_000_000_123)));
        for bad in [
            Value::Nil,
            Value::Array(vec![]),
            Value::Array(vec![text("1700000000")]),
            Value::Array(vec![text("soon"), text("0")]),
            Value::Array(vec![text("18446744073709551615"), text("0")]),
            Value::Array(vec![Value::Nil, Value::Nil]),
        ] {
            assert_eq!(time(&bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_count_is_never_negative() {
        assert_eq!(count(&Value::Int(3)), Some(3));
        assert_eq!(count(&Value::Int(-1)), None);
        assert_eq!(count(&Value::Okay), None);
    }
}
