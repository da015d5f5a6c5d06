//! A share of traffic, exact to a hundredth of a percent.
//!
//! Invariant: a [`Percent`] that exists is between 0 % and 100 %, in whole basis points. There is no
//! NaN to compare with, and no 0.1 + 0.2.

use std::fmt;
use std::str::FromStr;

use serde::de::{self, Deserializer, Visitor};
use serde::{Deserialize, Serialize, Serializer};

use crate::error::PercentError;

/// A share between 0 % and 100 %, in whole basis points (hundredths of a percent).
///
/// As text it is `"5%"`, `"12.5%"` or `"5"`; in JSON and TOML it is read from such text or from a
/// number of percent (`5`, `12.5`), and written as a number of percent.
///
/// ```
/// use dspex_flags::Percent;
///
/// let percent: Percent = "12.5%".parse()?;
/// assert_eq!(percent.basis_points(), 1_250);
/// assert_eq!(percent.to_string(), "12.5%");
/// assert_eq!(
///     "101".parse::<Percent>().unwrap_err().to_string(),
///     "`101` is not a percentage: it must be between 0 and 100",
/// );
/// # Ok::<(), dspex_flags::PercentError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Percent(u16);

impl Percent {
    /// No traffic.
    pub const ZERO: Self = Self(0);
    /// All traffic.
    pub const HUNDRED: Self = Self(10_000);

    /// The share of this many basis points (hundredths of a percent).
    ///
    /// # Errors
    ///
    /// [`PercentError::OutOfRange`] above 10,000.
    pub fn from_basis_points(basis_points: u16) -> Result<Self, PercentError> {
        if basis_points > Self::HUNDRED.0 {
            let text = format!("{}%", f64::from(basis_points) / 100.0);
            return Err(PercentError::OutOfRange { text });
        }
        Ok(Self(basis_points))
    }

    /// The share of this many percent.
    ///
    /// # Errors
    ///
    /// [`PercentError`] for NaN, what is below 0 or above 100, and what is finer than 0.01.
    pub fn from_percent(percent: f64) -> Result<Self, PercentError> {
        Self::checked(percent, || percent.to_string())
    }

    /// This share in basis points, 0 to 10,000.
    pub const fn basis_points(self) -> u16 {
        self.0
    }

    /// This share in percent, 0.0 to 100.0.
    pub fn percent(self) -> f64 {
        f64::from(self.0) / 100.0
    }

    /// Takes the text of the value as a closure, so that only an error pays for it.
    fn checked(percent: f64, text: impl Fn() -> String) -> Result<Self, PercentError> {
        if !percent.is_finite() {
            return Err(PercentError::NotANumber { text: text() });
        }
        if !(0.0..=100.0).contains(&percent) {
            return Err(PercentError::OutOfRange { text: text() });
        }
        let basis_points = percent * 100.0;
        let whole = basis_points.round();
        // Decimal fractions such as 0.29 are not exact in binary: their error here is under 1e-11.
        if (basis_points - whole).abs() > 1e-9 {
            return Err(PercentError::TooFine { text: text() });
        }
        #[expect(
            clippy::cast_possible_truncation,
            reason = "checked above to be a whole number between 0 and 10,000"
        )]
        Ok(Self(whole as u16))
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // f64's own form is the shortest that reads back, so hundredths print as written.
        f.pad(&format!("{}%", self.percent()))
    }
}

impl FromStr for Percent {
    type Err = PercentError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || text.chars().take(64).collect::<String>();
        let number = text.trim();
        let number = number.strip_suffix('%').unwrap_or(number).trim_end();
        let percent = number
            .parse()
            .map_err(|_| PercentError::NotANumber { text: shown() })?;
        Self::checked(percent, shown)
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(100) {
            serializer.serialize_u16(self.0 / 100)
        } else {
            serializer.serialize_f64(self.percent())
        }
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct PercentVisitor;

