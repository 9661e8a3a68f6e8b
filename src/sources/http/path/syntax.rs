//! How a path is written.

use super::{Literal, Operator, Path, Pick, Step, Term, Test};

/// What there is, for whoever wrote something else.
const DIALECT: &str = "there are names, `['names']`, indices, `[*]`, one `..`, filters such as \
                       `[?@.state == 'waiting' && @.priority > 3]`, `length($.jobs)`, and sums of these";

/// Most picks, tests or terms of one list.
const MOST: usize = 16;

/// Reads one text, of which a part is read already.
pub(super) struct Parser<'t> {
    rest: &'t str,
}

impl<'t> Parser<'t> {
    pub(super) const fn new(text: &'t str) -> Self {
        Self { rest: text }
    }

    /// `$.a + length($.b)`, and nothing after it.
    pub(super) fn sum(mut self) -> Result<Vec<Term>, String> {
        let mut terms = Vec::new();
        loop {
            terms.push(self.term()?);
            check_count(terms.len(), "paths")?;
            if !self.takes("+") {
                break;
            }
        }
        self.end()?;
        Ok(terms)
    }

    /// A path, and nothing after it.
    pub(super) fn only_path(mut self) -> Result<Path, String> {
        let path = self.path()?;
        self.end()?;
        Ok(path)
    }

    fn term(&mut self) -> Result<Term, String> {
        if !self.takes("length(") {
            return Ok(Term { path: self.path()?, counts: false });
        }
        let path = self.path()?;
        self.expect(")")?;
        Ok(Term { path, counts: true })
    }

    fn path(&mut self) -> Result<Path, String> {
        self.expect("$")?;
        let (start, mut steps) = (self.rest, Vec::new());
        let mut end = start;
        while self.step(&mut steps)? {
            end = self.rest;
        }
        self.rest = end;
        let text = format!("${}", &start[..start.len() - end.len()]);
        Ok(Path { text, steps })
    }

    /// Whether there was one more step, or two: `..name` is a way below and a step from there.
    fn step(&mut self, steps: &mut Vec<Step>) -> Result<bool, String> {
        if self.takes("..") {
            if steps.contains(&Step::Below) {
                return Err(refused("`..` more than once makes work that grows faster than the document"));
            }
            steps.push(Step::Below);
            let step = if self.takes("[") { self.bracket()? } else { self.named()? };
            steps.push(step);
        } else if self.takes("[") {
            steps.push(self.bracket()?);
        } else if self.takes(".") {
            steps.push(self.named()?);
        } else {
            return Ok(false);
        }
        Ok(true)
    }

    /// What follows a dot.
    fn named(&mut self) -> Result<Step, String> {
        if self.rest.starts_with('*') {
            self.rest = &self.rest[1..];
            return Ok(Step::All);
        }
        Ok(Step::To(vec![Pick::Name(self.name()?)]))
    }

