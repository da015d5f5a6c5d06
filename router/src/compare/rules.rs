//! What is compared, how strictly, and what is left out.
//!
//! Invariant: rules that exist are valid; patterns and tolerances were checked when they were made.

use dspex_pool::ProgramId;
use serde::{Deserialize, Deserializer, Serialize};

use super::path::Pattern;

/// A kind of rule, from the form of an answer to its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// The candidate failed where stable answered. Not a choice: always a difference.
    Failure,
    /// The outputs that the program's signature declares, each of its type.
    Schema,
    /// The same fields, of the same JSON types; lists of the same length.
    Fields,
    /// The same words, and the same truth values.
    Text,
    /// The same numbers, within the tolerance.
    Numbers,
    /// What the user's own comparer says.
    Comparer,
}

impl Tier {
    /// Its name in configuration and documents.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Schema => "schema",
            Self::Fields => "fields",
            Self::Text => "text",
            Self::Numbers => "numbers",
            Self::Comparer => "comparer",
        }
    }
}

/// How far two numbers may lie apart: by either bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Tolerance {
    /// In the numbers' own unit.
    pub absolute: f64,
    /// As a share of the larger one, 0 to 1.
    pub relative: f64,
}

impl Default for Tolerance {
    fn default() -> Self {
        // Enough for sums in another order, and for nothing else.
        Self {
            absolute: 1e-9,
            relative: 1e-6,
        }
    }
}

impl Tolerance {
    pub(super) fn allows(self, one: f64, other: f64) -> bool {
        let apart = (one - other).abs();
        apart <= self.absolute || apart <= self.relative * one.abs().max(other.abs())
    }
}

/// The rules as they are configured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RulesConfig {
    /// Which tiers are looked at.
    pub tiers: Vec<Tier>,
    /// Places that are not compared, and everything beneath them, as JSON Pointers; `*` stands for
    /// any key or index.
    pub ignore: Vec<String>,
    /// Upper and lower case are the same letter.
    pub ignore_case: bool,
    /// Only letters and digits are compared.
    pub ignore_punctuation: bool,
    /// How far numbers may lie apart.
    pub tolerance: Tolerance,
    /// A program that judges words and numbers in place of the tiers: a callable
    /// `compare(stable, candidate)` that answers `{"equal": bool, "why": str}`. Empty text is none.
    #[serde(deserialize_with = "name_or_none")]
    pub comparer: Option<ProgramId>,
}

fn name_or_none<'de, D: Deserializer<'de>>(from: D) -> Result<Option<ProgramId>, D::Error> {
    let text = Option::<String>::deserialize(from)?;
    text.filter(|text| !text.trim().is_empty())
        .map(|text| text.parse().map_err(serde::de::Error::custom))
        .transpose()
}

impl Default for RulesConfig {
    fn default() -> Self {
        Self {
            tiers: vec![Tier::Schema, Tier::Fields, Tier::Text, Tier::Numbers],
            ignore: vec!["/usage".to_owned()],
            ignore_case: true,
            ignore_punctuation: false,
            tolerance: Tolerance::default(),
            comparer: None,
        }
    }
}

/// A pattern, or a tolerance, that means nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{pattern:?} cannot be compared by: {problem}")]
pub struct InvalidPattern {
    /// As it was given.
    pub pattern: String,
    /// What is wrong, and what would be right.
    pub problem: &'static str,
}

/// Rules that were checked.
#[derive(Debug, Clone)]
pub struct Rules {
    tiers: Vec<Tier>,
    ignore: Vec<Pattern>,
    pub(super) ignore_case: bool,
    pub(super) ignore_punctuation: bool,
    pub(super) tolerance: Tolerance,
}

impl Rules {
    /// Checks and makes rules.
    ///
    /// # Errors
    ///
    /// [`InvalidPattern`] names the first pattern or tolerance that means nothing.
    pub fn new(config: &RulesConfig) -> Result<Self, InvalidPattern> {
        let Tolerance { absolute, relative } = config.tolerance;
        for (number, valid) in [
            (absolute, absolute.is_finite() && absolute >= 0.0),
            (relative, (0.0..=1.0).contains(&relative)),
        ] {
            if !valid {
                return Err(InvalidPattern {
                    pattern: number.to_string(),
                    problem: "tolerance.absolute is a number from 0 up, tolerance.relative 0 to 1",
                });
            }
        }
        for tier in &config.tiers {
            if matches!(tier, Tier::Failure | Tier::Comparer) {
                return Err(InvalidPattern {
                    pattern: tier.label().to_owned(),
                    problem: "tiers are schema, fields, text and numbers; a comparer is named by \
                              `comparer`, and a failure always counts",
                });
            }
        }
        let ignore = config.ignore.iter().map(|text| Pattern::parse(text));
        Ok(Self {
            tiers: config.tiers.clone(),
            ignore: ignore.collect::<Result<_, _>>()?,
            ignore_case: config.ignore_case,
            ignore_punctuation: config.ignore_punctuation,
            tolerance: config.tolerance,
        })
    }

    /// The same rules without words and numbers: where a comparer judges those.
    #[must_use]
    pub fn form_only(&self) -> Self {
        let mut form = self.clone();
        form.tiers
            .retain(|tier| matches!(tier, Tier::Schema | Tier::Fields));
        form
    }

    pub(super) fn looks(&self, tier: Tier) -> bool {
        self.tiers.contains(&tier)
    }

    pub(super) fn ignores(&self, pointer: &str) -> bool {
        self.ignore.iter().any(|pattern| pattern.covers(pointer))
    }
}
