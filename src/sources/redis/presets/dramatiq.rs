//! Dramatiq: a list of ids and a hash of messages for each queue, and the same once more for delayed ones.

use super::Ask::{Hlen, Llen, Zcard};
use super::Role::{Asleep, Dead, Ready, Unfinished};
use super::parameters::TEXT;
use super::{Preset, queue, row};
use crate::fields::{Key, Need};

/// Dramatiq 1 and 2: `dramatiq/brokers/redis/dispatch.lua`.
pub(in crate::sources::redis) const DRAMATIQ: Preset = Preset {
    name: "dramatiq",
    summary: "messages of Dramatiq, through Redis",
    keys: &[
        queue("queues of the workers, separated by commas; they are summed", "default"),
        Key {
            name: "namespace",
            need: Need::Default("dramatiq"),
            unit: TEXT,
            help: "`namespace` of the broker",
            example: "dramatiq",
        },
    ],
    to_show_running: None,
    rows: &[
        row(Llen, "{namespace}:{queue}", Ready),
        // Workers take delayed messages early and keep them in their memory.
        row(Hlen, "{namespace}:{queue}.DQ.msgs", Asleep),
        row(Hlen, "{namespace}:{queue}.msgs", Unfinished),
        row(Zcard, "{namespace}:{queue}.XQ", Dead),
    ],
};
