//! RQ: a list for each queue, and registries of what becomes of its jobs.

use super::Ask::{Exists, Hget, Lindex, Llen, Zcard, Zcount};
use super::Clock::Seconds;
use super::Role::{Dead, Delayed, Due, Head, InFlight, Paused, Ready, Since, Soon};
use super::parameters::{SWITCH, TEXT};
use super::{Preset, Span, Stamp, queue, row};
use crate::fields::{Key, Need};

/// RQ 2 and 3: `rq/queue.py`, `rq/registry.py`.
pub(in crate::sources::redis) const RQ: Preset = Preset {
    name: "rq",
    summary: "jobs of RQ, versions 2 and 3, through Redis",
    keys: &[
        queue("queues of the workers, separated by commas; they are summed", "default"),
        Key {
            name: "prefix",
            need: Need::Default("rq"),
            unit: TEXT,
            help: "`RQ_KEY_PREFIX` of the workers' environment",
            example: "rq",
        },
        Key {
            name: "withScheduler",
            need: Need::Default("true"),
            unit: SWITCH,
            help: "workers run `--with-scheduler`: nobody else moves scheduled jobs, so those that are due wake them",
            example: "false",
        },
    ],
    to_show_running: None,
    rows: &[
        row(Llen, "{prefix}:queue:{queue}", Ready),
        row(Zcount(Span::Past, Seconds), "{prefix}:scheduled:{queue}{withScheduler}", Due),
        row(Zcount(Span::Soon, Seconds), "{prefix}:scheduled:{queue}{withScheduler}", Soon),
        row(Zcount(Span::Later, Seconds), "{prefix}:scheduled:{queue}{withScheduler}", Delayed),
        // What a process left behind that died in between.
        row(Zcard, "{prefix}:ready:{queue}", Due),
        row(Lindex(0), "{prefix}:queue:{queue}", Head("")),
        row(Hget("enqueued_at"), "{prefix}:job:{head}", Since(Stamp::Rfc3339)),
        // Between the list and the registry of what runs.
        row(Llen, "{prefix}:queue:{queue}:intermediate", InFlight),
        row(Zcount(Span::Future, Seconds), "{prefix}:wip:{queue}", InFlight),
        // Their worker gives no sign of life: the next one puts them back, or fails them.
        row(Zcount(Span::Past, Seconds), "{prefix}:wip:{queue}", Due),
        row(Zcard, "{prefix}:failed:{queue}", Dead),
        row(Exists, "{prefix}:suspended", Paused),
    ],
};
