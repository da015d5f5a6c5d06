//! Programs kept in SQLite, in tables of this crate's own.
//!
//! Invariants: every write is one statement, so a caller that leaves in the middle leaves either
//! all of it or nothing; the history of versions is kept by the database's own triggers within it; names are unique by the table's own constraint; versions come from a
//! counter that is only ever raised, so deleting the newest program does not free its version.

use std::sync::Arc;

use async_trait::async_trait;
use dspex_pool::{Definition, Program, ProgramId, ProgramKey};
use jiff::Timestamp;
use sqlx::migrate::{MigrateError, Migration, MigrationType, Migrator};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlSafeStr, SqlitePool};

use super::{Catalog, CorruptRow, Page, VERSIONS, Version, Versions};
use crate::error::CatalogError;

const SCHEMA: &str = "
CREATE TABLE programs (
    id TEXT PRIMARY KEY NOT NULL,
    version INTEGER NOT NULL UNIQUE,
    definition TEXT NOT NULL,
    repeatable INTEGER NOT NULL CHECK (repeatable IN (0, 1)),
    created_at TEXT NOT NULL
) STRICT;
CREATE TABLE program_versions (
    one INTEGER PRIMARY KEY CHECK (one = 1),
    last INTEGER NOT NULL
) STRICT;
INSERT INTO program_versions (one, last) VALUES (1, 0);
";

/// Programs that were kept before had no state.
const STATEFUL: &str = "
ALTER TABLE programs ADD COLUMN stateful INTEGER NOT NULL DEFAULT 0 CHECK (stateful IN (0, 1));
";

/// Programs that were kept before, and may not be repeated, are taken to act on the world.
const SIDE_EFFECTS: &str = "
ALTER TABLE programs ADD COLUMN side_effects INTEGER NOT NULL DEFAULT 1 CHECK (side_effects IN (0, 1));
UPDATE programs SET side_effects = 1 - repeatable;
";

/// Programs that were kept before have the version that they are at for a history. The number of
/// versions that are remembered is [`VERSIONS`], which a test holds it to.
const HISTORY: &str = "
CREATE TABLE program_history (
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    definition TEXT NOT NULL,
    repeatable INTEGER NOT NULL,
    stateful INTEGER NOT NULL,
    side_effects INTEGER NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (id, version)
) STRICT, WITHOUT ROWID;
INSERT INTO program_history
    SELECT id, version, definition, repeatable, stateful, side_effects, created_at FROM programs;
CREATE TRIGGER program_created AFTER INSERT ON programs BEGIN
    INSERT INTO program_history VALUES (NEW.id, NEW.version, NEW.definition, NEW.repeatable,
        NEW.stateful, NEW.side_effects, NEW.created_at);
END;
CREATE TRIGGER program_replaced AFTER UPDATE OF version ON programs BEGIN
    INSERT INTO program_history VALUES (NEW.id, NEW.version, NEW.definition, NEW.repeatable,
        NEW.stateful, NEW.side_effects, NEW.created_at);
    DELETE FROM program_history WHERE id = NEW.id AND version <= (
        SELECT version FROM program_history WHERE id = NEW.id
        ORDER BY version DESC LIMIT 1 OFFSET 100);
END;
CREATE TRIGGER program_deleted AFTER DELETE ON programs BEGIN
    DELETE FROM program_history WHERE id = OLD.id;
END;
";

/// What a program's row is read by.
const COLUMNS: &str = "id, version, definition, repeatable, stateful, side_effects";

/// A catalog in an SQLite database that may hold other crates' tables too.
#[derive(Debug, Clone)]
pub struct SqliteCatalog {
    writer: SqlitePool,
    reader: SqlitePool,
}

impl SqliteCatalog {
    /// Opens the catalog and brings its tables to this version's form.
    ///
    /// `writer` should hold one connection: SQLite has one writer at a time.
    ///
    /// # Errors
    ///
    /// [`CatalogError::SchemaTooNew`] where a newer program has made the tables, else where the
    /// database cannot be written.
    pub async fn open(writer: SqlitePool, reader: SqlitePool) -> Result<Self, CatalogError> {
        let migration = |version, name: &'static str, sql: &'static str| {
            let sql = sql.into_sql_str();
            Migration::new(version, name.into(), MigrationType::Simple, sql, false)
        };
        let mut migrator = Migrator::with_migrations(vec![
            migration(1, "programs", SCHEMA),
            migration(2, "stateful programs", STATEFUL),
            migration(3, "side effects", SIDE_EFFECTS),
            migration(4, "versions of programs", HISTORY),
        ]);
        migrator.dangerous_set_table_name("_dspex_router_migrations");
        let known = migrator.iter().map(|one| one.version).max().unwrap_or(0);
        migrator.run(&writer).await.map_err(|error| match error {
            MigrateError::VersionMissing(found) => CatalogError::SchemaTooNew { found, known },
            other => CatalogError::Schema(other),
        })?;
        Ok(Self { writer, reader })
    }
}

