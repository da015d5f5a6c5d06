//! The wall clock, read only here, so that everything else takes the time as an argument.

use jiff::Timestamp;

/// The time now, in UTC: what the audit writes beside a change.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one file of the crate that reads the wall clock"
)]
pub(crate) fn now() -> Timestamp {
    Timestamp::now()
}
