//! What is known of one finished call. It is classified once, by whoever made the call, and
//! recorded once.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Lane;

/// Whose fault a failed call was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Blame {
    /// The caller's: input that no pool could have answered.
    Caller,
    /// The fault of the provider behind the program, such as the model's 429 or 5xx.
    Provider,
    /// The program's: it raised, or ran too long in a worker that was well.
    Program,
    /// The pool's: crash, hang, protocol, exhaustion.
    Pool,
}

impl Blame {
    /// Everybody who can be at fault.
    pub const ALL: [Self; 4] = [Self::Caller, Self::Provider, Self::Program, Self::Pool];

    /// The name in labels and logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Caller => "caller",
            Self::Provider => "provider",
            Self::Program => "program",
            Self::Pool => "pool",
        }
    }
}

impl fmt::Display for Blame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One finished call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Which lane answered.
    pub lane: Lane,
    /// Which program was called.
    pub program: Arc<str>,
    /// Whose fault the failure was; `None` for a success.
    pub blame: Option<Blame>,
    /// `"ok"`, or the failure's short, stable name. From a small fixed set: it becomes a label.
    pub kind: &'static str,
    /// From the router's first look at the call to its answer.
    pub total: Duration,
    /// The part that the worker says the program took, where it says so.
    pub program_time: Option<Duration>,
}

impl Outcome {
    /// All of the call that was not the program: queue, dispatch, wire. A call whose worker does
    /// not report its time is judged by the total, which is never less than the truth.
    #[must_use]
    pub fn overhead(&self) -> Duration {
        self.total
            .saturating_sub(self.program_time.unwrap_or_default())
    }
}
