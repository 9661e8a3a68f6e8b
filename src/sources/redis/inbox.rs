//! What Redis said by itself on a connection that listens: the names of keys, each once however often it is said.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redis::{PushInfo, PushKind, Value};
use tokio::sync::Notify;

use super::{answer, meter};

/// Most names that are kept, each of up to [`LONGEST_NAME`] bytes: a few for each trigger of a server. Beyond it
/// something may have happened to any key.
const MOST_NAMES: usize = 100_000;

/// The longest name of a channel or key that is kept. Names that triggers give are shorter.
const LONGEST_NAME: usize = 4_096;

/// Most bytes of all names together.
const MOST_BYTES: usize = 8 << 20;

/// Collects what was said until somebody looks, and has an end, whatever a server says.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    news: Mutex<News>,
    bell: Notify,
}

/// What was said since somebody looked.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct News {
    /// Keys, or channels about keys, to which something has happened.
    pub(super) names: BTreeSet<Vec<u8>>,
    /// How many bytes they have.
    bytes: usize,
    /// Whether it may have happened to any.
    pub(super) of_all: bool,
    /// Whether a connection has ended, so that nothing more will be said.
    pub(super) lost: bool,
}

/// What it cost to be told so.
pub(super) fn cost(said: &PushInfo) -> usize {
    said.data.iter().map(meter::cost).fold(meter::cost(&Value::Nil), usize::saturating_add)
}

impl News {
    fn add(&mut self, name: &[u8]) {
        if name.len() > LONGEST_NAME || self.names.contains(name) {
            return;
        }
        if self.names.len() >= MOST_NAMES || self.bytes.saturating_add(name.len()) > MOST_BYTES {
            *self = Self { of_all: true, lost: self.lost, ..Self::default() };
            return;
        }
        self.bytes = self.bytes.saturating_add(name.len());
        self.names.insert(name.to_vec());
    }
}

impl Inbox {
    /// Takes in a message. Does not wait.
    pub(super) fn put(&self, said: &PushInfo) {
        let mut news = self.lock();
        if said.kind == PushKind::Invalidate {
            match said.data.first() {
                Some(Value::Array(keys)) => {
                    keys.iter().filter_map(answer::bytes).for_each(|name| news.add(name));
                }
                // The database was flushed.
                Some(_) | None => news.of_all = true,
            }
        } else if said.kind == PushKind::Message {
            said.data.first().and_then(answer::bytes).into_iter().for_each(|name| news.add(name));
        } else if said.kind == PushKind::Disconnection {
            news.lost = true;
        } else {
            // It confirms what was asked for.
            return;
        }
        drop(news);
        self.bell.notify_one();
    }

    /// Takes out what was said.
    pub(super) fn take(&self) -> News {
        std::mem::take(&mut *self.lock())
    }

    /// Waits until something has been said.
    pub(super) async fn filled(&self) {
        while *self.lock() == News::default() {
            self.bell.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, News> {
        self.news.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_is_said_twice_is_kept_once() {
        let inbox = Inbox::default();
        let keys = |names: &[&str]| Value::Array(names.iter().map(|name| text(name)).collect());
        inbox.put(&said(PushKind::Invalidate, vec![keys(&["a", "b"])]));
        inbox.put(&said(PushKind::Invalidate, vec![keys(&["a"])]));
        inbox.put(&said(PushKind::Message, vec![text("c"), text("lpush")]));
        inbox.put(&said(PushKind::Subscribe, vec![text("d"), Value::Int(1)]));
        inbox.filled().await;
        let names = ["a", "b", "c"].map(|name| name.as_bytes().to_vec()).into();
        assert_eq!(inbox.take(), News { names, bytes: 3, ..News::default() });
        assert_eq!(inbox.take(), News::default());
    }

    #[test]
    fn more_names_than_anybody_listens_to_are_about_all_and_kept_nowhere() {
        let inbox = Inbox::default();
        for number in 0..=MOST_NAMES {
            inbox.put(&said(PushKind::Message, vec![text(&number.to_string())]));
        }
        inbox.put(&said(PushKind::Message, vec![text(&"x".repeat(LONGEST_NAME + 1))]));
        assert_eq!(inbox.take(), News { of_all: true, ..News::default() });
    }

    #[tokio::test]
    async fn a_flush_is_about_all_and_an_end_is_an_end() {
        let inbox = Inbox::default();
        inbox.put(&said(PushKind::Invalidate, vec![Value::Nil]));
        assert_eq!(inbox.take(), News { of_all: true, ..News::default() });
        inbox.put(&said(PushKind::Disconnection, vec![]));
        inbox.filled().await;
        assert_eq!(inbox.take(), News { lost: true, ..News::default() });
    }

    fn said(kind: PushKind, data: Vec<Value>) -> PushInfo {
        PushInfo { kind, data }
    }

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }
}
