//! Which lane a call goes to.
//!
//! Invariant: the lane follows from the flags that are served and the key alone, so a session keeps
//! its side, and traffic moves only when a flag is written. The one exception is a session in the
//! middle of a stream: see `streams`.

use dspex_flags::{Percent, Snapshot, dspex};
use dspex_telemetry::Lane;

/// The lane of a key under these flags: a call's session, or the call itself where there is none.
pub(crate) fn lane(flags: &Snapshot, key: &str) -> Lane {
    if flags.use_v2_pool(key) {
        Lane::Candidate
    } else {
        Lane::Stable
    }
}

/// Whether these flags say that nobody goes to the candidate, which nothing may hold up.
pub(crate) fn rolled_back(flags: &Snapshot) -> bool {
    !flags.enabled(&dspex::POOL_V2_ENABLED)
        || flags.percent(&dspex::GRADUAL_ROLLOUT_PERCENTAGE) == Percent::ZERO
}
