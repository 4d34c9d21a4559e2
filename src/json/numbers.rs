//! Numbers and durations, in the forms that JSON Schema and the protocol define.
//!
//! Invariant: a number out of range is refused with an error that names the range.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::PartialSchema;
use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Schema, Type};
use utoipa::openapi::{Ref, RefOr};

use crate::domain::{HealthCheck, Span};

use super::patterns;
use super::values::{component, refusal, text};

/// A whole number from `MIN` to `MAX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Whole<const MIN: i64, const MAX: i64>(i64);

/// Reads a whole number, also one with a fraction of zero, which JSON Schema counts as an integer.
struct WholeVisitor<const MIN: i64, const MAX: i64>(PhantomData<()>);

impl<const MIN: i64, const MAX: i64> Visitor<'_> for WholeVisitor<MIN, MAX> {
    type Value = i64;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "a whole number from {MIN} to {MAX}")
    }

    fn visit_i64<E: serde::de::Error>(self, number: i64) -> Result<i64, E> {
        let allowed = (MIN..=MAX).contains(&number);
        if allowed { Ok(number) } else { Err(E::custom(format!("must be a whole number from {MIN} to {MAX}"))) }
    }

    fn visit_u64<E: serde::de::Error>(self, number: u64) -> Result<i64, E> {
        self.visit_i64(i64::try_from(number).unwrap_or(i64::MAX))
    }

    #[expect(clippy::cast_possible_truncation, reason = "a cast saturates, and what is out of range is refused")]
    fn visit_f64<E: serde::de::Error>(self, number: f64) -> Result<i64, E> {
        if number.fract() == 0.0 {
            return self.visit_i64(number as i64);
        }
        Err(E::custom(format!("must be a whole number from {MIN} to {MAX}")))
    }
}

impl<'de, const MIN: i64, const MAX: i64> Deserialize<'de> for Whole<MIN, MAX> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(WholeVisitor::<MIN, MAX>(PhantomData)).map(Self)
    }
}

fn whole(min: i64, max: i64, description: &str, example: i64) -> ObjectBuilder {
    ObjectBuilder::new()
        .schema_type(Type::Integer)
        .minimum(Some(min))
        .maximum(Some(max))
        .description(Some(description))
        .examples([example])
}

macro_rules! numbers {
    ($($doc:literal $name:ident($number:ty) is $component:literal, $min:expr => $max:expr, as $example:literal;)+) => { $(
        #[doc = $doc]
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
        pub struct $name(pub $number);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let number = Whole::<{ $min }, { $max }>::deserialize(from)?.0;
                <$number>::try_from(number).map(Self).map_err(D::Error::custom)
            }
        }

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                whole($min, $max, $doc, $example).into()
            }
        }

        component!($name, $component);
    )+ };
}

numbers! {
    "A count from one to a million."
    Count(u32) is "Count", 1 => 1_000_000, as 100;
    "Within a host the highest goes first."
    Priority(i32) is "Priority", -2_147_483_648 => 2_147_483_647, as 0;
    "A port, or 0."
    Port(u16) is "Port", 0 => 65_535, as 9001;
    "A duration in whole seconds."
    Seconds(u32) is "Seconds", 1 => 31_622_400, as 30;
}

/// A whole number in a query string: digits only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Digits(pub(crate) u64);

impl<'de> Deserialize<'de> for Digits {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = if is_digits { text.parse().ok() } else { None };
        let words = || D::Error::custom(format!("must be a whole number from 0 to {}, such as 100", u64::MAX));
        number.map(Self).ok_or_else(words)
    }
}

/// A duration: Go-style text, or a number of seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Duration(pub Span);

struct DurationVisitor;

impl Visitor<'_> for DurationVisitor {
    type Value = Span;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a duration such as \"500ms\", \"1m30s\" or 30 (seconds)")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
        Span::parse(text).map_err(|error| refusal(&error))
    }

    fn visit_u64<E: serde::de::Error>(self, secs: u64) -> Result<Span, E> {
        self.visit_str(&secs.to_string())
    }

    fn visit_i64<E: serde::de::Error>(self, secs: i64) -> Result<Span, E> {
        self.visit_str(&secs.to_string())
    }

    fn visit_f64<E: serde::de::Error>(self, secs: f64) -> Result<Span, E> {
        let number = WholeVisitor::<1, 31_622_400>(PhantomData).visit_f64(secs)?;
        self.visit_i64(number)
    }
}

impl<'de> Deserialize<'de> for Duration {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(DurationVisitor).map(Self)
    }
}

/// The interval of health checks: a duration with a minimum.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Interval(pub Span);

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let span = Duration::deserialize(from)?.0;
        let least = HealthCheck::INTERVAL_MIN;
        if span < least {
            return Err(D::Error::custom(format!(
                "{span} between health checks is too short; at least {least} is needed"
            )));
        }
        Ok(Self(span))
    }
}

macro_rules! durations {
    ($($name:ident is $component:literal, $pattern:expr, $description:literal;)+) => { $(
        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                OneOfBuilder::new()
                    .item(text(Some($pattern), (1, 32), "As Go writes it.", "1m30s"))
                    .item(Ref::from_schema_name("Seconds"))
                    .description(Some($description))
                    .examples([serde_json::json!("30s")])
                    .into()
            }
        }

        component!($name, $component);
    )+ };
}

durations! {
    Duration is "Duration", &patterns::DURATION, "A positive duration of at most 366 days: `500ms`, `1m30s`, `2h`, or whole seconds.";
    Interval is "Interval", &patterns::INTERVAL, "A duration of at least 100 ms and at most 366 days: `500ms`, `1m30s`, `2h`, or whole seconds.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_may_be_written_as_json_schema_has_integers() {
        let read =
            |json: &str| serde_json::from_str::<Count>(json).map(|count| count.0).map_err(|error| error.to_string());
        assert_eq!((read("1"), read("1000000"), read("2.0")), (Ok(1), Ok(1_000_000), Ok(2)));
        for bad in ["0", "1000001", "-1", "1.5", "1e99", "\"1\"", "null", "true"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_duration_is_text_as_go_has_it_or_a_number_of_seconds() {
        let read =
            |json: &str| serde_json::from_str::<Duration>(json).map(|read| read.0.to_string()).unwrap_or_default();
        assert_eq!([read("\"90s\""), read("\"1h5m\""), read("30"), read("30.0")], ["1m30s", "1h5m0s", "30s", "30s"]);
        for bad in ["0", "\"0s\"", "-1", "1.5", "\"\"", "\"x\"", "1e300", "null", "31622401", "true", "[]"] {
            assert_eq!(read(bad), "", "{bad}");
        }
    }
}
