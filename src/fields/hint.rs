//! "did you mean": the known name that is nearest to one that is not known.

/// Longest name that gets a hint, in characters. The cost grows with the square of the length, and no key or source
/// has a longer name.
const LONGEST: usize = 40;

/// Most slips of the finger in a name that is still recognised.
const MOST_SLIPS: usize = 4;

/// Most known names that are compared with one: more connections than any server's file names.
const MOST_COMPARED: usize = 500;

/// "did you mean" for a name that is near to one of `known`; `None` for a long name, whatever it is near to.
pub fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<String> {
    if name.chars().nth(LONGEST).is_some() {
        return None;
    }
    let lower = name.to_lowercase();
    let length = lower.chars().count();
    known
        // The distance is at least the difference of the lengths.
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= MOST_SLIPS)
        .take(MOST_COMPARED)
        .map(|candidate| (strsim::osa_distance(&lower, &candidate.to_lowercase()), candidate))
        .min()
        // Two slips of the finger in a short word, four in a long one.
        .filter(|(distance, candidate)| *distance <= (candidate.len() / 4).clamp(2, MOST_SLIPS))
        .map(|(_, candidate)| format!("did you mean `{candidate}`?"))
}

/// A hint as it stands behind what is wrong; nothing without one.
pub fn in_brackets(hint: Option<&String>) -> String {
    hint.map(|hint| format!(" (hint: {hint})")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 3] = ["maxQueueWait", "queue", "ensureEvenDistributionOfPartitions"];

    #[test]
    fn a_slip_of_the_finger_is_recognised() {
        for (name, meant) in [
            ("maxQueueWeight", Some("maxQueueWait")),
            ("MAXQUEUEWAIT", Some("maxQueueWait")),
            ("qeuue", Some("queue")),
            ("ensureEvenDistributionOfPartition", Some("ensureEvenDistributionOfPartitions")),
            ("listName", None),
            ("größer", None),
        ] {
            let hint = meant.map(|meant| format!("did you mean `{meant}`?"));
            assert_eq!(nearest(name, KNOWN.into_iter()), hint, "{name}");
        }
    }

    #[test]
    fn a_long_name_is_compared_with_nothing() {
        let never = std::iter::from_fn(|| -> Option<&str> { panic!("compared") });
        assert_eq!(nearest(&"x".repeat(LONGEST + 1), never), None);
        let many = std::iter::repeat("maxQueueWait");
        assert_eq!(nearest("maxQueueWeight", many), Some("did you mean `maxQueueWait`?".to_owned()));
    }
}
