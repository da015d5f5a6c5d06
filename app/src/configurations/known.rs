//! Which versions of pools there are, and which is stable: as a server has them, or as its first start
//! would.

use std::path::Path;

use sqlx::Connection as _;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

use crate::config::{Config, nearest};
use crate::pools::PoolVersion;

/// See the module.
#[derive(Debug)]
pub(crate) struct Known {
    versions: Vec<PoolVersion>,
    stable: PoolVersion,
}

impl Known {
    /// By this database, which a server may have open; by the configuration where there is no database, or
    /// nothing in it is stable yet. Nothing is made or written.
    ///
    /// # Errors
    /// Why the database cannot be read, in one line.
    pub(crate) async fn of(config: &Config, database: &Path) -> Result<Self, String> {
        if database.is_file()
            && let Some(known) = read(database).await.map_err(|error| error.to_string())?
        {
            return Ok(known);
        }
        let first = |name: &str| PoolVersion::new(name, 1);
        Ok(Self {
            versions: config.pools.keys().map(|name| first(name)).collect(),
            stable: first(&config.lanes.stable),
        })
    }

    /// The version that serves as stable.
    pub(crate) fn stable(&self) -> &PoolVersion {
        &self.stable
    }

    /// Which version of this name is meant: this one, or the newest.
    ///
    /// # Errors
    /// What to say where there is none.
    pub(crate) fn find(&self, name: &str, version: Option<u32>) -> Result<PoolVersion, String> {
        find(self.versions.iter(), name, version)
    }
}

async fn read(database: &Path) -> Result<Option<Known>, sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .read_only(true);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    let rows = rows(&mut connection).await;
    // It was only looked at: how it closes is nobody's concern.
    let _ = connection.close().await;
    let rows = rows?;
    let stable = rows.iter().find(|(.., active)| *active);
    let Some((name, version, _)) = stable else {
        return Ok(None);
    };
    let stable = PoolVersion::new(name, *version);
    let versions = rows.iter();
    Ok(Some(Known {
        versions: versions
            .map(|(name, version, _)| PoolVersion::new(name, *version))
            .collect(),
        stable,
    }))
}

async fn rows(connection: &mut SqliteConnection) -> Result<Vec<(String, u32, bool)>, sqlx::Error> {
    let table: Option<String> =
        sqlx::query_scalar("SELECT name FROM sqlite_master WHERE name = 'pool_configurations'")
            .fetch_optional(&mut *connection)
            .await?;
    if table.is_none() {
        return Ok(Vec::new());
    }
    sqlx::query_as("SELECT name, version, active FROM pool_configurations ORDER BY name, version")
        .fetch_all(connection)
        .await
}

/// Which of these versions is meant: this one of the name, or its newest.
///
/// # Errors
/// What to say where there is none.
pub(super) fn find<'a>(
    all: impl Iterator<Item = &'a PoolVersion> + Clone,
    name: &str,
    version: Option<u32>,
) -> Result<PoolVersion, String> {
    let versions = all.clone().filter(|pool| pool.name == name);
    let Some(newest) = versions.clone().map(|pool| pool.version).max() else {
        let mut known: Vec<&str> = all.map(|pool| pool.name.as_str()).collect();
        known.dedup();
        return Err(match nearest(name, known.iter().copied()) {
            Some(near) => format!("there is no pool {name:?}; did you mean {near:?}?"),
            None => format!("there is no pool {name:?}; there are: {}", known.join(", ")),
        });
    };
    match version {
        None => Ok(PoolVersion::new(name, newest)),
        Some(version) if versions.clone().any(|pool| pool.version == version) => {
            Ok(PoolVersion::new(name, version))
        }
        Some(version) => Err(format!(
            "the pool {name:?} has no version {version}; its newest is {newest}"
        )),
    }
}
