//! One decision: what a flag is for a key, and which rule said so.
//!
//! Invariants: the order of the rules is that of the fields of [`crate::Rules`], and the flag's own
//! value comes last. Prerequisites are followed by recursion, which a snapshot bounds: see
//! [`prerequisites`](crate::prerequisites).

use crate::percent::Percent;
use crate::rollout::Bucket;
use crate::rules::{Compiled, Override};
use crate::snapshot::Snapshot;
use crate::value::FlagValue;

static OFF: FlagValue = FlagValue::Bool(false);
static ON: FlagValue = FlagValue::Bool(true);
static NOBODY: FlagValue = FlagValue::Percent(Percent::ZERO);

/// What a flag is for a key. The value of a share is the share; whether the key is within it is
/// told by [`Decision::is_on`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Decision<'a> {
    pub(crate) value: &'a FlagValue,
    pub(crate) rule: Rule,
}

/// What decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// The flag's value.
    Value,
    /// The kill switch.
    Killed,
    /// The flag in that place is required, and off.
    Requires(usize),
    /// The key is on the deny list.
    Denied,
    /// The key is on the allow list.
    Allowed,
    /// The key is pinned to that variant.
    Pinned(usize),
    /// The key's bucket is within that variant's part.
    Variant(usize),
    /// The key's bucket, against the share.
    Share(Bucket),
}

impl<'a> Decision<'a> {
    #[inline]
    pub(crate) fn of(flags: &'a Snapshot, place: usize, key: Option<&str>) -> Self {
        let value = &flags.values[place];
        if let Some(rules) = &flags.rules[place]
            && let Some(decision) = Self::by_rules(flags, place, &rules.compiled, key)
        {
            return decision;
        }
        let rule = match (value, key) {
            (FlagValue::Percent(_), Some(key)) => {
                Rule::Share(flags.declared.placer(place).bucket(key))
            }
            _ => Rule::Value,
        };
        Self { value, rule }
    }

    /// What a share is where nobody asks for a key: its value, unless it is off for every key. What is
    /// required may be on for some keys and off for others, and then so is the share.
    pub(crate) fn of_share(flags: &'a Snapshot, place: usize) -> Self {
        let rule = match &flags.rules[place] {
            None => Rule::Value,
            Some(rules) if rules.compiled.killed => Rule::Killed,
            Some(rules) => {
                let mut required = rules.compiled.requires.iter();
                let off = required.find(|required| !may_be_on(flags, **required));
                off.map_or(Rule::Value, |required| Rule::Requires(*required))
            }
        };
        let value = match rule {
            Rule::Value => &flags.values[place],
            _ => &NOBODY,
        };
        Self { value, rule }
    }

    fn by_rules(
        flags: &'a Snapshot,
        place: usize,
        rules: &'a Compiled,
        key: Option<&str>,
    ) -> Option<Self> {
        let value = &flags.values[place];
        let off = match value {
            FlagValue::Bool(_) => &OFF,
            FlagValue::Percent(_) => &NOBODY,
            _ => &flags.declared.all()[place].default,
        };
        if rules.killed {
            return Some(Self {
                value: off,
                rule: Rule::Killed,
            });
        }
        for required in &rules.requires {
            if !Self::of(flags, *required, key).is_on() {
                let rule = Rule::Requires(*required);
                return Some(Self { value: off, rule });
            }
        }
        let key = key?;
        match rules.overrides.get(key) {
            None => {}
            Some(Override::Off) => {
                return Some(Self {
                    value: off,
                    rule: Rule::Denied,
                });
            }
            // At 0 % the share decides: nobody is in.
            Some(Override::On) if *value == NOBODY => {}
            Some(Override::On) => {
                let value = if off == &OFF { &ON } else { value };
                return Some(Self {
                    value,
                    rule: Rule::Allowed,
                });
            }
            Some(Override::Pin(variant)) => {
                let value = &rules.variants.values[*variant];
                return Some(Self {
                    value,
                    rule: Rule::Pinned(*variant),
                });
            }
        }
        if rules.variants.values.is_empty() {
            return None;
        }
        let variant = rules
            .variants
            .choose(flags.declared.placer(place).hash(key))?;
        let value = rules.variants.values.get(variant)?;
        Some(Self {
            value,
            rule: Rule::Variant(variant),
        })
    }

    /// Whether a switch is on, or a key within a share. Without a key a share is on at 100 %.
    pub(crate) fn is_on(&self) -> bool {
        match (self.value, self.rule) {
            (FlagValue::Bool(on), _) => *on,
            (FlagValue::Percent(share), Rule::Share(bucket)) => bucket.is_within(*share),
            (FlagValue::Percent(_), Rule::Allowed) => true,
            (FlagValue::Percent(share), _) => *share == Percent::HUNDRED,
            _ => false,
        }
    }
}

/// Whether a switch or a share can be on for a key. Where it cannot, it is off for every one.
fn may_be_on(flags: &Snapshot, place: usize) -> bool {
    let rules = flags.rules[place].as_ref().map(|rules| &rules.compiled);
    if rules.is_some_and(|rules| {
        rules.killed || rules.requires.iter().any(|place| !may_be_on(flags, *place))
    }) {
        return false;
    }
    let for_some = |rules: &Compiled| {
        let on = |decides: &Override| *decides == Override::On;
        rules.overrides.values().any(on) || rules.variants.values.contains(&ON)
    };
    match &flags.values[place] {
        FlagValue::Bool(on) => *on || rules.is_some_and(for_some),
        FlagValue::Percent(share) => *share > Percent::ZERO,
        _ => false,
    }
}

/// Whether what a flag requires is on for some keys and perhaps off for others.
pub(crate) fn hangs_on_a_key(flags: &Snapshot, place: usize) -> bool {
    let rules = flags.rules[place].iter();
    let mut required = rules.flat_map(|rules| &rules.compiled.requires);
    required.any(|required| !Decision::of(flags, *required, None).is_on())
}
