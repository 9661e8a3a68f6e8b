//! Anything that shows its queue as JSON over HTTP: one address, and JSONPaths to the numbers in its answer.

mod client;
mod document;
mod json;
mod path;
mod place;

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use self::client::HttpClient;
use self::document::Document;
use super::web::{self, WebClient, WebEndpoint};
use crate::fields::Fields;
use crate::sources::{Client, ConnectionKind, Endpoint, Plan, ReadError, Spec, Wake};

/// Tasks that a JSON document counts.
pub(super) const JSON: Spec = Spec {
    name: "http",
    summary: "tasks that a JSON document counts, fetched by GET",
    keys: document::KEYS,
    moved: document::MOVED,
    parse: document::parse,
    connections: &[&CONNECTION],
    to_show_running: Some(
        "`runningPath`: where the document holds the number of running tasks, e.g. `$.running`",
    ),
};

/// What to write instead of a key that says where the server is and who asks.
const IN_CONNECTION: &str = "name a `connection`: the server's file holds its address and credentials";

/// One server.
const CONNECTION: ConnectionKind = ConnectionKind {
    name: "http",
    summary: "a server that answers with JSON",
    keys: web::KEYS,
    moved: &[
        ("url", "the server in the `connection`, and what follows it in `path`"),
        ("authMode", IN_CONNECTION),
        ("username", IN_CONNECTION),
        ("password", IN_CONNECTION),
        ("token", IN_CONNECTION),
        ("apiKey", IN_CONNECTION),
        ("keyParamName", IN_CONNECTION),
    ],
    // Nobody knows what an answer costs the other side.
    wake: Wake::Polled(Duration::from_secs(1)),
    parse,
    reports: None,
};

fn parse(fields: &mut Fields<'_>) -> Option<Arc<dyn Endpoint>> {
    Some(Arc::new(Http(web::parse(fields)?)))
}

/// One server.
#[derive(Debug)]
struct Http(WebEndpoint);

#[async_trait]
impl Endpoint for Http {
    fn address(&self) -> String {
        self.0.address()
    }

    async fn connect(&self) -> Result<Box<dyn Client>, ReadError> {
        Ok(Box::new(HttpClient::new(WebClient::open(&self.0).await?)))
    }

    fn refuses(&self, plan: &dyn Plan) -> Option<String> {
        let document: &Document = (plan as &dyn Any).downcast_ref()?;
        self.0.refuses(document.place.query())
    }
}
