//! The one place of this crate that reads wall time. Nothing decides by it.

/// Now, as it stands in a worker's history: RFC 3339 in UTC, to the millisecond.
pub(crate) fn wall() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "this file owns the reading of wall time"
    )]
    let now = jiff::Timestamp::now();
    format!("{now:.3}")
}