fn failed(doing: &'static str) -> impl FnOnce(sqlx::Error) -> CatalogError {
    move |source| CatalogError::Store { doing, source }
}

/// Reads one row, or says what is wrong with it.
fn program(row: &SqliteRow) -> Result<Program, CorruptRow> {
    // Blobs and numbers where text belongs cannot come from us, but from whoever edits the file.
    let id = row
        .try_get::<String, _>("id")
        .unwrap_or_else(|_| "(not text)".to_owned());
    let corrupt = |reason: String| CorruptRow {
        id: id.clone(),
        reason,
    };
    let column = |name: &'static str| move |error: sqlx::Error| format!("{name}: {error}");
    let definition = row
        .try_get::<String, _>("definition")
        .map_err(column("definition"))
        .and_then(|text| {
            serde_json::from_str::<Definition>(&text)
                .map_err(|error| format!("definition: {error}"))
        })
        .map_err(corrupt)?;
    let version = row
        .try_get::<i64, _>("version")
        .map_err(column("version"))
        .and_then(|version| {
            u64::try_from(version).map_err(|_| format!("version: {version} is negative"))
        })
        .map_err(corrupt)?;
    let repeatable = row
        .try_get::<bool, _>("repeatable")
        .map_err(column("repeatable"))
        .map_err(corrupt)?;
    let stateful = row
        .try_get::<bool, _>("stateful")
        .map_err(column("stateful"))
        .map_err(corrupt)?;
    let side_effects = row
        .try_get::<bool, _>("side_effects")
        .map_err(column("side_effects"))
        .map_err(corrupt)?;
    let name = id
        .parse::<ProgramId>()
        .map_err(|error| corrupt(error.to_string()))?;
    Ok(Program {
        key: ProgramKey { id: name, version },
        definition,
        repeatable,
        stateful,
        side_effects,
    })
}

#[async_trait]
impl Catalog for SqliteCatalog {
    async fn reserve(&self) -> Result<u64, CatalogError> {
        let doing = "reserving a version";
        let version: i64 =
            sqlx::query_scalar("UPDATE program_versions SET last = last + 1 RETURNING last")
                .fetch_one(&self.writer)
                .await
                .map_err(failed(doing))?;
        u64::try_from(version).map_err(|error| CatalogError::Store {
            doing,
            source: sqlx::Error::Decode(error.into()),
        })
    }

    async fn keep(
        &self,
        program: &Program,
        in_place_of: Option<u64>,
        at: Timestamp,
    ) -> Result<(), CatalogError> {
        let doing = "keeping a program";
        let unwritable = |error: sqlx::error::BoxDynError| CatalogError::Store {
            doing,
            source: sqlx::Error::Encode(error),
        };
        let number =
            |version: u64| i64::try_from(version).map_err(|error| unwritable(error.into()));
        let version = number(program.key.version)?;
        let replaced = in_place_of.map(number).transpose()?;
        let definition =
            serde_json::to_string(&program.definition).map_err(|error| unwritable(error.into()))?;
        let sql = match replaced {
            None => {
                "INSERT INTO programs
                     (version, definition, repeatable, stateful, side_effects, created_at, id)
                 VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING"
            }
            Some(_) => {
                "UPDATE programs SET version = ?, definition = ?, repeatable = ?, stateful = ?,
                     side_effects = ?, created_at = ?
                 WHERE id = ? AND version = ?"
            }
        };
        let mut write = sqlx::query(sql)
            .bind(version)
            .bind(definition)
            .bind(program.repeatable)
            .bind(program.stateful)
            .bind(program.side_effects)
            .bind(at.to_string())
            .bind(program.key.id.as_str());
        if let Some(replaced) = replaced {
            write = write.bind(replaced);
        }
        let kept = write.execute(&self.writer).await.map_err(failed(doing))?;
        if kept.rows_affected() > 0 {
            return Ok(());
        }
        let id = program.key.id.clone();
        let Some(expected) = in_place_of else {
            return Err(CatalogError::AlreadyExists { id });
        };
        // Told to whoever lost; it may have changed again by now.
        let served = self.get(&id).await?.map(|program| program.key.version);
        Err(CatalogError::Changed {
            id,
            expected,
            served,
        })
    }

