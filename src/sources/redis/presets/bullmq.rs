//! BullMQ, versions 3 to 6: one table reads them all, because what a version does not have is empty.

use super::Ask::{Get, Hget, Lindex, Llen, Zcard, Zcount};
use super::Clock::Millis4096;
use super::Role::{
    Concurrency, Dead, Delayed, Due, Head, InFlight, Paused, Rate, Ready, Since, Soon, Started,
};
use super::parameters::TEXT;
use super::{Preset, Span, Stamp, queue, row};
use crate::fields::{Key, Need};

/// In versions 3 and 4 such an id lies in the list to wake workers, and is no job.
const MARKER: &str = "0:";

/// BullMQ 3 to 6: `src/classes/queue-keys.ts`, `src/commands/`.
pub(in crate::sources::redis) const BULLMQ: Preset = Preset {
    name: "bullmq",
    summary: "jobs of BullMQ, versions 3 to 6, through Redis",
    keys: &[
        queue("queues of the workers, separated by commas; they are summed", "research"),
        Key {
            name: "prefix",
            need: Need::Default("bull"),
            unit: TEXT,
            help: "`prefix` of the queue",
            example: "{acme}",
        },
    ],
    to_show_running: None,
    rows: &[
        row(Llen, "{prefix}:{queue}:wait", Ready),
        // Up to version 5 a pause renames the list.
        row(Llen, "{prefix}:{queue}:paused", Ready),
        row(Zcard, "{prefix}:{queue}:prioritized", Ready),
        row(Zcount(Span::Past, Millis4096), "{prefix}:{queue}:delayed", Due),
        row(Zcount(Span::Soon, Millis4096), "{prefix}:{queue}:delayed", Soon),
        row(Zcount(Span::Later, Millis4096), "{prefix}:{queue}:delayed", Delayed),
        row(Lindex(-1), "{prefix}:{queue}:wait", Head(MARKER)),
        row(Lindex(-1), "{prefix}:{queue}:paused", Head(MARKER)),
        row(Hget("timestamp"), "{prefix}:{queue}:{head}", Since(Stamp::Millis)),
        row(Llen, "{prefix}:{queue}:active", InFlight),
        row(Zcard, "{prefix}:{queue}:failed", Dead),
        row(Hget("paused"), "{prefix}:{queue}:meta", Paused),
        row(Hget("concurrency"), "{prefix}:{queue}:meta", Concurrency),
        row(Hget("max"), "{prefix}:{queue}:meta", Rate),
        row(Get, "{prefix}:{queue}:limiter", Started),
    ],
};
