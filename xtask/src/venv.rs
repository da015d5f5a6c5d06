//! Virtual environments from pinned requirements, made once and reused.
//!
//! Invariant: a venv is used only if its marker is there. The marker is written last, so one whose
//! making was cut off is made anew; a lock keeps two makers of one venv apart. The folder's name
//! holds a hash of everything that decides its content: requirements, interpreter, version.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use sha2::{Digest as _, Sha256};

use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::process::run_logged;
use crate::progress::Progress;
use crate::python::Python;

/// A venv that is complete.
#[derive(Debug)]
pub(crate) struct Venv {
    folder: PathBuf,
}

impl Venv {
    /// The venv of these requirement files: the one at hand, or a new one.
    pub(crate) fn ensure(
        places: &Places,
        name: &str,
        python: &Python,
        requirements: &[PathBuf],
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let parent = places.cache.join("venvs");
        fs::create_dir_all(&parent)
            .with_context(|| format!("cannot make the folder {}", parent.display()))?;
        let key = key(python, requirements)?;
        let folder = parent.join(format!("{name}-{key}"));
        let lock_path = parent.join(format!("{name}-{key}.lock"));
        let lock = File::create(&lock_path)
            .with_context(|| format!("cannot write {}", lock_path.display()))?;
        while let Err(error) = lock.try_lock() {
            match error {
                TryLockError::WouldBlock => interrupt.sleep(Duration::from_millis(200))?,
                TryLockError::Error(error) => return Err(error).context("cannot lock the venv"),
            }
        }

        let venv = Self { folder };
        if venv.complete() {
            return Ok(venv);
        }
        if venv.folder.exists() {
            fs::remove_dir_all(&venv.folder).with_context(|| {
                format!("cannot remove the half-made {}", venv.folder.display())
            })?;
        }
        venv.make(places, name, python, requirements, interrupt)?;
        fs::write(venv.marker(), "complete\n").context("cannot mark the venv as complete")?;
        Ok(venv)
    }

    /// The venv's interpreter.
    pub(crate) fn python(&self) -> PathBuf {
        self.tool("python")
    }

    /// A program that the venv's packages brought.
    pub(crate) fn tool(&self, name: &str) -> PathBuf {
        self.folder.join("bin").join(name)
    }

    fn marker(&self) -> PathBuf {
        self.folder.join("dspex-complete")
    }

    /// The marker is there and the interpreter still starts: an upgrade of the system's Python
    /// leaves venvs whose interpreter is gone.
    fn complete(&self) -> bool {
        self.marker().exists() && Python::ask(self.python()).is_ok()
    }

    fn make(
        &self,
        places: &Places,
        name: &str,
        python: &Python,
        requirements: &[PathBuf],
        interrupt: &Interrupt,
    ) -> Result<()> {
        let progress = Progress::start(&format!("Python packages ({name})"));
        let log = places.log(&format!("venv-{name}"))?;
        run_logged(
            Command::new(&python.executable)
                .args(["-m", "venv", "--clear"])
                .arg(&self.folder),
            &log,
            &progress,
            interrupt,
        )
        .context("cannot make a venv; on Debian it needs the package python3-venv")?;
        let mut install = Command::new(self.python());
        install.args(["-m", "pip", "install", "--disable-pip-version-check"]);
        // A machine without a network should be told so in seconds.
        install.args(["--no-input", "--retries", "2"]);
        for file in requirements {
            install.arg("--requirement").arg(file);
        }
        run_logged(&mut install, &log, &progress, interrupt)
            .context("cannot install the Python packages")?;
        progress.done("installed");
        Ok(())
    }
}

/// Twelve hexadecimal digits over all that decides what is in the venv.
fn key(python: &Python, requirements: &[PathBuf]) -> Result<String> {
    let mut hash = Sha256::new();
    hash.update(python.version.as_bytes());
    hash.update(python.executable.as_os_str().as_encoded_bytes());
    for file in requirements {
        hash.update([0]);
        hash.update(read(file)?);
    }
    Ok(hash.finalize()[..6]
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    fs::read(file).with_context(|| format!("cannot read the requirements {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_follows_requirements_and_interpreter() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("requirements.txt");
        let python = |version: &str| Python {
            executable: PathBuf::from("python3"),
            version: version.to_owned(),
        };
        fs::write(&file, "a==1\n").expect("written");
        let files = [file.clone()];
        let first = key(&python("3.11.7"), &files).expect("a key");
        assert_eq!(first, key(&python("3.11.7"), &files).expect("a key"));
        assert_ne!(first, key(&python("3.12.0"), &files).expect("a key"));
        fs::write(&file, "a==2\n").expect("written");
        assert_ne!(first, key(&python("3.11.7"), &files).expect("a key"));
        key(&python("3.11.7"), &[folder.path().join("none.txt")]).expect_err("no such file");
    }

    #[test]
    fn a_folder_without_its_marker_is_not_complete() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let venv = Venv {
            folder: folder.path().to_owned(),
        };
        assert!(!venv.complete());
        fs::write(venv.marker(), "").expect("written");
        assert!(!venv.complete(), "there is no interpreter in it");
    }
}
