//! A look as two rows of `pool_metrics`, written and read.

use jiff::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, Sqlite, Transaction};

use crate::id::MigrationId;
use crate::recording::Recorded;
use crate::recording::written::{LaneRow, LookRow};

/// Writes both rows of a look.
pub(super) async fn insert(
    tx: &mut Transaction<'static, Sqlite>,
    look: &Recorded,
) -> Result<(), sqlx::Error> {
    let json = |text: Result<String, serde_json::Error>| {
        text.map_err(|error| sqlx::Error::Encode(Box::new(error)))
    };
    let row = json(serde_json::to_string(&LookRow::of(look)))?;
    let at = text(look.at);
    for (place, lane) in ["stable", "candidate"].into_iter().enumerate() {
        let metrics = json(serde_json::to_string(&LaneRow::of(
            &look.sample.lanes[place],
        )))?;
        sqlx::query(
            "INSERT INTO pool_metrics (pool_name, timestamp, metrics, migration, seq, lane, look, \
             watched, inserted_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?2, ?2)",
        )
        .bind(&look.pools[place])
        .bind(&at)
        .bind(metrics)
        .bind(look.migration.as_str())
        .bind(i64::try_from(look.seq).unwrap_or(i64::MAX))
        .bind(lane)
        .bind((lane == "candidate").then_some(row.as_str()))
        .bind(look.watched)
        .execute(&mut **tx)
        .await?;
    }
    Ok(())
}

/// So that the order of texts is that of times.
pub(super) fn text(at: Timestamp) -> String {
    format!("{at:.6}")
}

/// The look that is in these two rows.
pub(super) fn pair_of(migration: &MigrationId, pair: &[SqliteRow]) -> Result<Recorded, String> {
    let [stable, candidate] = pair else {
        return Err("the candidate's row is missing".to_owned());
    };
    let field = |row: &SqliteRow, name: &str| -> Result<String, String> {
        row.try_get(name).map_err(|error| error.to_string())
    };
    let lane = |row| -> Result<_, String> {
        let lane: LaneRow = parsed(&field(row, "metrics")?)?;
        Ok(lane.read())
    };
    let look: LookRow = parsed(&field(candidate, "look")?)?;
    let seq: i64 = candidate
        .try_get("seq")
        .map_err(|error| error.to_string())?;
    let at = field(candidate, "timestamp")?;
    Ok(Recorded {
        migration: migration.clone(),
        seq: u64::try_from(seq).unwrap_or_default(),
        at: at.parse().map_err(|error: jiff::Error| error.to_string())?,
        stage: look.stage,
        watched: candidate
            .try_get("watched")
            .map_err(|error| error.to_string())?,
        epoch: look.epoch,
        missing: look.missing,
        pools: [field(stable, "pool_name")?, field(candidate, "pool_name")?],
        sample: look.sample([lane(stable)?, lane(candidate)?]),
        verdict: look.verdict,
        action: look.action,
        summary: look.summary,
    })
}

fn parsed<T: serde::de::DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_json::from_str(json).map_err(|error| error.to_string())
}
