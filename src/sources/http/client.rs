//! One batch of documents: each is fetched once, however many triggers read it.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::Instant;

use super::document::Document;
use super::json::{self, Unparsed};
use super::path::Budget;
use super::place::Place;
use crate::engine::signals::Reading;
use crate::sources::round::Round;
use crate::sources::web::{Answer, WebClient};
use crate::sources::{Client, Plan, ReadError, Sighting};

/// Requests made at a time.
const AT_A_TIME: usize = 8;

/// Requests under way at a time, with those whose answers take long.
const UNDER_WAY: usize = 32;

/// Most bytes of a document. One number takes a few hundred; a megabyte is a mistake.
const MOST_BYTES: usize = 1 << 20;

/// Documents of all connections that are parsed at a time: they are off the runtime's threads, and take one core at most.
static PARSING: Semaphore = Semaphore::const_new(1);

/// A client of one server.
pub(super) struct HttpClient {
    web: WebClient,
    round: Round,
}

/// Plans that read one document, with their places in the batch.
type Readers = Vec<(usize, Arc<dyn Plan>)>;

/// What they read, or why they could not.
type Readings = Vec<(usize, Result<Reading, String>)>;

impl HttpClient {
    pub(super) fn new(web: WebClient) -> Self {
        Self { web, round: Round::new(AT_A_TIME, UNDER_WAY) }
    }
}

/// What all `readers` read at `place`.
async fn fetch(web: &WebClient, place: &Place, readers: Readers) -> Result<Readings, ReadError> {
    let answer = web.get(place.as_str(), &[], MOST_BYTES).await?;
    if !answer.status.is_success() {
        return Err(web.unexpected(format!("{} at {place} ({})", answer.status, answer.outline())));
    }
    let outline = answer.outline();
    // Nobody closes it.
    let turn = PARSING.acquire().await.ok();
    let parsed = spawn_blocking(move || {
        let _turn = turn;
        read_all(&answer, readers)
    });
    match parsed.await {
        Ok(Ok(readings)) => Ok(readings),
        Ok(Err(Unparsed::NotJson)) => {
            Err(web.unexpected(format!("the answer at {place} is not JSON ({outline})")))
        }
        Ok(Err(Unparsed::TooMany)) => {
            let most = json::MOST_VALUES;
            Err(web.unexpected(format!("the answer at {place} has more than {most} values ({outline})")))
        }
        Err(_) => Err(web.unexpected(format!("the parsing of the answer at {place} was cut off"))),
    }
}

/// Parses the document once, and reads the numbers of all.
fn read_all(answer: &Answer, readers: Readers) -> Result<Readings, Unparsed> {
    let (tree, mut budget) = (json::parse(&answer.body)?, Budget::default());
    let mut read = |plan: &Arc<dyn Plan>| {
        let document = document(plan).ok_or_else(|| NONE_OF_HTTP.to_owned())?;
        document.read(&tree, answer.now, budget.next())
    };
    Ok(readers.into_iter().map(|(at, plan)| (at, read(&plan))).collect())
}

const NONE_OF_HTTP: &str = "the queue is none of HTTP";

fn document(plan: &Arc<dyn Plan>) -> Option<&Document> {
    (plan.as_ref() as &dyn Any).downcast_ref()
}

#[async_trait]
impl Client for HttpClient {
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        if let Err(error) = self.web.begin().await {
            return vec![Err(error); plans.len()];
        }
        // In the order of the plans, which is fair to those whom they are of.
        let mut places: Vec<&Place> = Vec::new();
        let mut readers: BTreeMap<&Place, Readers> = BTreeMap::new();
        for (at, plan) in plans.iter().enumerate() {
            let Some(Document { place, .. }) = document(plan) else { continue };
            readers.entry(place).or_insert_with(|| {
                places.push(place);
                Vec::new()
            });
            readers.entry(place).and_modify(|readers| readers.push((at, Arc::clone(plan))));
        }
        let Self { web, round } = self;
        let web = &*web;
        let fetched =
            round.ask(places, |place| fetch(web, place, readers.get(place).cloned().unwrap_or_default()));
        let fetched = fetched.await;
        let mut results = vec![Err(web.unexpected(NONE_OF_HTTP)); plans.len()];
        let mut keep = |at: usize, result| {
            if let Some(kept) = results.get_mut(at) {
                *kept = result;
            }
        };
        for (place, answer) in fetched {
            let failed = match answer {
                Some(Ok(readings)) => {
                    for (at, reading) in readings {
                        keep(at, reading.map(Sighting::from).map_err(|message| web.unexpected(message)));
                    }
                    continue;
                }
                Some(Err(error)) => error,
                None => web.late(&format!("at {place}")),
            };
            for (at, _) in readers.remove(place).unwrap_or_default() {
                keep(at, Err(failed.clone()));
            }
        }
        results
    }

    fn answer_by(&mut self, deadline: Instant) {
        self.round.answer_by(deadline);
    }

    fn mends_itself(&self) -> bool {
        !self.web.is_lost()
    }
}
