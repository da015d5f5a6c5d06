//! Reading what a server answered: only the members that are shown, in words for people.
//!
//! Invariant: a member that is new or missing is no reason to fail, so that a client of one release
//! can talk to a server of the next. `--json` prints the answer untouched.

use serde::Deserialize;
use serde_json::Value;

use super::exit::{Exit, Failure};

/// Takes the members that a command shows out of an answer.
pub(crate) fn read<'a, V: Deserialize<'a>>(answer: &'a Value) -> Result<V, Failure> {
    V::deserialize(answer).map_err(|error| {
        Failure::new(
            Exit::Failed,
            format_args!("the server's answer is not understood: {error}"),
        )
        .hint("client and server may be of different releases: compare `dspex --version`; --json prints the answer as it is")
    })
}

/// A value as people write it: text without quotes.
pub(crate) fn setting(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// A share with its sign: `12.5%`.
pub(crate) fn percent(number: &Value) -> String {
    match number.as_f64() {
        Some(percent) => format!("{}%", trimmed(percent)),
        None => setting(number),
    }
}

/// A number with at most two decimals, and none that say nothing.
pub(crate) fn trimmed(number: f64) -> String {
    let text = format!("{number:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A point in time, to the second, in UTC.
pub(crate) fn moment(text: &str) -> String {
    match text.parse::<jiff::Timestamp>() {
        Ok(at) => at.strftime("%Y-%m-%d %H:%M:%S").to_string(),
        Err(_) => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_have_no_decimals_that_say_nothing() {
        for (number, text) in [
            (5.0, "5%"),
            (12.5, "12.5%"),
            (100.0, "100%"),
            (33.333, "33.33%"),
        ] {
            assert_eq!(percent(&number.into()), text);
        }
        assert_eq!(percent(&Value::from("5%")), "5%");
    }

    #[test]
    fn moments_are_cut_to_the_second_and_other_text_is_left() {
        assert_eq!(moment("2026-01-02T03:04:05.678Z"), "2026-01-02 03:04:05");
        assert_eq!(moment("yesterday"), "yesterday");
    }
}
