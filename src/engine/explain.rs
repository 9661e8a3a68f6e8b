//! Decisions in words: one text for the log, the command line and the page.

use std::fmt::{self, Display};
use std::time::Duration;

use crate::engine::decision::{Answer, Change, Decision, LimitedBy, Outlook, Size, Unknown};
use crate::engine::limit::share::{Bound, Cap, Share};
use crate::engine::signals::Quality;
use crate::engine::want::{Odd, Want};

impl Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.explain(&self.answer, f)
    }
}

impl Decision {
    /// The decision in words, now that its answer has become `answer` with age.
    ///
    /// # Errors
    /// When `f` takes no more.
    pub fn explain(&self, answer: &Answer, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { answer: _, limited_by, steps, want, share, outlook, alternatives, read_at } = self;
        let size = match answer {
            Answer::Unknown(unknown) => return unknown.fmt(f),
            Answer::Held(size) => {
                write!(f, "{}, the last answer: the queue could not be read since", replicas(*size))?;
                return read_at.iter().try_for_each(|read_at| write!(f, " {read_at}"));
            }
            Answer::Fresh(size) => *size,
        };
        f.write_str(&replicas(size))?;
        if *limited_by != LimitedBy::Demand {
            f.write_str(", limited by ")?;
            self.limit(f)?;
        }
        f.write_str(": ")?;
        if let Some(want) = want {
            sentence(f, want, steps.first().map_or(size.replicas, |step| step.from))?;
            if let Some(share) = share.as_ref().filter(|_| size.active) {
                of_share(f, share, want.service, steps.iter().any(|step| step.by == LimitedBy::LlmLimit))?;
            }
        }
        for alternative in alternatives {
            match alternative.change {
                // The demand that was just named is what the last rule changed, if it was the only one.
                Change::Without(by) if steps.len() > 1 => {
                    write!(f, "; without {by} {}", alternative.replicas)?;
                }
                Change::Without(_) => {}
                Change::TwiceTheLimit(dimension) => {
                    write!(f, "; with twice the {dimension} {}", alternative.replicas)?;
                }
                Change::MaxQueueWait(promise) => {
                    let promise = humantime::format_duration(promise);
                    write!(f, "; with maxQueueWait {promise} {}", alternative.replicas)?;
                }
            }
        }
        if let Some(excess) = want.and_then(|want| want.out_of_reach) {
            let excess = rounded(excess);
            write!(f, "; latencyTarget is out of reach: 5 % of tasks alone run {excess} longer, or more")?;
        }
        outlook.fmt(f)
    }

    /// What limits, by the name of the limit where it is one.
    fn limit(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.limited_by, self.share.as_deref()) {
            (LimitedBy::LlmLimit, Some(Share { limit, bound: Bound::At(cap), .. })) => {
                write!(f, "{limit} ({})", cap.dimension)
            }
            (LimitedBy::LlmLimit, Some(Share { limit, bound: Bound::Open(_), .. })) => f.write_str(limit),
            (LimitedBy::LlmBlocked, Some(Share { limit, blocked: Some(block), .. })) => {
                write!(f, "{limit} ({} until {})", block.why.label(), block.until)
            }
            (limited_by, _) => limited_by.fmt(f),
        }
    }
}

/// What a server of models that is full means for those who use it.
const NOBODY_GROWS: &str = "; nobody grows while requests wait in the model's own server";

/// What a limit leaves to a trigger: all of it where it is the limit, and only what is wrong where it is not.
fn of_share(
    f: &mut fmt::Formatter<'_>,
    share: &Share,
    service: Option<Duration>,
    limits: bool,
) -> fmt::Result {
    let Share { limit, blocked: _, bound, full } = share;
    let cap = match bound {
        Bound::At(cap) if limits => cap,
        Bound::At(_) => return Ok(()),
        Bound::Open(_) if limits => return f.write_str(NOBODY_GROWS),
        Bound::Open(cause) => return write!(f, "; no cap by {limit}: {cause}"),
    };
    let Cap { slots, dimension, amount, per_slot, quality, k, scarce, .. } = cap;
    let part = amounts(slots * per_slot);
    write!(f, ", but {part} of {} {dimension} are left to it", amounts(*amount))?;
    if *k < 1.0 {
        write!(f, " (the provider admits {:.0} %)", k * 100.0)?;
    }
    let about = if *quality == Quality::Estimated { "about " } else { "" };
    write!(f, ", {about}{} a slot", amounts(*per_slot))?;
    if let Some(service) = service {
        write!(f, ": {} tasks/min", amounts(slots * 60.0 / service.as_secs_f64()))?;
    }
    if *scarce {
        f.write_str("; nobody grows beyond their part while so little is left")?;
    }
    if *full {
        f.write_str(NOBODY_GROWS)?;
    }
    Ok(())
}

/// An amount to two figures at least, and without a fraction where it is large.
fn amounts(amount: f64) -> String {
    if amount < 9.95 { format!("{amount:.1}") } else { format!("{amount:.0}") }
}

