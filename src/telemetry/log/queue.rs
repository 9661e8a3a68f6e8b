//! Lines that wait for the thread that writes them. It is bounded, and whoever logs never waits for it.
//!
//! `tracing-appender` has such a queue, but bounds it in lines only, and at its end prints to standard output when
//! nobody reads.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::AsFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::lines::Shape;
use super::{Reason, count_dropped};

/// Most lines that wait.
const MOST_LINES: usize = 4_096;

/// Most bytes that wait: what a reader that stands still costs.
const MOST_BYTES: usize = 1024 * 1024;

/// Bytes that are written at a time.
const AT_A_TIME: usize = 64 * 1024;

/// Pause before another attempt on a pipe that does not block and is full.
const FULL_PIPE: Duration = Duration::from_millis(10);

/// Lines on their way to standard error.
#[derive(Debug)]
pub(super) struct Queue {
    shape: Shape,
    state: Mutex<State>,
    /// There are lines.
    news: Condvar,
    /// There are none any more.
    empty: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Lines that were not written, of which nobody has been told.
    dropped: u64,
    /// Whether some are being written now.
    is_writing: bool,
}

/// Standard error, without the lock of the standard library: a write that waits holds up nobody else.
pub(super) fn stderr() -> impl Write + Send + 'static {
    let own = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    own.map_or_else(|_| Box::new(io::sink()) as Box<dyn Write + Send>, |file| Box::new(file))
}

impl Queue {
    /// A queue, and its thread that writes to `out`.
    pub(super) fn start(shape: Shape, out: Box<dyn Write + Send>) -> Arc<Self> {
        let queue =
            Arc::new(Self { shape, state: Mutex::default(), news: Condvar::new(), empty: Condvar::new() });
        let writer = Writer { queue: Arc::clone(&queue), out, is_torn: false };
        // Without the thread the queue fills up and drops, as it does when nobody reads.
        drop(thread::Builder::new().name("log".to_owned()).spawn(move || writer.run()));
        queue
    }

    /// Takes a line in, its newline included, if there is room.
    pub(super) fn push(&self, line: Vec<u8>) {
        let mut state = self.lock();
        if state.lines.len() >= MOST_LINES || state.bytes + line.len() > MOST_BYTES {
            state.dropped += 1;
            drop(state);
            count_dropped(Reason::Full, 1);
            return;
        }
        state.bytes += line.len();
        state.lines.push_back(line);
        drop(state);
        self.news.notify_one();
    }

    /// Says how many lines like the one that follows were left out.
    pub(super) fn left_out(&self, lines: u64) {
        self.push(self.shape.left_out(lines));
    }

    /// Waits until everything is written, but no longer than `patience`.
    pub(super) fn wait_until_written(&self, patience: Duration) {
        let is_left = |state: &mut State| state.is_writing || !state.lines.is_empty();
        drop(self.empty.wait_timeout_while(self.lock(), patience, is_left));
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in the critical sections leaves the state half changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Some lines, once there are any, and how many were dropped before.
    fn take(&self) -> (Vec<Vec<u8>>, u64) {
        let mut state = self.lock();
        state.is_writing = false;
        if state.lines.is_empty() {
            self.empty.notify_all();
        }
        let nothing = |state: &mut State| state.lines.is_empty();
        state = self.news.wait_while(state, nothing).unwrap_or_else(PoisonError::into_inner);
        state.is_writing = true;
        let (mut lines, mut bytes) = (Vec::new(), 0);
        while bytes < AT_A_TIME
            && let Some(line) = state.lines.pop_front()
        {
            bytes += line.len();
            lines.push(line);
        }
        state.bytes -= bytes;
        (lines, state.dropped)
    }
}

/// The thread that writes.
struct Writer {
    queue: Arc<Queue>,
    out: Box<dyn Write + Send>,
    /// Whether the last line was written in part only.
    is_torn: bool,
}

impl Writer {
    fn run(mut self) {
        loop {
            let (lines, dropped) = self.queue.take();
            if dropped > 0 && self.write(&self.queue.shape.notice(dropped)) {
                self.queue.lock().dropped -= dropped;
            }
            let lost = lines.iter().filter(|line| !self.write(line)).count() as u64;
            if lost > 0 {
                count_dropped(Reason::Failed, lost);
                self.queue.lock().dropped += lost;
            }
        }
    }

    /// Writes one line, and says whether all of it was. Waits for as long as nobody reads.
    fn write(&mut self, line: &[u8]) -> bool {
        if self.is_torn && !self.write_bytes(b"\n") {
            return false;
        }
        self.write_bytes(line)
    }

    fn write_bytes(&mut self, bytes: &[u8]) -> bool {
        let mut left = bytes;
        while !left.is_empty() {
            match self.out.write(left) {
                Ok(0) => break,
                Ok(written) => left = left.get(written..).unwrap_or_default(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(FULL_PIPE),
                Err(_) => break,
            }
        }
        self.is_torn = (self.is_torn || left.len() < bytes.len()) && !left.is_empty();
        left.is_empty()
    }
}

#[cfg(test)]
mod tests;
