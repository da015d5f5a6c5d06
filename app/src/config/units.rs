//! Text with units in configuration: durations and sizes.
//!
//! Invariant: a number without a unit is never taken for a duration, so that nobody has to guess
//! whether 30 means seconds or milliseconds.

use std::fmt;
use std::str::FromStr;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// A size in bytes, written as `"8MiB"`, `"64kB"` or a number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub usize);

/// Why a text is not a size.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a size: write a whole number with B, kB, KiB, MB, MiB, GB or GiB, such as \"8MiB\""
)]
pub struct InvalidSize(String);

impl FromStr for ByteSize {
    type Err = InvalidSize;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidSize(text.to_owned());
        let trimmed = text.trim();
        let digits = trimmed
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(trimmed.len());
        let (number, unit) = trimmed.split_at(digits);
        let factor: usize = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1_000,
            "kib" => 1 << 10,
            "mb" => 1_000_000,
            "mib" => 1 << 20,
            "gb" => 1_000_000_000,
            "gib" => 1 << 30,
            _ => return Err(invalid()),
        };
        number
            .parse::<usize>()
            .ok()
            .and_then(|number| number.checked_mul(factor))
            .map(Self)
            .ok_or_else(invalid)
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SizeVisitor;
        impl Visitor<'_> for SizeVisitor {
            type Value = ByteSize;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"8MiB\", or a number of bytes")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<ByteSize, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<ByteSize, E> {
                usize::try_from(number)
                    .map(ByteSize)
                    .map_err(|_| E::custom(InvalidSize(number.to_string())))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<ByteSize, E> {
                usize::try_from(number)
                    .map(ByteSize)
                    .map_err(|_| E::custom(InvalidSize(number.to_string())))
            }
        }
        deserializer.deserialize_any(SizeVisitor)
    }
}

/// For `#[serde(with = "…")]`: a [`std::time::Duration`] as text with a unit.
pub(super) mod duration {
    use std::fmt;
    use std::time::Duration;

    use serde::de::{Deserializer, Error, Visitor};

    /// Reads `"500ms"`, `"5s"`, `"1h 30m"`.
    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        struct DurationVisitor;
        impl Visitor<'_> for DurationVisitor {
            type Value = Duration;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with a unit, such as \"500ms\", \"5s\" or \"1h 30m\"")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
                humantime::parse_duration(text).map_err(|error| {
                    E::custom(format!(
                        "{text:?} is not a duration ({error}): write a number with ms, s, m or h, such as \"5s\""
                    ))
                })
            }
        }
        deserializer.deserialize_any(DurationVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_carry_their_unit() {
        for (text, bytes) in [
            ("8MiB", 8 << 20),
            ("64 kB", 64_000),
            ("1GiB", 1 << 30),
            ("17", 17),
            ("5b", 5),
        ] {
            assert_eq!(text.parse::<ByteSize>().unwrap().0, bytes, "{text}");
        }
        for text in ["", "MiB", "8 potatoes", "-1", "1.5MiB", "99999999999999GiB"] {
            assert!(
                text.parse::<ByteSize>().is_err(),
                "{text:?} must be refused"
            );
        }
    }
}
