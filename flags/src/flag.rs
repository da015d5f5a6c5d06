//! What a flag is: a typed handle in the code, a value, and the declaration that ties them.
//!
//! Invariant: a flag has one kind for ever, the kind of its default.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{FlagError, shown};
use crate::percent::Percent;

/// A typed handle of one flag: the code asks with it and gets the right type, never a text.
///
/// ```
/// use dspex_flags::Flag;
///
/// const FASTER: Flag<bool> = Flag {
///     key: "faster",
///     default: false,
///     description: "use the faster way",
///     owner: "core",
/// };
/// assert_eq!(FASTER.declaration().kind().to_string(), "bool");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag<T> {
    /// The name under which it is stored and asked for: `snake_case`.
    pub key: &'static str,
    /// The value where nobody has written another.
    pub default: T,
    /// What it switches, in one line.
    pub description: &'static str,
    /// Who answers for it.
    pub owner: &'static str,
}

impl<T: FlagType> Flag<T> {
    /// The declaration of this flag, to hand to [`crate::Flags::open`].
    pub fn declaration(&self) -> Declaration {
        Declaration {
            key: Cow::Borrowed(self.key),
            default: self.default.clone().into_value(),
            description: Cow::Borrowed(self.description),
            owner: Cow::Borrowed(self.owner),
        }
    }
}

/// The types a flag can have.
pub trait FlagType: Clone + private::Sealed {
    /// This value, as flags of every type are stored.
    fn into_value(self) -> FlagValue;
    /// The value as this type, or nothing if it is of another kind.
    fn from_value(value: &FlagValue) -> Option<Self>;
}

mod private {
    pub trait Sealed {}
    impl Sealed for bool {}
    impl Sealed for crate::percent::Percent {}
}

impl FlagType for bool {
    fn into_value(self) -> FlagValue {
        FlagValue::Bool(self)
    }

    fn from_value(value: &FlagValue) -> Option<Self> {
        match value {
            FlagValue::Bool(value) => Some(*value),
            FlagValue::Percent(_) => None,
        }
    }
}

impl FlagType for Percent {
    fn into_value(self) -> FlagValue {
        FlagValue::Percent(self)
    }

    fn from_value(value: &FlagValue) -> Option<Self> {
        match value {
            FlagValue::Percent(value) => Some(*value),
            FlagValue::Bool(_) => None,
        }
    }
}

/// The value of a flag of any kind.
///
/// It is written plainly (`true`, `12.5`) but cannot be read without its [`Kind`]: once there are
/// flags that are numbers, a bare `5` says nothing. See [`Kind::read`]. It is not `Copy`, because
/// text will not be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum FlagValue {
    /// On or off.
    Bool(bool),
    /// A share of the keys.
    Percent(Percent),
}

impl FlagValue {
    /// Which kind of value this is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Bool(_) => Kind::Bool,
            Self::Percent(_) => Kind::Percent,
        }
    }
}

impl fmt::Display for FlagValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(value) => value.fmt(f),
            Self::Percent(value) => value.fmt(f),
        }
    }
}

impl From<bool> for FlagValue {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<Percent> for FlagValue {
    fn from(value: Percent) -> Self {
        Self::Percent(value)
    }
}

/// The kinds of values that flags have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// 0 to 100, in steps of 0.01.
    Percent,
}

impl Kind {
    /// The word for this kind, as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Percent => "percent",
        }
    }

    /// The kind of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        match word {
            "bool" => Some(Self::Bool),
            "percent" => Some(Self::Percent),
            _ => None,
        }
    }

    /// Reads JSON as a value of this kind. Text is read too (`"true"`, `"12.5%"`), so that a
    /// command line can hand over what was typed.
    ///
    /// # Errors
    ///
    /// A sentence that names the value and says what is wrong with it.
    pub fn read(self, json: &serde_json::Value) -> Result<FlagValue, String> {
        use serde_json::Value;
        match (self, json) {
            (Self::Bool, Value::Bool(value)) => Ok(FlagValue::Bool(*value)),
            (Self::Bool, Value::String(text)) if text == "true" => Ok(FlagValue::Bool(true)),
            (Self::Bool, Value::String(text)) if text == "false" => Ok(FlagValue::Bool(false)),
            (Self::Bool, other) => Err(format!(
                "`{}` is neither true nor false",
                shown(&plain(other))
            )),
            (Self::Percent, Value::Number(_) | Value::String(_)) => {
                // Numbers go the way of text: a number that JSON holds exactly is judged exactly.
                plain(json)
                    .parse()
                    .map(FlagValue::Percent)
                    .map_err(|error: crate::error::PercentError| error.to_string())
            }
            (Self::Percent, other) => Err(format!(
                "`{}` is not a number between 0 and 100",
                shown(&plain(other))
            )),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// JSON as a person wrote it: text without its quotes.
fn plain(json: &serde_json::Value) -> String {
    json.as_str()
        .map_or_else(|| json.to_string(), str::to_owned)
}

/// A flag as it is known to the store, the API and the command line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Declaration {
    /// The name under which it is stored and asked for: `snake_case`.
    pub key: Cow<'static, str>,
    /// The value where nobody has written another; its kind is the flag's kind.
    pub default: FlagValue,
    /// What it switches, in one line.
    pub description: Cow<'static, str>,
    /// Who answers for it.
    pub owner: Cow<'static, str>,
}

impl Declaration {
    /// The kind of this flag. A method and not a field, so that it cannot contradict the default.
    pub const fn kind(&self) -> Kind {
        self.default.kind()
    }

    /// Reads JSON as a value of this flag; see [`Kind::read`].
    ///
    /// # Errors
    ///
    /// [`FlagError::BadValue`] naming the flag, the value and what is wrong with it.
    pub fn read(&self, json: &serde_json::Value) -> Result<FlagValue, FlagError> {
        self.kind()
            .read(json)
            .map_err(|problem| FlagError::BadValue {
                key: self.key.to_string(),
                expected: self.kind(),
                problem,
            })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_kind_reads_its_values_as_json_and_as_text() {
        let five: Percent = "5%".parse().unwrap();
        assert_eq!(Kind::Bool.read(&json!(true)), Ok(FlagValue::Bool(true)));
        assert_eq!(Kind::Bool.read(&json!("false")), Ok(FlagValue::Bool(false)));
        assert_eq!(Kind::Percent.read(&json!(5)), Ok(five.into()));
        assert_eq!(Kind::Percent.read(&json!(5.0)), Ok(five.into()));
        assert_eq!(Kind::Percent.read(&json!("5%")), Ok(five.into()));
    }

    #[test]
    fn a_kind_refuses_others_and_names_the_value() {
        assert_eq!(
            Kind::Bool.read(&json!(1)),
            Err("`1` is neither true nor false".to_owned())
        );
        assert_eq!(
            Kind::Percent.read(&json!(101)),
            Err("`101` is not a percentage: it must be between 0 and 100".to_owned())
        );
        assert_eq!(
            Kind::Percent.read(&json!(true)),
            Err("`true` is not a number between 0 and 100".to_owned())
        );
        assert!(Kind::Percent.read(&json!("NaN")).is_err());
        assert!(Kind::Percent.read(&json!(null)).is_err());
        assert!(
            Kind::Bool
                .read(&json!("x".repeat(1_000_000)))
                .unwrap_err()
                .len()
                < 500
        );
    }

    #[test]
    fn every_kind_has_a_word_that_reads_back() {
        for kind in [Kind::Bool, Kind::Percent] {
            assert_eq!(Kind::from_word(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::from_word("colour"), None);
    }
}
