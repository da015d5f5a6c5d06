//! A write that was answered by an error may be there all the same: a disk that fails after the
//! commit, an answer that is lost. So it is looked for, before anybody is told that it failed.
//!
//! Invariant: nobody is asked to try again what has happened already. Where that cannot be found out,
//! the error says so.

use std::time::Duration;

use crate::error::JournalError;
use crate::id::MigrationId;
use crate::journal::{Journal, Post};

/// How long a store that has just failed is asked what it holds.
const WITHIN: Duration = Duration::from_secs(3);

/// The number of this command in the inbox, although it was answered by an error. `after` is a
/// command that was there before it.
pub(crate) async fn posted(
    journal: &dyn Journal,
    id: &MigrationId,
    after: u64,
    post: &Post<'_>,
    error: JournalError,
) -> Result<u64, JournalError> {
    let JournalError::Store { problem } = error else {
        return Err(error);
    };
    // Who, why and when to the nanosecond: nobody else's is the same.
    let rows = tokio::time::timeout(WITHIN, journal.commands(id, after)).await;
    let Ok(Ok(rows)) = rows else {
        return Err(uncertain(&problem, "the command was left"));
    };
    let ours = rows.into_iter().find(|row| {
        (row.command, row.at) == (post.command, post.at)
            && (row.who.as_str(), row.why.as_str()) == (post.who, post.why)
    });
    ours.map(|row| row.id)
        .ok_or(JournalError::Store { problem })
}

/// Whether this migration was begun, although its start was answered by an error.
pub(crate) async fn created(
    journal: &dyn Journal,
    id: &MigrationId,
    error: JournalError,
) -> Result<(), JournalError> {
    let JournalError::Store { problem } = error else {
        return Err(error);
    };
    match tokio::time::timeout(WITHIN, journal.history(1)).await {
        Ok(Ok(newest)) if newest.iter().any(|newest| newest.id == *id) => Ok(()),
        Ok(Ok(_)) => Err(JournalError::Store { problem }),
        _ => Err(uncertain(&problem, "the migration was begun")),
    }
}

fn uncertain(problem: &str, what: &str) -> JournalError {
    JournalError::Store {
        problem: format!(
            "{problem}; whether {what} cannot be told: look at the migration before you ask again"
        ),
    }
}
