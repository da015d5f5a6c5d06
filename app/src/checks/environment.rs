//! What a pool's interpreter can import, asked of it with the pool's own settings.

use std::collections::BTreeSet;
use std::time::Duration;

use dspex_pool::python::{Inspection, OLDEST_PYTHON, PythonError};
use dspex_pool::{Definition, Program};

use super::memory::PerWorker;
use super::{Check, Verdict};

/// How long all imports together may take. DSPy takes some seconds on a cold disk.
pub(crate) const IMPORTS_WITHIN: Duration = Duration::from_secs(60);

/// What every worker imports.
const WORKER: &str = "dspex_worker.server";
const DSPY: &str = "dspy";

/// The modules that these programs and this list need. Programs' own modules are on the list, or in a
/// package that is: they are named as they are imported.
pub(crate) fn modules_of<'a>(
    programs: impl IntoIterator<Item = &'a Program>,
    allowed: &[String],
    models: bool,
) -> Vec<String> {
    let mut modules: BTreeSet<String> = allowed.iter().cloned().collect();
    modules.insert(WORKER.to_owned());
    if models {
        modules.insert(DSPY.to_owned());
    }
    for program in programs {
        match &program.definition {
            Definition::Dspy { tools, .. } => {
                modules.insert(DSPY.to_owned());
                modules.extend(tools.iter().filter_map(|tool| module(&tool.to_string())));
            }
            Definition::Callable { target } => {
                modules.extend(module(&target.to_string()));
            }
        }
    }
    modules.into_iter().collect()
}

/// The module of `module:attribute`.
fn module(target: &str) -> Option<String> {
    Some(target.split_once(':')?.0.to_owned())
}

/// What was found, check by check, and what the process weighed that found it.
pub(crate) fn judge(
    pool: &str,
    found: Result<Inspection, PythonError>,
) -> (Vec<Check>, Option<PerWorker>) {
    let limit = format!("{}.{} or newer", OLDEST_PYTHON.0, OLDEST_PYTHON.1);
    let name = format!("python of {pool}");
    let found = match found {
        Ok(found) => found,
        Err(error) => {
            let hint = "name a Python that works in the pool's `python`, or in python.executable";
            let check = Check::ok(name, error.to_string(), &limit).but(Verdict::Unfit, hint);
            return (vec![check], None);
        }
    };
    let (major, minor, patch) = found.version;
    let value = format!(
        "{} {major}.{minor}.{patch} ({})",
        found.implementation, found.executable
    );
    let python = Check::ok(name, value, &limit).only_if(
        (major, minor) >= OLDEST_PYTHON,
        format!("give the pool Python {limit}"),
    );
    let weight = found.memory.map(|bytes| PerWorker {
        bytes,
        measured_on: format!("a process of {pool} with all imports"),
    });
    (vec![python, imports(pool, &found)], weight)
}

fn imports(pool: &str, found: &Inspection) -> Check {
    let all = found.modules.len();
    let failed: Vec<String> = found
        .modules
        .iter()
        .filter_map(|(name, module)| Some(format!("{name} ({})", module.error.as_ref()?)))
        .collect();
    let versions: Vec<String> = found
        .modules
        .iter()
        .filter(|(_, module)| module.error.is_none())
        .map(|(name, module)| match &module.version {
            Some(version) => format!("{name} {version}"),
            None => name.clone(),
        })
        .collect();
    let value = if failed.is_empty() {
        versions.join(", ")
    } else {
        format!("{} of {all}; not {}", versions.len(), failed.join(", "))
    };
    let limit = "every module that programs and python.allow_modules need";
    Check::ok(format!("modules of {pool}"), value, limit).only_if(
        failed.is_empty(),
        format!(
            "install what is missing: `{} -m pip install …`, or put its folder into the pool's `path`",
            found.executable
        ),
    )
}

#[cfg(test)]
mod tests {
    use dspex_pool::python::Imported;
    use serde_json::json;

    use super::*;

    fn program(definition: serde_json::Value) -> Program {
        serde_json::from_value(json!({
            "key": {"id": "p", "version": 1}, "definition": definition, "repeatable": true,
        }))
        .unwrap()
    }

    #[test]
    fn programs_name_their_modules() {
        let programs = [
            program(json!({"kind": "callable", "target": "shop.prices:quote"})),
            program(
                json!({"kind": "dspy", "signature": "q -> a", "module": "react",
                "tools": ["shop.tools:search"]}),
            ),
        ];
        let modules = modules_of(&programs, &["shop".to_owned()], false);
        assert_eq!(
            modules,
            [
                "dspex_worker.server",
                "dspy",
                "shop",
                "shop.prices",
                "shop.tools"
            ]
        );
        assert_eq!(modules_of(&[], &[], false), [WORKER]);
        assert_eq!(modules_of(&[], &[], true), [WORKER, DSPY]);
    }

    #[test]
    fn a_module_that_cannot_be_imported_is_named_with_its_reason() {
        let mut found = Inspection {
            version: (3, 12, 1),
            implementation: "CPython".to_owned(),
            executable: "/v/bin/python".to_owned(),
            modules: [(
                "dspy".to_owned(),
                Imported {
                    version: Some("3.1".to_owned()),
                    error: None,
                },
            )]
            .into(),
            memory: Some(7),
        };
        let (checks, weight) = judge("v2", Ok(found.clone()));
        assert!(checks.iter().all(|check| check.verdict == Verdict::Ok));
        assert_eq!(checks[1].value, "dspy 3.1");
        assert_eq!(weight.unwrap().bytes, 7);
        let error = Some("ImportError: no shop".to_owned());
        let missing = Imported {
            version: None,
            error,
        };
        found.modules.insert("shop".to_owned(), missing);
        found.version = (3, 9, 0);
        let (checks, _) = judge("v2", Ok(found));
        assert_eq!(checks[0].verdict, Verdict::Unfit);
        assert_eq!(checks[1].verdict, Verdict::Unfit);
        assert_eq!(checks[1].value, "1 of 2; not shop (ImportError: no shop)");
    }
}
