//! A YAML document → maps of values, with every wrong shape as a problem of its own.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::{Map, Value as Node};

use crate::fields::{Problem, Value};
use crate::secret::{Revealed, Secret};

/// Walks one document and keeps what is wrong with its shape.
#[derive(Debug, Default)]
pub(super) struct Walk {
    pub(super) problems: Vec<Problem>,
}

impl Walk {
    /// Takes the map `name` out of `parent`, where it stands at `path`; an empty one if it is absent or no map.
    pub(super) fn section(
        &mut self,
        parent: &mut Map<String, Node>,
        name: &str,
        path: &str,
    ) -> Map<String, Node> {
        parent.remove(name).map_or_else(Map::new, |node| self.map(node, path))
    }

    /// `node` as a map.
    pub(super) fn map(&mut self, node: Node, path: &str) -> Map<String, Node> {
        match node {
            Node::Object(map) => map,
            Node::Null => Map::new(),
            Node::Bool(_) | Node::Number(_) | Node::String(_) | Node::Array(_) => {
                self.problem(path, "must be a map of keys to values", None);
                Map::new()
            }
        }
    }

    /// `map` as values that a table of keys can read.
    pub(super) fn values(&mut self, map: Map<String, Node>, path: &str) -> BTreeMap<String, Value> {
        let mut values = BTreeMap::new();
        for (name, node) in map {
            let at = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            if let Some(value) = self.value(node, &at) {
                values.insert(name, value);
            }
        }
        values
    }

    fn value(&mut self, node: Node, path: &str) -> Option<Value> {
        match node {
            Node::Null => None,
            Node::Bool(flag) => Some(Value::Text(flag.to_string())),
            Node::Number(number) => Some(Value::Text(number.to_string())),
            Node::String(text) => Some(Value::Text(text)),
            Node::Object(reference) => self.secret(&reference, path).map(Value::Secret),
            Node::Array(items) => self.list(&items, path),
        }
    }

    /// Several texts or numbers, which a key that takes several reads with commas between them.
    fn list(&mut self, items: &[Node], path: &str) -> Option<Value> {
        let text = |item: &Node| match item {
            Node::String(text) => Some(text.clone()),
            Node::Number(number) => Some(number.to_string()),
            Node::Null | Node::Bool(_) | Node::Object(_) | Node::Array(_) => None,
        };
        let texts: Option<Vec<String>> = items.iter().map(text).collect();
        if texts.is_none() {
            self.problem(path, "must be one value, or a list of texts", None);
        }
        texts.map(|texts| Value::Text(texts.join(",")))
    }

    /// `{ env: NAME }` or `{ file: PATH }`.
    fn secret(&mut self, reference: &Map<String, Node>, path: &str) -> Option<Secret> {
        let mut parts = reference.iter();
        let found = match (parts.next(), parts.next()) {
            (Some((kind, Node::String(text))), None) if kind == "file" => {
                return Some(Secret::File(PathBuf::from(text)));
            }
            (Some((kind, Node::String(name))), None) if kind == "env" => variable(name),
            _ => Err("must be `{ env: NAME }` or `{ file: PATH }`".to_owned()),
        };
        found.map_err(|message| self.problem(path, message, None)).ok()
    }

    /// A list of texts, such as `example`.
    pub(super) fn texts(&mut self, node: Node, path: &str, example: &str) -> Vec<String> {
        let Node::Array(items) = node else {
            self.problem(path, "must be a list", Some(&format!("e.g. `{example}`")));
            return Vec::new();
        };
        let texts: Vec<String> = items.iter().filter_map(|item| item.as_str().map(str::to_owned)).collect();
        if texts.len() < items.len() {
            self.problem(path, "must be a list of texts", Some("put quotation marks around each"));
        }
        texts
    }

    pub(super) fn problem(&mut self, path: &str, message: impl Into<String>, hint: Option<&str>) {
        let (path, hint) = (path.to_owned(), hint.map(str::to_owned));
        self.problems.push(Problem { path, message: message.into(), hint });
    }
}

#[expect(clippy::disallowed_methods, reason = "the configuration is one of two readers of the environment")]
fn variable(name: &str) -> Result<Secret, String> {
    match std::env::var(name) {
        Ok(value) => Ok(Secret::Variable { name: name.to_owned(), value: Revealed::new(value) }),
        Err(_) => Err(format!("the environment variable {name} is not set")),
    }
}
