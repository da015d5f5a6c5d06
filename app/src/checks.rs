//! What is looked at before a server is started, and before a migration is: one implementation of
//! each check, for `dspex doctor` and for a migration's preflight.
//!
//! Invariants: looking changes nothing: no folder is made, no database is written to its end, no port
//! is kept. Each check has what was measured and what is asked for. What could not be measured is
//! [`Verdict::Unknown`], and never passes for something that was.

pub(crate) mod clock;
pub(crate) mod disk;
pub(crate) mod environment;
pub(crate) mod lever;
pub(crate) mod limits;
pub(crate) mod machine;
pub(crate) mod memory;
pub(crate) mod port;
pub(crate) mod python;
pub(crate) mod schema;
pub(crate) mod storage;

use serde::Serialize;

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// The server will run, but not all that is configured will work.
    Warning,
    /// It could not be measured. A server runs on that; a migration does not begin on it.
    Unknown,
    /// The server cannot run like this.
    Unfit,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Check {
    /// What was looked at.
    pub(crate) name: String,
    /// How it ended.
    pub(crate) verdict: Verdict,
    /// What was measured.
    pub(crate) value: String,
    /// What is asked for.
    pub(crate) limit: String,
    /// What to do, where something is to be done.
    pub(crate) hint: Option<String>,
}

impl Check {
    /// A check that was passed.
    pub(crate) fn ok(name: impl Into<String>, value: impl Into<String>, limit: &str) -> Self {
        Self {
            name: name.into(),
            verdict: Verdict::Ok,
            value: value.into(),
            limit: limit.to_owned(),
            hint: None,
        }
    }

    /// The same, not passed.
    #[must_use]
    pub(crate) fn but(self, verdict: Verdict, hint: impl Into<String>) -> Self {
        Self {
            verdict,
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Passed where `ok`; else unfit, with what to do.
    #[must_use]
    pub(crate) fn only_if(self, ok: bool, hint: impl Into<String>) -> Self {
        if ok {
            self
        } else {
            self.but(Verdict::Unfit, hint)
        }
    }

    /// Something that could not be measured, and why.
    pub(crate) fn unknown(
        name: impl Into<String>,
        why: impl std::fmt::Display,
        limit: &str,
        hint: impl Into<String>,
    ) -> Self {
        Self::ok(name, format!("not measured: {why}"), limit).but(Verdict::Unknown, hint)
    }
}

/// As a migration takes it: what was not measured is not well.
impl From<Check> for dspex_migration::Check {
    fn from(check: Check) -> Self {
        Self {
            ok: check.verdict <= Verdict::Warning,
            name: check.name,
            value: check.value,
            limit: check.limit,
            hint: check.hint,
        }
    }
}

/// A size for people, in MiB.
pub(crate) fn mib(bytes: u64) -> String {
    match bytes {
        0 => "0 MiB".to_owned(),
        bytes if bytes < 1 << 20 => "under 1 MiB".to_owned(),
        bytes => format!("{} MiB", bytes >> 20),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_migration_passes_warnings_and_nothing_unmeasured() {
        let check = Check::ok("a", "b", "c");
        let passes = |check: Check| dspex_migration::Check::from(check).ok;
        assert!(passes(check.clone()));
        assert!(passes(check.clone().but(Verdict::Warning, "d")));
        assert!(!passes(check.clone().but(Verdict::Unfit, "d")));
        let unknown = Check::unknown("a", "it is hidden", "c", "show it");
        assert_eq!(unknown.value, "not measured: it is hidden");
        assert!(!passes(unknown));
    }
}
