//! What one worker says of itself, as JSON.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::engine::signals::{Worker, WorkerState};
use crate::timestamp::Timestamp;

/// The longest text that is read: what a worker says takes some 150 bytes, and more can be for others only.
const LONGEST: usize = 4 << 10;

/// The JSON of a worker's field. Times are milliseconds since the Unix epoch.
#[derive(Serialize)]
struct Presence {
    seen: u64,
    state: &'static str,
    slots: u32,
    running: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<u64>,
    paces: bool,
    poison: u32,
}

/// What `worker` says of itself at `seen`.
pub(super) fn written(worker: &Worker, seen: Timestamp) -> String {
    let Worker { state, slots, running, oldest, progress, paces, poison } = *worker;
    let presence = Presence {
        seen: seen.as_millis(),
        state: state.label(),
        slots,
        running,
        oldest: oldest.map(Timestamp::as_millis),
        progress: progress.map(Timestamp::as_millis),
        paces,
        poison,
    };
    // Numbers, a word and a flag: nothing that JSON could refuse.
    serde_json::to_string(&presence).unwrap_or_default()
}

/// The worker that said so, if it gave a sign of life not longer ago than `gone_after`. One whose clock is
/// ahead by more than that is as little to be believed as one that is silent.
pub(super) fn read(text: &str, gone_after: Duration, now: Timestamp) -> Option<Worker> {
    let said = object(text)?;
    let seen = time(&said, "seen")?;
    let alive = now.since(seen) <= gone_after && seen.since(now) <= gone_after;
    alive.then(|| worker(&said))
}

/// When the worker last gave a sign of life; `None` if that makes no sense.
pub(super) fn last_seen(text: &str) -> Option<Timestamp> {
    time(&object(text)?, "seen")
}

fn object(text: &str) -> Option<Map<String, Value>> {
    if text.len() > LONGEST {
        return None;
    }
    let Ok(Value::Object(said)) = serde_json::from_str(text) else { return None };
    Some(said)
}

/// A worker that is alive, and that we know too little of, may be running something: what its state and the
/// number of its tasks do not say of each other counts as one task, never as none.
fn worker(said: &Map<String, Value>) -> Worker {
    let state = said.get("state").and_then(Value::as_str).and_then(WorkerState::of_label);
    let running = whole(said, "running");
    let state = state.unwrap_or(if running == Some(0) { WorkerState::Idle } else { WorkerState::Busy });
    let running = running.unwrap_or(match state {
        WorkerState::Idle => 0,
        WorkerState::Busy | WorkerState::Draining => 1,
    });
    Worker {
        state,
        running,
        slots: whole(said, "slots").unwrap_or(running.max(1)),
        oldest: time(said, "oldest"),
        progress: time(said, "progress"),
        paces: said.get("paces").and_then(Value::as_bool).unwrap_or_default(),
        poison: whole(said, "poison").unwrap_or_default().min(running),
    }
}

fn whole(said: &Map<String, Value>, name: &str) -> Option<u32> {
    said.get(name)?.as_u64().and_then(|number| u32::try_from(number).ok())
}

fn time(said: &Map<String, Value>, name: &str) -> Option<Timestamp> {
    said.get(name)?.as_u64().map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GONE_AFTER: Duration = Duration::from_secs(30);
    const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);

    #[test]
    fn what_is_written_is_read() {
        for state in WorkerState::ALL {
            let worker = Worker {
                state,
                slots: 4,
                running: 3,
                oldest: Some(NOW - Duration::from_secs(100)),
                progress: (state == WorkerState::Busy).then_some(NOW),
                paces: state != WorkerState::Idle,
                poison: 1,
            };
            assert_eq!(read(&written(&worker, NOW), GONE_AFTER, NOW), Some(worker));
        }
    }

    #[test]
    fn the_text_is_the_one_that_the_protocol_shows() {
        let worker = Worker {
            state: WorkerState::Busy,
            slots: 4,
            running: 1,
            oldest: Some(NOW),
            progress: None,
            paces: true,
            poison: 0,
        };
        assert_eq!(
            written(&worker, NOW),
            r#"{"seen":1700000000000,"state":"busy","slots":4,"running":1,"oldest":1700000000000,"paces":true,"poison":0}"#
        );
    }

    #[test]
    fn silence_and_a_clock_far_ahead_are_the_end_of_a_worker() {
        let text = |seen: Timestamp| format!(r#"{{"seen":{},"state":"idle"}}"#, seen.as_millis());
        let alive = |seen: Timestamp| read(&text(seen), GONE_AFTER, NOW).is_some();
        assert!(alive(NOW - GONE_AFTER));
        assert!(!alive(NOW - GONE_AFTER - Duration::from_millis(1)));
        assert!(alive(NOW + GONE_AFTER));
        assert!(!alive(NOW + GONE_AFTER + Duration::from_millis(1)));
        let long = format!(r#"{{"seen":{},"more":"{}"}}"#, NOW.as_millis(), "x".repeat(LONGEST));
        assert_eq!(read(&long, GONE_AFTER, NOW), None);
        for bad in ["", "7", "{}", r#"{"seen":"now"}"#, r#"{"seen":-1}"#, r#"{"seen":1.7e12}"#, "{\"seen\":"]
        {
            assert_eq!(read(bad, GONE_AFTER, NOW), None, "{bad}");
        }
    }

    #[test]
    fn nonsense_in_one_field_leaves_the_others_and_is_never_an_idle_worker() {
        let unknown = Worker {
            state: WorkerState::Busy,
            slots: 1,
            running: 1,
            oldest: None,
            progress: None,
            paces: false,
            poison: 0,
        };
        let idle = Worker { state: WorkerState::Idle, running: 0, ..unknown };
        for (said, worker) in [
            ("", unknown),
            (r#","state":"asleep","running":-1,"slots":"many""#, unknown),
            (r#","state":"busy","running":null,"slots":4"#, Worker { slots: 4, ..unknown }),
            (r#","state":7,"running":3"#, Worker { running: 3, slots: 3, ..unknown }),
            (r#","running":0,"slots":2"#, Worker { slots: 2, ..idle }),
            (r#","state":"idle""#, idle),
            (r#","state":"draining""#, Worker { state: WorkerState::Draining, ..unknown }),
            (
                r#","oldest":"then","progress":5,"paces":1"#,
                Worker { progress: Some(Timestamp::from_millis(5)), ..unknown },
            ),
            (
                r#","running":1,"poison":9,"paces":true,"extra":{}"#,
                Worker { poison: 1, paces: true, ..unknown },
            ),
        ] {
            let text = format!(r#"{{"seen":{}{said}}}"#, NOW.as_millis());
            assert_eq!(read(&text, GONE_AFTER, NOW), Some(worker), "{said}");
        }
    }
}
