//! One batch of queries: several at a time, and never more than a few.

use std::any::Any;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};

use super::answer::{self, Blank};
use super::backlog::Backlog;
use super::headroom::HeadroomPlan;
use super::queries::{QueryPlan, whole};
use crate::engine::signals::{Cause, Reading};
use crate::sources::web::{Answer, WebClient};
use crate::sources::{Client, Plan, ReadError, Sighting};

/// Queries under way at a time. Prometheus works on 20 at a time by default, for everybody.
const AT_A_TIME: usize = 8;

/// A client of one server.
pub(super) struct PrometheusClient {
    web: WebClient,
}

/// Why a query told no number.
enum Trouble {
    /// The server answered, and the answer holds none.
    Blank(Blank),
    /// There was no answer, or none of Prometheus.
    Read(ReadError),
}

impl PrometheusClient {
    pub(super) const fn new(web: WebClient) -> Self {
        Self { web }
    }

    async fn ask(&self, promql: &str) -> Result<f64, Trouble> {
        let answer = self.web.get("/api/v1/query", &[("query", promql)]).await.map_err(Trouble::Read)?;
        let Answer { status, now, body } = &answer;
        match (answer::read(body, *now), status.is_success()) {
            (Some(told), true) => told.map_err(Trouble::Blank),
            // It says with a status, too, that it does not take the query.
            (Some(Err(refused @ Blank::Refused(_))), false) => Err(Trouble::Blank(refused)),
            (Some(_) | None, _) => Err(Trouble::Read(self.foreign(&answer))),
        }
    }

    /// An answer that is none of Prometheus.
    fn foreign(&self, answer: &Answer) -> ReadError {
        let Answer { status, body, now: _ } = answer;
        let words = self.web.quoted(body);
        if status.is_success() {
            return self.web.unexpected(format!("this is no answer of Prometheus: {words}"));
        }
        self.web.unexpected(format!("{status}, at /api/v1/query: {words}"))
    }

    /// What one plan sees, of whose queries these are the answers.
    fn sighting(&self, asked: &Asked<'_>, answers: Vec<Result<f64, Trouble>>) -> Result<Sighting, ReadError> {
        match asked {
            Asked::Backlog(_) => {
                let only = answers.into_iter().next();
                let tasks =
                    only.unwrap_or(Err(Trouble::Blank(Blank::Empty))).map_err(|trouble| match trouble {
                        Trouble::Blank(blank) => {
                            self.web.unexpected(self.web.quoted(blank.to_string().as_bytes()))
                        }
                        Trouble::Read(error) => error,
                    })?;
                Ok(Reading { ready: Some(whole(tasks)), ..Reading::default() }.into())
            }
            Asked::Queries(plan) => {
                let answers = answers.into_iter().map(|answer| self.told(answer));
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
            Err(Trouble::Blank(blank)) => Ok(Err(Cause::new(self.web.quoted(blank.to_string().as_bytes())))),
            Err(Trouble::Read(ReadError::Unexpected { endpoint: _, message })) => {
                Ok(Err(Cause::new(message)))
            }
            Err(Trouble::Read(error)) => Err(error),
        }
    }
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
        if let Err(error) = self.web.renew_pass().await {
            return vec![Err(error); plans.len()];
        }
        let asked: Vec<Option<Asked<'_>>> = plans.iter().map(Asked::of).collect();
        let queries: Vec<&str> = asked.iter().flatten().flat_map(Asked::queries).collect();
        let client = &*self;
        let questions: Vec<_> = queries.into_iter().map(|promql| client.ask(promql)).collect();
        let answers: Vec<_> = stream::iter(questions).buffered(AT_A_TIME).collect().await;
        let mut answers = answers.into_iter();
        let sightings = asked.iter().map(|asked| match asked {
            Some(asked) => {
                let own = answers.by_ref().take(asked.queries().len()).collect();
                client.sighting(asked, own)
            }
            None => Err(client.web.unexpected("the queue is none of Prometheus")),
        });
        sightings.collect()
    }
}
