//! Which lane a call goes to.
//!
//! Invariant: the lane follows from the flags that are served and the key alone, so a session keeps
//! its side, and traffic moves only when a flag is written.

use dspex_flags::Snapshot;
use dspex_telemetry::Lane;

/// What a call is routed by: its session, or the call itself where there is none.
pub(crate) fn key<'a>(session: Option<&'a str>, request_id: &'a str) -> &'a str {
    session.unwrap_or(request_id)
}

/// The lane of a key under these flags.
pub(crate) fn lane(flags: &Snapshot, key: &str) -> Lane {
    if flags.use_v2_pool(key) {
        Lane::Candidate
    } else {
        Lane::Stable
    }
}
