//! What of a topic is in our hands: the message at the head of each partition, and what becomes of it.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::super::Message;

/// A message's place in the topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

impl Place {
    pub(super) fn parse(handle: &str) -> Option<Self> {
        let (partition, offset) = handle.split_once('/')?;
        Some(Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? })
    }

    fn handle(self) -> String {
        format!("{}/{}", self.partition, self.offset)
    }
}

/// What a message is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) key: Option<Vec<u8>>,
    pub(super) payload: Vec<u8>,
}

impl Record {
    pub(super) fn of(text: &str) -> Self {
        Self { key: None, payload: text.as_bytes().to_vec() }
    }
}

/// Whose a partition is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Ours,
    /// Somebody else's.
    Others,
    /// We have left, and may have been the last.
    Nobodys,
}

/// Why the client could not go on.
#[derive(Clone, Debug)]
pub(super) struct Trouble {
    pub(super) code: Option<RDKafkaErrorCode>,
    pub(super) text: String,
}

/// The message at the head of a partition.
#[derive(Debug)]
struct Head {
    offset: i64,
    record: Record,
    stage: Stage,
    /// Whether the partition is assigned to us. A task that was begun goes on without.
    ours: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It is to be taken, and not before then.
    Waits(Instant),
    /// It was taken; whoever runs it was last heard of then.
    Taken(Instant),
}

#[derive(Debug, Default)]
struct State {
    heads: BTreeMap<i32, Head>,
    trouble: Option<Trouble>,
    stopped: bool,
}

impl State {
    fn at(&mut self, place: Place) -> Option<&mut Head> {
        self.heads.get_mut(&place.partition).filter(|head| head.offset == place.offset)
    }
}

/// The messages in our hands.
#[derive(Debug, Default)]
pub(super) struct Hands {
    state: Mutex<State>,
    changed: Notify,
}

