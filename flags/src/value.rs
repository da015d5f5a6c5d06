//! The value of a flag of any kind, and how it is read.
//!
//! Invariants: a value is written plainly and read only with its [`Kind`]; what is read is of a
//! bounded size.

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};
use serde_json::{Map, Number, Value};

use crate::error::shown;
use crate::percent::Percent;
use crate::rules::Rules;

/// The longest text or object that is kept, in bytes of JSON.
const LONGEST: usize = 65_536;

/// The value of a flag of any kind.
///
/// It is written plainly (`true`, `12.5`) but cannot be read without its [`Kind`]: a bare `5` is a
/// number or a share. See [`Kind::read`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
#[non_exhaustive]
pub enum FlagValue {
    /// Nothing is set here: the layer below decides. It is what a revert writes where the store had
    /// nothing, and no flag ever *has* it.
    Unset,
    /// On or off.
    Bool(bool),
    /// A share of the keys.
    Percent(Percent),
    /// Text.
    Text(Arc<str>),
    /// A number, whole or not, as it was written.
    Number(Number),
    /// A JSON object.
    Json(Object),
    /// What decides beside the flag's value; set under the flag's key and `.rules`.
    Rules(Arc<Rules>),
}

impl FlagValue {
    /// Which kind of value this is.
    pub const fn kind(&self) -> Kind {
        match self {
            Self::Unset => Kind::Unset,
            Self::Bool(_) => Kind::Bool,
            Self::Percent(_) => Kind::Percent,
            Self::Text(_) => Kind::Text,
            Self::Number(_) => Kind::Number,
            Self::Json(_) => Kind::Json,
            Self::Rules(_) => Kind::Rules,
        }
    }

    /// The number of this value, for what is not finite nothing.
    pub fn number(number: f64) -> Option<Self> {
        Number::from_f64(number).map(Self::Number)
    }
}

