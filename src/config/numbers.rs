//! Values that only limits and those who share them have.

use std::str::FromStr;

use crate::fields::plain;

/// How much a provider admits or a task uses: positive, and finite.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Amount(pub(super) f64);

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let amount = finite(text)?;
        if amount == 0.0 {
            return Err("leave it out if it is not known".to_owned());
        }
        if amount < 0.0 { Err("must be positive".to_owned()) } else { Ok(Self(amount)) }
    }
}

/// A part of a limit in relation to the parts of others.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Weight(pub(super) f64);

impl Weight {
    /// A hundredth to a thousand. Parts that differ by more leave the smaller one no request at all.
    const RANGE: std::ops::RangeInclusive<f64> = 0.01..=1_000.0;
}

impl FromStr for Weight {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let weight = finite(text)?;
        let range = Self::RANGE;
        if !range.contains(&weight) {
            return Err(format!("must be within {} to {}", range.start(), range.end()));
        }
        Ok(Self(weight))
    }
}

fn finite(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if number.is_finite() { Ok(number) } else { Err("must be a finite number".to_owned()) }
}

/// A name under which workers report: part of a key's name on the backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Scope(pub(super) String);

impl Scope {
    /// Longest name, in bytes: every worker repeats it in the name of each of its keys.
    const LONGEST: usize = 200;
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        plain(text, Self::LONGEST).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_positive_and_a_zero_says_what_to_do_instead() {
        assert_eq!("4000".parse(), Ok(Amount(4_000.0)));
        assert_eq!("2e6".parse(), Ok(Amount(2_000_000.0)));
        assert_eq!("0.5".parse(), Ok(Amount(0.5)));
        for zero in ["0", "-0", "0.0"] {
            assert_eq!(zero.parse::<Amount>(), Err("leave it out if it is not known".to_owned()), "{zero}");
        }
        assert_eq!("-1".parse::<Amount>(), Err("must be positive".to_owned()));
        for nonsense in ["inf", "NaN", "1e999"] {
            assert_eq!(nonsense.parse::<Amount>(), Err("must be a finite number".to_owned()), "{nonsense}");
        }
        assert!("many".parse::<Amount>().is_err());
    }

    #[test]
    fn a_weight_has_a_range() {
        for (text, weight) in [("1", 1.0), ("2.5", 2.5), ("0.01", 0.01), ("1000", 1_000.0)] {
            assert_eq!(text.parse(), Ok(Weight(weight)), "{text}");
        }
        for text in ["0", "-1", "0.009", "1001"] {
            assert_eq!(text.parse::<Weight>(), Err("must be within 0.01 to 1000".to_owned()), "{text}");
        }
        assert!("NaN".parse::<Weight>().is_err());
    }

    #[test]
    fn a_scope_fits_into_the_name_of_a_key() {
        assert_eq!("anthropic/prod/sonnet".parse(), Ok(Scope("anthropic/prod/sonnet".to_owned())));
        for bad in ["", "a\nb", &"x".repeat(201)] {
            assert!(bad.parse::<Scope>().is_err(), "{bad:?}");
        }
        assert!("x".repeat(200).parse::<Scope>().is_ok());
    }
}
