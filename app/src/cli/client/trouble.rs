//! What to say where no answer came.

use std::time::Duration;

use reqwest::Url;

use crate::cli::exit::{Exit, Failure};

pub(super) fn unreachable(
    base: &Url,
    timeout: Duration,
    reads: bool,
    error: &reqwest::Error,
) -> Failure {
    let cause = innermost(error);
    let failure = if error.is_connect() {
        return Failure::new(
            Exit::Unreachable,
            format_args!("cannot reach the server at {base}: {cause}"),
        )
        .hint("start it with `dspex serve`, or give its address with --url or DSPEX_URL");
    } else if error.is_timeout() {
        late(base, timeout)
    } else {
        Failure::new(
            Exit::Unreachable,
            format_args!("the connection to {base} broke: {cause}"),
        )
    };
    if reads {
        failure
    } else {
        failure.hint("the request may have taken effect; look before you repeat it")
    }
}

pub(super) fn late(base: &Url, timeout: Duration) -> Failure {
    Failure::new(
        Exit::Unreachable,
        format_args!(
            "the server at {base} did not answer within {}",
            humantime::format_duration(timeout)
        ),
    )
    .hint("wait longer with --timeout")
}

/// reqwest's own words say "error sending request"; the cause is at the end of the chain.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
