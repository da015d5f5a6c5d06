//! Wall time, for the timestamps that the bridge protocol asks for. Nothing decides by it.

/// Now, as RFC 3339 text in UTC.
pub(crate) fn now_rfc3339() -> String {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where this crate reads wall time"
    )]
    let now = jiff::Timestamp::now();
    now.to_string()
}
