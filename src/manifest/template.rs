//! Files that hold no single objects: templates that are not rendered, and lists.

use serde_json::Value as Node;

use crate::fields::Problem;

/// The placeholders of templates.
const PLACEHOLDER: &str = "{{";

/// The problem with a text that is no YAML because it is a template, if it is one.
pub(super) fn not_rendered(path: &str, text: &str) -> Option<Problem> {
    let is_comment = |line: &&str| line.trim_start().starts_with('#');
    let mut lines = text.lines().filter(|line| !is_comment(line));
    lines.any(|line| line.contains(PLACEHOLDER)).then(|| problem(path))
}

/// Whether anything in a document is a placeholder of a template.
pub(super) fn has_placeholder(node: &Node) -> bool {
    match node {
        Node::String(text) => text.contains(PLACEHOLDER),
        Node::Array(items) => items.iter().any(has_placeholder),
        Node::Object(map) => {
            map.iter().any(|(name, value)| name.contains(PLACEHOLDER) || has_placeholder(value))
        }
        Node::Null | Node::Bool(_) | Node::Number(_) => false,
    }
}

/// The message and the hint about a template.
pub(super) fn problem(path: &str) -> Problem {
    let message = "is a template that is not rendered, so nothing in it is checked".to_owned();
    let hint = "`helm template CHART | agent-scaler check -f -`".to_owned();
    Problem { path: path.to_owned(), message, hint: Some(hint) }
}

/// An item of a list. The items of a `ScaledObjectList` may leave out `apiVersion` and `kind`.
pub(super) fn of_list(item: &Node, list: &Node, kind: &str) -> Node {
    let mut item = item.clone();
    if let Some(map) = item.as_object_mut().filter(|_| !kind.is_empty()) {
        map.entry("kind").or_insert_with(|| Node::String(kind.to_owned()));
        map.entry("apiVersion").or_insert_with(|| list["apiVersion"].clone());
    }
    item
}
