//! What a flag is: a typed handle in the code, and its declaration.
//!
//! Invariant: a flag has one kind for ever, the kind of its default.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::FlagError;
use crate::percent::Percent;
use crate::value::{FlagValue, Kind, Object};

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

/// The types a flag can have: `bool`, [`Percent`], `&'static str`, `f64` and [`Object`].
pub trait FlagType: Clone + private::Sealed {
    /// How a value of this type is read: borrowed from the snapshot where it is not small.
    type Read<'a>
    where
        Self: 'a;

    /// This value, as flags of every type are stored. A number that is not finite is no value, and
    /// [`crate::Flags::open`] refuses its declaration.
    fn into_value(self) -> FlagValue;
    /// The value as this type, or nothing if it is of another kind.
    fn read_from(value: &FlagValue) -> Option<Self::Read<'_>>;
    /// This value itself, in the form in which values are read.
    fn read(&self) -> Self::Read<'_>;
}

mod private {
    pub trait Sealed {}
    impl Sealed for bool {}
    impl Sealed for crate::percent::Percent {}
    impl Sealed for &'static str {}
    impl Sealed for f64 {}
    impl Sealed for crate::value::Object {}
}

impl FlagType for bool {
    type Read<'a> = Self;

    fn into_value(self) -> FlagValue {
        FlagValue::Bool(self)
    }

    fn read_from(value: &FlagValue) -> Option<Self> {
        match value {
            FlagValue::Bool(value) => Some(*value),
            _ => None,
        }
    }

    fn read(&self) -> Self {
        *self
    }
}

impl FlagType for Percent {
    type Read<'a> = Self;

    fn into_value(self) -> FlagValue {
        FlagValue::Percent(self)
    }

    fn read_from(value: &FlagValue) -> Option<Self> {
        match value {
            FlagValue::Percent(value) => Some(*value),
            _ => None,
        }
    }

    fn read(&self) -> Self {
        *self
    }
}

impl FlagType for &'static str {
    type Read<'a> = &'a str;

    fn into_value(self) -> FlagValue {
        self.into()
    }

    fn read_from(value: &FlagValue) -> Option<&str> {
        match value {
            FlagValue::Text(text) => Some(text),
            _ => None,
        }
    }

    fn read(&self) -> &str {
        self
    }
}

impl FlagType for f64 {
    type Read<'a> = Self;

    fn into_value(self) -> FlagValue {
        FlagValue::number(self).unwrap_or(FlagValue::Unset)
    }

    fn read_from(value: &FlagValue) -> Option<Self> {
        match value {
            FlagValue::Number(number) => number.as_f64(),
            _ => None,
        }
    }

    fn read(&self) -> Self {
        *self
    }
}

impl FlagType for Object {
    type Read<'a> = &'a Map<String, Value>;

    fn into_value(self) -> FlagValue {
        self.into()
    }

    fn read_from(value: &FlagValue) -> Option<&Map<String, Value>> {
        match value {
            FlagValue::Json(object) => Some(object.members()),
            _ => None,
        }
    }

    fn read(&self) -> &Map<String, Value> {
        self.members()
    }
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
    pub fn read(&self, json: &Value) -> Result<FlagValue, FlagError> {
        self.kind()
            .read(json)
            .map_err(|problem| FlagError::BadValue {
                key: self.key.to_string(),
                expected: self.kind(),
                problem,
            })
    }
}
