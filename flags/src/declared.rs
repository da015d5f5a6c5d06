//! The declarations of one program, checked once, and looked up by key.
//!
//! Invariant: keys are unique and well formed, and the order is that of the keys.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use crate::error::{FlagError, UnknownFlag, shown};
use crate::flag::Declaration;
use crate::rollout::Placer;
use crate::rules;
use crate::value::{FlagValue, Kind};

/// Every flag that this program knows.
#[derive(Debug)]
pub(crate) struct Declared {
    declarations: Vec<Declaration>,
    placers: Vec<Placer>,
    places: HashMap<String, usize>,
    /// The keys of handles that were asked and do not fit: each is told once.
    misfits: Mutex<BTreeSet<&'static str>>,
}

impl Declared {
    pub(crate) fn new(mut declarations: Vec<Declaration>) -> Result<Self, FlagError> {
        declarations.sort_by(|a, b| a.key.cmp(&b.key));
        let mut places = HashMap::with_capacity(declarations.len());
        for (place, declaration) in declarations.iter().enumerate() {
            let wrong = |problem: &str| FlagError::BadDeclaration {
                key: shown(&declaration.key),
                problem: problem.to_owned(),
            };
            check_key(&declaration.key).map_err(wrong)?;
            if matches!(declaration.kind(), Kind::Unset | Kind::Rules) {
                return Err(wrong("its default is no value that a flag can have"));
            }
            if places.insert(declaration.key.to_string(), place).is_some() {
                return Err(wrong("the same key is declared twice"));
            }
        }
        let placers = declarations
            .iter()
            .map(|declaration| Placer::new(&declaration.key));
        Ok(Self {
            placers: placers.collect(),
            declarations,
            places,
            misfits: Mutex::default(),
        })
    }

    pub(crate) fn all(&self) -> &[Declaration] {
        &self.declarations
    }

    /// What places keys for the flag that stands there in [`Declared::all`].
    pub(crate) fn placer(&self, place: usize) -> Placer {
        self.placers[place]
    }

    /// Where the flag stands in [`Declared::all`].
    pub(crate) fn place(&self, key: &str) -> Option<usize> {
        self.places.get(key).copied()
    }

    pub(crate) fn get(&self, key: &str) -> Result<&Declaration, UnknownFlag> {
        match self.place(key) {
            Some(place) => Ok(&self.declarations[place]),
            None => Err(self.unknown(key)),
        }
    }

    /// Whether a flag of that name takes that value.
    pub(crate) fn check(&self, key: &str, value: &FlagValue) -> Result<(), FlagError> {
        let (flag, is_rules) = rules::split(key);
        let declaration = self.get(flag)?;
        let expected = if is_rules {
            Kind::Rules
        } else {
            declaration.kind()
        };
        if expected == value.kind() || value.kind() == Kind::Unset {
            return Ok(());
        }
        Err(FlagError::BadValue {
            key: key.to_owned(),
            expected,
            problem: format!("`{value}` is a {}", value.kind()),
        })
    }

    /// Reads JSON as what is set under that key: a flag's value, or its rules.
    pub(crate) fn read(&self, key: &str, json: &serde_json::Value) -> Result<FlagValue, FlagError> {
        let (flag, is_rules) = rules::split(key);
        let declaration = self.get(flag)?;
        if !is_rules {
            return declaration.read(json);
        }
        Kind::Rules
            .read(json)
            .map_err(|problem| FlagError::BadValue {
                key: key.to_owned(),
                expected: Kind::Rules,
                problem,
            })
    }

    /// A handle was asked that is not declared, or is as another kind: says it, once.
    #[cold]
    pub(crate) fn tell_misfit(&self, key: &'static str) {
        // Nothing is left half-done: a panic elsewhere spoils nothing.
        let mut misfits = self.misfits.lock().unwrap_or_else(PoisonError::into_inner);
        if !misfits.insert(key) {
            return;
        }
        drop(misfits);
        let problem = match self.get(key) {
            Err(unknown) => unknown.to_string(),
            Ok(declaration) => format!("`{key}` is declared as a {}", declaration.kind()),
        };
        tracing::warn!(
            key,
            problem,
            "a handle answers with its own default, whatever anybody writes"
        );
    }

    pub(crate) fn misfits(&self) -> Vec<&'static str> {
        let misfits = self.misfits.lock().unwrap_or_else(PoisonError::into_inner);
        misfits.iter().copied().collect()
    }

    pub(crate) fn unknown(&self, key: &str) -> UnknownFlag {
        UnknownFlag {
            key: shown(key),
            nearest: self.nearest(key),
        }
    }

    fn nearest(&self, key: &str) -> Option<String> {
        // Beyond any key's length a comparison costs much and tells nothing.
        if key.len() > 2 * LONGEST_KEY {
            return None;
        }
        let likeness = |declaration: &Declaration| strsim::jaro_winkler(key, &declaration.key);
        self.declarations
            .iter()
            .map(|declaration| (likeness(declaration), &declaration.key))
            .filter(|(likeness, _)| *likeness >= NEAR)
            .max_by(|(a, _), (b, _)| a.total_cmp(b))
            .map(|(_, key)| key.to_string())
    }
}

const LONGEST_KEY: usize = 100;

/// Below this likeness (0 to 1) a suggestion confuses more than it helps.
const NEAR: f64 = 0.8;

fn check_key(key: &str) -> Result<(), &'static str> {
    let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if key.is_empty() {
        Err("the key is empty")
    } else if key.len() > LONGEST_KEY {
        Err("the key is longer than 100 characters")
    } else if !key.bytes().all(allowed) {
        Err("a key has only the characters a-z, 0-9 and _")
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dspex;

    fn declaration(key: &'static str) -> Declaration {
        Declaration {
            key: key.into(),
            ..dspex::POOL_V2_ENABLED.declaration()
        }
    }

    #[test]
    fn an_unknown_flag_names_the_nearest() {
        let declared = Declared::new(dspex::declarations()).unwrap();
        for (asked, nearest) in [
            ("pool_v2_enable", Some("pool_v2_enabled")),
            (
                "gradual_rollout_percent",
                Some("gradual_rollout_percentage"),
            ),
            ("circut_breaker", Some("circuit_breaker")),
            ("xyz", None),
        ] {
            assert_eq!(
                declared.unknown(asked).nearest.as_deref(),
                nearest,
                "{asked}"
            );
        }
        assert_eq!(
            declared.get("circut_breaker").unwrap_err().to_string(),
            "there is no flag `circut_breaker`; did you mean `circuit_breaker`?"
        );
    }

    #[test]
    fn a_hostile_key_gets_a_short_answer() {
        let declared = Declared::new(dspex::declarations()).unwrap();
        for key in [
            "k".repeat(1_000_000),
            "é\u{301}\u{0}".repeat(200),
            String::new(),
        ] {
            assert!(declared.get(&key).unwrap_err().to_string().len() < 500);
        }
    }

    #[test]
    fn a_wrong_declaration_is_refused_with_its_key() {
        let twice = vec![declaration("one"), declaration("two"), declaration("one")];
        assert_eq!(
            Declared::new(twice).unwrap_err().to_string(),
            "flag `one` is declared wrongly: the same key is declared twice"
        );
        for key in ["", "Upper", "with space", "dash-ed", "accentué"] {
            let error = Declared::new(vec![declaration(key)]).unwrap_err();
            assert!(
                matches!(error, FlagError::BadDeclaration { .. }),
                "{key}: {error}"
            );
        }
    }
}
