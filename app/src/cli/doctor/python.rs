//! The interpreters that the lanes' pools are started with, and DSPy in each.

use std::collections::BTreeMap;
use std::path::Path;

use dspex_pool::Spawner;
use dspex_pool::python::{OLDEST_PYTHON, PythonError, PythonInfo, probe};
use tokio_util::task::TaskTracker;

use super::{Check, Verdict};
use crate::config::Config;

pub(super) async fn examine(config: &Config) -> Vec<Check> {
    // Only pools that stand in a lane are ever started.
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
    let mut checks = Vec::new();
    let tracker = TaskTracker::new();
    for (python, pools) in interpreters {
        let found = match Spawner::start() {
            Ok(spawner) => probe(python, &spawner, &tracker).await,
            Err(error) => {
                let value = format!("no thread to start it from: {error}");
                let check = Check::ok("python", value, &limit());
                checks.push(check.but(Verdict::Unfit, "raise `ulimit -u`"));
                continue;
            }
        };
        checks.extend(judge(
            python,
            &pools.join(", "),
            &found,
            !config.lms.is_empty(),
        ));
    }
    checks
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
