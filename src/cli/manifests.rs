//! Files, folders and standard input → the triggers that are ours.

use std::collections::BTreeSet;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;

use super::nothing::{self, Given};
use crate::checks::{self, Finding, Subject};
use crate::config::server::{Connection, Limit, Server};
use crate::config::trigger::{self, Refusal, Trigger};
use crate::config::{keys, places};
use crate::manifest::{Manifests, Scaled, Written};
use crate::sources::prometheus;
use crate::sources::{self, Client, ConnectionKind, Endpoint, ReadError};

/// What `plan` and `check` read.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(super) struct Arguments {
    /// A file of YAML or JSON, a folder of them, or `-` for standard input; may be given several times.
    #[arg(short, long = "filename", required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Namespace of objects that name none.
    #[arg(short, long, default_value = "default")]
    namespace: String,
}

/// Extensions of the files in a folder that may hold objects. JSON is YAML.
const FORMATS: &[&str] = &["yaml", "yml", "json"];

/// One trigger of ours.
#[derive(Debug)]
pub(super) struct Ours<'a> {
    /// The object that it belongs to.
    pub(super) scaled: &'a Scaled,
    /// As it was written.
    pub(super) written: &'a Written,
    /// As we read it.
    pub(super) trigger: Result<Trigger, Refusal>,
    /// What the rules say of it, each with the rule's id.
    pub(super) findings: Vec<(&'static str, Finding)>,
}

impl Arguments {
    /// Reads everything.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(super) fn load(&self) -> anyhow::Result<Manifests> {
        let mut manifests = Manifests::new(&self.namespace);
        let mut given = Vec::new();
        // A folder and a file in it may both be given, and its triggers are one each.
        let mut read = BTreeSet::new();
        for path in &self.files {
            let texts = texts(path)?;
            for (name, text) in &texts {
                if fs::canonicalize(name).map_or(true, |file| read.insert(file)) {
                    manifests.add(name, text);
                }
            }
            let names = texts.into_iter().map(|(name, _)| name).collect();
            given.push(Given { path: path.display().to_string(), files: names });
        }
        nothing::say(&mut manifests, &given);
        Ok(manifests)
    }
}

fn texts(path: &Path) -> anyhow::Result<Vec<(String, String)>> {
    if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("cannot read standard input")?;
        return Ok(vec![("stdin".to_owned(), text)]);
    }
    // Bytes that are no text are the file's own fault, and not that of a whole folder.
    let read = |path: &Path| {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        anyhow::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    if !path.is_dir() {
        return Ok(vec![(path.display().to_string(), read(path)?)]);
    }
    let mut found = Vec::new();
    let entries = fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    paths.sort();
    for path in paths {
        // The same as `kubectl apply -f FOLDER` takes.
        let is_read =
            path.extension().is_some_and(|extension| FORMATS.iter().any(|known| extension == *known));
        if path.is_dir() {
            found.extend(texts(&path)?);
        } else if is_read {
            found.push((path.display().to_string(), read(&path)?));
        }
    }
    Ok(found)
}

/// The triggers among `manifests` that are ours, read as `server` would read them.
pub(super) fn ours<'a>(manifests: &'a Manifests, server: &Server) -> Vec<Ours<'a>> {
    let mut found = Vec::new();
    for scaled in &manifests.scaled {
        for written in scaled.triggers.iter().filter(|written| is_ours(scaled, written)) {
            let trigger = trigger::parse(server, &scaled.namespace, &scaled.name, &written.metadata);
            found.push(Ours { scaled, written, trigger, findings: Vec::new() });
        }
    }
    let all: Vec<Vec<(&'static str, Finding)>> =
        (0..found.len()).map(|index| findings(manifests, &found, index)).collect();
    for (ours, findings) in found.iter_mut().zip(all) {
        ours.findings = findings;
    }
    found
}

/// The findings about one of `ours`; the others are its context.
fn findings(manifests: &Manifests, ours: &[Ours<'_>], index: usize) -> Vec<(&'static str, Finding)> {
    let Some(Ours { scaled, written, trigger: Ok(trigger), findings: _ }) = ours.get(index) else {
        return Vec::new();
    };
    let others = ours.iter().enumerate().filter(|(other, _)| *other != index);
    let others: Vec<_> =
        others.filter_map(|(_, other)| Some((other.scaled, other.trigger.as_ref().ok()?))).collect();
    let (pods, clocks) = (manifests.pods_of(scaled), manifests.clocks_of(scaled));
    let clocks = clocks.as_slice();
    checks::findings(&Subject { scaled, written, trigger, pods, clocks, manifests, others: &others })
}

/// An external trigger is ours if it names a source or a connection; another external scaler's names neither.
pub(super) fn is_ours(scaled: &Scaled, written: &Written) -> bool {
    let external = matches!(written.kind.as_str(), "external" | "external-push");
    let speaks_our_words =
        [keys::SOURCE.name, keys::CONNECTION.name].iter().any(|key| written.metadata.contains_key(*key));
    external && (speaks_our_words || scaled.triggers.len() == 1)
}

/// A server whose connections and limits are those that `manifests` name: for a check that has no server's file.
pub(super) fn server_for(manifests: &Manifests) -> anyhow::Result<Server> {
    let mut server = Server::parse("", sources::ALL)?;
    for metadata in
        manifests.scaled.iter().flat_map(|scaled| &scaled.triggers).map(|trigger| &trigger.metadata)
    {
        let source = metadata.get(keys::SOURCE.name);
        let Some(source) = sources::ALL.iter().find(|spec| Some(spec.name) == source.map(String::as_str))
        else {
            continue;
        };
        if let (Some(name), [kind, ..]) = (metadata.get(keys::CONNECTION.name), source.connections) {
            server.connections.insert(name.clone(), nowhere(name, kind));
        }
        let mut kinds = sources::ALL.iter().flat_map(|spec| spec.connections.iter().copied());
        if let Some(name) = metadata.get(keys::PROMETHEUS_CONNECTION.name)
            && let Some(kind) = kinds.find(|kind| kind.name == prometheus::KIND)
        {
            server.connections.entry(name.clone()).or_insert_with(|| nowhere(name, kind));
        }
        let mut kinds =
            [source].into_iter().chain(sources::ALL).flat_map(|spec| spec.connections.iter().copied());
        let Some(kind) = kinds.find(|kind| kind.reports.is_some()) else { continue };
        let workers = metadata.get(keys::WORKERS_CONNECTION.name);
        if let Some(name) = workers {
            server.connections.entry(name.clone()).or_insert_with(|| nowhere(name, kind));
        }
        if let Some(name) = metadata.get(keys::LLM_LIMIT.name) {
            let connection = nowhere(workers.map_or("workers", String::as_str), kind);
            let limit = Limit::named(name, connection);
            server.limits.extend(limit.map(|limit| (name.clone(), Arc::new(limit))));
        }
    }
    Ok(server)
}

fn nowhere(name: &str, kind: &'static ConnectionKind) -> Arc<Connection> {
    Arc::new(Connection { name: name.into(), kind, endpoint: Arc::new(Nowhere) })
}

/// The endpoint of a connection that is only named.
#[derive(Debug)]
struct Nowhere;

#[async_trait]
impl Endpoint for Nowhere {
    fn address(&self) -> String {
        places::NOWHERE.to_owned()
    }

    async fn connect(&self) -> Result<Box<dyn Client>, ReadError> {
        let message = "the server's file was not given".to_owned();
        Err(ReadError::Unreachable { endpoint: self.address(), message })
    }
}
