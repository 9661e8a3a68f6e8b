//! The three counts of a queue.

use std::collections::HashMap;

use aws_sdk_sqs::types::QueueAttributeName;

use super::fault::Fault;

/// What is asked for, and no more.
pub(super) const ATTRIBUTES: [QueueAttributeName; 3] = [
    QueueAttributeName::ApproximateNumberOfMessages,
    QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    QueueAttributeName::ApproximateNumberOfMessagesDelayed,
];

/// Messages by what may happen to them next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Can be received. In a FIFO queue also those behind a message of their group that is in flight.
    pub(super) visible: u64,
    /// Received, and neither deleted nor given back.
    pub(super) in_flight: u64,
    /// Not to be received yet, at most for a quarter of an hour.
    pub(super) delayed: u64,
}

impl Counts {
    /// Reads the answer about the queue `name`.
    ///
    /// # Errors
    /// When a count is missing or is none.
    pub(super) fn of(
        name: &str,
        answer: Option<&HashMap<QueueAttributeName, String>>,
    ) -> Result<Self, Fault> {
        let count = |attribute: &QueueAttributeName| {
            let text = answer.and_then(|counts| counts.get(attribute));
            text.and_then(|text| text.parse().ok()).ok_or_else(|| Fault::nonsense(name, attribute.as_str()))
        };
        let [visible, in_flight, delayed] = &ATTRIBUTES;
        Ok(Self { visible: count(visible)?, in_flight: count(in_flight)?, delayed: count(delayed)? })
    }

    /// Whether there is nothing at all.
    pub(super) fn is_empty(self) -> bool {
        self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_is_missing_or_no_number_is_not_zero() {
        let counts = |texts: [&str; 3]| -> HashMap<_, _> {
            ATTRIBUTES
                .into_iter()
                .zip(texts.map(str::to_owned))
                .filter(|(_, text)| text != "absent")
                .collect()
        };
        let read = |texts| Counts::of("q", Some(&counts(texts)));
        assert_eq!(read(["7", "2", "0"]), Ok(Counts { visible: 7, in_flight: 2, delayed: 0 }));
        let [visible, in_flight, delayed] = ATTRIBUTES.map(|name| Fault::nonsense("q", name.as_str()));
        for (texts, fault) in [
            (["absent", "0", "0"], &visible),
            (["-1", "0", "0"], &visible),
            (["0", "", "0"], &in_flight),
            (["0", "1.5", "0"], &in_flight),
            (["0", "0", "many"], &delayed),
        ] {
            assert_eq!(read(texts), Err(fault.clone()), "{texts:?}");
        }
        assert_eq!(Counts::of("q", None), Err(visible));
    }
}
