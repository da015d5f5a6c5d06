//! Why a flag is what it is for a key.

use serde::Serialize;

use crate::decision::{Rule, hangs_on_a_key};
use crate::layers::Layer;
use crate::revision::Revision;
use crate::rollout::Bucket;
use crate::snapshot::Snapshot;
use crate::value::FlagValue;

/// Why a flag is what it is for a key.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Explanation {
    /// The flag.
    pub flag: String,
    /// The revision of the flags that were asked.
    pub revision: Revision,
    /// The layer that the flag's own value comes from; its rules come from the store.
    pub layer: Layer,
    /// The flag's value for this key; of a share, the share.
    pub value: FlagValue,
    /// Whether a switch is on or a key within a share; nothing for other kinds, and for a share
    /// between 0 % and 100 %, or with a prerequisite that is on for some keys, where no key was given.
    pub on: Option<bool>,
    /// The name of the variant, where there are variants and a key was given.
    pub variant: Option<String>,
    /// The key's place in the rollout of this flag, whether or not it decided.
    pub bucket: Option<Bucket>,
    /// What decided.
    pub reason: Reason,
}

/// What decided about a flag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "rule", content = "flag")]
#[non_exhaustive]
pub enum Reason {
    /// The flag's own value, the same for everybody.
    Value,
    /// The kill switch.
    Killed,
    /// This prerequisite is off.
    Requires(String),
    /// The key is on the deny list.
    Denied,
    /// The key is on the allow list.
    Allowed,
    /// The key is pinned to its variant.
    Pinned,
    /// The key's bucket is within the variant's part.
    Variant,
    /// The key's bucket, against the share.
    Share,
}

impl Explanation {
    pub(crate) fn of(flags: &Snapshot, place: usize, key: Option<&str>) -> Self {
        let decision = flags.decide(place, key);
        let variant = |variant: usize| {
            let rules = flags.rules[place].as_ref()?;
            let name = rules.compiled.variants.names.get(variant)?;
            Some(name.to_string())
        };
        let (reason, variant) = match decision.rule {
            Rule::Value => (Reason::Value, None),
            Rule::Killed => (Reason::Killed, None),
            Rule::Requires(required) => {
                let required = &flags.declared.all()[required].key;
                (Reason::Requires(required.to_string()), None)
            }
            Rule::Denied => (Reason::Denied, None),
            Rule::Allowed => (Reason::Allowed, None),
            Rule::Pinned(pinned) => (Reason::Pinned, variant(pinned)),
            Rule::Variant(chosen) => (Reason::Variant, variant(chosen)),
            Rule::Share(_) => (Reason::Share, None),
        };
        let on = match decision.value {
            FlagValue::Bool(_) => Some(decision.is_on()),
            FlagValue::Percent(share) => {
                let settled = match share.basis_points() {
                    _ if key.is_some() => true,
                    0 => true,
                    10_000 => !hangs_on_a_key(flags, place),
                    _ => false,
                };
                settled.then(|| decision.is_on())
            }
            _ => None,
        };
        Self {
            flag: flags.declared.all()[place].key.to_string(),
            revision: flags.revision(),
            layer: flags.layers[place],
            value: decision.value.clone(),
            on,
            variant,
            bucket: key.map(|key| flags.declared.placer(place).bucket(key)),
            reason,
        }
    }
}
