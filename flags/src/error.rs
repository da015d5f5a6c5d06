//! Every error of this crate: one variant for each decision that a caller can take.

use std::time::Duration;

use crate::revision::Revision;
use crate::value::Kind;

/// Why something could not be done with flags.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FlagError {
    /// No flag of that name is declared.
    #[error(transparent)]
    UnknownFlag(#[from] UnknownFlag),

    /// The value given does not fit the flag: correct it and ask again.
    #[error("flag `{key}` takes a {expected}: {problem}")]
    BadValue {
        /// The flag that was to be set.
        key: String,
        /// What it takes.
        expected: Kind,
        /// Which value was given, and what is wrong with it.
        problem: String,
    },

    /// The write lacks something that every write must have: add it and ask again.
    #[error("this change of flags is refused: {problem}")]
    BadWrite {
        /// What is missing or wrong.
        problem: String,
    },

    /// A declaration is wrong, which is a mistake in the program that declares it.
    #[error("flag `{key}` is declared wrongly: {problem}")]
    BadDeclaration {
        /// The key as declared.
        key: String,
        /// What is wrong with it.
        problem: String,
    },

    /// Somebody else wrote first: read the newest revision, look again, and decide again.
    #[error(
        "the flags are at revision {actual}, not at {expected}: somebody changed them in the \
         meantime; read them again before you write"
    )]
    Conflict {
        /// The revision that the writer had seen.
        expected: Revision,
        /// The revision that the store has.
        actual: Revision,
    },

    /// A revision is written, but not every subscriber serves it (yet).
    #[error("{}", not_acknowledged(*.revision, *.within, .laggards))]
    NotAcknowledged {
        /// The revision that was waited for.
        revision: Revision,
        /// How long was waited.
        within: Duration,
        /// The names of those who have not acknowledged it; empty when nobody subscribes at all.
        laggards: Vec<String>,
    },

    /// The store holds something that cannot be read as a flag's value or as a change of one: set the
    /// flag again.
    #[error(
        "the flag store holds `{text}` for `{key}`, which cannot be read: {problem}; set the flag \
         again or repair its row"
    )]
    Corrupt {
        /// The flag concerned.
        key: String,
        /// What is stored, cut to a readable length.
        text: String,
        /// What is wrong with it.
        problem: String,
    },

    /// The store's file is no file of flags: put another in its place. Nothing is written over it.
    #[error(
        "`{path}` is no file of flags: {problem}; it begins with `{text}`; restore it from a backup, or move \
         it away and restart to begin with none"
    )]
    BrokenFile {
        /// The file.
        path: String,
        /// How it begins, cut to a readable length.
        text: String,
        /// What is wrong with it.
        problem: String,
    },

    /// What the store holds is not what its history says: somebody changed it past every check.
    #[error(
        "the flag store holds {stored} for `{key}`, and its history says {said}: it was changed by hand, \
         so nobody knows who and why; put it back, and set the flag with a who and a why"
    )]
    ByHand {
        /// The flag concerned, or `revision`.
        key: String,
        /// What is stored, cut to a readable length.
        stored: String,
        /// What was set last.
        said: String,
    },

    /// A flag was written for another hash, which would put every key into another bucket.
    #[error(
        "flag `{key}` was written for rollout hash version {stored}, and this program has version \
         {known}: its keys would change sides; use the program that wrote it, or set the flag again"
    )]
    HashVersion {
        /// The flag concerned.
        key: String,
        /// The version stored with it.
        stored: u32,
        /// The version of this program.
        known: u32,
    },

    /// The store was set up by a newer program.
    #[error(
        "the flag store has schema version {found}, and this program knows up to {known}: use the \
         newer program, or another database"
    )]
    SchemaTooNew {
        /// A schema version found in the store that this program does not know.
        found: i64,
        /// The newest one that this program knows.
        known: i64,
    },

    /// The store is at an older revision than the one served: it was replaced or restored.
    #[error(
        "the flag store is at revision {stored}, and revision {served} is served already: it was \
         replaced or restored from a backup; restart to serve from it"
    )]
    WentBack {
        /// The revision that is served, and goes on being served.
        served: Revision,
        /// The revision found in the store.
        stored: Revision,
    },

    /// The store could not be reached or refused: try again, or look at the store.
    #[error("the flag store failed while {doing}: {source}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// What the store said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl FlagError {
    /// Wraps what a store's own library says, with what was being done.
    pub fn store(
        doing: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Store {
            doing,
            source: source.into(),
        }
    }
}

/// No flag of this name is declared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no flag `{key}`{}", did_you_mean(.nearest.as_deref()))]
pub struct UnknownFlag {
    /// The name that was asked for, cut to a readable length.
    pub key: String,
    /// The declared name that is nearest to it, where one is near.
    pub nearest: Option<String>,
}

/// Why a text or number is not a share of traffic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PercentError {
    /// Not a finite number.
    #[error("`{text}` is not a percentage: it must be a number between 0 and 100, such as `12.5%`")]
    NotANumber {
        /// What was given.
        text: String,
    },
    /// Below 0 or above 100.
    #[error("`{text}` is not a percentage: it must be between 0 and 100")]
    OutOfRange {
        /// What was given.
        text: String,
    },
    /// Finer than a hundredth of a percent.
    #[error("`{text}` is not a percentage: it must have at most two decimals")]
    TooFine {
        /// What was given.
        text: String,
    },
}

/// Cuts what somebody else wrote to a length that a message can carry.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 120;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn did_you_mean(nearest: Option<&str>) -> String {
    nearest.map_or_else(String::new, |nearest| {
        format!("; did you mean `{nearest}`?")
    })
}

fn not_acknowledged(revision: Revision, within: Duration, laggards: &[String]) -> String {
    if laggards.is_empty() {
        format!(
            "revision {revision} is in effect nowhere: within {within:?} nobody subscribed to it"
        )
    } else {
        let laggards = laggards.join(", ");
        format!("revision {revision} was not acknowledged within {within:?} by: {laggards}")
    }
}
