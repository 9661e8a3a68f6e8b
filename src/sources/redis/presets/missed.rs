//! What the answers about a framework's queues could not tell.

use super::Role;
use crate::engine::signals::Reading;
use crate::sources::redis::fault::Fault;
use crate::sources::redis::unknown::Unknown;

/// Answers that were none, and what each of them would have counted.
#[derive(Debug, Default)]
pub(super) struct Missed {
    roles: Vec<Role>,
    /// Why a part of what waits is not known.
    waits: Option<Fault>,
    unknown: Unknown,
}

impl Missed {
    /// Takes note of an answer that was none.
    pub(super) fn add(&mut self, role: Role, fault: Fault) {
        if matches!(role, Role::Ready | Role::Due | Role::Asleep) {
            self.waits.get_or_insert_with(|| fault.clone());
        }
        self.roles.push(role);
        self.unknown.add(role.figure(), fault);
    }

    /// The reading without what is not known; `waiting` are the tasks that were seen to wait.
    ///
    /// # Errors
    /// When nothing was seen to wait, and something may: that is not known to be zero.
    pub(super) fn taken_from(self, reading: Reading, waiting: u64) -> Result<Reading, Fault> {
        if self.roles.is_empty() {
            return Ok(reading);
        }
        if let Some(fault) = self.waits.filter(|_| waiting == 0) {
            return Err(fault);
        }
        let known =
            |roles: &[fn(&Role) -> bool]| !self.roles.iter().any(|role| roles.iter().any(|is| is(role)));
        let Reading { due, soon, delayed, in_flight, dead, oldest, ceiling, .. } = reading;
        Ok(Reading {
            // What was seen to be due is; that nothing is was not seen.
            due: due.filter(|due| *due > 0 || known(&[|role| matches!(role, Role::Due | Role::Asleep)])),
            soon: soon.filter(|_| known(&[|role| *role == Role::Soon])),
            delayed: delayed.filter(|_| known(&[|role| matches!(role, Role::Delayed | Role::Asleep)])),
            // The sum over several keys is not known if one of them is not: some of what runs is not all of it.
            in_flight: in_flight
                .filter(|_| known(&[|role| matches!(role, Role::InFlight | Role::Unfinished)])),
            dead: dead.filter(|_| known(&[|role| *role == Role::Dead])),
            oldest: oldest.filter(|_| known(&[|role| matches!(role, Role::Head(_) | Role::Since(_))])),
            ceiling: ceiling.filter(|_| {
                known(&[
                    |role| matches!(role, Role::Concurrency | Role::Rate | Role::Started),
                    |role| matches!(role, Role::InFlight | Role::Unfinished),
                ])
            }),
            unknown: self.unknown.into_causes(),
            ..reading
        })
    }
}

impl Role {
    /// What it counts, as the subject of a sentence.
    const fn figure(self) -> &'static str {
        match self {
            Self::Ready | Self::Due | Self::Asleep => "a part of what waits",
            Self::Soon => "what will be due soon",
            Self::Delayed => "what is delayed",
            Self::InFlight | Self::Unfinished | Self::Members => "what runs",
            Self::Lost => "what dead workers left",
            Self::Dead => "what failed for good",
            Self::Paused => "whether the queue is paused",
            Self::Concurrency | Self::Rate | Self::Started => "the queue's own ceiling",
            Self::Head(_) | Self::Since(_) => "how long the oldest task has waited",
        }
    }
}
