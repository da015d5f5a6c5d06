//! All flags at one revision, and the decisions made from them.
//!
//! Invariant: a snapshot never changes. A decision reads only the snapshot: no lock, no await, no
//! allocation. That a handle was never declared is told with a lock, once.

use std::sync::Arc;

use crate::audit::Write;
use crate::decision::Decision;
use crate::declared::Declared;
use crate::error::{FlagError, UnknownFlag, shown};
use crate::explain::Explanation;
use crate::flag::{Flag, FlagType};
use crate::layers::{Base, Layer};
use crate::percent::Percent;
use crate::prerequisites::{self, DEEPEST, MOST, Trouble};
use crate::revision::Revision;
use crate::rollout::HASH_VERSION;
use crate::rules::{self, Compiled, Rules};
use crate::served::lower_of;
use crate::store::Stored;
use crate::value::{FlagValue, Kind};

/// All flags at one revision.
#[derive(Debug, Clone)]
pub struct Snapshot {
    revision: Revision,
    pub(crate) declared: Arc<Declared>,
    base: Arc<Base>,
    // All in the order of the declarations.
    pub(crate) values: Box<[FlagValue]>,
    pub(crate) layers: Box<[Layer]>,
    pub(crate) rules: Box<[Option<Arc<InForce>>]>,
    overridden: bool,
}

/// Rules as they were set, and in the form in which they decide.
#[derive(Debug, PartialEq)]
pub(crate) struct InForce {
    pub(crate) set: Arc<Rules>,
    pub(crate) compiled: Compiled,
}

/// What is wrong with the rules of all flags together.
struct Wrong {
    /// Of the rules concerned.
    key: String,
    /// The flags concerned.
    flags: String,
    problem: String,
}

impl Snapshot {
    /// The layers under the store, and over them what the store holds.
    pub(crate) fn new(
        declared: Arc<Declared>,
        base: Arc<Base>,
        stored: &Stored,
    ) -> Result<Self, FlagError> {
        let mut next = Self {
            revision: stored.revision,
            values: base.values.clone(),
            layers: base.layers.clone(),
            rules: vec![None; declared.all().len()].into(),
            declared,
            base,
            overridden: false,
        };
        for (key, stored) in &stored.values {
            // A flag that another version of the program declares stays in the store untouched.
            let (flag, _) = rules::split(key);
            if next.declared.place(flag).is_none() {
                continue;
            }
            next.set(key, &stored.value)
                .map_err(|problem| FlagError::Corrupt {
                    key: key.clone(),
                    text: shown(&stored.value.to_string()),
                    problem,
                })?;
            if stored.hash_version != HASH_VERSION {
                return Err(FlagError::HashVersion {
                    key: key.clone(),
                    stored: stored.hash_version,
                    known: HASH_VERSION,
                });
            }
        }
        next.check_prerequisites()
            .map_err(|wrong| FlagError::Corrupt {
                key: wrong.key,
                text: wrong.flags,
                problem: wrong.problem,
            })?;
        Ok(next)
    }

    /// This snapshot with one accepted write laid over it.
    pub(crate) fn with(&self, write: &Write, revision: Revision) -> Self {
        let mut next = Self {
            revision,
            ..self.clone()
        };
        for (key, value) in &write.set {
            if let Err(problem) = next.set(key, value) {
                tracing::error!(key, problem, "an accepted write does not fit its flag");
            }
        }
        next
    }

    /// Whether a write fits this snapshot, in a sentence.
    pub(crate) fn check(&self, write: &Write) -> Result<(), FlagError> {
        let mut next = self.clone();
        for (key, value) in &write.set {
            self.declared.check(key, value)?;
            next.set(key, value)
                .map_err(|problem| FlagError::BadValue {
                    key: key.clone(),
                    expected: value.kind(),
                    problem,
                })?;
        }
        if write
            .set
            .iter()
            .all(|(_, value)| value.kind() != Kind::Rules)
        {
            return Ok(());
        }
        next.check_prerequisites()
            .map_err(|wrong| FlagError::BadValue {
                key: wrong.key,
                expected: Kind::Rules,
                problem: format!("{}: {}", wrong.problem, wrong.flags),
            })
    }

    fn set(&mut self, key: &str, value: &FlagValue) -> Result<(), String> {
        let (flag, is_rules) = rules::split(key);
        let Some(place) = self.declared.place(flag) else {
            return Ok(());
        };
        match value {
            FlagValue::Unset if is_rules => self.rules[place] = None,
            FlagValue::Unset => {
                self.values[place] = self.base.values[place].clone();
                self.layers[place] = self.base.layers[place];
            }
            FlagValue::Rules(set) if is_rules => {
                let compiled = set.compile(flag, &self.declared)?;
                let in_force = InForce {
                    set: set.clone(),
                    compiled,
                };
                self.rules[place] = (**set != Rules::default()).then(|| Arc::new(in_force));
            }
            other => {
                let kind = self.declared.all()[place].kind();
                if is_rules || other.kind() != kind {
                    let kind = if is_rules { Kind::Rules } else { kind };
                    return Err(format!("the flag takes a {kind}, not a {}", other.kind()));
                }
                self.values[place] = other.clone();
                self.layers[place] = Layer::Store;
            }
        }
        Ok(())
    }

