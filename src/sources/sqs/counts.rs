//! The three counts of a queue.

use std::collections::HashMap;

use aws_sdk_sqs::types::QueueAttributeName;

use super::fault::Fault;
use crate::engine::signals::{Cause, Reading};

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

/// The figures of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) counts: Counts,
    /// Figures that are not known, with the reason. They are zero in the fields above.
    unknown: Vec<(Figure, Fault)>,
}

/// A count other than that of waiting messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Figure {
    InFlight,
    Delayed,
}

impl Answer {
    /// Reads the answer about the queue `name`.
    ///
    /// # Errors
    /// If the count of waiting messages is missing or not a number.
    pub(super) fn of(
        name: &str,
        answer: Option<&HashMap<QueueAttributeName, String>>,
    ) -> Result<Self, Fault> {
        let count = |attribute: &QueueAttributeName| {
            let text = answer.and_then(|counts| counts.get(attribute));
            text.and_then(|text| text.parse().ok()).ok_or_else(|| Fault::nonsense(name, attribute.as_str()))
        };
        let [visible, in_flight, delayed] = &ATTRIBUTES;
        let mut unknown = Vec::new();
        let mut beside = |attribute, figure| {
            count(attribute).unwrap_or_else(|fault| {
                unknown.push((figure, fault));
                0
            })
        };
        let (visible, in_flight) = (count(visible)?, beside(in_flight, Figure::InFlight));
        let delayed = beside(delayed, Figure::Delayed);
        Ok(Self { counts: Counts { visible, in_flight, delayed }, unknown })
    }

    /// The sum of several queues. A figure that is not known of one queue is not known of the sum.
    pub(super) fn known(answers: &[Self], reading: Reading) -> Reading {
        let unknown = || answers.iter().flat_map(|answer| &answer.unknown);
        let is_unknown = |wanted| unknown().any(|(figure, _)| *figure == wanted);
        let causes = unknown().filter_map(|(figure, fault)| match figure {
            Figure::InFlight => {
                Some(Cause::new(format!("the number of running tasks is not known: {}", fault.message())))
            }
            Figure::Delayed => {
                let text = format!("the number of tasks due soon is not known: {}", fault.message());
                reading.soon.map(|_| Cause::new(text))
            }
        });
        Reading {
            unknown: causes.collect(),
            soon: reading.soon.filter(|_| !is_unknown(Figure::Delayed)),
            in_flight: reading.in_flight.filter(|_| !is_unknown(Figure::InFlight)),
            ..reading
        }
    }
}

impl Counts {
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
        let read = |texts| Answer::of("q", Some(&counts(texts)));
        assert_eq!(
            read(["7", "2", "0"]),
            Ok(Answer { counts: Counts { visible: 7, in_flight: 2, delayed: 0 }, unknown: Vec::new() })
        );
        let [visible, in_flight, delayed] = ATTRIBUTES.map(|name| Fault::nonsense("q", name.as_str()));
        for (texts, fault) in [
            (["absent", "0", "0"], &visible),
            (["-1", "0", "0"], &visible),
            (["many", "absent", "absent"], &visible),
        ] {
            assert_eq!(read(texts), Err(fault.clone()), "{texts:?}");
        }
        assert_eq!(Answer::of("q", None), Err(visible));
        for (texts, figure, fault) in [
            (["5", "", "0"], Figure::InFlight, &in_flight),
            (["5", "1.5", "0"], Figure::InFlight, &in_flight),
            (["5", "absent", "0"], Figure::InFlight, &in_flight),
            (["5", "0", "many"], Figure::Delayed, &delayed),
        ] {
            let unknown = vec![(figure, fault.clone())];
            let counts = Counts { visible: 5, ..Counts::default() };
            assert_eq!(read(texts), Ok(Answer { counts, unknown }), "{texts:?}");
        }
    }
}
