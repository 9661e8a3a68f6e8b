//! One batch of queries: several at a time, and never more than a few.

use std::any::Any;
use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use tokio::time::Instant;

use super::answer::{self, Blank};
use super::backlog::Backlog;
use super::headroom::HeadroomPlan;
use super::queries::{QueryPlan, whole};
use crate::engine::signals::{Cause, Reading};
use crate::sources::round::Round;
use crate::sources::web::{Answer, WebClient};
use crate::sources::{Client, Plan, ReadError, Sighting};

/// Queries under way at a time. Prometheus works on 20 at a time by default, for everybody.
const AT_A_TIME: usize = 8;

/// Queries under way at a time, with those that take long: they do not keep others waiting.
const UNDER_WAY: usize = 32;

/// Most bytes of an answer. One number takes a few hundred; of several series, which are none, it holds hundreds.
const MOST_BYTES: usize = 128 << 10;

/// A client of one server.
pub(super) struct PrometheusClient {
    web: WebClient,
    round: Round,
}

/// Why a query told no number.
#[derive(Clone)]
enum Trouble {
    /// The server answered, and the answer holds none.
    Blank(Blank),
    /// There was no answer, or none of Prometheus.
    Read(ReadError),
}

impl PrometheusClient {
    pub(super) fn new(web: WebClient) -> Self {
        Self { web, round: Round::new(AT_A_TIME, UNDER_WAY) }
    }

    /// What one plan sees, of whose queries these are the answers.
    fn sighting(&self, asked: &Asked<'_>, answers: Vec<Result<f64, Trouble>>) -> Result<Sighting, ReadError> {
        match asked {
            Asked::Backlog(_) => {
                let only = answers.into_iter().next();
                let tasks =
                    only.unwrap_or(Err(Trouble::Blank(Blank::Empty))).map_err(|trouble| match trouble {
                        Trouble::Blank(blank) => self.web.unexpected(blank.to_string()),
                        Trouble::Read(error) => error,
                    })?;
                Ok(Reading { ready: Some(whole(tasks)), ..Reading::default() }.into())
            }
            Asked::Queries(plan) => {
                // Other queries were answered, so the fault is that of this query.
                let is_lost = |answer: &Result<f64, Trouble>| matches!(answer, Err(Trouble::Read(_)));
                let alone = !answers.iter().all(is_lost);
                let answers = answers.into_iter().map(|answer| match answer {
                    Err(Trouble::Read(error)) if alone && !matches!(error, ReadError::Unexpected { .. }) => {
                        Ok(Err(Cause::new(error.to_string())))
                    }
                    answer => self.told(answer),
                });
                Ok(Sighting::Queried(plan.queried(answers.collect::<Result<_, _>>()?)))
            }
            Asked::Headroom(plan) => {
                let answers = answers.into_iter().map(|answer| Ok(self.told(answer)?.ok()));
                Ok(Sighting::Limit(plan.seen(&answers.collect::<Result<Vec<_>, _>>()?)))
            }
        }
    }

    /// The answer to one of several queries: what the server cannot answer is the trouble of that query alone.
    fn told(&self, answer: Result<f64, Trouble>) -> Result<Result<f64, Cause>, ReadError> {
        match answer {
            Ok(number) => Ok(Ok(number)),
            Err(Trouble::Blank(blank)) => Ok(Err(Cause::new(blank.to_string()))),
            Err(Trouble::Read(ReadError::Unexpected { endpoint: _, message })) => {
                Ok(Err(Cause::new(message)))
            }
            Err(Trouble::Read(error)) => Err(error),
        }
    }
}

/// Asks one query.
async fn ask(web: &WebClient, promql: &str) -> Result<f64, Trouble> {
    let answer = web.get("/api/v1/query", &[("query", promql)], MOST_BYTES).await.map_err(Trouble::Read)?;
    match (answer::read(&answer.body, answer.now), answer.status.is_success()) {
        (Some(told), true) => told.map_err(Trouble::Blank),
        // It says with a status, too, that it does not take the query.
        (Some(Err(refused @ (Blank::Wrong(_) | Blank::Refused(_)))), false) => Err(Trouble::Blank(refused)),
        (Some(_) | None, _) => Err(Trouble::Read(foreign(web, &answer))),
    }
}

/// An answer that is none of Prometheus.
fn foreign(web: &WebClient, answer: &Answer) -> ReadError {
    let (status, outline) = (answer.status, answer.outline());
    if status.is_success() {
        return web.unexpected(format!("this is no answer of Prometheus ({outline})"));
    }
    web.unexpected(format!("{status}, at /api/v1/query ({outline})"))
}

/// A plan of ours.
enum Asked<'a> {
    Backlog(&'a Backlog),
    Queries(&'a QueryPlan),
    Headroom(&'a HeadroomPlan),
}

impl<'a> Asked<'a> {
    fn of(plan: &'a Arc<dyn Plan>) -> Option<Self> {
        let any = plan.as_ref() as &dyn Any;
        any.downcast_ref()
            .map(Self::Backlog)
            .or_else(|| any.downcast_ref().map(Self::Queries))
            .or_else(|| any.downcast_ref().map(Self::Headroom))
    }

    fn queries(&self) -> Vec<&'a str> {
        match self {
            Self::Backlog(backlog) => vec![&backlog.promql],
            Self::Queries(plan) => plan.questions.iter().map(|(_, promql)| promql.as_str()).collect(),
            Self::Headroom(plan) => plan.queries.iter().map(String::as_str).collect(),
        }
    }
}

#[async_trait]
impl Client for PrometheusClient {
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        if let Err(error) = self.web.begin().await {
            return vec![Err(error); plans.len()];
        }
        let asked: Vec<Option<Asked<'_>>> = plans.iter().map(Asked::of).collect();
        // Each query is asked once, in the order of the plans, which is fair to those whom they are of.
        let (mut queries, mut known) = (Vec::new(), BTreeSet::new());
        for promql in asked.iter().flatten().flat_map(Asked::queries) {
            if known.insert(promql) {
                queries.push(promql);
            }
        }
        let web = &self.web;
        let answers = self.round.ask(queries, |promql| ask(web, promql)).await;
        let answer = |promql: &str| match answers.get(promql) {
            Some(Some(answer)) => answer.clone(),
            Some(None) | None => Err(Trouble::Read(self.web.late("to the query"))),
        };
        let sightings = asked.iter().map(|asked| match asked {
            Some(asked) => self.sighting(asked, asked.queries().into_iter().map(answer).collect()),
            None => Err(self.web.unexpected("the queue is none of Prometheus")),
        });
        sightings.collect()
    }

    fn answer_by(&mut self, deadline: Instant) {
        self.round.answer_by(deadline);
    }

    fn mends_itself(&self) -> bool {
        !self.web.is_lost()
    }
}
