//! Faults that are done to a worker on purpose, and calls that ask one worker: how a pool is tried.
//!
//! Invariant: what is tried has no caller. A fault meets a worker that had nothing to do and is given
//! nothing to do from then on; a probe takes room that nobody waits for.

use serde::{Deserialize, Serialize};

use crate::call::Reply;
use crate::error::PoolError;

/// What can be done to a worker. Each is real: nothing about it is scripted in the pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkerFault {
    /// Its process is killed.
    Crash,
    /// Its process is stopped: it lives, and answers nobody.
    Hang,
    /// What it reads from its wire is no frame.
    Wire,
}

impl WorkerFault {
    /// Every one.
    pub const ALL: [Self; 3] = [Self::Crash, Self::Hang, Self::Wire];
}

impl std::fmt::Display for WorkerFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Crash => "crash",
            Self::Hang => "hang",
            Self::Wire => "wire",
        })
    }
}

/// A fault that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Injected {
    /// What was done.
    pub fault: WorkerFault,
    /// To whom, as in [`WorkerStatus::id`](crate::WorkerStatus::id).
    pub worker: String,
    /// The process that it was done to.
    pub pid: u32,
}

/// What one worker answered when it was asked by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Probed {
    /// Who was asked, as in [`WorkerStatus::id`](crate::WorkerStatus::id).
    pub worker: String,
    /// Its answer.
    pub answer: Result<Reply, PoolError>,
}
