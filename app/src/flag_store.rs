//! Where the flags are kept, as the setting `flags.store` says.
//!
//! Invariant: a store that cannot be used is told at the start. One that goes away later takes nothing
//! with it: the last good flags are served, and `/readyz` and `/v1/status` say so.

use std::sync::Arc;
use std::time::Duration;

use dspex_flags::{FileStore, FlagError, FlagStore, PostgresStore, SqliteStore};
use sqlx::postgres::PgPoolOptions;

use crate::config::StoreAt;
use crate::storage::Store;

/// How long a write tries to reach a server that is gone, before a caller is told.
const ACQUIRE: Duration = Duration::from_secs(5);

/// The store is asked once in a `flags.poll`, and written by people: a few connections do.
const CONNECTIONS: u32 = 3;

/// Opens it, and brings its tables or its file to this version's form.
pub(crate) async fn open(at: &StoreAt, database: &Store) -> Result<Arc<dyn FlagStore>, FlagError> {
    Ok(match at {
        StoreAt::Database => {
            let (writer, reader) = (database.writer.clone(), database.reader.clone());
            Arc::new(SqliteStore::open(writer, reader).await?)
        }
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