        impl Visitor<'_> for PercentVisitor {
            type Value = Percent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(
                    "a percentage between 0 and 100, as a number (12.5) or text (\"12.5%\")",
                )
            }

            fn visit_u64<E: de::Error>(self, percent: u64) -> Result<Percent, E> {
                percent.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, percent: i64) -> Result<Percent, E> {
                percent.to_string().parse().map_err(E::custom)
            }

            fn visit_f64<E: de::Error>(self, percent: f64) -> Result<Percent, E> {
                Percent::from_percent(percent).map_err(E::custom)
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Percent, E> {
                text.parse().map_err(E::custom)
            }
        }

        deserializer.deserialize_any(PercentVisitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn refusal(text: &str) -> String {
        text.parse::<Percent>().unwrap_err().to_string()
    }

    #[test]
    fn reads_percent_with_and_without_sign() {
        for (text, basis_points) in [
            ("5%", 500),
            ("5", 500),
            (" 12.5 % ", 1_250),
            ("0", 0),
            ("-0", 0),
            ("100%", 10_000),
            ("0.01%", 1),
            ("0.29", 29),
            ("99.99", 9_999),
        ] {
            assert_eq!(
                text.parse::<Percent>().unwrap().basis_points(),
                basis_points,
                "{text}"
            );
        }
    }

    #[test]
    fn refuses_what_is_no_share_and_says_which_value_and_range() {
        assert_eq!(
            refusal("NaN"),
            "`NaN` is not a percentage: it must be a number between 0 and 100, such as `12.5%`"
        );
        assert_eq!(
            refusal("101"),
            "`101` is not a percentage: it must be between 0 and 100"
        );
        assert_eq!(
            refusal("-1"),
            "`-1` is not a percentage: it must be between 0 and 100"
        );
        assert_eq!(
            refusal("12.345%"),
            "`12.345%` is not a percentage: it must have at most two decimals"
        );
        for text in ["", "%", "inf", "-inf", "five", "5%%", "0x10", "1,5", "٥%"] {
            assert!(
                matches!(
                    text.parse::<Percent>(),
                    Err(PercentError::NotANumber { .. })
                ),
                "{text:?}"
            );
        }
        for text in ["100.01", "-0.01", "1e300", "100.0000000001"] {
            assert!(
                matches!(
                    text.parse::<Percent>(),
                    Err(PercentError::OutOfRange { .. })
                ),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_hostile_text_is_cut_in_the_message() {
        assert!(refusal(&"9".repeat(1_000_000)).len() < 200);
    }

    #[test]
    fn json_takes_numbers_and_text_and_gives_numbers() {
        for (json, basis_points) in [
            ("5", 500),
            ("12.5", 1_250),
            ("\"5%\"", 500),
            ("0", 0),
            ("100.0", 10_000),
        ] {
            let percent: Percent = serde_json::from_str(json).unwrap();
            assert_eq!(percent.basis_points(), basis_points, "{json}");
        }
        for json in [
            "101", "-1", "-0.5", "\"NaN\"", "0.001", "true", "null", "[5]",
        ] {
            assert!(serde_json::from_str::<Percent>(json).is_err(), "{json}");
        }
        let nan = de::value::F64Deserializer::<de::value::Error>::new(f64::NAN);
        assert!(Percent::deserialize(nan).is_err());
        let json = |text: &str| serde_json::to_string(&text.parse::<Percent>().unwrap()).unwrap();
        assert_eq!(json("5%"), "5");
        assert_eq!(json("12.5%"), "12.5");
    }

    #[test]
    fn basis_points_end_at_a_hundred_percent() {
        assert_eq!(
            Percent::from_basis_points(10_000).unwrap(),
            Percent::HUNDRED
        );
        assert_eq!(
            Percent::from_basis_points(10_001).unwrap_err().to_string(),
            "`100.01%` is not a percentage: it must be between 0 and 100"
        );
    }

    proptest! {
        #[test]
        fn every_share_survives_text_and_json(basis_points in 0_u16..=10_000) {
            let percent = Percent::from_basis_points(basis_points).unwrap();
            prop_assert_eq!(percent.to_string().parse::<Percent>().unwrap(), percent);
            let json = serde_json::to_string(&percent).unwrap();
            prop_assert_eq!(serde_json::from_str::<Percent>(&json).unwrap(), percent);
            prop_assert_eq!(Percent::from_percent(percent.percent()).unwrap(), percent);
        }

        #[test]
        fn what_is_accepted_is_in_range(percent in any::<f64>()) {
            if let Ok(accepted) = Percent::from_percent(percent) {
                prop_assert!((accepted.percent() - percent).abs() < 1e-9);
                prop_assert!(accepted <= Percent::HUNDRED);
            }
        }
    }
}
