//! Figures of a framework's queues that could not be read.

use super::Role;
use crate::engine::signals::Reading;
use crate::sources::redis::fault::Fault;
use crate::sources::redis::unknown::Unknown;

/// The commands that gave no usable answer, by the role of the figure that each of them counts.
#[derive(Debug, Default)]
pub(super) struct Missed {
    roles: Vec<Role>,
    /// The first fault about waiting tasks.
    waits: Option<Fault>,
    unknown: Unknown,
}

impl Missed {
    /// Records that a command gave no usable answer.
    pub(super) fn add(&mut self, role: Role, fault: Fault) {
        if matches!(role, Role::Ready | Role::Due | Role::Asleep) {
            self.waits.get_or_insert_with(|| fault.clone());
        }
        self.roles.push(role);
        self.unknown.add(role.figure(), fault);
    }

    /// The reading without the figures that are not known; `waiting` is the number of waiting tasks that were seen.
    ///
    /// # Errors
    /// When no waiting task was seen and a part of them could not be read, because tasks may wait there.
    pub(super) fn taken_from(self, reading: Reading, waiting: u64) -> Result<Reading, Fault> {
        if self.roles.is_empty() {
            return Ok(reading);
        }
        if let Some(fault) = self.waits.filter(|_| waiting == 0) {
            return Err(fault);
        }
        let known = |is: fn(&Role) -> bool| !self.roles.iter().any(is);
        let runs_known = known(|role| matches!(role, Role::InFlight | Role::Unfinished));
        let members_known = known(|role| *role == Role::Members);
        let bounds_known = known(|role| matches!(role, Role::Concurrency | Role::Rate | Role::Started));
        let Reading { due, soon, delayed, in_flight, dead, oldest, ceiling, .. } = reading;
        Ok(Reading {
            // Due tasks that were seen still count. A zero is not known to be one.
            due: due.filter(|due| *due > 0 || known(|role| matches!(role, Role::Due | Role::Asleep))),
            soon: soon.filter(|_| known(|role| *role == Role::Soon)),
            delayed: delayed.filter(|_| known(|role| matches!(role, Role::Delayed | Role::Asleep))),
            // A sum over several keys is not known if one of its parts is not.
            in_flight: in_flight.filter(|_| runs_known && members_known),
            dead: dead.filter(|_| known(|role| *role == Role::Dead)),
            oldest: oldest.filter(|_| known(|role| matches!(role, Role::Head(_) | Role::Since(_)))),
            ceiling: ceiling.filter(|_| bounds_known && runs_known),
            unknown: self.unknown.into_causes(),
            ..reading
        })
    }
}

impl Role {
    /// The figure that it counts, as the subject of a sentence.
    const fn figure(self) -> &'static str {
        match self {
            Self::Ready | Self::Due | Self::Asleep => "a part of the waiting tasks",
            Self::Soon => "the number of tasks due soon",
            Self::Delayed => "the number of delayed tasks",
            Self::InFlight | Self::Unfinished | Self::Members => "the number of running tasks",
            Self::Lost => "the number of tasks that dead workers left",
            Self::Dead => "the number of failed tasks",
            Self::Paused => "whether the queue is paused",
            Self::Concurrency | Self::Rate | Self::Started => "the queue's own ceiling",
            Self::Head(_) | Self::Since(_) => "the age of the oldest task",
        }
    }
}
