//! A sink that stands still, that fails, and that comes back.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

use super::*;

const PATIENCE: Duration = Duration::from_secs(10);

/// A pipe whose other end a test holds: a write waits until the test lets it go on.
struct Pipe {
    written: mpsc::SyncSender<Vec<u8>>,
    fails: Arc<AtomicBool>,
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.fails.load(Ordering::SeqCst) {
            return Err(ErrorKind::StorageFull.into());
        }
        drop(self.written.send(bytes.to_vec()));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A queue, what it writes, and the switch that makes writes fail.
fn queue() -> (Arc<Queue>, mpsc::Receiver<Vec<u8>>, Arc<AtomicBool>) {
    let (written, lines) = mpsc::sync_channel(0);
    let fails = Arc::new(AtomicBool::new(false));
    let pipe = Pipe { written, fails: Arc::clone(&fails) };
    (Queue::start(Shape::Text, Box::new(pipe)), lines, fails)
}

fn next(lines: &mpsc::Receiver<Vec<u8>>) -> String {
    String::from_utf8(lines.recv_timeout(PATIENCE).unwrap()).unwrap()
}

#[test]
fn a_pipe_that_nobody_reads_holds_up_nobody_and_keeps_a_bounded_number_of_lines() {
    let (queue, lines, _) = queue();
    queue.push(b"0\n".to_vec());
    while !queue.lock().is_writing {
        thread::yield_now();
    }
    (1..20_000).for_each(|line| queue.push(format!("{line}\n").into_bytes()));
    queue.wait_until_written(Duration::from_millis(10));
    let state = queue.lock();
    assert!(state.lines.len() <= MOST_LINES, "{}", state.lines.len());
    assert!(state.dropped > 10_000, "{}", state.dropped);
    drop(state);
    assert_eq!(next(&lines), "0\n", "what was said first is written first");
    let read: Vec<String> = (0..8_000)
        .map_while(|_| lines.recv_timeout(Duration::from_millis(200)).ok())
        .map(|line| String::from_utf8(line).unwrap())
        .collect();
    let notices: Vec<_> = read.iter().filter(|line| line.contains("Log lines were dropped")).collect();
    assert_eq!(notices.len(), 1, "the gap is said once: {notices:?}");
    queue.push(b"again\n".to_vec());
    assert_eq!(next(&lines), "again\n");
}

#[test]
fn lines_that_wait_are_bounded_in_bytes() {
    let (queue, _lines, _) = queue();
    (0..100).for_each(|_| queue.push(vec![b'x'; 100_000]));
    let state = queue.lock();
    assert!(state.bytes <= MOST_BYTES, "{}", state.bytes);
}

#[test]
fn a_full_disk_costs_its_lines_and_is_told_of_when_there_is_room_again() {
    let (queue, lines, fails) = queue();
    fails.store(true, Ordering::SeqCst);
    for line in ["one\n", "two\n"] {
        queue.push(line.into());
    }
    queue.wait_until_written(PATIENCE);
    fails.store(false, Ordering::SeqCst);
    queue.push(b"three\n".to_vec());
    let notice = next(&lines);
    assert!(notice.ends_with("lines=2\n"), "{notice}");
    assert_eq!(next(&lines), "three\n");
}

#[test]
fn the_end_of_the_process_waits_for_what_can_be_written() {
    let (written, lines) = mpsc::sync_channel(1_000);
    let pipe = Pipe { written, fails: Arc::default() };
    let queue = Queue::start(Shape::Text, Box::new(pipe));
    (0..500).for_each(|_| queue.push(b"x\n".to_vec()));
    queue.wait_until_written(PATIENCE);
    assert_eq!(lines.try_iter().count(), 500);
}