impl fmt::Display for FlagValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unset => f.write_str("nothing"),
            Self::Bool(value) => value.fmt(f),
            Self::Percent(value) => value.fmt(f),
            Self::Text(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Json(_) | Self::Rules(_) => {
                let json = serde_json::to_string(self).map_err(|_| fmt::Error)?;
                f.write_str(&json)
            }
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

impl From<&str> for FlagValue {
    fn from(value: &str) -> Self {
        Self::Text(value.into())
    }
}

impl From<i64> for FlagValue {
    fn from(value: i64) -> Self {
        Self::Number(value.into())
    }
}

impl From<Object> for FlagValue {
    fn from(value: Object) -> Self {
        Self::Json(value)
    }
}

impl From<Rules> for FlagValue {
    fn from(value: Rules) -> Self {
        Self::Rules(Arc::new(value))
    }
}

/// A JSON object; cheap to clone, and constant where it is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Object(#[serde(serialize_with = "members")] Option<Arc<Map<String, Value>>>);

static NO_MEMBERS: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

impl Object {
    /// `{}`.
    pub const EMPTY: Self = Self(None);

    /// Its members.
    pub fn members(&self) -> &Map<String, Value> {
        self.0.as_deref().unwrap_or_else(|| &NO_MEMBERS)
    }
}

impl From<Map<String, Value>> for Object {
    fn from(members: Map<String, Value>) -> Self {
        Self((!members.is_empty()).then(|| Arc::new(members)))
    }
}

fn members<S: serde::Serializer>(
    members: &Option<Arc<Map<String, Value>>>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    members
        .as_deref()
        .unwrap_or_else(|| &NO_MEMBERS)
        .serialize(serializer)
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
    /// Text of up to 64 KiB.
    #[serde(rename = "string")]
    Text,
    /// A number.
    Number,
    /// A JSON object of up to 64 KiB.
    #[serde(rename = "object")]
    Json,
    /// A flag's rules: of a setting, never of a flag.
    Rules,
    /// Nothing is set: of a setting, never of a flag.
    Unset,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Bool,
        Self::Percent,
        Self::Text,
        Self::Number,
        Self::Json,
        Self::Rules,
        Self::Unset,
    ];

    /// The word for this kind, as stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Bool => "bool",
            Self::Percent => "percent",
            Self::Text => "string",
            Self::Number => "number",
            Self::Json => "object",
            Self::Rules => "rules",
            Self::Unset => "unset",
        }
    }

    /// The kind of this word.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }

    /// Reads JSON as a value of this kind. Text is read too (`"true"`, `"12.5%"`), so that a
    /// command line can hand over what was typed.
    ///
    /// # Errors
    ///
    /// A sentence that names the value and says what is wrong with it.
    pub fn read(self, json: &Value) -> Result<FlagValue, String> {
        let wrong = |problem: &str| Err(format!("`{}` {problem}", shown(&plain(json))));
        match (self, json) {
            (Self::Bool, Value::Bool(value)) => Ok(FlagValue::Bool(*value)),
            (Self::Bool, Value::String(text)) if text == "true" => Ok(FlagValue::Bool(true)),
            (Self::Bool, Value::String(text)) if text == "false" => Ok(FlagValue::Bool(false)),
            (Self::Bool, _) => wrong("is neither true nor false"),
            (Self::Percent, Value::Number(_) | Value::String(_)) => {
                // Numbers go the way of text: a number that JSON holds exactly is judged exactly.
                plain(json)
                    .parse()
                    .map(FlagValue::Percent)
                    .map_err(|error: crate::error::PercentError| error.to_string())
            }
            (Self::Percent, _) => wrong("is not a number between 0 and 100"),
            (Self::Text, Value::String(text)) if text.len() > LONGEST => {
                wrong("is longer than 65,536 bytes")
            }
            // A command line cannot tell the text `5` from the number.
            (Self::Text, Value::String(_) | Value::Number(_) | Value::Bool(_)) => {
                Ok(FlagValue::Text(plain(json).into()))
            }
            (Self::Text, _) => wrong("is not a text"),
            (Self::Number, Value::Number(number)) => Ok(FlagValue::Number(number.clone())),
            (Self::Number, Value::String(text)) => match serde_json::from_str(text.trim()) {
                Ok(number) => Ok(FlagValue::Number(number)),
                Err(_) => wrong("is not a number"),
            },
            (Self::Number, _) => wrong("is not a number"),
            (Self::Json, Value::Object(members)) => {
                if json.to_string().len() > LONGEST {
                    return wrong("is longer than 65,536 bytes");
                }
                Ok(FlagValue::Json(members.clone().into()))
            }
            (Self::Json | Self::Rules, Value::String(text)) => {
                match serde_json::from_str::<Value>(text) {
                    Ok(json @ Value::Object(_)) => self.read(&json),
                    Ok(_) => wrong("is not a JSON object"),
                    Err(error) => wrong(&format!("is not a JSON object: {error}")),
                }
            }
            (Self::Rules, Value::Object(_)) => match Rules::deserialize(json) {
                Ok(rules) => Ok(FlagValue::Rules(Arc::new(rules))),
                Err(error) => wrong(&format!("is not a set of rules: {error}")),
            },
            (Self::Json | Self::Rules, _) => wrong("is not a JSON object"),
            (Self::Unset, Value::Null) => Ok(FlagValue::Unset),
            (Self::Unset, _) => wrong("is not null"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// JSON as a person wrote it: text without its quotes.
fn plain(json: &Value) -> String {
    json.as_str()
        .map_or_else(|| json.to_string(), str::to_owned)
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
        for kind in Kind::ALL {
            assert_eq!(Kind::from_word(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::from_word("colour"), None);
    }

    #[test]
    fn text_numbers_and_objects_come_back_as_they_were() {
        for (kind, json) in [
            (Kind::Text, json!("a\u{0}b e\u{301}")),
            (Kind::Number, json!(3)),
            (Kind::Number, json!(3.0)),
            (Kind::Number, json!(-0.25)),
            (Kind::Json, json!({})),
            (Kind::Json, json!({"a": [1, {"b": null}]})),
        ] {
            let value = kind.read(&json).unwrap();
            assert_eq!(value.kind(), kind);
            // As text: 3 and 3.0 are two ways to write one number.
            assert_eq!(serde_json::to_string(&value).unwrap(), json.to_string());
        }
        assert_eq!(
            Kind::Number.read(&json!("2.5")),
            Ok(FlagValue::number(2.5).unwrap())
        );
        assert!(Kind::Json.read(&json!("{\"a\": 1}")).is_ok());
        for (kind, json) in [
            (Kind::Number, json!("NaN")),
            (Kind::Number, json!("1e999")),
            (Kind::Number, json!(null)),
            (Kind::Json, json!([1])),
            (Kind::Json, json!("[1]")),
            (Kind::Text, json!({})),
            (Kind::Text, json!("x".repeat(65_537))),
            (Kind::Json, json!({"a": "x".repeat(65_537)})),
        ] {
            assert!(kind.read(&json).unwrap_err().len() < 500, "{kind}");
        }
        assert_eq!(FlagValue::number(f64::NAN), None);
    }
}
