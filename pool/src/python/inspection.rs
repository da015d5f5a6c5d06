//! What an environment can import, asked of its own interpreter with a worker's own settings.
//!
//! The process that answers has imported what a worker would have to: so what it weighs then is what
//! one worker weighs that shares nothing with others.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio_util::task::TaskTracker;

use super::PythonError;
use crate::bridge::explain_end;
use crate::launch::LaunchSpec;
use crate::process::{Launch, Spawner, Wire, WireEnd};

/// What the interpreter runs. What imports print goes to standard error.
const SCRIPT: &str = include_str!("inspection.py");

/// What an environment is.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Inspection {
    /// Major, minor, patch.
    pub version: (u32, u32, u32),
    /// Such as `CPython`.
    pub implementation: String,
    /// The interpreter's own path.
    pub executable: String,
    /// What became of each module that was asked for.
    pub modules: BTreeMap<String, Imported>,
    /// What the process weighed after all of it, in bytes (PSS); [`None`] where the kernel does not
    /// tell.
    pub memory: Option<u64>,
}

/// What became of one import.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Imported {
    /// The version of the package that the module comes from, where it has one.
    pub version: Option<String>,
    /// Why it cannot be imported, where it cannot.
    pub error: Option<String>,
}

/// Imports these modules as a worker of this pool would, in a process of its own that ends with it.
///
/// # Errors
/// Where the interpreter cannot be started, is something else, or has not answered within `limit`.
pub async fn inspect(
    spec: &LaunchSpec,
    modules: &[String],
    limit: Duration,
    spawner: &Spawner,
    tracker: &TaskTracker,
) -> Result<Inspection, PythonError> {
    let not_python = |reason: String| PythonError::NotPython {
        python: spec.python.clone(),
        reason,
    };
    let asked = serde_json::to_string(modules).map_err(|error| not_python(error.to_string()))?;
    let launch = Launch {
        name: "python-inspection".to_owned(),
        program: spec.python.clone(),
        args: vec!["-c".into(), SCRIPT.into(), asked.into()],
        // An import must not be able to send a key anywhere.
        env: spec.environment_without_keys(),
        wire: Wire::Stdio,
        limits: spec.limits,
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
    // Dropping the process ends it, and whatever an import has started.
    match tokio::time::timeout(limit, stdout.read_to_end(&mut answer)).await {
        Err(_) => Err(not_python(format!(
            "its imports did not end within {limit:?}"
        ))),
        Ok(Err(error)) => Err(not_python(error.to_string())),
        Ok(Ok(_)) => match serde_json::from_slice(&answer) {
            Ok(inspection) => Ok(inspection),
            Err(_) => Err(not_python(explain_end(&process).await)),
        },
    }
}
