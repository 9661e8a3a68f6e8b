//! The JSONPath of a trigger: of RFC 9535 what reads numbers with work that is linear in the document.
//!
//! The whole language can nest a query in the filter of another, and look below everything that is below something.
//! Here each step goes one level down, `..` stands once, and a filter compares members with literals.

mod syntax;

use std::fmt;
use std::str::FromStr;

use self::syntax::Parser;
use super::json::Node;

/// Longest text of a path, in bytes.
const LONGEST: usize = 500;

/// Most values that the paths of one trigger may look at in a document. It takes less than a millisecond.
const MOST_LOOKED_AT: usize = 50_000;

/// One or several paths whose numbers are summed.
#[derive(Debug)]
pub(super) struct Sum {
    text: String,
    pub(super) terms: Vec<Term>,
}

/// One of the paths of a sum.
#[derive(Debug)]
pub(super) struct Term {
    pub(super) path: Path,
    /// Whether what it finds is counted: elements of a list, members of an object.
    pub(super) counts: bool,
}

/// A way to some values of a document.
#[derive(Debug)]
pub(super) struct Path {
    text: String,
    steps: Vec<Step>,
}

/// From a value to some that it holds.
#[derive(Debug, PartialEq)]
enum Step {
    /// To the members and elements that are picked.
    To(Vec<Pick>),
    /// To all that it holds.
    All,
    /// To all that it holds and that fits.
    Fitting(Vec<Test>),
    /// To itself, and all that is below it.
    Below,
}

/// One member or element.
#[derive(Clone, Debug, PartialEq)]
enum Pick {
    Name(String),
    Index(i64),
}

/// What a filter asks of a value.
#[derive(Debug, PartialEq)]
struct Test {
    /// The way from the value to what is compared.
    member: Vec<Pick>,
    /// `None` asks only whether it is there.
    comparison: Option<(Operator, Literal)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    Unequal,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug, PartialEq)]
enum Literal {
    Null,
    Bool(bool),
    Number(f64),
    Text(String),
}

/// What a path finds.
pub(super) enum Found<'n> {
    /// A value.
    Value(&'n Node<'n>),
    /// The length of a list, which JavaScript calls its member `length`.
    Length(usize),
}

/// Most values that all triggers of a document may look at together in a batch.
const MOST_OF_ALL: usize = 2_000_000;

/// How many values may still be looked at.
pub(super) struct Budget {
    /// By one trigger.
    one: usize,
    /// By all triggers of the document.
    all: usize,
}

/// The paths of a trigger look at too many values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exhausted;

impl fmt::Display for Exhausted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "more than {MOST_LOOKED_AT} values are on the way, or {MOST_OF_ALL} for all triggers of the document: name \
             the members, where the path has `..` or `*`"
        )
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self { one: MOST_LOOKED_AT, all: MOST_OF_ALL }
    }
}

impl Budget {
    /// For the next trigger.
    pub(super) fn next(&mut self) -> &mut Self {
        self.one = MOST_LOOKED_AT;
        self
    }

    fn look(&mut self) -> Result<(), Exhausted> {
        self.one = self.one.checked_sub(1).ok_or(Exhausted)?;
        self.all = self.all.checked_sub(1).ok_or(Exhausted)?;
        Ok(())
    }
}

impl Path {
    /// Hands each value that the path leads to in `root` to `take`; nothing is kept of them here.
    ///
    /// # Errors
    /// When the budget ends before.
    pub(super) fn visit<'n>(
        &self,
        root: &'n Node<'n>,
        budget: &mut Budget,
        take: &mut dyn FnMut(Found<'n>),
    ) -> Result<(), Exhausted> {
        // Below something, a list is no object with a member `length`: whoever wrote `..length` meant members.
        let is_exact = !self.steps.contains(&Step::Below);
        Walk { is_exact, budget, take }.go(&self.steps, root)
    }
}

/// One visit.
struct Walk<'w, 'n> {
    is_exact: bool,
    budget: &'w mut Budget,
    take: &'w mut dyn FnMut(Found<'n>),
}