fn replicas(size: Size) -> String {
    let noun = if size.replicas == 1 { "replica" } else { "replicas" };
    format!("{} {noun}", size.replicas)
}

fn sentence(f: &mut fmt::Formatter<'_>, want: &Want, demanded: u32) -> fmt::Result {
    if want.slots == 0.0 {
        return f.write_str(match want.in_flight {
            Some(_) => "nothing waits, nothing runs",
            None => "nothing waits",
        });
    }
    write!(f, "{} waiting", want.backlog)?;
    if want.soon > 0 {
        write!(f, ", {} due soon", want.soon)?;
    }
    match want.in_flight {
        Some(running) => {
            write!(f, " and {running} running")?;
            match want.odd {
                Odd { stuck: 0, poison: 0 } => {}
                Odd { stuck, poison: 0 } => write!(f, " ({stuck} stuck)")?,
                Odd { stuck: 0, poison } => write!(f, " ({poison} poison)")?,
                Odd { stuck, poison } => write!(f, " ({stuck} stuck, {poison} poison)")?,
            }
            write!(f, " want {demanded}")
        }
        None => write!(f, " want {demanded}; what runs cannot be seen"),
    }
}

impl Display for Outlook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty | Self::NotKnown => Ok(()),
            Self::GoneIn(time) => write!(f, "; backlog gone in {}", rounded(*time)),
            Self::Growing => f.write_str("; tasks come faster than they can be run"),
        }
    }
}

/// A duration to two figures at most: nobody plans by the second of an hour.
fn rounded(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    if seconds < 90.0 {
        format!("{:.0} s", seconds.max(1.0))
    } else if seconds < 5_400.0 {
        format!("{:.1} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3_600.0)
    }
}

impl Display for LimitedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Demand => "demand",
            Self::Promise => "the missed promise (maxQueueWait)",
            Self::Ceiling => "the queue's own ceiling",
            Self::EvenPartitions => "partitions that are to lie evenly",
            Self::NoProgress => "tasks that do not end",
            Self::LlmLimit => "the rate limit",
            Self::LlmBlocked => "a provider that refuses everything",
            Self::RunningTasks => "running tasks",
            Self::UnseenTasks => "tasks that the queue cannot show",
            Self::Activation => "activationBacklog",
            Self::Minimum => "minReplicaCount",
            Self::Maximum => "maxReplicaCount",
            Self::Stale => "a stale reading",
        })
    }
}

impl Display for Unknown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeverRead(cause) => write!(f, "not known: the queue was never read: {cause}"),
            Self::Lost { read_at, cause } => {
                write!(f, "not known: the queue was last read at {read_at}")?;
                cause.iter().try_for_each(|cause| write!(f, ": {cause}"))
            }
            Self::UnseenTasks { until } => {
                write!(f, "not known until {until}: no task waits, and the queue cannot show running tasks")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::limit::{Block, Why};
    use crate::engine::testing::*;
    use crate::timestamp::Timestamp;

    #[test]
    fn a_decision_reads_as_one_sentence() {
        let mut trigger = Trigger::with(|policy| {
            policy.tasks_per_replica = four();
            policy.replicas = range(0, 30);
        });
        trigger.at(0).sees(queue(120, 45));
        assert_eq!(
            trigger.decision().to_string(),
            "30 replicas, limited by maxReplicaCount: 120 waiting and 45 running want 42"
        );
        trigger.at(60).serves_in(seconds(90)).sees(queue(40, 10));
        assert_eq!(
            trigger.decision().to_string(),
            "13 replicas: 40 waiting and 10 running want 13; with maxQueueWait 10m 10; backlog gone in 69 s"
        );
        trigger.at(120).sees(queue(0, 0));
        assert_eq!(trigger.decision().to_string(), "0 replicas: nothing waits, nothing runs");
        trigger.at(125).shares(capped(7)).sees(queue(40, 5));
        assert_eq!(
            trigger.decision().to_string(),
            "7 replicas, limited by anthropic-prod (requests/min): 40 waiting and 5 running want 12, but 60 of 60 \
             requests/min are left to it, 8.6 a slot: 4.7 tasks/min; with twice the requests/min 12; with maxQueueWait \
             10m 3; backlog gone in 8.6 min"
        );
        trigger.at(130).blocked(Block { until: Timestamp::from_millis(3_600_000), why: Why::Quota });
        trigger.sees(queue(40, 5));
        assert_eq!(
            trigger.decision().to_string(),
            "5 replicas, limited by anthropic-prod (quota until 1970-01-01T01:00:00.000Z): 40 waiting and 5 running \
             want 12; no cap by anthropic-prod: no limit is known; backlog gone in 3.0 min"
        );
        trigger.at(150);
        assert_eq!(
            trigger.decision().to_string(),
            "5 replicas, the last answer: the queue could not be read since 1970-01-01T00:02:10.000Z"
        );
    }
}
