//! The interpreters that the lanes' pools are started with, what each can import, and DSPy in each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use dspex_pool::Spawner;
use dspex_pool::python::{OLDEST_PYTHON, PythonError, PythonInfo, inspect, probe, unpack};
use tokio_util::task::TaskTracker;

use super::environment::{self, IMPORTS_WITHIN};
use super::memory::{self, PerWorker};
use super::{Check, Verdict};
use crate::config::Config;

/// What was seen of the lanes' interpreters.
pub(crate) struct Seen {
    pub(crate) checks: Vec<Check>,
    /// What a worker was measured to weigh, by the heaviest pool.
    pub(crate) weight: Option<PerWorker>,
}

pub(crate) async fn examine(config: &Config) -> Seen {
    let mut seen = Seen {
        checks: Vec::new(),
        weight: None,
    };
    let tracker = TaskTracker::new();
    let (spawner, package) = match (Spawner::start(), Package::unpack()) {
        (Ok(spawner), Ok(package)) => (spawner, package),
        (Err(error), _) => {
            let check = Check::ok("python", format!("no thread to start it from: {error}"), "");
            seen.checks
                .push(check.but(Verdict::Unfit, "raise `ulimit -u`"));
            return seen;
        }
        (_, Err(error)) => {
            let value = format!("the workers' package cannot be unpacked: {error}");
            let hint = "set TMPDIR to a folder that can be written";
            seen.checks
                .push(Check::unknown("python", value, &limit(), hint));
            return seen;
        }
    };
    for (python, pools) in interpreters(config) {
        let found = probe(python, &spawner, &tracker).await;
        let models = !config.lms.is_empty();
        seen.checks
            .extend(judge(python, &pools.join(", "), &found, models));
        if found.is_err() {
            continue;
        }
        // One interpreter may see other modules in each pool, by the pool's own path and variables.
        for name in pools {
            let Some(pool) = config.pool(name) else {
                continue;
            };
            let spec = pool.launch(config, package.path());
            let modules = environment::modules_of([], &config.python.allow_modules, false);
            let inspected = inspect(&spec, &modules, IMPORTS_WITHIN, &spawner, &tracker).await;
            let (mut checks, weight) = environment::judge(name, inspected);
            // The interpreter itself is told of above.
            let imports = checks.pop();
            seen.checks.extend(imports);
            seen.weight = memory::larger(seen.weight, weight);
        }
    }
    seen
}

/// The interpreters of the pools that stand in a lane, with these pools: no other is ever started.
fn interpreters(config: &Config) -> BTreeMap<&Path, Vec<&str>> {
    let lanes = [Some(&config.lanes.stable), config.lanes.candidate.as_ref()];
    let mut interpreters = BTreeMap::<&Path, Vec<&str>>::new();
    for name in lanes.into_iter().flatten() {
        if let Some(pool) = config.pool(name) {
            interpreters
                .entry(pool.python(config))
                .or_default()
                .push(name);
        }
    }
    interpreters
}

/// The workers' package, in a folder that is gone when this is.
struct Package {
    folder: PathBuf,
    package: PathBuf,
}

impl Package {
    fn unpack() -> std::io::Result<Self> {
        let name = format!("dspex-doctor-{}", uuid::Uuid::new_v4().simple());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder)?;
        match unpack(&folder) {
            Ok(package) => Ok(Self { folder, package }),
            Err(error) => {
                let _ = std::fs::remove_dir_all(&folder);
                Err(error)
            }
        }
    }

    fn path(&self) -> &Path {
        &self.package
    }
}

impl Drop for Package {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn limit() -> String {
    format!("{}.{} or newer", OLDEST_PYTHON.0, OLDEST_PYTHON.1)
}

/// `models`: whether language models are configured, which only DSPy programs can use.
fn judge(
    python: &Path,
    pools: &str,
    found: &Result<PythonInfo, PythonError>,
    models: bool,
) -> Vec<Check> {
    let name = format!("python of {pools}");
    let info = match found {
        Ok(info) => info,
        Err(error) => {
            return vec![Check::ok(name, error.to_string(), &limit()).but(
                Verdict::Unfit,
                format!(
                    "install Python {} and name it with --set python.executable=PATH",
                    limit()
                ),
            )];
        }
    };
    let (major, minor, patch) = info.version;
    let version = format!("{major}.{minor}.{patch} ({})", python.display());
    let name_of_dspy = format!("dspy of {pools}");
    let dspy = match &info.dspy {
        Some(version) => Check::ok(name_of_dspy, version.clone(), "installed"),
        None => {
            let check = Check::ok(name_of_dspy, "not installed", "installed");
            let install = format!("`{} -m pip install dspy`", python.display());
            if models {
                check.but(
                    Verdict::Unfit,
                    format!(
                        "language models are configured, and only DSPy can use them: {install}"
                    ),
                )
            } else {
                check.but(
                    Verdict::Warning,
                    format!("callables can be served, DSPy programs cannot: {install}"),
                )
            }
        }
    };
    vec![Check::ok(name, version, &limit()), dspy]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(checks: &[Check]) -> Vec<Verdict> {
        checks.iter().map(|check| check.verdict).collect()
    }

    #[test]
    fn dspy_is_needed_only_where_models_are_configured() {
        let mut info = PythonInfo {
            version: (3, 11, 7),
            dspy: Some("3.4.1".to_owned()),
        };
        let judge = |info: &PythonInfo, models| {
            verdicts(&judge(
                Path::new("python3"),
                "v1",
                &Ok(info.clone()),
                models,
            ))
        };
        assert_eq!(judge(&info, true), [Verdict::Ok, Verdict::Ok]);
        info.dspy = None;
        assert_eq!(judge(&info, true), [Verdict::Ok, Verdict::Unfit]);
        assert_eq!(judge(&info, false), [Verdict::Ok, Verdict::Warning]);
    }

    #[test]
    fn an_old_python_is_unfit_and_says_which_it_is() {
        let old = PythonError::TooOld {
            python: "python3".into(),
            version: (3, 8, 1),
        };
        let checks = judge(Path::new("python3"), "v1", &Err(old), false);
        assert_eq!(verdicts(&checks), [Verdict::Unfit]);
        assert!(checks[0].value.contains("3.8.1"), "{}", checks[0].value);
    }
}
