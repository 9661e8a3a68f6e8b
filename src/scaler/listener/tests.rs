//! What is passed on of what a backend says, in virtual time.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::Notify;

use super::*;
use crate::scaler::watchlist::{Item, Pace, WatchlistWriter, watchlist};
use crate::sources::named::Named;
use crate::sources::{Client, ConnectionKind, Endpoint, Plan, Wake};

const TICK: Duration = Duration::from_secs(5);

const KIND: ConnectionKind = ConnectionKind {
    name: "here",
    summary: "",
    keys: &[],
    moved: &[],
    wake: Wake::Pushed { otherwise: Duration::from_millis(200) },
    parse: |_| None,
    reports: None,
};

#[tokio::test(start_paused = true)]
async fn what_is_listened_to_anew_is_read_once_and_then_only_what_was_heard() {
    let mut stage = Stage::start(Backend::default());
    stage.watch(&["a", "b"]);
    assert_eq!(stage.heard().await, Some(names(&["a", "b"])));
    assert!(*stage.announces_all.borrow());
    assert_eq!(stage.heard().await, None);
    stage.backend.happens("b");
    assert_eq!(stage.heard().await, Some(names(&["b"])));
    stage.watch(&["a", "b", "c"]);
    assert_eq!(stage.heard().await, Some(names(&["c"])));
}