    async fn versions(
        &self,
        id: &ProgramId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Versions, CatalogError> {
        let doing = "listing a program's versions";
        let before = before.map_or(i64::MAX, |before| i64::try_from(before).unwrap_or(i64::MAX));
        let sql = format!(
            "SELECT {COLUMNS}, created_at FROM program_history
             WHERE id = ? AND version < ? ORDER BY version DESC LIMIT ?"
        );
        let limit = limit.min(VERSIONS);
        let rows = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(id.as_str())
            .bind(before)
            .bind(i64::try_from(limit).unwrap_or(i64::MAX - 1) + 1)
            .fetch_all(&self.reader)
            .await
            .map_err(failed(doing))?;
        let mut page = Versions::default();
        for row in rows.iter().take(limit) {
            let since = row
                .try_get::<String, _>("created_at")
                .map_err(failed(doing))?
                .parse();
            match (program(row), since) {
                (Ok(program), since) => page.versions.push(Version {
                    program: Arc::new(program),
                    // Whoever edits the file by hand loses the time, and not the version.
                    since: since.unwrap_or(Timestamp::UNIX_EPOCH),
                }),
                (Err(corrupt), _) => page.corrupt.push(corrupt),
            }
        }
        if rows.len() > limit {
            let last = rows[limit - 1].try_get::<i64, _>("version");
            page.next = u64::try_from(last.map_err(failed(doing))?).ok();
        }
        Ok(page)
    }

    async fn get(&self, id: &ProgramId) -> Result<Option<Program>, CatalogError> {
        sqlx::query(
            "SELECT id, version, definition, repeatable, stateful, side_effects FROM programs WHERE id = ?",
        )
        .bind(id.as_str())
        .fetch_optional(&self.reader)
        .await
        .map_err(failed("reading a program"))?
        .map(|row| program(&row).map_err(CatalogError::Corrupt))
        .transpose()
    }

    async fn list(&self, after: Option<&ProgramId>, limit: usize) -> Result<Page, CatalogError> {
        let mut page = Page::default();
        let mut after = after.map_or_else(String::new, |id| id.as_str().to_owned());
        // One row more than wanted tells whether there is a next page. Rows that cannot be read
        // do not count, so it may take another turn to fill the page.
        loop {
            let wanted = limit - page.programs.len();
            let rows = sqlx::query(
                "SELECT id, version, definition, repeatable, stateful, side_effects FROM programs
                 WHERE id > ? ORDER BY id LIMIT ?",
            )
            .bind(&after)
            .bind(i64::try_from(wanted).unwrap_or(i64::MAX - 1) + 1)
            .fetch_all(&self.reader)
            .await
            .map_err(failed("listing programs"))?;
            let more = rows.len() > wanted;
            for row in rows.iter().take(wanted) {
                after = row.try_get("id").map_err(failed("listing programs"))?;
                match program(row) {
                    Ok(program) => page.programs.push(Arc::new(program)),
                    Err(corrupt) => page.corrupt.push(corrupt),
                }
            }
            if !more {
                return Ok(page);
            }
            if page.programs.len() == limit {
                page.next = page.programs.last().map(|program| program.key.id.clone());
                return Ok(page);
            }
        }
    }

    async fn delete(&self, id: &ProgramId) -> Result<Option<ProgramKey>, CatalogError> {
        let version: Option<i64> =
            sqlx::query_scalar("DELETE FROM programs WHERE id = ? RETURNING version")
                .bind(id.as_str())
                .fetch_optional(&self.writer)
                .await
                .map_err(failed("deleting a program"))?;
        Ok(version.map(|version| ProgramKey {
            id: id.clone(),
            // A negative version is a corrupt row: no worker holds an instance of it.
            version: u64::try_from(version).unwrap_or(0),
        }))
    }
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqlitePoolOptions;

    use super::*;

    #[tokio::test]
    async fn a_catalog_from_before_stateful_programs_is_carried_over() {
        let memory = SqlitePoolOptions::new()
            .max_connections(1)
            .connect("sqlite::memory:")
            .await
            .unwrap();
        let name = "programs".into();
        let sql = SCHEMA.into_sql_str();
        let first = Migration::new(1, name, MigrationType::Simple, sql, false);
        let mut migrator = Migrator::with_migrations(vec![first]);
        migrator.dangerous_set_table_name("_dspex_router_migrations");
        migrator.run(&memory).await.unwrap();
        sqlx::query(
            r#"INSERT INTO programs VALUES ('a', 1, '{"kind":"callable","target":"m:f"}', 1, 'then')"#,
        )
        .execute(&memory)
        .await
        .unwrap();

        let catalog = SqliteCatalog::open(memory.clone(), memory).await.unwrap();
        let mut program = catalog.get(&"a".parse().unwrap()).await.unwrap().unwrap();
        assert!(!program.stateful && program.repeatable && !program.side_effects);
        let history = catalog.versions(&program.key.id, None, 10).await.unwrap();
        assert_eq!(history.versions.len(), 1);
        program.key.id = "b".parse().unwrap();
        program.key.version = 2;
        program.stateful = true;
        catalog
            .keep(&program, None, Timestamp::UNIX_EPOCH)
            .await
            .unwrap();
        let page = catalog.list(None, 10).await.unwrap();
        assert_eq!(*page.programs[1], program);
    }
}
