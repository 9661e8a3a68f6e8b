//! The result of a query as far as it matters: one sample, or how many series there are and the first of them.
//!
//! Labels are passed over, and so are all series after the first: whatever a result holds, little of it is kept.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// The time and the text of a number.
pub(super) type Sample = (f64, String);

/// What a result is.
#[derive(Debug, PartialEq)]
pub(super) enum Found {
    /// One sample, as a scalar has.
    Sample(Sample),
    /// Series.
    Series { count: usize, first: Series },
}

/// What matters of one series.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Series {
    /// Its only sample.
    pub(super) sample: Option<Sample>,
    /// Whether its samples are histograms.
    pub(super) is_histogram: bool,
}

/// What the list of a result may begin with.
enum First {
    Time(f64),
    Series(Series),
}

impl<'de> Deserialize<'de> for Found {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_seq(OfFound)
    }
}

struct OfFound;

impl<'de> Visitor<'de> for OfFound {
    type Value = Found;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of series, or a sample")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Found, A::Error> {
        let first = match list.next_element()? {
            None => return Ok(Found::Series { count: 0, first: Series::default() }),
            Some(First::Time(time)) => {
                let text = list.next_element()?.ok_or_else(|| A::Error::custom("a time without a number"))?;
                return Ok(Found::Sample((time, text)));
            }
            Some(First::Series(series)) => series,
        };
        let mut count = 1;
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Found::Series { count, first })
    }
}

impl<'de> Deserialize<'de> for First {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(OfFirst)
    }
}

struct OfFirst;

impl<'de> Visitor<'de> for OfFirst {
    type Value = First;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a series or a time")
    }

    fn visit_f64<E>(self, time: f64) -> Result<First, E> {
        Ok(First::Time(time))
    }

    #[expect(clippy::cast_precision_loss, reason = "a time in seconds")]
    fn visit_u64<E>(self, time: u64) -> Result<First, E> {
        Ok(First::Time(time as f64))
    }

    #[expect(clippy::cast_precision_loss, reason = "a time in seconds")]
    fn visit_i64<E>(self, time: i64) -> Result<First, E> {
        Ok(First::Time(time as f64))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<First, A::Error> {
        let mut series = Series::default();
        while let Some(name) = members.next_key::<String>()? {
            match name.as_str() {
                "value" => series.sample = Some(members.next_value()?),
                other => {
                    series.is_histogram |= other == "histogram";
                    members.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(First::Series(series))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_series_only_their_number_and_the_first_are_kept() {
        let others = r#",{"metric":{"a":"b"},"value":[2,"8"]}"#.repeat(1_000);
        let text = format!(r#"[{{"metric":{{"a":"b"}},"value":[1,"7"]}}{others}]"#);
        let first = Series { sample: Some((1.0, "7".to_owned())), is_histogram: false };
        assert_eq!(serde_json::from_str::<Found>(&text).unwrap(), Found::Series { count: 1_001, first });
        let sample = Found::Sample((-1.0, "7".to_owned()));
        assert_eq!(serde_json::from_str::<Found>(r#"[-1,"7"]"#).unwrap(), sample);
        for wrong in ["{}", "7", "[7]", "[\"7\"]", "[[]]", "[1,2]", r#"[1,"7",3]"#, "[null]"] {
            assert!(serde_json::from_str::<Found>(wrong).is_err(), "{wrong}");
        }
    }
}
