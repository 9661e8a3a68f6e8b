//! The API server, through a proxy that needs no TLS and no credentials.

use std::time::Duration;

use reqwest::{Client, Method, StatusCode};
use serde_json::Value;

/// Where the proxy of the control plane listens.
pub(crate) const PROXY: &str = "127.0.0.1:8001";

/// A client of the API server.
#[derive(Clone, Debug)]
pub(crate) struct Api {
    client: Client,
}

/// The API server refused.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path}: {status} {body}")]
pub(crate) struct Refused {
    method: Method,
    path: String,
    /// Its status.
    pub(crate) status: StatusCode,
    body: String,
}

impl Refused {
    /// Whether the server knows nothing of such objects.
    pub(crate) fn is_unknown_kind(&self) -> bool {
        self.status == StatusCode::NOT_FOUND && self.body.contains("could not find the requested resource")
            || self.body.trim() == "404 page not found"
    }
}

impl Api {
    /// A client of the one API server.
    pub(crate) fn new() -> Self {
        Self { client: Client::builder().timeout(Duration::from_secs(20)).build().unwrap() }
    }

    /// What is at `path`; `None` if nothing is, or nobody answers.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let response = self.client.get(format!("http://{PROXY}{path}")).send().await.ok()?;
        if !response.status().is_success() {
            return None;
        }
        response.json().await.ok()
    }

    /// Whether a server says that it is ready.
    pub(crate) async fn is_ready(&self, url: &str) -> bool {
        let answer = self.client.get(url).send().await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }

    /// Makes `object` what it says, or creates it.
    pub(crate) async fn apply(&self, object: &Value) -> Value {
        let path = format!("{}?fieldManager=tests&force=true", path_of(object));
        self.call(Method::PATCH, &path, "application/apply-patch+yaml", object).await.unwrap()
    }

    /// Whether `object` could be applied, with no field that the server does not know; nothing changes.
    pub(crate) async fn would_apply(&self, object: &Value) -> Result<Value, Refused> {
        let path =
            format!("{}?fieldManager=tests&force=true&dryRun=All&fieldValidation=Strict", path_of(object));
        self.call(Method::PATCH, &path, "application/apply-patch+yaml", object).await
    }

    /// Changes parts of what is at `path`.
    pub(crate) async fn patch(&self, path: &str, change: &Value) -> Result<Value, Refused> {
        self.call(Method::PATCH, path, "application/strategic-merge-patch+json", change).await
    }

    /// Adds to what is at `path`.
    pub(crate) async fn post(&self, path: &str, object: &Value) -> Result<Value, Refused> {
        self.call(Method::POST, path, "application/json", object).await
    }

    /// Deletes what is at `path`.
    pub(crate) async fn delete(&self, path: &str, options: &Value) -> Result<Value, Refused> {
        self.call(Method::DELETE, path, "application/json", options).await
    }

    async fn call(&self, method: Method, path: &str, kind: &str, body: &Value) -> Result<Value, Refused> {
        let request = self.client.request(method.clone(), format!("http://{PROXY}{path}"));
        let response = request.header("content-type", kind).body(body.to_string()).send().await.unwrap();
        let status = response.status();
        let body = response.text().await.unwrap();
        if !status.is_success() {
            return Err(Refused { method, path: path.to_owned(), status, body });
        }
        Ok(serde_json::from_str(&body).unwrap())
    }
}

/// Where an object is. The plurals of all kinds that are used here are regular, or end in -ies.
pub(crate) fn path_of(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str);
    let (version, kind) = (text("/apiVersion").unwrap(), text("/kind").unwrap());
    let group = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    let namespace = text("/metadata/namespace").map(|name| format!("/namespaces/{name}")).unwrap_or_default();
    let kind = kind.to_lowercase();
    let plural = kind.strip_suffix('y').map_or_else(|| format!("{kind}s"), |stem| format!("{stem}ies"));
    format!("{group}{namespace}/{plural}/{}", text("/metadata/name").unwrap())
}
