//! The number of a state of all flags.
//!
//! Invariant: a store's revision rises by one with every write that is accepted, and never falls.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The number of one state of all flags of a store.
///
/// [`Revision::ZERO`] is a store nobody has written to: every flag has its compiled default.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Revision(u64);

impl Revision {
    /// The revision of a store that has never been written.
    pub const ZERO: Self = Self(0);

    /// The revision with this number.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number of this revision.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The revision that the next accepted write makes.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
