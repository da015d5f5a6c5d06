//! A failure as a worker reports it, in either protocol, and what it means to a pool.

use std::time::Duration;

use serde::Deserialize;

use crate::error::PoolError;

/// A worker's typed failure.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Failure {
    /// Which kind.
    pub class: FailureClass,
    /// The exception's type, where one was raised.
    #[serde(default)]
    pub exception: Option<String>,
    /// What went wrong, for people.
    pub message: String,
    /// Where it was raised, for logs.
    #[serde(default)]
    pub traceback: Option<String>,
    /// The HTTP status of the model's provider, where it is known.
    #[serde(default)]
    pub status: Option<u16>,
}

/// The kinds of failure that a worker can tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureClass {
    /// Inputs are missing, unknown or of the wrong type.
    Input,
    /// The definition cannot be built.
    Rejected,
    /// The model behind the program failed.
    Provider,
    /// The program raised.
    Program,
    /// The worker holds no such program: it must be defined again.
    UnknownProgram,
    /// The call was cancelled, as asked.
    Cancelled,
    /// The worker itself failed.
    Worker,
}

impl Failure {
    /// What the failure means to whoever sent the call to `worker`.
    #[must_use]
    pub fn into_error(self, worker: &str) -> PoolError {
        let Self {
            class,
            exception,
            message,
            traceback,
            status,
        } = self;
        match class {
            FailureClass::Input => PoolError::InvalidInput { message },
            FailureClass::Rejected => PoolError::Rejected { message },
            FailureClass::Provider => PoolError::Provider { message, status },
            FailureClass::Program => PoolError::Program {
                exception: exception.unwrap_or_else(|| "Exception".to_owned()),
                message,
                traceback,
            },
            FailureClass::UnknownProgram | FailureClass::Cancelled | FailureClass::Worker => {
                PoolError::Protocol {
                    worker: worker.to_owned(),
                    reason: message,
                }
            }
        }
    }
}

/// Stands between how a process ended and the last line of its log.
pub(crate) const LAST_WORDS: &str = "; its last words: ";

/// A reason, or an error's text, without the last line of a worker's log where it ends with one.
/// That line is for operators: it may hold anything, so it is not for callers.
#[must_use]
pub fn without_last_words(reason: &str) -> &str {
    reason
        .split_once(LAST_WORDS)
        .map_or(reason, |(before, _)| before)
}

/// Milliseconds as a worker reports them; `None` for what is no duration.
#[must_use]
pub fn reported_time(milliseconds: Option<f64>) -> Option<Duration> {
    milliseconds.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_taken_off() {
        let reason = format!("exit code 3{LAST_WORDS}oh no{LAST_WORDS}again");
        assert_eq!(without_last_words(&reason), "exit code 3");
        assert_eq!(without_last_words("exit code 3"), "exit code 3");
    }

    #[test]
    fn impossible_times_are_not_reported() {
        assert_eq!(reported_time(Some(1.5)), Some(Duration::from_micros(1500)));
        for wrong in [f64::NAN, f64::INFINITY, -1.0] {
            assert_eq!(reported_time(Some(wrong)), None);
        }
        assert_eq!(reported_time(None), None);
    }
}
