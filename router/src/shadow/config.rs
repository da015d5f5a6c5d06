//! How much is copied to the other lane, and how answers are compared.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::compare::{Rules, RulesConfig};

/// How calls are copied and compared. How many are is the flag `shadow_percentage`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ShadowConfig {
    /// Copies that may wait. Where there are more, the newest is dropped: nothing waits for a copy.
    pub queue: usize,
    /// Copies under way at once.
    pub concurrency: usize,
    /// A copy that has waited this long is dropped: what stable answered then says little now.
    #[serde(with = "humantime_serde")]
    pub max_wait: Duration,
    /// How long one copy may take.
    #[serde(with = "humantime_serde")]
    pub timeout: Duration,
    /// Calls whose inputs, or whose outputs, are larger are not copied. Bytes of JSON.
    pub max_copy_bytes: usize,
    /// Copies in any minute at most, those that learn noise and comparers' calls
    /// included.
    pub calls_per_minute: u64,
    /// Tokens in any minute at most, by what workers count, or answers say under `usage`; 0 is no limit.
    pub tokens_per_minute: u64,
    /// Differences kept whole, with inputs and both outputs; 0 keeps none. They are callers' data.
    pub max_cases: usize,
    /// How the noise of stable's own answers is learnt.
    pub noise: NoiseConfig,
    /// How answers are compared.
    pub rules: RulesConfig,
    /// How the answers of single programs are compared, by their names. Each stands alone: what it
    /// does not say is as in the built-in rules.
    pub programs: BTreeMap<String, RulesConfig>,
    /// How long a comparer may take.
    #[serde(with = "humantime_serde")]
    pub comparer_timeout: Duration,
}

/// How the noise of stable's own answers is learnt: calls are made on stable once more.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoiseConfig {
    /// So many copies of a program are made on stable too before the first is judged.
    pub learn_first: u64,
    /// The share of copies after that which are made on stable too, 0 to 1.
    pub share: f64,
    /// A place is noise where stable differs from itself in more than this share of times, 0 to 1.
    pub floor: f64,
}

impl Default for NoiseConfig {
    fn default() -> Self {
        Self {
            learn_first: 10,
            share: 0.1,
            floor: 0.01,
        }
    }
}

impl Default for ShadowConfig {
    fn default() -> Self {
        Self {
            queue: 256,
            concurrency: 4,
            max_wait: Duration::from_secs(30),
            timeout: Duration::from_secs(60),
            max_copy_bytes: 256 * 1024,
            calls_per_minute: 600,
            tokens_per_minute: 0,
            max_cases: 200,
            noise: NoiseConfig::default(),
            rules: RulesConfig::default(),
            programs: BTreeMap::new(),
            comparer_timeout: Duration::from_secs(5),
        }
    }
}

impl ShadowConfig {
    /// The setting that is out of its range, its value, and what would be accepted.
    pub(crate) fn validate(&self) -> Result<(), (&'static str, String, &'static str)> {
        for (setting, value) in [
            ("shadow.queue", self.queue),
            ("shadow.concurrency", self.concurrency),
            ("shadow.max_copy_bytes", self.max_copy_bytes),
        ] {
            if value == 0 {
                return Err((setting, "0".to_owned(), "at least 1"));
            }
        }
        for (setting, span) in [
            ("shadow.max_wait", self.max_wait),
            ("shadow.timeout", self.timeout),
            ("shadow.comparer_timeout", self.comparer_timeout),
        ] {
            if span.is_zero() {
                return Err((setting, "0s".to_owned(), "longer than 0s"));
            }
        }
        for (setting, share) in [
            ("shadow.noise.share", self.noise.share),
            ("shadow.noise.floor", self.noise.floor),
        ] {
            if !(0.0..=1.0).contains(&share) {
                return Err((setting, share.to_string(), "from 0 to 1"));
            }
        }
        let all = std::iter::once(("shadow.rules", &self.rules)).chain(
            self.programs
                .values()
                .map(|rules| ("shadow.programs", rules)),
        );
        for (setting, rules) in all {
            if let Err(error) = Rules::new(rules) {
                let expected = "tiers, JSON Pointers such as `/items/*/score`, and tolerances";
                return Err((setting, error.to_string(), expected));
            }
        }
        Ok(())
    }
}