#[tokio::test(start_paused = true)]
async fn however_much_is_heard_it_is_read_fifty_times_a_second() {
    let mut stage = Stage::start(Backend::default());
    stage.watch(&["a"]);
    stage.heard().await;
    let backend = Arc::clone(&stage.backend);
    let noise = tokio::spawn(async move {
        for _ in 0..1_000 {
            backend.happens("a");
            sleep(Duration::from_millis(1)).await;
        }
    });
    let mut reads = 0;
    while !noise.is_finished() {
        reads += u32::from(stage.heard().await.is_some());
    }
    assert!((40..=52).contains(&reads), "{reads} reads in a second");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_is_lost_is_opened_again_and_everything_read() {
    let mut stage = Stage::start(Backend::default());
    stage.watch(&["a", "b"]);
    stage.heard().await;
    stage.backend.breaks();
    assert_eq!(stage.heard().await, Some(names(&["a", "b"])));
    assert_eq!(stage.backend.opened(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_refuses_is_asked_once_a_minute() {
    let refusal = ReadError::Denied { endpoint: "here".to_owned(), message: "no".to_owned() };
    let mut stage = Stage::start(Backend { refusal: Some(refusal), ..Backend::default() });
    stage.watch(&["a"]);
    sleep(Duration::from_secs(601)).await;
    assert_eq!(stage.backend.opened(), 11);
    assert!(!*stage.announces_all.borrow());
    assert_eq!(stage.heard().await, None);
}

#[tokio::test(start_paused = true)]
async fn who_may_miss_something_is_listened_to_and_not_relied_on() {
    let doubt = ReadError::Denied { endpoint: "here".to_owned(), message: "perhaps".to_owned() };
    let mut stage = Stage::start(Backend { doubt: Some(doubt), ..Backend::default() });
    stage.watch(&["a"]);
    stage.heard().await;
    stage.backend.happens("a");
    assert_eq!(stage.heard().await, Some(names(&["a"])));
    assert!(!*stage.announces_all.borrow());
}

#[tokio::test(start_paused = true)]
async fn nothing_is_open_while_nobody_waits() {
    let mut stage = Stage::start(Backend::default());
    assert_eq!(stage.heard().await, None);
    assert_eq!((stage.backend.opened(), stage.backend.closed()), (0, 0));
    stage.watch(&["a"]);
    assert_eq!(stage.heard().await, Some(names(&["a"])));
    assert_eq!((stage.backend.opened(), stage.backend.closed()), (1, 0));
    stage.watch(&[]);
    assert_eq!(stage.heard().await, None);
    assert_eq!((stage.backend.opened(), stage.backend.closed()), (1, 1));
    assert!(!*stage.announces_all.borrow());
    stage.watch(&["a"]);
    assert_eq!(stage.heard().await, Some(names(&["a"])));
    assert_eq!((stage.backend.opened(), stage.backend.closed()), (2, 1));
}

/// A listener, and what it passes on.
struct Stage {
    backend: Arc<Backend>,
    watchlist: WatchlistWriter,
    passed_on: mpsc::Receiver<BTreeSet<PlaceId>>,
    /// Named by their places in the alphabet.
    listed: BTreeSet<PlaceId>,
    announces_all: watch::Receiver<bool>,
}

impl Stage {
    fn start(backend: Backend) -> Self {
        let backend = Arc::new(backend);
        let (watchlist, watched) = watchlist();
        let (announced, passed_on) = mpsc::channel(1);
        let (announces_all, all_announced) = watch::channel(false);
        let endpoint = Arc::new(There(Arc::clone(&backend)));
        let connection = Arc::new(Connection { name: "here".into(), kind: &KIND, endpoint });
        let listener = Listener { connection, watchlist: watched, announced, announces_all, tick: TICK };
        tokio::spawn(listener.run(CancellationToken::new()));
        Self { backend, watchlist, passed_on, listed: BTreeSet::new(), announces_all: all_announced }
    }

    /// Has the listener listen to these.
    fn watch(&mut self, queues: &[&str]) {
        let wanted = names(queues);
        self.listed.difference(&wanted).for_each(|place| self.watchlist.remove(*place));
        for queue in queues.iter().filter(|queue| !self.listed.contains(&place(queue))) {
            let plan = Arc::new(Named((*queue).to_owned()));
            self.watchlist.put(Item { place: place(queue), owner: None, plan, pace: Pace::Waking });
        }
        self.listed = wanted;
    }

    /// What it passes on within a few ticks.
    async fn heard(&mut self) -> Option<BTreeSet<PlaceId>> {
        timeout(TICK * 3, self.passed_on.recv()).await.ok().flatten()
    }
}

fn names(names: &[&str]) -> BTreeSet<PlaceId> {
    names.iter().map(|name| place(name)).collect()
}

fn place(name: &str) -> PlaceId {
    PlaceId(name.bytes().map(u64::from).sum())
}

/// Says what a test has it say.
#[derive(Debug, Default)]
struct Backend {
    said: Mutex<BTreeSet<String>>,
    broken: Mutex<bool>,
    bell: Notify,
    opened: AtomicUsize,
    closed: AtomicUsize,
    refusal: Option<ReadError>,
    doubt: Option<ReadError>,
}

impl Backend {
    fn happens(&self, queue: &str) {
        self.said.lock().unwrap().insert(queue.to_owned());
        self.bell.notify_one();
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    fn closed(&self) -> usize {
        self.closed.load(Ordering::Relaxed)
    }

    fn breaks(&self) {
        *self.broken.lock().unwrap() = true;
        self.bell.notify_one();
    }
}

#[derive(Debug)]
struct There(Arc<Backend>);

#[async_trait]
impl Endpoint for There {
    fn address(&self) -> String {
        "here".to_owned()
    }

    async fn connect(&self) -> Result<Box<dyn Client>, ReadError> {
        Err(ReadError::Unreachable { endpoint: self.address(), message: "it is only listened to".to_owned() })
    }

    async fn listen(&self) -> Result<Option<Box<dyn crate::sources::Listener>>, ReadError> {
        self.0.opened.fetch_add(1, Ordering::Relaxed);
        *self.0.broken.lock().unwrap() = false;
        match &self.0.refusal {
            Some(refusal) => Err(refusal.clone()),
            None => Ok(Some(Box::new(Ear { backend: Arc::clone(&self.0), known: BTreeSet::new() }))),
        }
    }
}

struct Ear {
    backend: Arc<Backend>,
    known: BTreeSet<String>,
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.backend.closed.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl crate::sources::Listener for Ear {
    async fn watch(&mut self, plans: &[Arc<dyn Plan>]) -> Result<Vec<usize>, ReadError> {
        if *self.backend.broken.lock().unwrap() {
            return Err(ReadError::Unreachable {
                endpoint: "here".to_owned(),
                message: "it broke".to_owned(),
            });
        }
        let said = std::mem::take(&mut *self.backend.said.lock().unwrap());
        let due = |(index, plan): (usize, &Arc<dyn Plan>)| {
            let fresh = self.known.insert(plan.name());
            (fresh || said.contains(&plan.name())).then_some(index)
        };
        Ok(plans.iter().enumerate().filter_map(due).collect())
    }

    async fn heard(&mut self) {
        self.backend.bell.notified().await;
    }

    fn doubt(&self) -> Option<&ReadError> {
        self.backend.doubt.as_ref()
    }
}
