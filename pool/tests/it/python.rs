//! What an interpreter is asked before it is used.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use dspex_pool::python::{OLDEST_PYTHON, PythonError, PythonInfo, inspect, probe};
use dspex_pool::testing::real;
use dspex_pool::{LaunchSpec, Spawner};
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

async fn look(
    spec: &LaunchSpec,
    modules: &[&str],
) -> Result<dspex_pool::python::Inspection, PythonError> {
    let modules: Vec<String> = modules.iter().map(|name| (*name).to_owned()).collect();
    let (spawner, tracker) = (Spawner::start().unwrap(), TaskTracker::new());
    inspect(spec, &modules, Duration::from_secs(30), &spawner, &tracker).await
}

#[tokio::test]
async fn an_environment_is_asked_what_a_worker_of_it_could_import() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join("chatty.py"),
        "import os\nprint('hello')\n__version__ = '7.1'\nSEEN = os.environ.get('SEEN')\nassert SEEN",
    )
    .unwrap();
    std::fs::write(folder.path().join("leaves.py"), "raise SystemExit(3)").unwrap();
    let mut spec = real::launch(folder.path());
    spec.python_path.push(folder.path().to_owned());
    spec.env.insert("SEEN".to_owned(), "yes".to_owned());
    let found = look(&spec, &["json", "chatty", "leaves", "no_such_module"])
        .await
        .unwrap();
    assert!(
        (found.version.0, found.version.1) >= OLDEST_PYTHON,
        "{found:?}"
    );
    assert!(!found.implementation.is_empty() && !found.executable.is_empty());
    assert!(
        found.memory.is_some_and(|bytes| bytes > 1 << 20),
        "{found:?}"
    );
    let error = |name: &str| found.modules[name].error.clone();
    assert_eq!(error("json"), None);
    assert_eq!(error("chatty"), None, "what it prints is not the answer");
    assert_eq!(found.modules["chatty"].version.as_deref(), Some("7.1"));
    assert!(error("leaves").unwrap().contains("SystemExit"));
    assert!(
        error("no_such_module")
            .unwrap()
            .contains("ModuleNotFoundError")
    );
}

#[tokio::test]
async fn imports_that_never_end_are_given_up_and_ended() {
    let folder = tempfile::tempdir().unwrap();
    let slow = "import time\ntime.sleep(600)";
    std::fs::write(folder.path().join("slow.py"), slow).unwrap();
    let mut spec = real::launch(folder.path());
    spec.python_path.push(folder.path().to_owned());
    let modules = ["slow".to_owned()];
    let (spawner, tracker) = (Spawner::start().unwrap(), TaskTracker::new());
    let limit = Duration::from_millis(500);
    let error = inspect(&spec, &modules, limit, &spawner, &tracker).await;
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("did not end within 500ms")
    );
    tracker.close();
    // Whoever watches the process ends with it.
    tokio::time::timeout(Duration::from_secs(20), tracker.wait())
        .await
        .unwrap();
}
