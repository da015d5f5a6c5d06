//! Rows of the journal's tables as values of this crate, and back.

use std::str::FromStr;

use jiff::Timestamp;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::JournalError;
use crate::id::MigrationId;
use crate::journal::Summary;

pub(super) fn summary(row: &SqliteRow) -> Result<Summary, JournalError> {
    let id = MigrationId::from_text(row.try_get::<String, _>("id").map_err(sql)?);
    let phase: String = row.try_get("phase").map_err(sql)?;
    let phase = serde_json::from_value(phase.clone().into())
        .map_err(|_| corrupt(&id, format!("its phase is {phase:?}")))?;
    let ended_at: Option<String> = row.try_get("completed_at").map_err(sql)?;
    Ok(Summary {
        candidate: row.try_get("candidate").map_err(sql)?,
        stable: row.try_get("stable").map_err(sql)?,
        phase,
        who: row.try_get("who").map_err(sql)?,
        why: row.try_get("why").map_err(sql)?,
        outcome: row.try_get("outcome").map_err(sql)?,
        started_at: parsed(&id, row, "started_at")?,
        ended_at: ended_at.map(|at| timestamp(&id, &at)).transpose()?,
        last_seq: number(&id, row, "last_seq")?,
        id,
    })
}

pub(super) fn number(id: &MigrationId, row: &SqliteRow, column: &str) -> Result<u64, JournalError> {
    let number: i64 = row.try_get(column).map_err(sql)?;
    u64::try_from(number).map_err(|_| corrupt(id, format!("{column} is {number}")))
}

pub(super) fn parsed(
    id: &MigrationId,
    row: &SqliteRow,
    column: &str,
) -> Result<Timestamp, JournalError> {
    timestamp(id, &row.try_get::<String, _>(column).map_err(sql)?)
}

pub(super) fn timestamp(id: &MigrationId, text: &str) -> Result<Timestamp, JournalError> {
    Timestamp::from_str(text).map_err(|error| corrupt(id, format!("{text:?} is no time: {error}")))
}

pub(super) fn from_json<T: DeserializeOwned>(
    id: &MigrationId,
    row: &SqliteRow,
    column: &str,
) -> Result<T, JournalError> {
    let text: &str = row.try_get(column).map_err(sql)?;
    serde_json::from_str(text).map_err(|error| corrupt(id, format!("{error} in {text}")))
}

pub(super) fn json<T: Serialize>(id: &MigrationId, value: &T) -> Result<String, JournalError> {
    serde_json::to_string(value)
        .map_err(|error| corrupt(id, format!("it cannot be written: {error}")))
}

/// SQLite's integers are signed; a journal of 2^63 entries is not reached.
pub(super) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(super) fn corrupt(id: &MigrationId, problem: String) -> JournalError {
    JournalError::Corrupt {
        id: id.clone(),
        problem,
    }
}

pub(super) fn store(problem: String) -> JournalError {
    JournalError::Store { problem }
}

#[expect(
    clippy::needless_pass_by_value,
    reason = "so that it can be handed to map_err"
)]
pub(super) fn sql(error: sqlx::Error) -> JournalError {
    store(error.to_string())
}
