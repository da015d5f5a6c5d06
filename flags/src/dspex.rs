//! The flags of dspex itself, declared in this one place.
//!
//! Traffic moves from the stable to the candidate lane by two of them: [`POOL_V2_ENABLED`] is the
//! kill switch, [`GRADUAL_ROLLOUT_PERCENTAGE`] the share.

use crate::error::FlagError;
use crate::flag::{Declaration, Flag};
use crate::percent::Percent;
use crate::rules;
use crate::snapshot::Snapshot;
use crate::value::{FlagValue, Kind};

/// Whether any traffic may go to the candidate lane at all. Keys on its deny list do not, whatever the
/// share; there is no list of keys that do.
pub const POOL_V2_ENABLED: Flag<bool> = Flag {
    key: "pool_v2_enabled",
    default: false,
    description: "let traffic go to the candidate lane at all; off is the kill switch",
    owner: "migration",
};

/// Whether pool V2 uses its enhanced workers: a warm fork server, affinity, recycling and a watch on
/// memory. Off, they are plain processes that are replaced only when they fail.
pub const ENHANCED_WORKERS: Flag<bool> = Flag {
    key: "enhanced_workers",
    default: true,
    description: "start pool V2's workers from a warm fork server, keep sessions near their worker, recycle workers and watch their memory",
    owner: "pool-v2",
};

/// Whether circuit breakers may refuse: the router's for a lane's calls, pool V2's for starts of
/// workers.
pub const CIRCUIT_BREAKER: Flag<bool> = Flag {
    key: "circuit_breaker",
    default: true,
    description: "let circuit breakers refuse: the router's calls to a failing lane, pool V2's starts of workers that fail",
    owner: "router",
};

/// Whether per-lane statistics are recorded.
pub const TELEMETRY_V2: Flag<bool> = Flag {
    key: "telemetry_v2",
    default: true,
    description: "record the windowed statistics of each lane; a migration needs them",
    owner: "telemetry",
};

/// Whether pool V2 changes its own size.
pub const POOL_OPTIMIZER: Flag<bool> = Flag {
    key: "pool_optimizer",
    default: false,
    description: "let pool V2 change its own size with the load",
    owner: "pool-v2",
};

/// The share of sessions that the candidate lane serves.
pub const GRADUAL_ROLLOUT_PERCENTAGE: Flag<Percent> = Flag {
    key: "gradual_rollout_percentage",
    default: Percent::ZERO,
    description: "the share of sessions that the candidate lane serves",
    owner: "migration",
};

/// The share of calls that are copied to the other lane for comparison. A copy is no caller's traffic:
/// neither the share of the rollout nor the kill switch says anything about it.
pub const SHADOW_PERCENTAGE: Flag<Percent> = Flag {
    key: "shadow_percentage",
    default: Percent::ZERO,
    description: "the share of calls that are copied to the other lane, where they are safe to repeat, and compared",
    owner: "router",
};

/// Every flag above, to hand to [`crate::Flags::open`].
pub fn declarations() -> Vec<Declaration> {
    vec![
        POOL_V2_ENABLED.declaration(),
        ENHANCED_WORKERS.declaration(),
        CIRCUIT_BREAKER.declaration(),
        TELEMETRY_V2.declaration(),
        POOL_OPTIMIZER.declaration(),
        GRADUAL_ROLLOUT_PERCENTAGE.declaration(),
        SHADOW_PERCENTAGE.declaration(),
    ]
}

/// Says what of a setting's rules nobody would ask for: who asks for these switches does so for the
/// whole process, and has no key that a list could name or a variant be chosen by.
///
/// The kill switch takes a deny list, which keeps its keys on the stable lane: a list may take traffic
/// from the candidate, and may not bring any past a switch that is off.
///
/// # Errors
///
/// [`FlagError::BadValue`] with the part that would never be looked at.
pub fn check_rules(key: &str, value: &FlagValue) -> Result<(), FlagError> {
    let (flag, _) = rules::split(key);
    let FlagValue::Rules(rules) = value else {
        return Ok(());
    };
    let asked_without_a_key = [
        ENHANCED_WORKERS.key,
        CIRCUIT_BREAKER.key,
        TELEMETRY_V2.key,
        POOL_OPTIMIZER.key,
    ]
    .contains(&flag);
    if !asked_without_a_key && flag != POOL_V2_ENABLED.key {
        return Ok(());
    }
    let parts = [
        ("allow", rules.allow.is_empty()),
        ("deny", rules.deny.is_empty() || !asked_without_a_key),
        ("variants", rules.variants.is_empty()),
        ("pins", rules.pins.is_empty()),
    ];
    let Some((part, _)) = parts.iter().find(|(_, fits)| !fits) else {
        return Ok(());
    };
    let takes = match asked_without_a_key {
        true => {
            "it is asked for the whole process and never for a key, so it takes `killed` and `requires`"
        }
        false => "off is off for everybody, so it takes `killed`, `requires` and `deny`",
    };
    Err(FlagError::BadValue {
        key: key.to_owned(),
        expected: Kind::Rules,
        problem: format!("`{part}` would never be looked at: {takes}"),
    })
}

impl Snapshot {
    /// Whether a session or request with this key goes to the candidate lane: the kill switch is
    /// on and not off for this key, and the key is within the rollout's share.
    pub fn use_v2_pool(&self, key: &str) -> bool {
        self.enabled_with(&POOL_V2_ENABLED, key) && self.rollout(&GRADUAL_ROLLOUT_PERCENTAGE, key)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_that_nobody_would_look_at_are_refused_by_name() {
        let check = |flag: &Declaration, rules: serde_json::Value| {
            let key = rules::rules_key(&flag.key);
            check_rules(&key, &Kind::Rules.read(&rules).unwrap()).map_err(|error| error.to_string())
        };
        let variants = json!({"variants": [{"name": "on", "weight": 1, "value": true}], "pins": {"ada": "on"}});
        let lists = [
            ("allow", json!({"allow": ["ada"]})),
            ("variants", variants.clone()),
            ("deny", json!({"deny": ["ada"]})),
        ];
        for flag in declarations() {
            let is_switch = matches!(flag.default, FlagValue::Bool(_));
            for (part, rules) in &lists {
                let refused = check(&flag, rules.clone());
                let takes = !is_switch || (flag.key == POOL_V2_ENABLED.key && *part == "deny");
                assert_eq!(refused.is_ok(), takes, "{} {part}: {refused:?}", flag.key);
                if let Err(refused) = refused {
                    assert!(
                        refused.contains(&format!("`{part}` would never")),
                        "{refused}"
                    );
                }
            }
            let both = json!({"killed": true, "requires": ["shadow_percentage"]});
            assert_eq!(check(&flag, both), Ok(()));
        }
        assert!(check_rules(POOL_OPTIMIZER.key, &true.into()).is_ok());
    }
}
