//! Sidekiq: a list for each queue; what is scheduled, retried or dead lies together for all queues, as do the processes.

use super::Ask::{Llen, Scard, Sismember, Sort, Zcard, Zcount};
use super::Clock::Seconds;
use super::Role::{Dead, Delayed, Due, InFlight, Members, Paused, Ready, Soon};
use super::parameters::{SWITCH, TEXT};
use super::{Preset, Span, queue, row};
use crate::fields::{Key, Need};

/// Sidekiq 6 to 8: `lib/sidekiq/api.rb`.
pub(in crate::sources::redis) const SIDEKIQ: Preset = Preset {
    name: "sidekiq",
    summary: "jobs of Sidekiq, versions 6 to 8, through Redis",
    keys: &[
        queue("queues of the workers, separated by commas; they are summed", "default"),
        Key {
            name: "namespace",
            need: Need::Default(""),
            unit: TEXT,
            help: "namespace of the gem redis-namespace, where it is in use",
            example: "acme",
        },
        Key {
            name: "scheduled",
            need: Need::Default("true"),
            unit: SWITCH,
            help: "count scheduled jobs and retries: Sidekiq keeps them once for all queues, so with several triggers \
                   let one count them",
            example: "false",
        },
        Key {
            name: "busy",
            need: Need::Default("true"),
            unit: SWITCH,
            help: "count running jobs, those of all processes together; needs Redis 7 and the right to read all keys \
                   (`%R~*`), else have workers report (`workersConnection`)",
            example: "false",
        },
    ],
    to_show_running: Some(
        "leave out `busy: \"false\"`, if no other trigger counts these processes (Redis 7, no cluster)",
    ),
    rows: &[
        row(Llen, "{namespace:}queue:{queue}", Ready),
        row(Zcount(Span::Past, Seconds), "{namespace:}schedule{scheduled}", Due),
        row(Zcount(Span::Soon, Seconds), "{namespace:}schedule{scheduled}", Soon),
        row(Zcount(Span::Later, Seconds), "{namespace:}schedule{scheduled}", Delayed),
        row(Zcount(Span::Past, Seconds), "{namespace:}retry{scheduled}", Due),
        row(Zcount(Span::Soon, Seconds), "{namespace:}retry{scheduled}", Soon),
        row(Zcount(Span::Later, Seconds), "{namespace:}retry{scheduled}", Delayed),
        // Names of dead processes stay there until Sidekiq's web page is opened.
        row(Scard, "{namespace:}processes{busy}", Members),
        row(Sort { each: "{namespace:}*", by: "beat", get: "busy" }, "{namespace:}processes{busy}", InFlight),
        row(Zcard, "{namespace:}dead", Dead),
        // Sidekiq Pro.
        row(Sismember("{queue}"), "{namespace:}paused", Paused),
    ],
};
