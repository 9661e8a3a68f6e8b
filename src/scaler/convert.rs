//! Decisions → KEDA's messages, errors → gRPC status codes. Pure, and the only file that knows both.

use tonic::{Code, Status};

use crate::config::trigger::{self, Refusal};
use crate::engine::decision::{Answer, Unknown};
use crate::scaler::board::{Full, TooManyStreams};
use crate::scaler::proto::{
    GetMetricSpecResponse, GetMetricsResponse, IsActiveResponse, MetricSpec, MetricValue,
};
use crate::text::PrintableLines;

/// Name of the one metric of a trigger.
pub(super) const METRIC: &str = "agent-replicas";

/// Longest text of a status. KEDA writes it into an event of the ScaledObject, with some words of its own, and the
/// API server refuses events of more than 1,024 characters.
const LONGEST_TEXT: usize = 900;

/// Ends a text that was cut.
const CUT: &str = "… (`agent-scaler check` shows all of it)";

/// The one metric: its value is the number of replicas, so its target is 1.
pub(super) fn metric_spec() -> GetMetricSpecResponse {
    #[expect(deprecated, reason = "KEDA before 2.17 reads the integer")]
    let spec = MetricSpec { metric_name: METRIC.to_owned(), target_size: 1, target_size_float: 1.0 };
    GetMetricSpecResponse { metric_specs: vec![spec] }
}

/// The value of the metric: exactly one, in both fields.
///
/// # Errors
/// When nothing is known: the HPA then holds.
pub(super) fn metrics(
    answer: &Answer,
    to_show_running: impl FnOnce() -> String,
) -> Result<GetMetricsResponse, Status> {
    let size = match answer {
        Answer::Fresh(size) | Answer::Held(size) => size,
        Answer::Unknown(unknown) => return Err(nothing_known(unknown, to_show_running)),
    };
    #[expect(deprecated, reason = "KEDA reads the integer where the float is zero")]
    let value = MetricValue {
        metric_name: METRIC.to_owned(),
        metric_value: i64::from(size.replicas),
        metric_value_float: f64::from(size.replicas),
    };
    Ok(GetMetricsResponse { metric_values: vec![value] })
}

/// Whether there is anything to do.
///
/// # Errors
/// When that is not known. A held "no" is not known either: a task may have come since, and a wrong "no"
/// lets KEDA kill every pod.
pub(super) fn activity(
    answer: &Answer,
    to_show_running: impl FnOnce() -> String,
) -> Result<IsActiveResponse, Status> {
    match answer {
        Answer::Fresh(size) => Ok(IsActiveResponse { result: size.active }),
        Answer::Held(size) if size.active => Ok(IsActiveResponse { result: true }),
        Answer::Held(_) => {
            Err(Status::unavailable("the queue could not be read since it was last seen empty"))
        }
        Answer::Unknown(unknown) => Err(nothing_known(unknown, to_show_running)),
    }
}

fn nothing_known(unknown: &Unknown, to_show_running: impl FnOnce() -> String) -> Status {
    let hint = match unknown {
        Unknown::UnseenTasks { .. } => format!(" (hint: {})", to_show_running()),
        Unknown::NeverRead(_) | Unknown::Lost { .. } => String::new(),
    };
    status(Code::Unavailable, format!("{unknown}{hint}"))
}

/// No evaluation within the time that a first call waits.
pub(super) fn not_yet() -> Status {
    Status::unavailable("the queue has not been read yet; ask again")
}

/// No reading within the time that a value for Jobs waits for one.
pub(super) fn not_read_since() -> Status {
    Status::unavailable(
        "the queue was not read in time after this call, and an older number could start Jobs",
    )
}

/// The server is going away.
pub(super) fn shutting_down() -> Status {
    Status::unavailable("this server is shutting down; ask another")
}

/// KEDA asked for a metric that no trigger of ours has.
pub(super) fn unknown_metric(name: &str) -> Status {
    let name = trigger::shown(name);
    status(Code::NotFound, format!("no metric named `{name}` (hint: the only one is `{METRIC}`)"))
}

/// Why a trigger is not served.
pub(super) fn refusal(refusal: &Refusal) -> Status {
    let code = match refusal {
        Refusal::Invalid(_) => Code::InvalidArgument,
        Refusal::UnknownConnection { .. } | Refusal::UnknownLimit { .. } => Code::FailedPrecondition,
        Refusal::Forbidden(_) => Code::PermissionDenied,
    };
    status(code, refusal.to_string())
}