impl Hands {
    /// A message was read. It may be one whose task we run already: its partition went and came back.
    pub(super) fn arrived(&self, place: Place, record: Record, now: Instant) {
        let mut state = self.state();
        match state.heads.get_mut(&place.partition) {
            Some(head) if head.offset == place.offset => head.ours = true,
            _ => {
                let head = Head { offset: place.offset, record, stage: Stage::Waits(now), ours: true };
                state.heads.insert(place.partition, head);
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Partitions were given to somebody else. What is in the hands of a slot stays there.
    pub(super) fn revoked(&self, partitions: impl IntoIterator<Item = i32>) {
        let mut state = self.state();
        for partition in partitions {
            if let Some(head) = state.heads.get_mut(&partition) {
                head.ours = false;
            }
        }
        state.heads.retain(|_, head| head.ours || matches!(head.stage, Stage::Taken(_)));
    }

    /// The message that has waited for longest, as soon as there is one; none after the stop.
    pub(super) async fn next(&self) -> Option<Message> {
        loop {
            let now = Instant::now();
            let (message, soonest) = self.take(now);
            if message.is_some() || self.state().stopped {
                return message;
            }
            let later = async {
                match soonest {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = later => {}
                () = self.changed.notified() => {}
            }
        }
    }

    /// Takes a message, or says when there will be one.
    fn take(&self, now: Instant) -> (Option<Message>, Option<Instant>) {
        let mut state = self.state();
        if state.stopped {
            return (None, None);
        }
        let waiting = state.heads.iter_mut().filter_map(|(partition, head)| match head.stage {
            Stage::Waits(from) => Some((from, *partition, head)),
            Stage::Taken(_) => None,
        });
        match waiting.min_by_key(|(from, ..)| *from) {
            Some((from, partition, head)) if from <= now => {
                head.stage = Stage::Taken(now);
                let handle = Place { partition, offset: head.offset }.handle();
                let text = String::from_utf8(head.record.payload.clone()).unwrap_or_default();
                (Some(Message { handle, text, delivered: 1, ..Message::default() }), None)
            }
            Some((from, ..)) => (None, Some(from)),
            None => (None, None),
        }
    }

    /// What a message is made of, if it is still in our hands.
    pub(super) fn record(&self, place: Place) -> Option<Record> {
        self.state().at(place).map(|head| head.record.clone())
    }

    /// Somebody works on these.
    pub(super) fn renewed(&self, places: impl IntoIterator<Item = Place>) {
        let (mut state, now) = (self.state(), Instant::now());
        for place in places {
            if let Some(head) = state.at(place) {
                head.stage = Stage::Taken(now);
            }
        }
    }

    /// A message is to be looked at again; if the partition is not ours any more, by somebody else.
    pub(super) fn again(&self, place: Place, at: Instant) {
        let mut state = self.state();
        if let Some(head) = state.at(place) {
            head.stage = Stage::Waits(at);
            if !head.ours {
                state.heads.remove(&place.partition);
            }
        }
        drop(state);
        self.changed.notify_one();
    }

    /// A message has come to its end. Says whose its partition is.
    pub(super) fn settled(&self, place: Place) -> Whose {
        let mut state = self.state();
        let Some(ours) = state.at(place).map(|head| head.ours) else { return Whose::Others };
        state.heads.remove(&place.partition);
        match (ours, state.stopped) {
            (true, _) => Whose::Ours,
            (false, true) => Whose::Nobodys,
            (false, false) => Whose::Others,
        }
    }

    /// What was taken and is not worked on is to be looked at again.
    pub(super) fn sweep(&self, now: Instant, lease: Duration) {
        let mut state = self.state();
        let is_left = |head: &Head| matches!(head.stage, Stage::Taken(at) if at + lease < now);
        state.heads.retain(|_, head| head.ours || !is_left(head));
        for head in state.heads.values_mut().filter(|head| is_left(head)) {
            head.stage = Stage::Waits(now);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Nothing more is taken.
    pub(super) fn stop(&self) {
        self.state().stopped = true;
        self.changed.notify_one();
    }

    /// The client could not go on.
    pub(super) fn is_in_trouble(&self, trouble: Trouble) {
        self.state().trouble = Some(trouble);
    }

    pub(super) fn trouble(&self) -> Option<Trouble> {
        self.state().trouble.clone()
    }

    pub(super) fn trouble_is_over(&self) {
        self.state().trouble = None;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn place(partition: i32, offset: i64) -> Place {
        Place { partition, offset }
    }

    fn with(places: &[Place]) -> Hands {
        let hands = Hands::default();
        places.iter().for_each(|place| hands.arrived(*place, Record::of("a"), Instant::now()));
        hands
    }

    fn taken(hands: &Hands) -> Option<String> {
        hands.take(Instant::now()).0.map(|message| message.handle)
    }

    #[tokio::test(start_paused = true)]
    async fn a_partition_has_one_message_out_at_a_time() {
        let hands = with(&[place(0, 7), place(1, 3)]);
        assert_eq!(
            [taken(&hands), taken(&hands), taken(&hands)].map(|taken| taken.is_some()),
            [true, true, false]
        );
        assert_eq!(hands.settled(place(0, 7)), Whose::Ours);
        assert_eq!(hands.settled(place(0, 7)), Whose::Others, "it has ended already");
        hands.arrived(place(0, 8), Record::of("b"), Instant::now());
        assert_eq!(hands.next().await.map(|message| message.handle).as_deref(), Some("0/8"));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_to_wait_is_not_taken_before_its_time() {
        let hands = with(&[place(0, 7)]);
        assert_eq!(taken(&hands).as_deref(), Some("0/7"));
        let began = Instant::now();
        hands.again(place(0, 7), began + Duration::from_secs(4));
        assert_eq!(taken(&hands), None);
        assert_eq!(hands.next().await.map(|message| message.handle).as_deref(), Some("0/7"));
        assert_eq!(began.elapsed().as_secs(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn a_revoked_partition_leaves_what_runs_and_takes_what_waits() {
        let hands = with(&[place(0, 7), place(1, 3)]);
        assert_eq!(taken(&hands).as_deref(), Some("0/7"));
        hands.revoked([0, 1]);
        assert_eq!(taken(&hands), None, "what waited is somebody else's");
        assert_eq!(hands.record(place(0, 7)), Some(Record::of("a")));
        assert_eq!(hands.settled(place(0, 7)), Whose::Others);
    }

    #[tokio::test(start_paused = true)]
    async fn a_partition_that_comes_back_while_its_task_runs_is_not_taken_twice() {
        let hands = with(&[place(0, 7)]);
        assert_eq!(taken(&hands).as_deref(), Some("0/7"));
        hands.revoked([0]);
        hands.arrived(place(0, 7), Record::of("a"), Instant::now());
        assert_eq!(taken(&hands), None);
        assert_eq!(hands.settled(place(0, 7)), Whose::Ours, "it is ours again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_works_on_is_looked_at_again_after_a_lease() {
        let hands = with(&[place(0, 7), place(1, 3)]);
        assert!(taken(&hands).is_some() && taken(&hands).is_some());
        tokio::time::advance(LEASE).await;
        hands.renewed([place(1, 3)]);
        hands.sweep(Instant::now(), LEASE);
        assert_eq!(taken(&hands), None, "it is not longer than a lease");
        tokio::time::advance(Duration::from_millis(1)).await;
        hands.sweep(Instant::now(), LEASE);
        assert_eq!([taken(&hands), taken(&hands)], [Some("0/7".to_owned()), None]);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_taken_after_the_stop() {
        let hands = with(&[place(0, 7), place(1, 3)]);
        assert_eq!(taken(&hands).as_deref(), Some("0/7"));
        hands.stop();
        assert!(hands.next().await.is_none());
        hands.revoked([0, 1]);
        assert_eq!(hands.settled(place(0, 7)), Whose::Nobodys);
    }
}
