//! A walk over one YAML document that keeps every wrong shape as a problem and goes on.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Node};

use crate::fields::Problem;

/// One map of a document; an empty one where there is none.
#[derive(Debug)]
pub(super) struct Shape<'n, 'p> {
    path: String,
    map: Option<&'n Map<String, Node>>,
    problems: &'p mut Vec<Problem>,
}

impl<'n, 'p> Shape<'n, 'p> {
    /// The document `node`, which stands at `path`.
    pub(super) fn new(path: &str, node: &'n Node, problems: &'p mut Vec<Problem>) -> Self {
        let mut shape = Self { path: path.to_owned(), map: node.as_object(), problems };
        // An empty document is nothing; one of another shape is no object of Kubernetes.
        if shape.map.is_none() && !node.is_null() {
            shape.complain("must be a map of keys to values");
        }
        shape
    }

    /// Whether it is not a map, or a map without entries.
    pub(super) fn is_empty(&self) -> bool {
        self.map.is_none_or(Map::is_empty)
    }

    /// The value at `name`, of any type.
    pub(super) fn raw(&self, name: &str) -> Option<&'n Node> {
        self.node(name)
    }

    /// Whether `name` is there.
    pub(super) fn has(&self, name: &str) -> bool {
        self.node(name).is_some()
    }

    /// The map at `name`.
    pub(super) fn map(&mut self, name: &str) -> Shape<'n, '_> {
        let node = self.node(name);
        if node.is_some_and(|node| !node.is_object()) {
            self.problem(name, "must be a map of keys to values");
        }
        let path = format!("{}.{name}", self.path);
        Shape { path, map: node.and_then(Node::as_object), problems: self.problems }
    }

    /// What `read` makes of each map in the list at `name`.
    pub(super) fn list<T>(&mut self, name: &str, read: impl Fn(&mut Shape<'n, '_>) -> T) -> Vec<T> {
        let Some(node) = self.node(name) else { return Vec::new() };
        let Some(items) = node.as_array() else {
            self.problem(name, "must be a list");
            return Vec::new();
        };
        let mut found = Vec::new();
        for (number, item) in items.iter().enumerate() {
            let path = format!("{}.{name}[{number}]", self.path);
            found.push(read(&mut Shape::new(&path, item, self.problems)));
        }
        found
    }

    /// The text at `name`.
    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        let node = self.node(name)?;
        if !node.is_string() {
            self.problem(name, "must be a text");
        }
        node.as_str().map(str::to_owned)
    }

    /// The whole number at `name`.
    pub(super) fn number(&mut self, name: &str) -> Option<u32> {
        let node = self.node(name)?;
        let number = node.as_u64().and_then(|number| u32::try_from(number).ok());
        if number.is_none() {
            self.problem(name, "must be a whole number");
        }
        number
    }

    /// The Kubernetes quantity at `name`, as far as tolerances use it: `0.02`, `"0.02"`, `20m`.
    pub(super) fn quantity(&mut self, name: &str) -> Option<f64> {
        let quantity = match self.node(name)? {
            Node::Number(number) => number.as_f64(),
            Node::String(text) => match text.strip_suffix('m') {
                Some(thousandths) => thousandths.parse().ok().map(|value: f64| value / 1_000.0),
                None => text.parse().ok(),
            },
            Node::Null | Node::Bool(_) | Node::Array(_) | Node::Object(_) => None,
        };
        if quantity.is_none() {
            self.problem(name, "must be a number");
        }
        quantity
    }

    /// The flag at `name`.
    pub(super) fn flag(&mut self, name: &str) -> Option<bool> {
        let node = self.node(name)?;
        if !node.is_boolean() {
            self.problem(name, "must be true or false");
        }
        node.as_bool()
    }

    /// All entries as texts, as a trigger's metadata must be: the API server refuses anything else.
    pub(super) fn texts(&mut self) -> BTreeMap<String, String> {
        let mut texts = BTreeMap::new();
        for (name, node) in self.map.into_iter().flatten() {
            match node {
                Node::String(text) => {
                    texts.insert(name.clone(), text.clone());
                }
                Node::Bool(_) | Node::Number(_) => {
                    self.problem(name, format!("must be a text, in quotation marks: \"{node}\""));
                }
                Node::Null | Node::Array(_) | Node::Object(_) => self.problem(name, "must be a text"),
            }
        }
        texts
    }

    /// Adds a problem with the value at `name`, and a hint.
    pub(super) fn problem_with(&mut self, name: &str, message: impl Into<String>, hint: impl Into<String>) {
        let path = format!("{}.{name}", self.path);
        self.problems.push(Problem { path, message: message.into(), hint: Some(hint.into()) });
    }

    /// Keeps a problem with the value at `name`.
    pub(super) fn problem(&mut self, name: &str, message: impl Into<String>) {
        let path = format!("{}.{name}", self.path);
        self.problems.push(Problem { path, message: message.into(), hint: None });
    }

    fn complain(&mut self, message: &str) {
        self.problems.push(Problem { path: self.path.clone(), message: message.to_owned(), hint: None });
    }

    /// What stands at `name`; null is the same as nothing.
    fn node(&self, name: &str) -> Option<&'n Node> {
        self.map?.get(name).filter(|node| !node.is_null())
    }
}
