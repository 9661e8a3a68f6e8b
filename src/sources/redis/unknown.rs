//! Figures that could not be read. The reading has the other figures, and the reason for each of these.

use super::fault::Fault;
use crate::engine::signals::Cause;

/// Figures that are not known, by the reason.
#[derive(Debug, Default)]
pub(super) struct Unknown(Vec<(String, Vec<&'static str>)>);

impl Unknown {
    /// Adds a figure that is not known because of `fault`.
    pub(super) fn add(&mut self, figure: &'static str, fault: Fault) {
        let why = fault.message();
        match self.0.iter_mut().find(|(known, _)| *known == why) {
            Some((_, figures)) if figures.contains(&figure) => {}
            Some((_, figures)) => figures.push(figure),
            None => self.0.push((why, vec![figure])),
        }
    }

    /// One sentence for each reason, with all of its figures.
    pub(super) fn into_causes(self) -> Vec<Cause> {
        self.0.into_iter().map(|(why, figures)| cause(&figures, &why)).collect()
    }
}

/// The sentence for one reason.
fn cause(figures: &[&str], why: &str) -> Cause {
    let text = match figures {
        [one] => format!("{one} is not known: {why}"),
        [others @ .., last] => format!("{} and {last} are not known: {why}", others.join(", ")),
        [] => format!("something is not known: {why}"),
    };
    Cause::new(text)
}

/// One figure that is not known because of `fault`.
pub(super) fn one(figure: &'static str, fault: Fault) -> Cause {
    cause(&[figure], &fault.message())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_named_once_with_all_of_its_figures() {
        let fault = |text: &str| Fault::Unexpected(text.to_owned());
        let mut unknown = Unknown::default();
        for figure in ["the number of due tasks", "the number of running tasks", "the number of due tasks"] {
            unknown.add(figure, fault("`a` is a list"));
        }
        unknown.add("the number of failed tasks", Fault::Late);
        assert_eq!(
            unknown.into_causes(),
            [
                Cause::new(
                    "the number of due tasks and the number of running tasks are not known: `a` is a list"
                ),
                Cause::new("the number of failed tasks is not known: no answer in time"),
            ]
        );
    }
}
