//! Celery, with kombu's Redis transport: a list for each queue and step of priority, and one hash of what was delivered.

use super::Ask::{Hlen, Llen, Zcount};
use super::Clock::Seconds;
use super::Role::{InFlight, Lost, Ready};
use super::parameters::{NAMES, SPAN, SWITCH, TEXT};
use super::{Preset, Span, queue, row};
use crate::fields::{Key, Need};

/// Kombu 5: `kombu/transport/redis.py`.
pub(in crate::sources::redis) const CELERY: Preset = Preset {
    name: "celery",
    summary: "tasks of Celery, through Redis",
    keys: &[
        queue("queues of the workers, separated by commas; they are summed", "celery"),
        Key {
            name: "globalKeyprefix",
            need: Need::Default(""),
            unit: TEXT,
            help: "`global_keyprefix` of `broker_transport_options`",
            example: "acme:",
        },
        Key {
            name: "prioritySteps",
            need: Need::Default("3,6,9"),
            unit: NAMES,
            help: "`priority_steps` of `broker_transport_options`, without 0",
            example: "1,2,3",
        },
        Key {
            name: "separator",
            need: Need::Default(r"\x06\x16"),
            unit: TEXT,
            help: r"`sep` of `broker_transport_options`; `\x06` stands for a byte",
            example: ":",
        },
        Key {
            name: "unackedKey",
            need: Need::Default("unacked"),
            unit: TEXT,
            help: "`unacked_key` of `broker_transport_options`",
            example: "unacked",
        },
        Key {
            name: "unackedIndexKey",
            need: Need::Default("unacked_index"),
            unit: TEXT,
            help: "`unacked_index_key` of `broker_transport_options`",
            example: "unacked_index",
        },
        Key {
            name: "visibilityTimeout",
            need: Need::Default("1h"),
            unit: SPAN,
            help: "`visibility_timeout` of `broker_transport_options`: a task that a worker has had for longer is given to \
                   another, and counts as waiting",
            example: "12h",
        },
        Key {
            name: "unacked",
            need: Need::Default("true"),
            unit: SWITCH,
            help: "count delivered tasks as running: Celery keeps them once for all queues of a database and prefix, so \
                   with several queues there let one trigger count them, or have workers report (`workersConnection`)",
            example: "false",
        },
    ],
    to_show_running: Some(
        "leave out `unacked: \"false\"`, if no other trigger counts the tasks of this database and prefix",
    ),
    rows: &[
        row(Llen, "{globalKeyprefix}{queue}", Ready),
        row(Llen, "{globalKeyprefix}{queue}{separator}{prioritySteps}", Ready),
        row(Hlen, "{globalKeyprefix}{unackedKey}{unacked}", InFlight),
        row(Zcount(Span::Lost, Seconds), "{globalKeyprefix}{unackedIndexKey}{unacked}", Lost),
    ],
};
