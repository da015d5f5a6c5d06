//! A program's definition: what the catalog stores and what a worker builds an instance from.
//!
//! Invariant: what exists is valid. Names, targets and signatures are checked once, when they are
//! made or deserialized; a worker may still refuse to build them.

mod signature;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use self::signature::{Field, Signature};

/// Why a definition is not valid.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidDefinition(pub(crate) String);

/// A program's name: 1 to 128 of `A-Z a-z 0-9 . _ -`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ProgramId(Arc<str>);

impl ProgramId {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProgramId {
    type Err = InvalidDefinition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = (1..=128).contains(&text.len())
            && text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(InvalidDefinition(format!(
                "program id {:?} is not valid: use 1 to 128 of A-Z a-z 0-9 . _ - and start with a letter or digit",
                text.chars().take(64).collect::<String>()
            )))
        }
    }
}

impl TryFrom<String> for ProgramId {
    type Error = InvalidDefinition;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ProgramId> for String {
    fn from(id: ProgramId) -> Self {
        id.0.as_ref().to_owned()
    }
}

impl fmt::Display for ProgramId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A program at one version: what a worker files its instances under. A definition that was
/// deleted and made anew has another version, so no worker answers with the old one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ProgramKey {
    /// The program's name.
    pub id: ProgramId,
    /// Counts up over all programs; never used twice.
    pub version: u64,
}

impl fmt::Display for ProgramKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.version)
    }
}

/// A program: its key, its definition and what may be done with its calls.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Program {
    /// Name and version.
    pub key: ProgramKey,
    /// What a worker builds.
    pub definition: Definition,
    /// Whether a call that may have run may be run again.
    pub repeatable: bool,
    /// Whether each session has an instance with a state of its own, which outlives the worker.
    #[serde(default)]
    pub stateful: bool,
    /// Whether a call may act on the world beyond its answer: write, send, buy. Such calls are never
    /// made for comparison's sake alone. True where nobody said.
    #[serde(default = "acts")]
    pub side_effects: bool,
}

/// What is not known to be harmless is taken to act.
fn acts() -> bool {
    true
}

/// What a worker builds an instance from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Definition {
    /// A DSPy module built from a signature.
    Dspy {
        /// Inputs and outputs.
        signature: Signature,
        /// Which module.
        #[serde(default)]
        module: Module,
        /// The configured LM profile; the profile `default` where there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lm: Option<String>,
        /// Tools of a `react` module, each from an allow-listed Python module.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        tools: Vec<Target>,
    },
    /// A Python callable from an allow-listed module.
    Callable {
        /// `module:attribute`.
        target: Target,
    },
}

impl Definition {
    /// Whether calls may be repeated where nobody said so: a module that only asks a model may; a
    /// callable, or a module with tools, may have acted on the world.
    #[must_use]
    pub fn repeatable_by_default(&self) -> bool {
        matches!(
            self,
            Self::Dspy {
                module: Module::Predict | Module::ChainOfThought,
                ..
            }
        )
    }
}

/// The DSPy modules that can be built from a signature.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Module {
    /// `dspy.Predict`.
    #[default]
    Predict,
    /// `dspy.ChainOfThought`.
    ChainOfThought,
    /// `dspy.ReAct`.
    React,
}

/// `module:attribute`, both dotted Python names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Target {
    module: String,
    attribute: String,
}

impl Target {
    /// The module's dotted name.
    #[must_use]
    pub fn module(&self) -> &str {
        &self.module
    }

    /// The attribute's dotted name inside the module.
    #[must_use]
    pub fn attribute(&self) -> &str {
        &self.attribute
    }
}

impl FromStr for Target {
    type Err = InvalidDefinition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let dotted = |part: &str| part.split('.').all(signature::is_identifier);
        match text.split_once(':') {
            Some((module, attribute)) if dotted(module) && dotted(attribute) => Ok(Self {
                module: module.to_owned(),
                attribute: attribute.to_owned(),
            }),
            _ => Err(InvalidDefinition(format!(
                "callable {text:?} is not valid: write it as `module:attribute`, such as `shop.answers:greet`"
            ))),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = InvalidDefinition;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> Self {
        target.to_string()
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.module, self.attribute)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_targets_are_checked_when_made() {
        for id in ["qa", "a.b-c_9", "0"] {
            assert_eq!(id.parse::<ProgramId>().unwrap().as_str(), id);
        }
        for id in ["", ".a", "a b", "ä", "a/b", &"x".repeat(129)] {
            assert!(id.parse::<ProgramId>().is_err(), "{id:?} must be refused");
        }
        assert_eq!("a.b:c.d".parse::<Target>().unwrap().attribute(), "c.d");
        for target in ["a", "a:", ":b", "a:b:c", "a b:c", "../x:y"] {
            assert!(
                target.parse::<Target>().is_err(),
                "{target:?} must be refused"
            );
        }
    }

    #[test]
    fn a_definition_with_an_unknown_field_is_refused() {
        let text = r#"{"kind":"callable","target":"a:b","targte":"a:c"}"#;
        assert!(serde_json::from_str::<Definition>(text).is_err());
    }

    #[test]
    fn only_modules_without_tools_are_repeatable_by_default() {
        let dspy: Definition =
            serde_json::from_str(r#"{"kind":"dspy","signature":"question -> answer"}"#).unwrap();
        let callable: Definition =
            serde_json::from_str(r#"{"kind":"callable","target":"a:b"}"#).unwrap();
        assert!(dspy.repeatable_by_default());
        assert!(!callable.repeatable_by_default());
    }
}
