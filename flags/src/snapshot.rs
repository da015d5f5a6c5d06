//! All flags at one revision, and the decisions made from them.
//!
//! Invariant: a snapshot never changes. A decision reads only the snapshot: no lock, no await, no
//! allocation.

use std::sync::Arc;

use crate::audit::Write;
use crate::declared::Declared;
use crate::error::{FlagError, UnknownFlag};
use crate::flag::{Flag, FlagType, FlagValue};
use crate::percent::Percent;
use crate::revision::Revision;
use crate::rollout::{HASH_VERSION, bucket};
use crate::served::lower_of;
use crate::store::Stored;

/// All flags at one revision.
#[derive(Debug, Clone)]
pub struct Snapshot {
    revision: Revision,
    declared: Arc<Declared>,
    /// In the order of the declarations.
    values: Box<[FlagValue]>,
    overridden: bool,
}

impl Snapshot {
    /// The compiled defaults under what the store holds.
    pub(crate) fn new(declared: Arc<Declared>, stored: &Stored) -> Result<Self, FlagError> {
        let mut values: Box<[FlagValue]> = declared
            .all()
            .iter()
            .map(|declaration| declaration.default.clone())
            .collect();
        for (key, stored) in &stored.values {
            // A flag that another version of the program declares stays in the store untouched.
            let Some(place) = declared.place(key) else {
                continue;
            };
            if stored.value.kind() != declared.all()[place].kind() {
                return Err(FlagError::Corrupt {
                    key: key.clone(),
                    text: stored.value.to_string(),
                    problem: format!(
                        "the flag takes a {}, not a {}",
                        declared.all()[place].kind(),
                        stored.value.kind()
                    ),
                });
            }
            if stored.hash_version != HASH_VERSION {
                return Err(FlagError::HashVersion {
                    key: key.clone(),
                    stored: stored.hash_version,
                    known: HASH_VERSION,
                });
            }
            values[place] = stored.value.clone();
        }
        Ok(Self {
            revision: stored.revision,
            declared,
            values,
            overridden: false,
        })
    }

    /// This snapshot with one accepted write laid over it.
    pub(crate) fn with(&self, write: &Write, revision: Revision) -> Self {
        let mut next = Self {
            revision,
            ..self.clone()
        };
        for (key, value) in &write.set {
            if let Some(place) = self.declared.place(key) {
                next.values[place] = value.clone();
            }
        }
        next
    }

    /// This snapshot with none of these flags higher than said.
    pub(crate) fn lowered<'a>(&self, to: impl Iterator<Item = &'a (String, FlagValue)>) -> Self {
        let mut next = self.clone();
        for (key, value) in to {
            if let Some(place) = self.declared.place(key) {
                next.values[place] = lower_of(&next.values[place], value);
                next.overridden = true;
            }
        }
        next
    }

    /// Whether there is no difference to be seen.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.revision == other.revision
            && self.values == other.values
            && self.overridden == other.overridden
    }

    /// The revision of all these values.
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// Whether flags are lower here than the store may have them: see
    /// [`Flags::override_until_written`](crate::Flags::override_until_written).
    pub fn overridden(&self) -> bool {
        self.overridden
    }

    /// Whether the flag is on.
    pub fn enabled(&self, flag: &Flag<bool>) -> bool {
        self.typed(flag)
    }

    /// The share that the flag is set to.
    pub fn percent(&self, flag: &Flag<Percent>) -> Percent {
        self.typed(flag)
    }

    /// Whether the flag is on for this key: the key's bucket lies within the flag's share.
    pub fn rollout(&self, flag: &Flag<Percent>, key: &str) -> bool {
        bucket(flag.key, key).is_within(self.percent(flag))
    }

    /// The value of a flag by its name.
    ///
    /// # Errors
    ///
    /// [`UnknownFlag`], with the nearest name there is.
    pub fn get(&self, key: &str) -> Result<FlagValue, UnknownFlag> {
        match self.declared.place(key) {
            Some(place) => Ok(self.values[place].clone()),
            None => Err(self.declared.unknown(key)),
        }
    }

    /// Every flag and its value, in the order of the keys.
    pub fn values(&self) -> impl Iterator<Item = (&str, &FlagValue)> {
        let keys = self
            .declared
            .all()
            .iter()
            .map(|declaration| declaration.key.as_ref());
        keys.zip(&self.values)
    }

    /// A handle always has an answer: one that was never declared answers with its own default.
    fn typed<T: FlagType>(&self, flag: &Flag<T>) -> T {
        self.declared
            .place(flag.key)
            .and_then(|place| T::from_value(&self.values[place]))
            .unwrap_or_else(|| flag.default.clone())
    }
}
