//! One batch of documents: each is fetched once, however many triggers read it.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures_util::stream::{self, StreamExt};
use serde_json::Value;

use super::document::Document;
use crate::sources::web::{Answer, WebClient};
use crate::sources::{Client, Plan, ReadError, Sighting};
use crate::timestamp::Timestamp;

/// Requests under way at a time.
const AT_A_TIME: usize = 8;

/// A client of one server.
pub(super) struct HttpClient {
    web: WebClient,
}

/// What was fetched, and the server's clock with it.
type Fetched = Result<(Value, Option<Timestamp>), ReadError>;

impl HttpClient {
    pub(super) const fn new(web: WebClient) -> Self {
        Self { web }
    }

    async fn fetch(&self, path: &str) -> Fetched {
        let Answer { status, now, body } = self.web.get(path, &[]).await?;
        if !status.is_success() {
            return Err(self.web.unexpected(format!("{status} at {path}: {}", self.web.quoted(&body))));
        }
        let value = serde_json::from_slice(&body).map_err(|_| {
            self.web.unexpected(format!("the answer at {path} is no JSON: {}", self.web.quoted(&body)))
        })?;
        Ok((value, now))
    }
}

#[async_trait]
impl Client for HttpClient {
    async fn read(&mut self, plans: &[Arc<dyn Plan>]) -> Vec<Result<Sighting, ReadError>> {
        if let Err(error) = self.web.renew_pass().await {
            return vec![Err(error); plans.len()];
        }
        let documents: Vec<Option<&Document>> =
            plans.iter().map(|plan| (plan.as_ref() as &dyn Any).downcast_ref()).collect();
        let mut paths: Vec<&str> =
            documents.iter().flatten().map(|document| document.place.0.as_str()).collect();
        paths.sort_unstable();
        paths.dedup();
        let client = &*self;
        let requests: Vec<_> = paths.iter().map(|path| client.fetch(path)).collect();
        let fetched: Vec<Fetched> = stream::iter(requests).buffered(AT_A_TIME).collect().await;
        let fetched: BTreeMap<&str, Fetched> = paths.into_iter().zip(fetched).collect();
        let sightings = documents.into_iter().map(|document| {
            let none = || client.web.unexpected("the queue is none of HTTP");
            let document = document.ok_or_else(none)?;
            let (value, now) =
                fetched.get(document.place.0.as_str()).ok_or_else(none)?.as_ref().map_err(Clone::clone)?;
            let reading = document.read(value, *now).map_err(|message| client.web.unexpected(message))?;
            Ok(reading.into())
        });
        sightings.collect()
    }
}