    /// The rules of all flags together.
    fn check_prerequisites(&self) -> Result<(), Wrong> {
        let requires = |place: usize| match &self.rules[place] {
            Some(rules) => &*rules.compiled.requires,
            None => &[],
        };
        let Err(trouble) = prerequisites::check(self.rules.len(), requires) else {
            return Ok(());
        };
        let (flags, problem) = match trouble {
            Trouble::Cycle(cycle) => (cycle, "prerequisites form a cycle".to_owned()),
            Trouble::TooDeep(chain) => {
                let problem = format!("more than {DEEPEST} prerequisites follow one another");
                (chain, problem)
            }
            Trouble::TooMany(place, evaluations) => {
                let problem = format!(
                    "with all its prerequisites a decision takes {evaluations} evaluations, and \
                     {MOST} is the most"
                );
                (vec![place], problem)
            }
        };
        let key = |place: &usize| &*self.declared.all()[*place].key;
        let keys: Vec<&str> = flags.iter().map(key).collect();
        Err(Wrong {
            key: rules::rules_key(keys[0]),
            flags: shown(&keys.join(" -> ")),
            problem,
        })
    }

    /// This snapshot with none of these flags higher than said.
    pub(crate) fn lowered<'a>(&self, to: impl Iterator<Item = &'a (String, FlagValue)>) -> Self {
        let mut next = self.clone();
        for (key, value) in to {
            if let Some(place) = self.declared.place(key) {
                let lower = lower_of(&next.values[place], value);
                if lower != next.values[place] {
                    next.layers[place] = Layer::Lowered;
                }
                next.values[place] = lower;
                next.overridden = true;
            }
        }
        next
    }

    /// Whether there is no difference to be seen.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.revision == other.revision
            && self.values == other.values
            && self.layers == other.layers
            && self.rules == other.rules
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

    /// Whether the flag is on, for those whose key nobody asks for.
    pub fn enabled(&self, flag: &Flag<bool>) -> bool {
        self.value(flag)
    }

    /// Whether the flag is on for this key: lists and variants count.
    pub fn enabled_for(&self, flag: &Flag<bool>, key: &str) -> bool {
        self.value_for(flag, key)
    }

    /// Whether the flag is on for those whose key nobody asks for, and for this key too: a list or a
    /// variant only takes away. Without rules it costs what [`Snapshot::enabled`] does.
    pub(crate) fn enabled_with(&self, flag: &Flag<bool>, key: &str) -> bool {
        let Some(place) = self.declared.place(flag.key) else {
            return self.enabled(flag);
        };
        self.decide(place, None).is_on()
            && (self.rules[place].is_none() || self.decide(place, Some(key)).is_on())
    }

    /// The share that the flag is set to; 0 % where nobody is within it, because the flag is killed or
    /// something that it requires is off for every key. A prerequisite that is on for some keys leaves
    /// it what it is: 0 % here means that [`Snapshot::rollout`] is false for every key.
    pub fn percent(&self, flag: &Flag<Percent>) -> Percent {
        self.value(flag)
    }

    /// Whether the flag is on for this key: the key's bucket lies within the flag's share, or the
    /// key is on a list.
    pub fn rollout(&self, flag: &Flag<Percent>, key: &str) -> bool {
        match self.declared.place(flag.key) {
            Some(place) => self.decide(place, Some(key)).is_on(),
            None => {
                self.declared.tell_misfit(flag.key);
                crate::rollout::bucket(flag.key, key).is_within(flag.default)
            }
        }
    }

    /// The value of a flag, where nobody asks for a key.
    pub fn value<'a, T: FlagType>(&'a self, flag: &'a Flag<T>) -> T::Read<'a> {
        self.typed(flag, None)
    }

    /// The value of a flag for this key: that of the key's variant, where there are variants.
    pub fn value_for<'a, T: FlagType>(&'a self, flag: &'a Flag<T>, key: &str) -> T::Read<'a> {
        self.typed(flag, Some(key))
    }

    /// The value of a flag by its name, before any rule.
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

    /// The rules of a flag by its name; none where none were set.
    ///
    /// # Errors
    ///
    /// [`UnknownFlag`], with the nearest name there is.
    pub fn rules(&self, key: &str) -> Result<Option<Arc<Rules>>, UnknownFlag> {
        match self.declared.place(key) {
            Some(place) => Ok(self.rules[place].as_ref().map(|rules| rules.set.clone())),
            None => Err(self.declared.unknown(key)),
        }
    }

    /// What the flag of this name is for this key, and why: which layer, which rule, which bucket.
    ///
    /// # Errors
    ///
    /// [`UnknownFlag`], with the nearest name there is.
    pub fn explain(&self, flag: &str, key: Option<&str>) -> Result<Explanation, UnknownFlag> {
        match self.declared.place(flag) {
            Some(place) => Ok(Explanation::of(self, place, key)),
            None => Err(self.declared.unknown(flag)),
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

    /// The keys of handles that were asked and never declared, or as another kind: nobody can set what
    /// they answer. Each is logged when it is asked first; a test can hold that there are none.
    pub fn misfits(&self) -> Vec<&'static str> {
        self.declared.misfits()
    }

    /// A handle always has an answer: one that was never declared answers with its own default.
    fn typed<'a, T: FlagType>(&'a self, flag: &'a Flag<T>, key: Option<&str>) -> T::Read<'a> {
        self.declared
            .place(flag.key)
            .and_then(|place| T::read_from(self.decide(place, key).value))
            .unwrap_or_else(|| {
                self.declared.tell_misfit(flag.key);
                flag.default.read()
            })
    }

    pub(crate) fn decide(&self, place: usize, key: Option<&str>) -> Decision<'_> {
        match (key, &self.values[place]) {
            (None, FlagValue::Percent(_)) => Decision::of_share(self, place),
            _ => Decision::of(self, place, key),
        }
    }
}
