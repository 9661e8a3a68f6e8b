//! The reader's pace, in virtual time.

use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use prometheus_client::registry::Registry;

use super::*;
use crate::clock::SystemClock;
use crate::engine::signals::Reading;
use crate::scaler::watchlist::{Pace, WatchlistWriter, watchlist};
use crate::sources::named::Named;
use crate::sources::{ConnectionKind, Endpoint, Wake};

const TICK: Duration = Duration::from_secs(5);

const KIND: ConnectionKind = ConnectionKind {
    name: "here",
    summary: "",
    keys: &[],
    moved: &[],
    wake: Wake::Polled(Duration::from_millis(200)),
    parse: |_| None,
    reports: None,
};

#[tokio::test(start_paused = true)]
async fn a_refused_login_is_not_repeated_at_the_pace_of_the_reads_that_wake() {
    let logins = observed(&[("a", Pace::Waking)], Duration::from_secs(60), Answer::Refuses).await;
    // At most one each half tick, and the first few that the back-off begins with. Each 200 ms would be 300.
    assert!((12..=30).contains(&logins), "{logins} logins in a minute");
}

#[tokio::test(start_paused = true)]
async fn what_answers_is_read_each_tick_and_what_wakes_five_times_a_second() {
    let minute = Duration::from_secs(60);
    let resting = observed(&[("a", Pace::Tick)], minute, Answer::Reads).await;
    let waking = observed(&[("a", Pace::Waking)], minute, Answer::Reads).await;
    // The first tick and the first queue come at once, in either order.
    assert!((13..=14).contains(&resting), "{resting}: one at once, and one a tick");
    assert!((280..=320).contains(&waking), "{waking} reads in a minute");
}

