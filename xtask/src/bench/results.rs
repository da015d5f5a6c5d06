//! `bench/results/`: what a run found, as JSON, for a later run to be held against.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::places::Places;

/// The results of one subject.
#[derive(Debug, Clone, Copy)]
pub(super) struct Results(&'static str);

impl Results {
    pub(super) const POOL: Self = Self("pool");
    pub(super) const CORE: Self = Self("core");
    pub(super) const HTTP: Self = Self("http");
    pub(super) const MIGRATE: Self = Self("migrate");

    /// The name of its files.
    pub(super) fn name(self) -> &'static str {
        self.0
    }

    /// Whether there is one.
    pub(super) fn is_there(self, places: &Places) -> bool {
        self.path(places).is_file()
    }

    /// What was checked in.
    pub(super) fn read<T: DeserializeOwned>(self, places: &Places) -> Result<T> {
        let path = self.path(places);
        let text = fs::read_to_string(&path)
            .with_context(|| format!("there is no earlier result in {}", path.display()))?;
        serde_json::from_str(&text)
            .with_context(|| format!("{} is not a result of this program", path.display()))
    }

    /// What was checked in, for a run that is to be held against it.
    pub(super) fn before<T: DeserializeOwned>(
        self,
        compare: bool,
        places: &Places,
    ) -> Result<Option<T>> {
        compare.then(|| self.read(places)).transpose()
    }

    pub(super) fn write(self, places: &Places, record: &impl Serialize) -> Result<()> {
        let path = self.path(places);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)
                .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        }
        let text = serde_json::to_string_pretty(record)? + "\n";
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn path(self, places: &Places) -> PathBuf {
        places.root.join(format!("bench/results/{}.json", self.0))
    }
}
