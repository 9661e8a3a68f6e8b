//! A document as a tree that is small whatever the document holds: its values are counted while it is parsed.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Most values of a document: one for each eight bytes of the longest answer. A tree of them takes about 10 MB.
pub(super) const MOST_VALUES: usize = 1 << 17;

/// One value of a document.
#[derive(Debug, PartialEq)]
pub(super) enum Node<'a> {
    Null,
    Bool(bool),
    Number(f64),
    Text(Cow<'a, str>),
    List(Vec<Self>),
    /// Sorted by name. Of several members of one name the last counts.
    Object(Vec<(Cow<'a, str>, Self)>),
}

/// Why there is no tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unparsed {
    /// It is not JSON, or nested deeper than 127 levels.
    NotJson,
    /// It has more than [`MOST_VALUES`].
    TooMany,
}

/// Parses a document.
///
/// # Errors
/// When it is not JSON, or too much of it.
pub(super) fn parse(body: &[u8]) -> Result<Node<'_>, Unparsed> {
    let left = Cell::new(Some(MOST_VALUES));
    let mut json = serde_json::Deserializer::from_slice(body);
    let parsed = Tree(&left).deserialize(&mut json).and_then(|node| json.end().map(|()| node));
    parsed.map_err(|_| if left.get().is_none() { Unparsed::TooMany } else { Unparsed::NotJson })
}

impl<'a> Node<'a> {
    /// The text, where this is one.
    pub(super) fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }

    /// The member of that name, where this is an object that has it.
    pub(super) fn member(&self, name: &str) -> Option<&Self> {
        let Self::Object(members) = self else { return None };
        let at = members.binary_search_by(|(other, _)| other.as_ref().cmp(name)).ok()?;
        members.get(at).map(|(_, node)| node)
    }

    /// The element at `index`, from the end where that is negative.
    pub(super) fn element(&self, index: i64) -> Option<&Self> {
        let Self::List(elements) = self else { return None };
        let from_start = usize::try_from(index).ok();
        let from_end = || elements.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?);
        elements.get(from_start.or_else(from_end)?)
    }

    /// What it holds: elements or members.
    pub(super) fn children(&self) -> Box<dyn Iterator<Item = &Node<'a>> + '_> {
        match self {
            Self::List(elements) => Box::new(elements.iter()),
            Self::Object(members) => Box::new(members.iter().map(|(_, node)| node)),
            Self::Null | Self::Bool(_) | Self::Number(_) | Self::Text(_) => Box::new(std::iter::empty()),
        }
    }
}

/// Makes a tree until the count of values that are left falls below zero.
#[derive(Clone, Copy)]
struct Tree<'c>(&'c Cell<Option<usize>>);

impl<'de> DeserializeSeed<'de> for Tree<'_> {
    type Value = Node<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Node<'de>, D::Error> {
        let left = self.0.get().and_then(|left| left.checked_sub(1));
        self.0.set(left);
        if left.is_none() {
            return Err(D::Error::custom("too many values"));
        }
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Tree<'_> {
    type Value = Node<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Node<'de>, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node<'de>, E> {
        Ok(Node::Bool(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "nobody counts tasks beyond 2^53")]
    fn visit_u64<E>(self, value: u64) -> Result<Node<'de>, E> {
        Ok(Node::Number(value as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "nobody counts tasks beyond 2^53")]
    fn visit_i64<E>(self, value: i64) -> Result<Node<'de>, E> {
        Ok(Node::Number(value as f64))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node<'de>, E> {
        Ok(Node::Number(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node<'de>, E> {
        Ok(Node::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node<'de>, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element_seed(self)? {
            elements.push(element);
        }
        // A list grows to four places at once, and a document may be full of lists of one.
        elements.shrink_to_fit();
        Ok(Node::List(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Node<'de>, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = object.next_key_seed(Name)? {
            members.push((name, object.next_value_seed(self)?));
        }
        // Equal names stay in their order, and the last one is to count.
        members.sort_by(|(one, _), (other, _)| one.cmp(other));
        members.reverse();
        members.dedup_by(|(one, _), (other, _)| one == other);
        members.reverse();
        members.shrink_to_fit();
        Ok(Node::Object(members))
    }
}

/// The name of a member.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Cow<'de, str>, D::Error> {
        json.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(value.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_has_its_node_and_the_last_of_equal_names_counts() {
        let tree = parse(br#" {"b": [1, -2, 0.5, "x\n", null], "a": true, "b ": {}, "a": false} "#).unwrap();
        assert_eq!(tree.member("a"), Some(&Node::Bool(false)));
        assert_eq!(tree.member("b ").map(|node| node.children().count()), Some(0));
        let list = tree.member("b").unwrap();
        let element = |index| list.element(index);
        assert_eq!([0, 1, 2].map(element), [1.0, -2.0, 0.5].map(Node::Number).each_ref().map(Some));
        assert_eq!((element(3), element(-1)), (Some(&Node::Text("x\n".into())), Some(&Node::Null)));
        assert_eq!([5, -6, i64::MIN].map(element), [None; 3]);
        assert_eq!((tree.member("c"), tree.element(0), list.member("a")), (None, None, None));
    }

    #[test]
    fn what_is_not_json_or_too_deep_or_too_much_has_no_tree() {
        for body in ["", "{", "hunter2", "[1,]", "1 2", "{\"a\"}", "nan", "1e999", &"[".repeat(1 << 20)] {
            assert_eq!(parse(body.as_bytes()), Err(Unparsed::NotJson), "{}", &body[..body.len().min(20)]);
        }
        assert_eq!(parse(b"\"\xff\""), Err(Unparsed::NotJson));
        let of = |values: usize| format!("[{}0]", "0,".repeat(values - 2));
        assert!(parse(of(MOST_VALUES).as_bytes()).is_ok());
        assert_eq!(parse(of(MOST_VALUES + 1).as_bytes()), Err(Unparsed::TooMany));
    }
}
