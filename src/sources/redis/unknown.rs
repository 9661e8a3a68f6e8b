//! Figures beside what waits that could not be told: a reading goes on without them, and says why.

use super::fault::Fault;
use crate::engine::signals::Cause;

/// Figures that are not known, by the reason.
#[derive(Debug, Default)]
pub(super) struct Unknown(Vec<(String, Vec<&'static str>)>);

impl Unknown {
    /// A figure is not known because of `fault`.
    pub(super) fn add(&mut self, figure: &'static str, fault: Fault) {
        let why = fault.message();
        match self.0.iter_mut().find(|(known, _)| *known == why) {
            Some((_, figures)) if figures.contains(&figure) => {}
            Some((_, figures)) => figures.push(figure),
            None => self.0.push((why, vec![figure])),
        }
    }

    /// Each reason with all that it costs, in words.
    pub(super) fn into_causes(self) -> Vec<Cause> {
        self.0.into_iter().map(|(why, figures)| cause(&figures, &why)).collect()
    }
}

/// One reason, in words.
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
    fn a_reason_is_said_once_with_all_that_it_costs() {
        let fault = |text: &str| Fault::Unexpected(text.to_owned());
        let mut unknown = Unknown::default();
        for figure in ["what is due", "what runs", "what is due"] {
            unknown.add(figure, fault("`a` is a list"));
        }
        unknown.add("what failed for good", Fault::Late);
        assert_eq!(
            unknown.into_causes(),
            [
                Cause::new("what is due and what runs are not known: `a` is a list"),
                Cause::new("what failed for good is not known: no answer in time"),
            ]
        );
    }
}
