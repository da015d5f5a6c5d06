//! Where things are: the workspace, the target folder, and the cache of what xtask makes.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cargo_metadata::{Metadata, MetadataCommand};

/// The folders that the chores use.
#[derive(Debug)]
pub(crate) struct Places {
    /// The workspace's folder.
    pub(crate) root: PathBuf,
    /// Cargo's target folder, wherever the user put it.
    pub(crate) target: PathBuf,
    /// Venvs, installed tools and logs. `DSPEX_CACHE`, or a folder inside the target folder.
    pub(crate) cache: PathBuf,
    /// What cargo knows of our own crates.
    pub(crate) metadata: Metadata,
}

impl Places {
    /// Asks cargo where the workspace is.
    pub(crate) fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml");
        let metadata = MetadataCommand::new()
            .manifest_path(manifest)
            .no_deps()
            .exec()
            .context("cargo metadata failed for this workspace")?;
        let root = metadata.workspace_root.clone().into_std_path_buf();
        let target = metadata.target_directory.clone().into_std_path_buf();
        let cache = std::env::var_os("DSPEX_CACHE")
            .filter(|path| !path.is_empty())
            .map_or_else(|| target.join("xtask"), PathBuf::from);
        Ok(Self {
            root,
            target,
            cache,
            metadata,
        })
    }

    /// The cargo that runs us.
    pub(crate) fn cargo() -> PathBuf {
        std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
    }

    /// The release binary of dspex.
    pub(crate) fn release_binary(&self) -> PathBuf {
        self.target
            .join("release")
            .join(format!("dspex{}", std::env::consts::EXE_SUFFIX))
    }

    /// A file for the log of one chore, in a folder that exists.
    pub(crate) fn log(&self, name: &str) -> Result<PathBuf> {
        let folder = self.cache.join("logs");
        std::fs::create_dir_all(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        Ok(folder.join(format!("{name}.log")))
    }
}
