//! Where the flags are kept, as the setting `flags.store` says.
//!
//! Invariant: a store that cannot be used is told at the start. One that goes away later takes nothing
//! with it: the last good flags are served, and `/readyz` and `/v1/status` say so.

use std::sync::Arc;
use std::time::Duration;

use dspex_flags::{FileStore, FlagError, FlagStore, PostgresStore, SqliteStore};
use sqlx::postgres::PgPoolOptions;
use sqlx::sqlite::SqlitePool;

use crate::config::StoreAt;

/// How long a write tries to reach a server that is gone, before a caller is told.
const ACQUIRE: Duration = Duration::from_secs(5);

/// The store is asked once in a `flags.poll`, and written by people: a few connections do.
const CONNECTIONS: u32 = 3;

/// Opens it, and brings its tables or its file to this version's form. `writer` and `reader` are the
/// server's database.
pub(crate) async fn open(
    at: &StoreAt,
    writer: &SqlitePool,
    reader: &SqlitePool,
) -> Result<Arc<dyn FlagStore>, FlagError> {
    Ok(match at {
        StoreAt::Database => Arc::new(SqliteStore::open(writer.clone(), reader.clone()).await?),
        StoreAt::File(path) => Arc::new(FileStore::open(path).await?),
        StoreAt::Postgres(url) => {
            let pool = PgPoolOptions::new()
                .max_connections(CONNECTIONS)
                .acquire_timeout(ACQUIRE)
                .connect_lazy(url)
                .map_err(|error| FlagError::store("reading the URL of flags.store", error))?;
            Arc::new(PostgresStore::open(pool).await?)
        }
    })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use dspex_flags::{Flags, Write, dspex};

    use super::*;
    use crate::paths::DataDir;
    use crate::storage::Store;

    async fn database(folder: &Path) -> Store {
        let dir = DataDir::new(folder);
        Store::open(dir, 1, Duration::from_millis(200))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn what_is_written_is_found_again_wherever_it_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(folder.path()).await;
        let file = folder.path().join("flags.json");
        for at in [StoreAt::Database, StoreAt::File(file.clone())] {
            let open = async || {
                let store = open(&at, &database.writer, &database.reader).await.unwrap();
                Flags::open(store, dspex::declarations()).await.unwrap()
            };
            let write = Write {
                expected: None,
                set: vec![("pool_optimizer".to_owned(), true.into())],
                who: "ada".to_owned(),
                why: "a test".to_owned(),
            };
            open().await.write(write).await.unwrap();
            let found = open().await.snapshot();
            assert!(found.enabled(&dspex::POOL_OPTIMIZER), "{at}");
        }
        assert!(file.is_file());
    }

    #[tokio::test]
    async fn a_store_that_is_not_there_is_told_without_its_password() {
        let folder = tempfile::tempdir().unwrap();
        let database = database(folder.path()).await;
        // Port 1 answers nobody; the folder is not there.
        let server = StoreAt::Postgres("postgres://ada:s3cret@127.0.0.1:1/dspex".to_owned());
        let file = StoreAt::File(folder.path().join("nowhere/flags.json"));
        for (at, says) in [(server, "flag store failed"), (file, "nowhere")] {
            let Err(error) = open(&at, &database.writer, &database.reader).await else {
                panic!("{at} opened");
            };
            let line = error.to_string();
            assert!(line.contains(says) && !line.contains("s3cret"), "{line}");
        }
    }
}
