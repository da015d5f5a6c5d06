//! Many entries as one row: a row each costs two switches of threads, which for a long journal is
//! most of the time that its reading takes.
//!
//! Invariant: no entry can be taken for two. What stands between them is no part of any time, and
//! JSON has it neither in a text nor between its words.

use sqlx::sqlite::SqliteConnection;

use super::rows::{corrupt, signed, sql, timestamp};
use crate::error::JournalError;
use crate::event::{Entry, Event};
use crate::id::MigrationId;

/// Entries of one row, at most.
const PIECE: usize = 256;

/// The entries of a migration after one, as one text; empty where there is none.
const ENTRIES: &str = "
SELECT coalesce(group_concat(seq || char(31) || at || char(31) || event, char(30) ORDER BY seq), '') AS entries
FROM (SELECT seq, at, event FROM migration_journal WHERE migration = ? AND seq > ? ORDER BY seq LIMIT ?)
";

const BETWEEN_ENTRIES: char = '\u{1e}';
const BETWEEN_FIELDS: char = '\u{1f}';

/// The entries of a migration after one, at most `limit`, in order.
///
/// While a piece is taken apart, SQLite's thread reads the next.
pub(super) async fn read(
    reader: &mut SqliteConnection,
    id: &MigrationId,
    after: u64,
    limit: usize,
) -> Result<Vec<Entry>, JournalError> {
    let mut read: Vec<Entry> = Vec::new();
    let mut asked = limit.min(PIECE);
    let mut text = piece(reader, id, after, asked).await?;
    loop {
        // Numbers have no gap, so what comes next is known before this piece is.
        let reached = after.saturating_add((read.len() + asked) as u64);
        let next = (limit - read.len() - asked).min(PIECE);
        let (row, apart) = tokio::join!(piece(reader, id, reached, next), async {
            entries(id, &text)
        });
        let apart = apart?;
        let ended = apart.len() < asked || next == 0;
        read.extend(apart);
        if ended {
            return Ok(read);
        }
        (text, asked) = (row?, next);
    }
}

/// At most so many entries after one, as one text.
async fn piece(
    reader: &mut SqliteConnection,
    id: &MigrationId,
    after: u64,
    limit: usize,
) -> Result<String, JournalError> {
    if limit == 0 {
        return Ok(String::new());
    }
    sqlx::query_scalar(ENTRIES)
        .bind(id.as_str())
        .bind(signed(after))
        .bind(i64::try_from(limit).unwrap_or(i64::MAX))
        .fetch_one(reader)
        .await
        .map_err(sql)
}

/// The entries of such a text.
fn entries(id: &MigrationId, text: &str) -> Result<Vec<Entry>, JournalError> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    text.split(BETWEEN_ENTRIES)
        .map(|text| entry(id, text))
        .collect()
}

fn entry(id: &MigrationId, text: &str) -> Result<Entry, JournalError> {
    let mut fields = text.splitn(3, BETWEEN_FIELDS);
    let (Some(seq), Some(at), Some(event)) = (fields.next(), fields.next(), fields.next()) else {
        return Err(corrupt(id, format!("an entry is {text:?}")));
    };
    Ok(Entry {
        seq: seq
            .parse()
            .map_err(|_| corrupt(id, format!("seq is {seq}")))?,
        at: timestamp(id, at)?,
        event: Event::from_json(event)
            .map_err(|error| corrupt(id, format!("{error} in {event}")))?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_fields_is_told() {
        let id = MigrationId::from_text("m".to_owned());
        assert_eq!(entries(&id, "").unwrap(), []);
        for text in [
            "1",
            "1\u{1f}2026-01-01T00:00:00Z",
            "x\u{1f}2026-01-01T00:00:00Z\u{1f}{\"type\":\"completed\"}",
            "1\u{1f}today\u{1f}{\"type\":\"completed\"}",
            "1\u{1f}2026-01-01T00:00:00Z\u{1f}{\"type\":\"unheard\"}",
        ] {
            let error = entries(&id, text).unwrap_err();
            assert!(matches!(error, JournalError::Corrupt { .. }), "{error}");
        }
    }
}