    fn name(&mut self) -> Result<String, String> {
        let may_begin =
            |character: char| character.is_ascii_alphabetic() || character == '_' || !character.is_ascii();
        let may_follow = |character: char| may_begin(character) || character.is_ascii_digit();
        let end = self.rest.find(|character| !may_follow(character)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if !name.starts_with(may_begin) {
            return Err(self.unknown("a name is wanted; with other characters it is written as `['name']`"));
        }
        self.rest = rest;
        Ok(name.to_owned())
    }

    /// What follows `[`, with its end.
    fn bracket(&mut self) -> Result<Step, String> {
        let step = if self.takes("*") {
            Step::All
        } else if self.takes("?") {
            Step::Fitting(self.filter()?)
        } else {
            Step::To(self.picks()?)
        };
        self.skip_spaces();
        if self.rest.starts_with(':') {
            return Err(refused("a part of a list cannot be taken: `[*]` is all of it"));
        }
        self.expect("]")?;
        Ok(step)
    }

    fn picks(&mut self) -> Result<Vec<Pick>, String> {
        let mut picks = Vec::new();
        loop {
            let pick = self.pick()?;
            if picks.contains(&pick) {
                return Err(refused("one name or index is there twice, and would be counted twice"));
            }
            picks.push(pick);
            check_count(picks.len(), "names")?;
            if !self.takes(",") {
                return Ok(picks);
            }
        }
    }

    fn pick(&mut self) -> Result<Pick, String> {
        self.skip_spaces();
        if self.rest.starts_with(['\'', '"']) {
            return Ok(Pick::Name(self.quoted()?));
        }
        let digits =
            |text: &str| text.len() - text.trim_start_matches(|digit: char| digit.is_ascii_digit()).len();
        let sign = usize::from(self.rest.starts_with('-'));
        let (index, rest) = self.rest.split_at(sign + digits(&self.rest[sign..]));
        let index = index.parse().map_err(|_| self.unknown("a quoted name, an index or `*` is wanted"))?;
        self.rest = rest;
        Ok(Pick::Index(index))
    }

    /// What follows `?`: all of the tests must fit.
    fn filter(&mut self) -> Result<Vec<Test>, String> {
        let is_wrapped = self.takes("(");
        let mut tests = vec![self.test()?];
        while self.takes("&&") {
            tests.push(self.test()?);
            check_count(tests.len(), "comparisons")?;
        }
        if is_wrapped {
            self.expect(")")?;
        }
        Ok(tests)
    }

    fn test(&mut self) -> Result<Test, String> {
        self.expect("@")?;
        let mut member = Vec::new();
        loop {
            if self.takes("[") {
                member.push(self.pick()?);
                self.expect("]")?;
            } else if !self.rest.starts_with("..") && self.takes(".") {
                member.push(Pick::Name(self.name()?));
            } else {
                break;
            }
        }
        let operators = [
            ("==", Operator::Equal),
            ("!=", Operator::Unequal),
            ("<=", Operator::LessOrEqual),
            (">=", Operator::GreaterOrEqual),
            ("<", Operator::Less),
            (">", Operator::Greater),
        ];
        for (sign, operator) in operators {
            if self.takes(sign) {
                return Ok(Test { member, comparison: Some((operator, self.literal()?)) });
            }
        }
        Ok(Test { member, comparison: None })
    }

    fn literal(&mut self) -> Result<Literal, String> {
        self.skip_spaces();
        if self.rest.starts_with(['\'', '"']) {
            return Ok(Literal::Text(self.quoted()?));
        }
        let is_part =
            |character: char| character.is_ascii_alphanumeric() || matches!(character, '-' | '+' | '.');
        let end = self.rest.find(|character| !is_part(character)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        let literal = match word {
            "null" => Literal::Null,
            "true" => Literal::Bool(true),
            "false" => Literal::Bool(false),
            number => match number.parse::<f64>() {
                Ok(number) if number.is_finite() => Literal::Number(number),
                _ => return Err(self.unknown("a quoted text, a number, `true`, `false` or `null` is wanted")),
            },
        };
        self.rest = rest;
        Ok(literal)
    }

    /// A text in quotation marks of either kind.
    fn quoted(&mut self) -> Result<String, String> {
        let mut characters = self.rest.chars();
        let (mark, mut text) = (characters.next(), String::new());
        loop {
            match characters.next() {
                None => return Err(self.unknown("a quotation mark is not closed")),
                character if character == mark => break,
                Some('\\') => text.push(match characters.next() {
                    Some('n') => '\n',
                    Some('t') => '\t',
                    Some(plain @ ('\'' | '"' | '\\' | '/')) => plain,
                    _ => {
                        return Err(self
                            .unknown("of escapes there are `\\'`, `\\\"`, `\\\\`, `\\/`, `\\n` and `\\t`"));
                    }
                }),
                Some(character) => text.push(character),
            }
        }
        self.rest = characters.as_str();
        Ok(text)
    }

    fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start_matches([' ', '\t', '\n', '\r']);
    }

    /// Whether `sign` comes next; it is taken then, and spaces before it.
    fn takes(&mut self, sign: &str) -> bool {
        let next = self.rest.trim_start_matches([' ', '\t', '\n', '\r']).strip_prefix(sign);
        if let Some(rest) = next {
            self.rest = rest;
        }
        next.is_some()
    }

    fn expect(&mut self, sign: &str) -> Result<(), String> {
        if self.takes(sign) { Ok(()) } else { Err(self.unknown(&format!("`{sign}` is wanted"))) }
    }

    fn end(&mut self) -> Result<(), String> {
        self.skip_spaces();
        if self.rest.is_empty() { Ok(()) } else { Err(self.unknown("that is not known")) }
    }

    /// Something else than there may be at this place.
    fn unknown(&self, wanted: &str) -> String {
        let rest = self.rest.trim_start();
        let at: String = rest.chars().take(12).collect();
        let place = if at.is_empty() { "at its end".to_owned() } else { format!("at `{at}`") };
        refused(&format!("{place}: {wanted}"))
    }
}

fn refused(why: &str) -> String {
    format!("{why}; {DIALECT}")
}

fn check_count(count: usize, what: &str) -> Result<(), String> {
    if count > MOST { Err(format!("more than {MOST} {what} of one kind")) } else { Ok(()) }
}
