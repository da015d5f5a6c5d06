//! What an interpreter is asked before it is used.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use dspex_pool::Spawner;
use dspex_pool::python::{OLDEST_PYTHON, PythonError, PythonInfo, probe};
use dspex_pool::testing::real;
use tokio_util::task::TaskTracker;

async fn ask(python: &Path) -> Result<PythonInfo, PythonError> {
    probe(python, &Spawner::start().unwrap(), &TaskTracker::new()).await
}

fn script(folder: &Path, text: &str) -> PathBuf {
    let path = folder.join("python");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path
}

#[tokio::test]
async fn a_real_interpreter_tells_its_version() {
    let info = ask(&real::python()).await.unwrap();
    assert!(
        (info.version.0, info.version.1) >= OLDEST_PYTHON,
        "{info:?}"
    );
}

#[tokio::test]
async fn an_old_interpreter_is_refused_with_its_version() {
    let folder = tempfile::tempdir().unwrap();
    let old = script(
        folder.path(),
        r#"echo '{"version": [3, 8, 2], "dspy": null}'"#,
    );
    let error = ask(&old).await.unwrap_err();
    assert!(
        matches!(
            error,
            PythonError::TooOld {
                version: (3, 8, 2),
                ..
            }
        ),
        "{error:?}"
    );
    assert!(error.to_string().contains("3.10 or newer"), "{error}");
}

#[tokio::test]
async fn what_is_no_interpreter_is_told_with_its_last_words() {
    let folder = tempfile::tempdir().unwrap();
    let other = script(folder.path(), "echo I make tea >&2; exit 4");
    let error = ask(&other).await.unwrap_err().to_string();
    assert!(
        error.contains("exit code 4") && error.contains("I make tea"),
        "{error}"
    );
    let error = ask(Path::new("no-such-python")).await.unwrap_err();
    assert!(matches!(error, PythonError::Spawn(_)), "{error:?}");
}
