//! Which configuration of which pool: a name and a version.
//!
//! Invariant: two pools that stand side by side have different labels, also where they have one name.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

use serde::Serialize;

/// One version of one pool's configuration, such as `v2@3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub(crate) struct PoolVersion {
    /// The name, as under `[pools]`.
    pub(crate) name: String,
    /// The version, from 1.
    pub(crate) version: u32,
}

impl PoolVersion {
    pub(crate) fn new(name: impl Into<String>, version: u32) -> Self {
        Self {
            name: name.into(),
            version,
        }
    }

    /// The name that the pool goes by while it runs, in its workers' names and its metrics. The first
    /// version is called by its name alone: most pools never have another.
    pub(crate) fn label(&self) -> String {
        match self.version {
            1 => self.name.clone(),
            _ => self.to_string(),
        }
    }
}

impl fmt::Display for PoolVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

/// What a person writes: `v2@3`, or `v2` for the newest version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub(crate) name: String,
    pub(crate) version: Option<u32>,
}

/// Why a text names no version of a pool.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} names no version: write NAME for the newest, or NAME@VERSION such as v2@3")]
pub(crate) struct InvalidVersion(String);

impl FromStr for Wanted {
    type Err = InvalidVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, version) = match text.split_once('@') {
            None => (text, None),
            Some((name, version)) => match version.parse::<NonZeroU32>() {
                Ok(version) => (name, Some(version.get())),
                Err(_) => return Err(InvalidVersion(text.to_owned())),
            },
        };
        if name.is_empty() {
            return Err(InvalidVersion(text.to_owned()));
        }
        Ok(Self {
            name: name.to_owned(),
            version,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_written_and_read_back() {
        let third = PoolVersion::new("v2", 3);
        assert_eq!(third.to_string(), "v2@3");
        assert_eq!(third.label(), "v2@3");
        assert_eq!(PoolVersion::new("v2", 1).label(), "v2");
        let wanted: Wanted = "v2@3".parse().unwrap();
        assert_eq!((wanted.name.as_str(), wanted.version), ("v2", Some(3)));
        let newest: Wanted = "v2".parse().unwrap();
        assert_eq!(newest.version, None);
        for text in ["", "@1", "v2@", "v2@0", "v2@-1", "v2@x", "v2@1@2"] {
            assert!(text.parse::<Wanted>().is_err(), "{text:?}");
        }
    }
}
