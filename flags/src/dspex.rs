//! The flags of dspex itself, declared in this one place.
//!
//! Traffic moves from the stable to the candidate lane by two of them: [`POOL_V2_ENABLED`] is the
//! kill switch, [`GRADUAL_ROLLOUT_PERCENTAGE`] the share.

use crate::flag::{Declaration, Flag};
use crate::percent::Percent;
use crate::snapshot::Snapshot;

/// Whether any traffic may go to the candidate lane at all.
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

impl Snapshot {
    /// Whether a session or request with this key goes to the candidate lane: the kill switch is
    /// on, and the key's bucket lies within the rollout's share.
    pub fn use_v2_pool(&self, key: &str) -> bool {
        self.enabled(&POOL_V2_ENABLED) && self.rollout(&GRADUAL_ROLLOUT_PERCENTAGE, key)
    }
}
