//! What the reads of a trigger cost in a month, where its backend has calls paid.
//!
//! Handlers answer from memory, so the cost of a Deployment's trigger depends neither on `pollingInterval` nor on whether
//! KEDA or the HPA asks. An open stream changes it, because its queue is read more often. For Jobs each poll of KEDA has the
//! active queue read.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::config::trigger::Trigger;
use crate::engine::policy::Workload;
use crate::telemetry::shown::short;

/// A month, as price lists have it: 730 hours.
const MONTH: Duration = Duration::from_secs(730 * 3_600);

/// Calls and dollars of one server in a month, by what happens all the while.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Cost {
    /// Nothing waits and nothing runs.
    idle: Monthly,
    /// A task waits or runs; where the workload is Jobs, each of KEDA's polls adds a read.
    active: Monthly,
    /// Nothing waits or runs, and KEDA listens for the first task; null where it opens no stream.
    listened: Option<Monthly>,
    /// US dollars for a million calls; the mean, where the queues have several prices.
    dollars_per_million_calls: f64,
    /// The year of the price list.
    as_of: u16,
}

/// One month.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Monthly {
    calls: u64,
    dollars: f64,
}

impl Cost {
    /// The cost of `trigger` on a server with this tick. `listens` says whether KEDA opens a stream for it; `poll` is its
    /// `pollingInterval`. `None` where calls cost nothing.
    pub(super) fn of(trigger: &Trigger, tick: Duration, listens: bool, poll: Duration) -> Option<Self> {
        let price = trigger.plan.price()?;
        let connection = &trigger.connection;
        let monthly = |pause: Duration| MONTH.as_secs_f64() / pause.as_secs_f64();
        let cost = |reads: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "far below the limits"
            )]
            let calls = (reads * f64::from(price.calls)).round() as u64;
            Monthly { calls, dollars: cents(reads * price.dollars_per_million / 1e6) }
        };
        let every = |pause| cost(monthly(pause));
        // For Jobs, each poll has an active queue read. KEDA polls at most once a second.
        let asked = match trigger.policy.workload {
            Workload::Deployment => 0.0,
            Workload::Job => monthly(poll.max(Duration::from_secs(1))),
        };
        Some(Self {
            idle: every(tick.max(connection.endpoint.longest_pause())),
            active: cost(monthly(tick) + asked),
            listened: listens.then(|| every(tick.min(connection.wake_every()))),
            dollars_per_million_calls: cents(price.dollars_per_million / f64::from(price.calls.max(1))),
            as_of: price.as_of,
        })
    }
}

/// Whole cents: price lists promise no more.
fn cents(dollars: f64) -> f64 {
    (dollars * 100.0).round() / 100.0
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { idle, active, listened, dollars_per_million_calls, as_of } = self;
        write!(f, "{idle} idle, {active} active")?;
        listened.iter().try_for_each(|listened| write!(f, ", {listened} idle and listened for"))?;
        write!(f, "; each server, at ${dollars_per_million_calls:.2} a million calls ({as_of})")
    }
}

impl fmt::Display for Monthly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, dollars } = self;
        let calls = *calls as f64;
        if calls < 1e6 {
            return write!(f, "${dollars:.2} ({:.0} k calls)", calls / 1e3);
        }
        write!(f, "${dollars:.2} ({} M calls)", short(calls / 1e6))
    }
}
