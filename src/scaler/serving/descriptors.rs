//! File descriptors: how many connections they leave room for, and a few in reserve for the probes.

use std::fs::File;
use std::io;

use rustix::io::Errno;
use rustix::process::{Resource, getrlimit};

/// Most connections on the gRPC port. KEDA has a handful; each may hold some 30 KiB of buffers, with TLS twice that.
const GRPC: usize = 512;

/// Most connections on the admin port: the kubelet, Prometheus and a few people.
const ADMIN: usize = 64;

/// Descriptors that connections leave to backends, files and the runtimes, at least; otherwise a quarter of all.
const OTHERS: u64 = 32;

/// Fewest connections on a port, however few descriptors there are.
const FEWEST: usize = 4;

/// Most connections at a time, by port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scaler) struct Places {
    /// On the port that KEDA uses.
    pub(in crate::scaler) grpc: usize,
    /// On the admin port.
    pub(in crate::scaler) admin: usize,
}

impl Places {
    /// What the process's limit on descriptors allows.
    pub(in crate::scaler) fn of_process() -> Self {
        Self::within(getrlimit(Resource::Nofile).current)
    }

    fn within(descriptors: Option<u64>) -> Self {
        let Some(descriptors) = descriptors else { return Self { grpc: GRPC, admin: ADMIN } };
        let left = descriptors.saturating_sub(OTHERS.max(descriptors / 4));
        let left = usize::try_from(left).unwrap_or(usize::MAX);
        let admin = (left / 4).clamp(FEWEST, ADMIN);
        Self { grpc: left.saturating_sub(admin).clamp(FEWEST, GRPC), admin }
    }
}

/// Whether `error` says that the process or the machine has no descriptor left.
pub(super) fn are_out(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::MFILE | Errno::NFILE))
}

/// Descriptors that are kept open so that they can be given up for a connection when all are in use.
#[derive(Debug)]
pub(in crate::scaler) struct Reserve {
    most: usize,
    kept: Vec<File>,
}

impl Reserve {
    /// Keeps `most` descriptors, as far as they can be had.
    pub(in crate::scaler) fn of(most: usize) -> Self {
        let mut reserve = Self { most, kept: Vec::new() };
        reserve.refill();
        reserve
    }

    /// Opens what was given up and can be had again.
    pub(super) fn refill(&mut self) {
        while self.kept.len() < self.most {
            let Ok(file) = File::open("/dev/null") else { return };
            self.kept.push(file);
        }
    }

    /// Closes one; whether there was one left.
    pub(super) fn give_up(&mut self) -> bool {
        self.kept.pop().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_to_others_and_have_a_bound_of_their_own() {
        let places = |descriptors| {
            let Places { grpc, admin } = Places::within(descriptors);
            (grpc, admin)
        };
        assert_eq!(places(None), (512, 64));
        assert_eq!(places(Some(1_048_576)), (512, 64));
        assert_eq!(places(Some(1_024)), (512, 64));
        assert_eq!(places(Some(256)), (144, 48));
        assert_eq!(places(Some(64)), (24, 8));
        assert_eq!(places(Some(16)), (4, 4));
    }

    #[test]
    fn a_reserve_gives_up_what_it_has_and_takes_it_back() {
        let mut reserve = Reserve::of(2);
        assert_eq!([reserve.give_up(), reserve.give_up(), reserve.give_up()], [true, true, false]);
        reserve.refill();
        assert_eq!(reserve.kept.len(), 2);
    }
}
