//! A store in one file, for a program that has no database.
//!
//! Invariants: the file is replaced whole, by a rename after a sync, so whoever reads it sees one
//! revision, also after a power cut; writers of all processes hold the lock file beside it from
//! reading to renaming. A file that cannot be read is never taken for an empty one, and never
//! written over; nor is one whose values are not what its history says. The whole history is in the
//! file: it is meant for hundreds of changes, and a database for more.

mod document;

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;

use self::document::Document;
use super::{FlagStore, Stored};
use crate::audit::{Change, Write};
use crate::error::FlagError;
use crate::revision::Revision;

/// How often the watch looks whether the file is another one. A look is one system call, and it
/// works where a kernel's notices do not, such as on network file systems.
const LOOK: Duration = Duration::from_millis(200);

const READING: &str = "reading its file";
const WRITING: &str = "writing its file";
const COPYING: &str = "copying its contents";

/// How often a copy is begun anew because the flags have changed meanwhile. People write them.
const COPY_TRIES: u32 = 5;

/// A [`FlagStore`] in a file of JSON.
///
/// The file is written by this store alone: what somebody changes in it by hand is not what the history
/// in it says, and is [told](FlagError::ByHand) and neither served nor written over.
#[derive(Debug, Clone)]
pub struct FileStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    /// What was read last, and of which file.
    read: Mutex<Option<(Stamp, Arc<Document>)>>,
    /// The file that the watch saw last.
    watched: Mutex<Option<Stamp>>,
}

/// What tells one file from the next under the same name.
type Stamp = (u64, u64, i64, i64);

impl FileStore {
    /// Opens the store in the file of that name; it is made by the first write.
    ///
    /// # Errors
    ///
    /// [`FlagError::SchemaTooNew`] if a newer program has written it, [`FlagError::ByHand`] if somebody
    /// has changed it, [`FlagError::BrokenFile`] if it is no file of flags, [`FlagError::Store`] if it
    /// cannot be read, or its folder cannot be written.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, FlagError> {
        let store = Self(Arc::new(Inner {
            path: path.into(),
            read: Mutex::default(),
            watched: Mutex::default(),
        }));
        // So that a folder which cannot be written is told now and not at the first rollback.
        store
            .blocking(WRITING, |inner| {
                inner.lock()?;
                inner.read().map(|_| ())
            })
            .await?;
        Ok(store)
    }

    /// Everything that another store holds, as a file of this one: a store that is opened on it goes on
    /// where that one was, with its revision and its history.
    ///
    /// # Errors
    ///
    /// Where the other store cannot be read, or is written faster than it can be; and
    /// [`FlagError::ByHand`] for one whose values are not what its history says.
    pub async fn copy_of(store: &dyn FlagStore) -> Result<Vec<u8>, FlagError> {
        for _ in 0..COPY_TRIES {
            let stored = store.load().await?;
            let history = store.history(usize::MAX).await?;
            // Two reads: nothing may have been written between them.
            if store.revision().await? == stored.revision {
                let document = Document::of(&stored, &history)?;
                return serde_json::to_vec_pretty(&document)
                    .map_err(|error| FlagError::store(COPYING, error));
            }
        }
        Err(FlagError::store(COPYING, "it is written all the time"))
    }

    /// On a thread that may wait. What was begun there ends, whether or not anybody waits for it.
    async fn blocking<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Inner) -> Result<T, FlagError> + Send + 'static,
    ) -> Result<T, FlagError> {
        let inner = self.0.clone();
        tokio::task::spawn_blocking(move || work(&inner))
            .await
            .map_err(|died| FlagError::store(doing, died))?
    }
}

#[async_trait]
impl FlagStore for FileStore {
    async fn load(&self) -> Result<Stored, FlagError> {
        let document = self.blocking(READING, Inner::read).await?;
        document.stored()
    }

    async fn write(&self, write: &Write, at: Timestamp) -> Result<Revision, FlagError> {
        write.check()?;
        let write = write.clone();
        self.blocking(WRITING, move |inner| inner.write(&write, at))
            .await
    }

    async fn revision(&self) -> Result<Revision, FlagError> {
        let document = self.blocking(READING, Inner::read).await?;
        Ok(document.revision)
    }

    async fn changed(&self) {
        loop {
            tokio::time::sleep(LOOK).await;
            let path = self.0.path.clone();
            let stamp = tokio::fs::metadata(path).await.ok();
            let stamp = stamp.as_ref().map(stamp_of);
            let mut watched = lock(&self.0.watched);
            if *watched != stamp {
                *watched = stamp;
                return;
            }
        }
    }

    async fn history(&self, limit: usize) -> Result<Vec<Change>, FlagError> {
        let document = self.blocking(READING, Inner::read).await?;
        document.history(limit)
    }
}

impl Inner {
    /// The file's contents; parsed anew only where it is another file.
    fn read(&self) -> Result<Arc<Document>, FlagError> {
        let failed = |error: std::io::Error| self.failed(READING, &error);
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Arc::default()),
            Err(error) => return Err(failed(error)),
        };
        let stamp = stamp_of(&file.metadata().map_err(failed)?);
        if let Some((read, document)) = &*lock(&self.read)
            && *read == stamp
        {
            return Ok(document.clone());
        }
        let mut text = Vec::new();
        std::io::Read::read_to_end(&mut file, &mut text).map_err(failed)?;
        let document = Arc::new(Document::parse(&text, &self.path)?);
        *lock(&self.read) = Some((stamp, document.clone()));
        Ok(document)
    }

    fn write(&self, write: &Write, at: Timestamp) -> Result<Revision, FlagError> {
        let _held = self.lock()?;
        let mut document = Document::clone(&*self.read()?);
        write.check_expected(document.revision)?;
        document.apply(write, at)?;
        self.replace(&document)?;
        Ok(document.revision)
    }

    fn replace(&self, document: &Document) -> Result<(), FlagError> {
        let failed = |error: std::io::Error| self.failed(WRITING, &error);
        let text = serde_json::to_vec_pretty(document).map_err(|error| failed(error.into()))?;
        let new = self.beside(".new");
        let mut file = File::create(&new).map_err(failed)?;
        file.write_all(&text).map_err(failed)?;
        file.sync_all().map_err(failed)?;
        std::fs::rename(&new, &self.path).map_err(failed)?;
        // The rename itself: a folder is synced like a file.
        let folder = self
            .path
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        let folder = File::open(folder.unwrap_or(Path::new("."))).map_err(failed)?;
        folder.sync_all().map_err(failed)
    }

    /// Held until it is dropped, and let go of by the kernel if the process ends.
    fn lock(&self) -> Result<File, FlagError> {
        let failed = |error: std::io::Error| self.failed(WRITING, &error);
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.beside(".lock"))
            .map_err(failed)?;
        file.lock().map_err(failed)?;
        Ok(file)
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(suffix);
        name.into()
    }

    fn failed(&self, doing: &'static str, error: &std::io::Error) -> FlagError {
        FlagError::store(doing, format!("{}: {error}", self.path.display()))
    }
}

fn stamp_of(metadata: &std::fs::Metadata) -> Stamp {
    let (ino, len) = (metadata.ino(), metadata.len());
    (ino, len, metadata.mtime(), metadata.mtime_nsec())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
