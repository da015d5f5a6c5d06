//! What can go wrong in the router: one variant for each decision that a caller can take.

use std::time::Duration;

use dspex_pool::{PoolError, ProgramId};
use dspex_telemetry::Lane;

use crate::catalog::CorruptRow;
use crate::sessions::SessionError;

/// Why the router did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum RouterError {
    /// The catalog holds no such program.
    #[error("there is no program {id}{}", hint(.nearest.as_ref()))]
    UnknownProgram {
        /// What was asked for.
        id: ProgramId,
        /// The known program whose name is nearest, where one is near.
        nearest: Option<ProgramId>,
    },
    /// The catalog holds a program of that name already.
    #[error("a program {id} is there already: delete it first, or choose another name")]
    AlreadyExists {
        /// Which name.
        id: ProgramId,
    },
    /// The program is at another version than the one that was to be replaced.
    #[error("program {id} is at version {served}, and not at {expected} any more: read it again")]
    VersionConflict {
        /// Which program.
        id: ProgramId,
        /// The version that was to be replaced.
        expected: u64,
        /// The version that is served.
        served: u64,
    },
    /// The request itself is at fault, before any pool was asked.
    #[error("{message}")]
    InvalidInput {
        /// What is wrong, and what would be accepted.
        message: String,
    },
    /// The inputs are larger than the router passes on.
    #[error("the inputs are larger than {limit} bytes")]
    InputsTooLarge {
        /// The limit, in bytes of JSON.
        limit: usize,
    },
    /// A pool answered with an error.
    #[error(transparent)]
    Pool(#[from] PoolError),
    /// The program was not built in time, so nothing is known about its definition.
    #[error("no worker built the program within {within:?}: try again")]
    CheckTimeout {
        /// How long was waited.
        within: Duration,
    },
    /// The lane failed too often, and has no worker that could be tried.
    #[error("the {lane} lane failed too often: try again in {retry_after:?}")]
    CircuitOpen {
        /// Which lane.
        lane: Lane,
        /// When another try may be worthwhile.
        retry_after: Duration,
    },
    /// The catalog failed.
    #[error(transparent)]
    Catalog(CatalogError),
    /// The program keeps a state for each session, and the call names no session.
    #[error("program {id} keeps a state for each session, and the call names none")]
    SessionRequired {
        /// Which program.
        id: ProgramId,
    },
    /// The session's earlier calls are in the way. The call never started.
    #[error("the session is busy: {reason}")]
    SessionBusy {
        /// How many calls wait, or how long this one did.
        reason: String,
    },
    /// The session's state could not be read, or could not be kept.
    #[error(transparent)]
    Sessions(#[from] SessionError),
}

/// When a caller whose session is busy may try again: its calls take seconds.
const SESSION_RETRY: Duration = Duration::from_secs(1);

fn hint(nearest: Option<&ProgramId>) -> String {
    nearest.map_or_else(String::new, |nearest| format!(": did you mean {nearest}?"))
}

impl RouterError {
    /// A short, stable name for metrics and problem documents.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::UnknownProgram { .. } => "unknown-program",
            Self::AlreadyExists { .. } => "program-exists",
            Self::VersionConflict { .. } => "version-conflict",
            Self::InvalidInput { .. } => "invalid-input",
            Self::InputsTooLarge { .. } => "inputs-too-large",
            Self::Pool(error) => error.kind(),
            Self::CheckTimeout { .. } => "check-timeout",
            Self::CircuitOpen { .. } => "circuit-open",
            Self::Catalog(_) => "catalog-failed",
            Self::SessionRequired { .. } => "session-required",
            Self::SessionBusy { .. } => "session-busy",
            Self::Sessions(_) => "sessions-failed",
        }
    }

    /// When another try may be worthwhile, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen { retry_after, .. }
            | Self::Pool(
                PoolError::Exhausted { retry_after, .. } | PoolError::TooMany { retry_after, .. },
            ) => Some(*retry_after),
            Self::SessionBusy { .. } => Some(SESSION_RETRY),
            _ => None,
        }
    }
}

impl From<CatalogError> for RouterError {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::AlreadyExists { id } => Self::AlreadyExists { id },
            CatalogError::Changed {
                id,
                expected,
                served: Some(served),
            } => Self::VersionConflict {
                id,
                expected,
                served,
            },
            CatalogError::Changed {
                id, served: None, ..
            } => Self::UnknownProgram { id, nearest: None },
            other => Self::Catalog(other),
        }
    }
}

/// A call that was not answered.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct ExecuteFailed {
    /// Why.
    #[source]
    pub error: RouterError,
    /// The lane whose error this is; none where the call reached no lane.
    pub lane: Option<Lane>,
    /// Whether the candidate had failed the call before stable did.
    pub failed_over: bool,
}

/// Why the catalog did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
pub enum CatalogError {
    /// A program of that name is there already.
    #[error("a program {id} is there already")]
    AlreadyExists {
        /// Which name.
        id: ProgramId,
    },
    /// The version that was to be replaced is no longer the one that is served.
    #[error("program {id} is no longer at version {expected}")]
    Changed {
        /// Which program.
        id: ProgramId,
        /// The version that was to be replaced.
        expected: u64,
        /// The version that is served; none where the program is gone.
        served: Option<u64>,
    },
    /// A row cannot be read as a program. The others are not affected.
    #[error("{0}")]
    Corrupt(CorruptRow),
    /// The tables were made by a newer program. Nothing was touched.
    #[error(
        "the catalog has schema version {found}, and this program knows up to {known}: use the newer \
         program, or another database"
    )]
    SchemaTooNew {
        /// A schema version found in the database that this program does not know.
        found: i64,
        /// The newest one that this program knows.
        known: i64,
    },
    /// The tables could not be brought to this version's form.
    #[error("the catalog's tables could not be prepared: {0}")]
    Schema(#[source] sqlx::migrate::MigrateError),
    /// The database failed.
    #[error("the catalog's database failed while {doing}: {source}")]
    Store {
        /// What was being done.
        doing: &'static str,
        /// The database's words.
        source: sqlx::Error,
    },
    /// The task that writes broke off, so it is not known whether the change was kept.
    #[error("the change of the catalog broke off: read the program again")]
    Interrupted,
}

/// A setting of the router is out of its range.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("router setting {setting} is {value}: it must be {expected}")]
pub struct InvalidConfig {
    /// Which setting.
    pub setting: &'static str,
    /// The value that was given.
    pub value: String,
    /// What would be accepted.
    pub expected: &'static str,
}
