//! Why a server did not start, or did not end well, and what to do about it.

use std::net::SocketAddr;

use dspex_pool::PoolError;
use dspex_pool::python::PythonError;

use crate::assemble::AssembleError;
use crate::auth::TokenError;
use crate::config::ConfigError;
use crate::configurations::StoreError;
use crate::storage::StorageError;

/// Why a server did not start, or did not end well. Each is one line for people.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A setting cannot be used here. Exit code 2.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data directory, its lock or its database. Exit code 3.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The admin token's hash, or a token's variable. Exit code 2 for variables, 3 for files.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The address cannot be listened on. Exit code 3.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// As configured.
        address: SocketAddr,
        /// The system's words.
        source: std::io::Error,
    },
    /// The interpreter. Exit code 3.
    #[error(transparent)]
    Python(#[from] PythonError),
    /// LMs are configured, and DSPy is missing. Exit code 3.
    #[error(
        "the Python interpreter {python} has no DSPy, and language models are configured under [lms]"
    )]
    NoDspy {
        /// The interpreter, as configured.
        python: String,
    },
    /// The workers of the stable pool do not start. Exit code 3.
    #[error("the pool {pool} does not start: {source}")]
    Pool {
        /// Its name.
        pool: String,
        /// Why.
        source: PoolError,
    },
    /// The configurations of pools, in the database. Exit code 3.
    #[error(transparent)]
    Configurations(#[from] StoreError),
    /// A part refuses what the database holds. Exit code 3.
    #[error(transparent)]
    Assemble(#[from] AssembleError),
    /// The machine refuses something that every server needs. Exit code 3.
    #[error("{what}: {reason}")]
    Machine {
        /// What was refused.
        what: &'static str,
        /// The system's words.
        reason: String,
    },
}

impl ServeError {
    /// What to do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Config(error) => error.hint.clone(),
            Self::Storage(error) => Some(error.hint()),
            Self::Listen { source, .. } => Some(match source.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "another program listens there; choose another with server.bind, or port 0 for a free one".to_owned()
                }
                std::io::ErrorKind::PermissionDenied => {
                    "ports below 1024 need a privilege; choose another with server.bind".to_owned()
                }
                _ => "server.bind must be an address of this machine".to_owned(),
            }),
            Self::Python(_) => Some(
                "set python.executable to a Python of 3.10 or newer; `dspex doctor` looks at it".to_owned(),
            ),
            Self::NoDspy { python } => Some(format!(
                "install it with `{python} -m pip install dspy`, or remove [lms] to serve callables alone"
            )),
            Self::Pool { .. } => {
                Some("the workers' own words are in the log above; `dspex doctor` looks at the interpreter".to_owned())
            }
            Self::Configurations(_) => Some(
                "restore the database from a backup, or use the version of dspex that wrote it".to_owned(),
            ),
            Self::Token(_) | Self::Assemble(_) | Self::Machine { .. } => None,
        }
    }

    /// Whether the configuration is at fault, and not the machine.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Self::Config(_)
                | Self::Token(
                    TokenError::NotSet { .. }
                        | TokenError::TooShort { .. }
                        | TokenError::Changed { .. }
                )
                | Self::Assemble(AssembleError::Router(_))
        )
    }
}
