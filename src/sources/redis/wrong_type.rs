//! A key of another type than a trigger expects: the error names its type and the trigger key that it belongs
//! in.
//!
//! The key may hold running tasks of another program, so no hint here changes the key itself.

use redis::{ServerError, Value, parse_redis_value};

use super::answer;

/// The code of Redis's answer to a command about another type.
pub(super) const CODE: &str = "WRONGTYPE";

/// The use of a key that a trigger names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Purpose {
    /// A list that workers take tasks from.
    WaitingList,
    /// A list of running tasks.
    RunningList,
    /// A sorted set of running tasks.
    RunningSet,
    /// A sorted set of tasks by the time at which they are due.
    DueSet,
    /// A sorted set from which workers move tasks to a list.
    DelayedSet,
    /// A stream of tasks.
    Stream,
    /// One of a framework's own keys.
    Framework,
}

/// The words for a `key` that should hold a `kind`.
pub(super) fn message(key: &str, kind: &str, purpose: Purpose, error: &ServerError) -> String {
    let real = error.details().and_then(in_words);
    let is = match real {
        Some(real) => format!("`{key}` is a {real}, and must be a {kind}"),
        None => format!("`{key}` holds another type than a {kind}"),
    };
    format!("{is}: {}", way_out(purpose, real))
}

fn way_out(purpose: Purpose, real: Option<&str>) -> &'static str {
    match (purpose, real) {
        (Purpose::WaitingList | Purpose::Stream, Some("sorted set")) => {
            "if its scores say when tasks are due, use `source: redis-sorted-set`"
        }
        (Purpose::WaitingList | Purpose::DueSet, Some("stream")) => "use `source: redis-streams`",
        (Purpose::DueSet | Purpose::Stream, Some("list")) => "use `source: redis`",
        (Purpose::WaitingList, _) => "`listName` takes the list from which workers take their tasks",
        (Purpose::DueSet, _) => "`sortedSetName` takes the sorted set from which workers take their tasks",
        (Purpose::DelayedSet, _) => {
            "`delayedSortedSetName` takes the sorted set from which workers move tasks to the list"
        }
        (Purpose::Stream, _) => "`stream` takes the stream from which workers take their tasks",
        (Purpose::RunningList, Some("sorted set")) => "name it in `processingSortedSetName`",
        (Purpose::RunningSet, Some("list")) => "name it in `processingListName`",
        (Purpose::RunningList, None) => "if it is a sorted set, name it in `processingSortedSetName`",
        (Purpose::RunningList | Purpose::RunningSet, _) => {
            "running tasks are counted in lists (`processingListName`) and sorted sets (`processingSortedSetName`), or \
             workers report them (`workersConnection`)"
        }
        (Purpose::Framework, _) => {
            "something else uses this key, so look at the names and the prefix in the trigger"
        }
    }
}

/// The name of one of Redis's types in a sentence.
fn in_words(kind: &str) -> Option<&'static str> {
    Some(match kind {
        "list" => "list",
        "set" => "set",
        "zset" => "sorted set",
        "hash" => "hash",
        "stream" => "stream",
        "string" => "string",
        _ => return None,
    })
}

/// Whether a command was about another type than the key has.
pub(super) fn is_one(answer: &Value) -> bool {
    answer::refusal(answer).is_some_and(|error| error.code() == CODE)
}

/// The fault with the key's real type in place of Redis's own words; `None` if the type is not known.
pub(super) fn with_type(told: &Value) -> Option<Value> {
    let kind = str::from_utf8(answer::bytes(told)?).ok()?;
    in_words(kind)?;
    parse_redis_value(format!("-{CODE} {kind}\r\n").as_bytes()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_real_type_is_named_with_where_to_put_the_key() {
        let told = |kind: &str| with_type(&Value::SimpleString(kind.to_owned()));
        let message =
            |purpose, kind, told: &Value| message("acme:q", kind, purpose, answer::refusal(told).unwrap());
        for (purpose, kind, real, text) in [
            (
                Purpose::RunningList,
                "list",
                "zset",
                "`acme:q` is a sorted set, and must be a list: name it in `processingSortedSetName`",
            ),
            (
                Purpose::WaitingList,
                "list",
                "stream",
                "`acme:q` is a stream, and must be a list: use `source: redis-streams`",
            ),
            (
                Purpose::Stream,
                "stream",
                "list",
                "`acme:q` is a list, and must be a stream: use `source: redis`",
            ),
            (
                Purpose::RunningSet,
                "sorted set",
                "list",
                "`acme:q` is a list, and must be a sorted set: name it in `processingListName`",
            ),
        ] {
            assert_eq!(message(purpose, kind, &told(real).unwrap()), text);
        }
        assert_eq!(told("none"), None);
        let words = parse_redis_value(b"-WRONGTYPE Operation against a key\r\n").unwrap();
        assert_eq!(
            message(Purpose::RunningList, "list", &words),
            "`acme:q` holds another type than a list: if it is a sorted set, name it in `processingSortedSetName`"
        );
    }

    #[test]
    fn no_advice_touches_the_key() {
        let real = [
            None,
            Some("list"),
            Some("set"),
            Some("sorted set"),
            Some("hash"),
            Some("stream"),
            Some("string"),
        ];
        for purpose in [
            Purpose::WaitingList,
            Purpose::RunningList,
            Purpose::RunningSet,
            Purpose::DueSet,
            Purpose::DelayedSet,
            Purpose::Stream,
            Purpose::Framework,
        ] {
            for real in real {
                let advice = way_out(purpose, real).to_lowercase();
                for word in ["delete", "remove", "flush", "trim", "purge", "rename", "reset", "drop"] {
                    assert!(!advice.contains(word), "{advice}");
                }
            }
        }
    }
}