impl<'n> Walk<'_, 'n> {
    /// Goes the rest of the way from `node`. No deeper than a document is nested and a path is long.
    fn go(&mut self, steps: &[Step], node: &'n Node<'n>) -> Result<(), Exhausted> {
        self.budget.look()?;
        let Some((step, rest)) = steps.split_first() else {
            (self.take)(Found::Value(node));
            return Ok(());
        };
        match step {
            Step::To(picks) => picks.iter().try_for_each(|pick| match (pick.of(node), pick, node) {
                (Some(next), _, _) => self.go(rest, next),
                (None, Pick::Name(name), Node::List(elements))
                    if self.is_exact && rest.is_empty() && name == "length" =>
                {
                    (self.take)(Found::Length(elements.len()));
                    Ok(())
                }
                (None, _, _) => self.budget.look(),
            }),
            Step::All => node.children().try_for_each(|child| self.go(rest, child)),
            Step::Fitting(tests) => node.children().try_for_each(|child| {
                self.budget.look()?;
                if tests.iter().all(|test| test.fits(child)) { self.go(rest, child) } else { Ok(()) }
            }),
            Step::Below => self.below(rest, node),
        }
    }

    fn below(&mut self, rest: &[Step], node: &'n Node<'n>) -> Result<(), Exhausted> {
        self.go(rest, node)?;
        node.children().try_for_each(|child| self.below(rest, child))
    }
}

impl Pick {
    fn of<'n>(&self, node: &'n Node<'n>) -> Option<&'n Node<'n>> {
        match self {
            Self::Name(name) => node.member(name),
            Self::Index(index) => node.element(*index),
        }
    }
}

impl Test {
    fn fits(&self, node: &Node<'_>) -> bool {
        let found = self.find(node);
        let Some((operator, literal)) = &self.comparison else { return found.is_some() };
        let is_equal = found.is_some_and(|found| literal.equals(found));
        let order = || found.and_then(|found| literal.order_of(found));
        match operator {
            Operator::Equal => is_equal,
            Operator::Unequal => !is_equal,
            Operator::Less => order().is_some_and(std::cmp::Ordering::is_lt),
            Operator::LessOrEqual => is_equal || order().is_some_and(std::cmp::Ordering::is_lt),
            Operator::Greater => order().is_some_and(std::cmp::Ordering::is_gt),
            Operator::GreaterOrEqual => is_equal || order().is_some_and(std::cmp::Ordering::is_gt),
        }
    }

    fn find<'n>(&self, node: &'n Node<'n>) -> Option<&'n Node<'n>> {
        self.member.iter().try_fold(node, |node, pick| pick.of(node))
    }
}

impl Literal {
    #[expect(clippy::float_cmp, reason = "the same text of a number is the same number")]
    fn equals(&self, node: &Node<'_>) -> bool {
        match (self, node) {
            (Self::Null, Node::Null) => true,
            (Self::Bool(one), Node::Bool(other)) => one == other,
            (Self::Number(one), Node::Number(other)) => one == other,
            (Self::Text(one), Node::Text(other)) => one == other,
            _ => false,
        }
    }

    /// How `node` compares with it; only numbers and texts have an order.
    fn order_of(&self, node: &Node<'_>) -> Option<std::cmp::Ordering> {
        match (node, self) {
            (Node::Number(one), Self::Number(other)) => one.partial_cmp(other),
            (Node::Text(one), Self::Text(other)) => Some(one.as_ref().cmp(other)),
            _ => None,
        }
    }
}

impl FromStr for Path {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_length(text)?;
        Parser::new(text).only_path()
    }
}

impl FromStr for Sum {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_length(text)?;
        Ok(Self { terms: Parser::new(text).sum()?, text: text.to_owned() })
    }
}

fn check_length(text: &str) -> Result<(), String> {
    if text.len() > LONGEST { Err(format!("longer than {LONGEST} bytes")) } else { Ok(()) }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests;