#[tokio::test(start_paused = true)]
async fn what_was_heard_is_read_at_once_and_what_wakes_once_a_second() {
    let asked = Arc::new(AtomicUsize::new(0));
    let (announced, announcements) = mpsc::channel(1);
    let mut stage = Stage::start(
        &asked,
        Answer::Reads,
        &[("a", Pace::Waking), ("b", Pace::Waking), ("c", Pace::Tick)],
        |reader| {
            reader.announced = announcements;
            reader.announces_all = watch::channel(true).1;
        },
    );
    tokio::time::sleep(Duration::from_secs(60) + Duration::from_millis(1)).await;
    let resting = asked.load(Ordering::Relaxed);
    assert!((60..=75).contains(&resting), "{resting} reads in a minute");
    stage.batches();
    announced.send([1, 2].map(PlaceId).into()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1)).await;
    // The last one is known to be active, and has its tick.
    assert_eq!(stage.batches(), [(true, vec![PlaceId(1)])]);
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn places_that_a_call_waits_for_are_read_five_times_a_second() {
    let asked = Arc::new(AtomicUsize::new(0));
    let queues = [("a", Pace::Asked), ("b", Pace::Tick)];
    let mut stage = Stage::start(&asked, Answer::Reads, &queues, |reader| {
        reader.announces_all = watch::channel(true).1;
    });
    tokio::time::sleep(Duration::from_secs(60) + Duration::from_millis(1)).await;
    let batches = stage.batches();
    let quick = batches.iter().filter(|batch| **batch == (true, vec![PlaceId(0)])).count();
    assert!((290..=301).contains(&quick), "{quick} reads between ticks in a minute");
    assert!((13..=14).contains(&(batches.len() - quick)), "{} reads in a minute", batches.len());
    stage.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_never_answers_costs_one_reading_a_tick() {
    let reads = observed(&[("a", Pace::Tick)], Duration::from_secs(60), Answer::Hangs).await;
    assert!((6..=13).contains(&reads), "{reads} reads in a minute");
}

#[tokio::test(start_paused = true)]
async fn what_rests_is_read_when_it_is_new_or_waited_for_and_left_out_by_the_tick() {
    let minute = Duration::from_secs(60);
    // The first tick may come before the queue, or with it: then both are one read.
    let resting = observed(&[("a", Pace::Tick)], minute, Answer::Rests).await;
    assert!((1..=2).contains(&resting), "{resting} reads in a minute");
    let waking = observed(&[("a", Pace::Waking)], minute, Answer::Rests).await;
    assert!((280..=320).contains(&waking), "{waking} reads in a minute");
}

#[tokio::test(start_paused = true)]
async fn a_connection_may_say_how_fast_it_is_read_for_waking() {
    let waking = observed(&[("a", Pace::Waking)], Duration::from_secs(60), Answer::Costs).await;
    // Ticks come on top; at the pace of its kind it would be 300.
    assert!((50..=75).contains(&waking), "{waking} reads in a minute");
}

#[tokio::test(start_paused = true)]
async fn an_owner_whose_reads_take_longer_than_a_tick_makes_no_other_owner_late() {
    let asked = Arc::new(AtomicUsize::new(0));
    let mut stage = Stage::start(&asked, Answer::TakesASecondABatch, &[], |_| {});
    let put = |number: u64, owner: &str| {
        let plan = Arc::new(Named(format!("{owner}-{number}")));
        stage.watchlist.put(Item {
            place: PlaceId(number),
            owner: Some(owner.into()),
            plan,
            pace: Pace::Tick,
        });
    };
    // Ten batches of a second each do not fit into a tick of five.
    (0..10_000).for_each(|number| put(number, "flood"));
    put(10_000, "acme");
    tokio::time::sleep(TICK * 4).await;
    stage.read();
    let (mut read, mut late) = (BTreeMap::<PlaceId, usize>::new(), BTreeMap::<PlaceId, usize>::new());
    for _ in 0..8 {
        tokio::time::sleep(TICK).await;
        for (place, result) in stage.read() {
            *if result.is_ok() { &mut read } else { &mut late }.entry(place).or_default() += 1;
        }
    }
    let acme = PlaceId(10_000);
    assert!(read[&acme] >= 7 && !late.contains_key(&acme), "read {} times in 8 ticks", read[&acme]);
    assert_eq!(read.len(), 10_001, "those that were late come first the next time");
    assert!(late.len() > 5_000, "{} were late", late.len());
    stage.end().await;
}

/// How often a backend is asked for these queues (each at its pace) within `time`: logins that are
/// refused, or reads.
async fn observed(queues: &[(&str, Pace)], time: Duration, answer: Answer) -> usize {
    let asked = Arc::new(AtomicUsize::new(0));
    let stage = Stage::start(&asked, answer, queues, |_| {});
    tokio::time::sleep(time + Duration::from_millis(1)).await;
    stage.end().await;
    asked.load(Ordering::Relaxed)
}

/// A reader that runs.
struct Stage {
    running: tokio::task::JoinHandle<()>,
    seen: mpsc::UnboundedReceiver<Batch>,
    shutdown: CancellationToken,
    watchlist: WatchlistWriter,
}

impl Stage {
    fn start(
        asked: &Arc<AtomicUsize>,
        answer: Answer,
        queues: &[(&str, Pace)],
        prepare: impl FnOnce(&mut Reader),
    ) -> Self {
        let backend = Backend { answer, asked: Arc::clone(asked) };
        let (writer, watched) = watchlist();
        let (batches, mut taken) = mpsc::channel(1);
        let endpoint = Arc::new(backend);
        let mut reader = Reader {
            connection: Arc::new(Connection { name: "here".into(), kind: &KIND, endpoint }),
            watchlist: watched,
            shares: watch::channel(Shares::default()).1,
            announced: mpsc::channel(1).1,
            announces_all: watch::channel(false).1,
            batches,
            clock: Arc::new(SystemClock::start()),
            metrics: Metrics::register(&mut Registry::default()),
            tick: TICK,
        };
        prepare(&mut reader);
        for (number, (queue, pace)) in (0..).zip(queues) {
            let plan = Arc::new(Named((*queue).to_owned()));
            writer.put(Item { place: PlaceId(number), owner: None, plan, pace: *pace });
        }
        let shutdown = CancellationToken::new();
        let running = tokio::spawn(reader.run(shutdown.clone()));
        let (sender, seen) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(batch) = taken.recv().await {
                drop(sender.send(batch));
            }
        });
        Self { running, seen, shutdown, watchlist: writer }
    }

    /// What was read since the last call: whether between ticks, and which places.
    fn batches(&mut self) -> Vec<(bool, Vec<PlaceId>)> {
        let mut batches = Vec::new();
        while let Ok(Batch { between_ticks, results, .. }) = self.seen.try_recv() {
            batches.push((between_ticks, results.iter().map(|(place, _)| *place).collect()));
        }
        batches
    }

    /// The results of all reads since the last call.
    fn read(&mut self) -> Vec<(PlaceId, Result<Sighting, ReadError>)> {
        std::iter::from_fn(|| self.seen.try_recv().ok()).flat_map(|batch| batch.results).collect()
    }

    async fn end(self) {
        self.shutdown.cancel();
        self.running.await.unwrap();
    }
}

/// What the backend does when it is asked.
#[derive(Clone, Copy, Debug)]
enum Answer {
    Refuses,
    Reads,
    Hangs,
    /// Reads, and finds everything idle.
    Rests,
    /// Reads, at a pace of its own.
    Costs,
    /// Reads, slowly.
    TakesASecondABatch,
}

#[derive(Clone, Debug)]
struct Backend {
    answer: Answer,
    asked: Arc<AtomicUsize>,
}

#[async_trait]
impl Endpoint for Backend {
    fn address(&self) -> String {
        "here".to_owned()
    }

    async fn connect(&self) -> Result<Box<dyn Client>, ReadError> {
        match self.answer {
            Answer::Refuses => {
                self.asked.fetch_add(1, Ordering::Relaxed);
                Err(ReadError::Denied { endpoint: self.address(), message: "no".to_owned() })
            }
            Answer::Reads | Answer::Hangs | Answer::Rests | Answer::Costs | Answer::TakesASecondABatch => {
                Ok(Box::new(self.clone()))
            }
        }
    }

    fn wake_every(&self) -> Option<Duration> {
        matches!(self.answer, Answer::Costs).then_some(Duration::from_secs(1))
    }
}

#[async_trait]
impl Client for Backend {
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if matches!(self.answer, Answer::Hangs) {
            std::future::pending::<()>().await;
        }
        if matches!(self.answer, Answer::TakesASecondABatch) {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        plans.iter().map(|_| Ok(Sighting::Queue(Reading::default()))).collect()
    }

    fn rests(&self, _: &dyn Plan) -> bool {
        matches!(self.answer, Answer::Rests)
    }
}
