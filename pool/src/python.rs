//! The Python side: the embedded package, and what an interpreter can do.

mod inspection;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio_util::task::TaskTracker;

pub use self::inspection::{Imported, Inspection, inspect};
use crate::bridge::explain_end;
use crate::launch::WorkerLimits;
use crate::process::{Launch, SpawnError, Spawner, Wire, WireEnd};

/// The oldest Python that runs the workers.
pub const OLDEST_PYTHON: (u32, u32) = (3, 10);

/// The module of harmless callables that a server itself calls; see `probe.py`.
pub const PROBE_MODULE: &str = "dspex_worker.probe";

/// How long an interpreter may take to tell its version.
const PROBE_LIMIT: Duration = Duration::from_secs(20);

/// The files of the package `dspex_worker`, by their path inside it.
macro_rules! package {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_str!(concat!("../python/dspex_worker/", $file)))),*]
    };
}

const PACKAGE: &[(&str, &str)] = package![
    "__init__.py",
    "__main__.py",
    "annotation.py",
    "bridge.py",
    "callable_engine.py",
    "chunks.py",
    "dspy_engine.py",
    "dspy_module.py",
    "dspy_session.py",
    "dspy_warmup.py",
    "engine.py",
    "entry.py",
    "errors.py",
    "execution.py",
    "guardian.py",
    "job.py",
    "log.py",
    "output.py",
    "pace.py",
    "probe.py",
    "reader.py",
    "scheduler.py",
    "server.py",
    "stateful_callable.py",
    "usage.py",
    "warmup.py",
    "wire.py",
    "zygote.py",
];

/// What an interpreter is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PythonInfo {
    /// Major, minor, patch.
    pub version: (u32, u32, u32),
    /// The installed DSPy's version, where there is one. It was not imported.
    pub dspy: Option<String>,
}

/// Why an interpreter cannot be used.
#[derive(Debug, Clone, thiserror::Error)]
pub enum PythonError {
    /// It could not be started.
    #[error("no usable Python: {0}")]
    Spawn(#[from] SpawnError),
    /// It is older than [`OLDEST_PYTHON`].
    #[error(
        "{python:?} is Python {}.{}.{}; dspex needs {}.{} or newer",
        version.0, version.1, version.2, OLDEST_PYTHON.0, OLDEST_PYTHON.1
    )]
    TooOld {
        /// As configured.
        python: PathBuf,
        /// What it is.
        version: (u32, u32, u32),
    },
    /// It did not answer like a Python interpreter.
    #[error("{python:?} does not answer like a Python interpreter: {reason}")]
    NotPython {
        /// As configured.
        python: PathBuf,
        /// What it did.
        reason: String,
    },
}

const PROBE: &str = "\
import sys, json
try:
    from importlib.metadata import version
    dspy = version('dspy')
except Exception:
    dspy = None
print(json.dumps({'version': list(sys.version_info[:3]), 'dspy': dspy}))
";

#[derive(Deserialize)]
struct Probed {
    version: (u32, u32, u32),
    dspy: Option<String>,
}

/// Asks an interpreter what it is, by running it.
///
/// # Errors
/// Where there is none, it is too old, or it is something else.
pub async fn probe(
    python: &Path,
    spawner: &Spawner,
    tracker: &TaskTracker,
) -> Result<PythonInfo, PythonError> {
    let not_python = |reason: String| PythonError::NotPython {
        python: python.into(),
        reason,
    };
    let env: BTreeMap<OsString, OsString> = ["PATH", "HOME"]
        .into_iter()
        .filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
        .collect();
    let launch = Launch {
        name: "python-probe".to_owned(),
        program: python.to_owned(),
        args: vec!["-c".into(), PROBE.into()],
        env,
        wire: Wire::Stdio,
        limits: WorkerLimits::default(),
        guardian: None,
    };
    let (process, wire) = spawner.spawn(launch, tracker).await?;
    let WireEnd::Stdio { mut stdout, stdin } = wire else {
        return Err(not_python(
            "it was started without standard output".to_owned(),
        ));
    };
    drop(stdin);
    let mut answer = Vec::new();
    match tokio::time::timeout(PROBE_LIMIT, stdout.read_to_end(&mut answer)).await {
        Err(_) => Err(not_python(format!("no answer within {PROBE_LIMIT:?}"))),
        Ok(Err(error)) => Err(not_python(error.to_string())),
        Ok(Ok(_)) => match serde_json::from_slice::<Probed>(&answer) {
            Ok(Probed { version, .. }) if (version.0, version.1) < OLDEST_PYTHON => {
                Err(PythonError::TooOld {
                    python: python.into(),
                    version,
                })
            }
            Ok(Probed { version, dspy }) => Ok(PythonInfo { version, dspy }),
            Err(_) => Err(not_python(explain_end(&process).await)),
        },
    }
}

/// Writes the embedded package under `folder` and answers the folder for Python's module path.
/// The folder's name carries the contents' hash: another version is another folder, and a running
/// worker's files never change under it.
///
/// # Errors
/// Where the folder cannot be written.
pub fn unpack(folder: &Path) -> io::Result<PathBuf> {
    let mut hash = Sha256::new();
    for (name, text) in PACKAGE {
        hash.update(name);
        hash.update([0]);
        hash.update(text);
        hash.update([0]);
    }
    let hash: String = hash
        .finalize()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let home = folder.join(format!("dspex-worker-{hash}"));
    let package = home.join("dspex_worker");
    std::fs::create_dir_all(&package)?;
    for (name, text) in PACKAGE {
        let path = package.join(name);
        if std::fs::read(&path).is_ok_and(|there| there == text.as_bytes()) {
            continue;
        }
        // Written aside and renamed: a second server, or a crash, never leaves half a file.
        let aside = package.join(format!(".{name}.{}", std::process::id()));
        std::fs::write(&aside, text)?;
        std::fs::rename(&aside, &path)?;
    }
    Ok(home)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_module_of_the_package_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("python/dspex_worker");
        let mut there: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name.ends_with(".py"))
            .collect();
        there.sort();
        let embedded: Vec<&str> = PACKAGE.iter().map(|(name, _)| *name).collect();
        assert_eq!(embedded, there);
    }

    #[test]
    fn unpacking_twice_mends_what_was_changed() {
        let folder = tempfile::tempdir().unwrap();
        let home = unpack(folder.path()).unwrap();
        let file = home.join("dspex_worker/wire.py");
        std::fs::write(&file, "broken").unwrap();
        assert_eq!(unpack(folder.path()).unwrap(), home);
        assert!(std::fs::read_to_string(&file).unwrap().len() > "broken".len());
    }
}
