//! What decides about a flag beside its value: the kill switch, prerequisites, lists, variants.
//!
//! A flag's rules are a setting of their own, beside its value, named by the flag's key and `.rules`:
//! whoever moves a share does not rewrite the lists, and the other way round.
//!
//! Invariant: rules in force were checked against their flag, and against those of the flags that they
//! require: see [`prerequisites`](crate::prerequisites).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::declared::Declared;
use crate::error::shown;
use crate::value::{FlagValue, Kind};

/// What a flag's key is followed by in the key of its rules.
const SUFFIX: &str = ".rules";

/// The longest key in a list, in bytes.
const LONGEST_KEY: usize = 1_024;
/// The most keys in the lists of one flag, all together.
const MOST_KEYS: usize = 100_000;
/// The most variants, and the most prerequisites, of one flag.
const MOST_PARTS: usize = 100;
/// The most that weights add up to: what flagd takes.
const HEAVIEST: u64 = i32::MAX as u64;

/// The key under which a flag's rules are set.
pub fn rules_key(flag_key: &str) -> String {
    format!("{flag_key}{SUFFIX}")
}

/// The flag that a setting's key is about, and whether it is the key of its rules.
pub(crate) fn split(key: &str) -> (&str, bool) {
    match key.strip_suffix(SUFFIX) {
        Some(flag) => (flag, true),
        None => (key, false),
    }
}

/// What decides about a flag beside its value, in this order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// The kill switch: the flag is off for everybody, whatever else is set. Off is `false`, 0 %,
    /// and for other kinds the compiled default.
    pub killed: bool,
    /// Flags that must be on for a key before this one can be: switches, or shares that the key is
    /// within. Without a key a share counts as on at 100 % only. At most 32 in a row, and at most
    /// 1,000 flags for one decision, where one that is required twice counts twice.
    pub requires: Vec<String>,
    /// Keys for which a switch or a share is off.
    pub deny: BTreeSet<String>,
    /// Keys for which a switch is on although it is off for others, or that are within a share
    /// whatever their bucket. At 0 % nobody is in, not even they: zero is what a rollback writes.
    pub allow: BTreeSet<String>,
    /// The variants among which keys are divided by their weights; without a key, and where there
    /// are none or only such as keys are pinned to, the flag has its value. Not for shares.
    pub variants: Vec<Variant>,
    /// Keys that get the variant of that name, whatever their bucket.
    pub pins: BTreeMap<String, String>,
}

/// One of several values among which keys are divided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variant {
    /// Its name, unique within the flag.
    pub name: String,
    /// Its part of the sum of all weights; 0 is nobody but pinned keys.
    pub weight: u32,
    /// Its value, of the flag's kind.
    pub value: serde_json::Value,
}

impl Rules {
    /// Checks everything that can be checked without the rules of other flags, and puts the rules
    /// into the form in which they decide.
    pub(crate) fn compile(&self, key: &str, declared: &Declared) -> Result<Compiled, String> {
        let kind = declared
            .get(key)
            .map_err(|unknown| unknown.to_string())?
            .kind();
        self.check_sizes()?;
        let is_switch = matches!(kind, Kind::Bool | Kind::Percent);
        let has_lists = !self.allow.is_empty() || !self.deny.is_empty();
        if has_lists && !is_switch {
            return Err(format!(
                "`allow` and `deny` are for switches and shares; a {kind} has variants and `pins`"
            ));
        }
        if let Some(both) = self.allow.intersection(&self.deny).next() {
            return Err(format!(
                "`{}` is both in `allow` and in `deny`",
                shown(both)
            ));
        }
        if kind == Kind::Percent && !self.variants.is_empty() {
            return Err("a share divides keys by itself; it has no variants".to_owned());
        }
        let variants = Variants::new(&self.variants, kind)?;
        if variants.weight() == 0 && !self.variants.is_empty() {
            let pinned: HashSet<&String> = self.pins.values().collect();
            let mut unpinned = self.variants.iter().map(|variant| &variant.name);
            if let Some(name) = unpinned.find(|name| !pinned.contains(name)) {
                return Err(format!(
                    "every weight is 0 and no key is pinned to `{}`, so nobody would get it",
                    shown(name)
                ));
            }
        }
        let mut overrides =
            HashMap::with_capacity(self.allow.len() + self.deny.len() + self.pins.len());
        overrides.extend(
            self.allow
                .iter()
                .map(|key| (key.as_str().into(), Override::On)),
        );
        overrides.extend(
            self.deny
                .iter()
                .map(|key| (key.as_str().into(), Override::Off)),
        );
        for (key, name) in &self.pins {
            let Some(place) = self
                .variants
                .iter()
                .position(|variant| variant.name == *name)
            else {
                return Err(format!(
                    "there is no variant `{}` to pin a key to",
                    shown(name)
                ));
            };
            if overrides
                .insert(key.as_str().into(), Override::Pin(place))
                .is_some()
            {
                return Err(format!("`{}` is in two lists", shown(key)));
            }
        }
        Ok(Compiled {
            killed: self.killed,
            requires: self.compile_requires(key, declared)?,
            overrides,
            variants,
        })
    }