/// There is no room for another trigger.
pub(super) fn full(full: Full) -> Status {
    status(Code::ResourceExhausted, full.to_string())
}

/// There is no room for another stream.
pub(super) fn too_many_streams(error: TooManyStreams) -> Status {
    status(Code::ResourceExhausted, error.to_string())
}

fn status(code: Code, text: String) -> Status {
    // Terminals show events; the newlines between problems are ours.
    let mut text = PrintableLines(text).to_string();
    if text.len() > LONGEST_TEXT {
        let end = (0..=LONGEST_TEXT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
        text.push_str(CUT);
    }
    Status::new(code, text)
}

/// The name of a status code, for metrics.
pub(super) const fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "ok",
        Code::Cancelled => "cancelled",
        Code::Unknown => "unknown",
        Code::InvalidArgument => "invalid_argument",
        Code::DeadlineExceeded => "deadline_exceeded",
        Code::NotFound => "not_found",
        Code::AlreadyExists => "already_exists",
        Code::PermissionDenied => "permission_denied",
        Code::ResourceExhausted => "resource_exhausted",
        Code::FailedPrecondition => "failed_precondition",
        Code::Aborted => "aborted",
        Code::OutOfRange => "out_of_range",
        Code::Unimplemented => "unimplemented",
        Code::Internal => "internal",
        Code::Unavailable => "unavailable",
        Code::DataLoss => "data_loss",
        Code::Unauthenticated => "unauthenticated",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::decision::Size;
    use crate::timestamp::Timestamp;

    const EMPTY: Size = Size { replicas: 0, active: false };
    const BUSY: Size = Size { replicas: 7, active: true };

    #[test]
    fn both_fields_hold_the_value_and_a_known_zero_is_zero() {
        for (size, value) in [(EMPTY, 0), (BUSY, 7)] {
            let answer = metrics(&Answer::Fresh(size), String::new).unwrap();
            #[expect(deprecated, reason = "both fields are compared")]
            let values: Vec<_> = answer
                .metric_values
                .iter()
                .map(|value| (value.metric_value, value.metric_value_float))
                .collect();
            assert_eq!(values, [(value, f64::from(i32::try_from(value).unwrap()))]);
        }
    }

    #[test]
    fn a_held_no_is_not_known_and_a_held_yes_is_yes() {
        assert!(activity(&Answer::Held(BUSY), String::new).unwrap().result);
        assert_eq!(activity(&Answer::Held(EMPTY), String::new).unwrap_err().code(), Code::Unavailable);
        assert!(!activity(&Answer::Fresh(EMPTY), String::new).unwrap().result);
    }

    #[test]
    fn what_is_lost_is_unavailable() {
        let lost = Answer::Unknown(Unknown::Lost { read_at: Timestamp::default(), cause: None });
        assert_eq!(activity(&lost, String::new).unwrap_err().code(), Code::Unavailable);
        assert_eq!(metrics(&lost, String::new).unwrap_err().code(), Code::Unavailable);
    }

    #[test]
    fn a_queue_that_cannot_show_what_runs_gets_the_hint_of_its_source() {
        let unseen = Answer::Unknown(Unknown::UnseenTasks { until: Timestamp::default() });
        let hint = || "`runningPath`".to_owned();
        let text = "not known until 1970-01-01T00:00:00.000Z: no task waits, and the queue cannot show running \
                    tasks (hint: `runningPath`)";
        assert_eq!(metrics(&unseen, hint).unwrap_err().message(), text);
        assert_eq!(activity(&unseen, hint).unwrap_err().message(), text);
    }

    #[test]
    fn a_terminal_that_shows_the_event_of_a_status_obeys_nothing_in_it() {
        let status = unknown_metric("s0\u{1b}[2J\r");
        assert!(status.message().starts_with("no metric named `s0\\u{1b}[2J\\r`"), "{status:?}");
    }

    #[test]
    fn a_text_is_cut_at_a_character() {
        let text = "é".repeat(LONGEST_TEXT);
        assert_eq!(status(Code::Internal, text).message().len(), LONGEST_TEXT + CUT.len());
    }
}