    fn check_sizes(&self) -> Result<(), String> {
        if self.allow.len() + self.deny.len() + self.pins.len() > MOST_KEYS {
            return Err(format!("the lists have more than {MOST_KEYS} keys"));
        }
        let mut keys = self.allow.iter().chain(&self.deny).chain(self.pins.keys());
        if let Some(long) = keys.find(|key| key.len() > LONGEST_KEY) {
            return Err(format!(
                "the key `{}` is longer than {LONGEST_KEY} bytes",
                shown(long)
            ));
        }
        if self.requires.len() > MOST_PARTS || self.variants.len() > MOST_PARTS {
            return Err(format!(
                "there are more than {MOST_PARTS} prerequisites or variants"
            ));
        }
        Ok(())
    }

    fn compile_requires(&self, key: &str, declared: &Declared) -> Result<Box<[usize]>, String> {
        let places = self.requires.iter().map(|required| {
            let declaration = declared
                .get(required)
                .map_err(|unknown| unknown.to_string())?;
            if required == key {
                return Err(format!("it requires itself: {key} -> {key}"));
            }
            match declaration.kind() {
                Kind::Bool | Kind::Percent => Ok(declared.place(required)),
                other => Err(format!(
                    "it requires `{required}`, which is a {other} and never on"
                )),
            }
        });
        let places: Result<Vec<Option<usize>>, String> = places.collect();
        Ok(places?.into_iter().flatten().collect())
    }
}

/// Rules in the form in which they decide.
#[derive(Debug, PartialEq)]
pub(crate) struct Compiled {
    pub(crate) killed: bool,
    /// The places of the flags that must be on.
    pub(crate) requires: Box<[usize]>,
    pub(crate) overrides: HashMap<Box<str>, Override>,
    pub(crate) variants: Variants,
}

/// What a list says about one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Override {
    On,
    Off,
    Pin(usize),
}

/// Variants with the place in which each ends.
#[derive(Debug, PartialEq, Default)]
pub(crate) struct Variants {
    ends: Box<[u32]>,
    pub(crate) names: Box<[Box<str>]>,
    pub(crate) values: Box<[FlagValue]>,
}

impl Variants {
    fn new(variants: &[Variant], kind: Kind) -> Result<Self, String> {
        let mut names = HashSet::new();
        let mut sum = 0_u64;
        let mut ends = Vec::with_capacity(variants.len());
        let mut values = Vec::with_capacity(variants.len());
        for variant in variants {
            let name = shown(&variant.name);
            if variant.name.is_empty() || variant.name.len() > LONGEST_KEY {
                return Err(format!(
                    "a variant is named `{name}`; use 1 to {LONGEST_KEY} bytes"
                ));
            }
            if !names.insert(&variant.name) {
                return Err(format!("there are two variants `{name}`"));
            }
            let value = kind.read(&variant.value);
            values.push(value.map_err(|problem| format!("variant `{name}`: {problem}"))?);
            sum += u64::from(variant.weight);
            match u32::try_from(sum) {
                Ok(end) if sum <= HEAVIEST => ends.push(end),
                _ => return Err(format!("the weights add up to more than {HEAVIEST}")),
            }
        }
        Ok(Self {
            ends: ends.into(),
            names: variants
                .iter()
                .map(|variant| variant.name.as_str().into())
                .collect(),
            values: values.into(),
        })
    }

    /// The sum of all weights.
    pub(crate) fn weight(&self) -> u32 {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Which one a hash gets; none where there are none, or only such as keys are pinned to.
    pub(crate) fn choose(&self, hash: u32) -> Option<usize> {
        let sum = u64::from(self.weight());
        let place = (u64::from(hash) * sum) >> 32;
        let chosen = self.ends.partition_point(|end| u64::from(*end) <= place);
        (chosen < self.ends.len()).then_some(chosen)
    }
}
