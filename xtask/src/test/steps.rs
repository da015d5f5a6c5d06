//! The checks, in the order in which they run: the quick and the telling ones first.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::{Options, STEP_LIMIT, modules, nextest};
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::process::run_shown;
use crate::python::Python;
use crate::tidy;
use crate::venv::Venv;

/// One check.
pub(super) struct Step<'a> {
    pub(super) name: &'static str,
    pub(super) work: Work<'a>,
}

/// What a step does.
pub(super) enum Work<'a> {
    Command(Command),
    Here(Box<dyn FnOnce() -> Result<bool> + 'a>),
    Nothing(String),
}

/// The tests of the Python side: a step for each, and its folder.
pub(crate) const PYTESTS: [(&str, &str); 4] = [
    ("pytest, worker", "pool/python"),
    ("pytest, demo", "xtask/demo"),
    ("pytest, bench", "bench/rivals"),
    ("pytest, bench http", "bench/http"),
];

/// The requirement files: what programs need, what the tests of the Python side need, and
/// OpenFeature's own packages, with which the flags are asked for.
fn requirements(places: &Places) -> [PathBuf; 3] {
    let folder = places.root.join("pool/python");
    [
        folder.join("requirements-dspy.txt"),
        folder.join("requirements-test.txt"),
        places.root.join("app/tests/ofrep/requirements.txt"),
    ]
}

fn venv(places: &Places, interrupt: &Interrupt) -> Result<Venv> {
    let python = Python::find("DSPEX_TEST_BASE_PYTHON")?;
    Venv::ensure(places, "test", &python, &requirements(places), interrupt)
}

/// Gives tests what they ask for from outside: a Python with all packages, and OpenFeature's modules.
pub(crate) fn equip(tests: &mut Command, places: &Places, interrupt: &Interrupt) -> Result<()> {
    let venv = venv(places, interrupt)?;
    tests.env("DSPEX_TEST_PYTHON", venv.python());
    tests.env("DSPEX_TEST_OPENFEATURE_PYTHON", venv.python());
    tests.env(
        "DSPEX_TEST_OPENFEATURE_MODULES",
        modules(places, interrupt)?,
    );
    Ok(())
}

/// Every step.
pub(super) fn all<'a>(
    options: &Options,
    places: &'a Places,
    interrupt: &'a Interrupt,
) -> Result<Vec<Step<'a>>> {
    // A step of its own, so that its failure is a row; the steps after it ask again, and find it at once.
    let venv = move || venv(places, interrupt);
    let mut steps = vec![
        command("format", cargo(places, &["fmt", "--all", "--check"])),
        here("tidy", move || tidy::run(places)),
        here("locks of the workspaces apart", move || {
            locks(places, interrupt)
        }),
        command(
            "clippy",
            cargo(
                places,
                &[
                    "clippy",
                    "--workspace",
                    "--all-targets",
                    "--all-features",
                    "--",
                    "--deny=warnings",
                ],
            ),
        ),
        here("Python packages", move || venv().map(|_| true)),
        here("npm packages", move || {
            modules(places, interrupt).map(|_| true)
        }),
        here("cargo-nextest", move || {
            nextest::ensure(places, interrupt).map(|_| true)
        }),
        here("tests", move || {
            let runner = nextest::ensure(places, interrupt)?;
            let mut tests = cargo(places, &[]);
            runner.suite(&mut tests);
            equip(&mut tests, places, interrupt)?;
            run_shown(&mut tests, false, STEP_LIMIT, interrupt)
        }),
        here("ruff check", move || {
            ruff(places, &venv()?, &["check"], interrupt)
        }),
        here("ruff format", move || {
            ruff(places, &venv()?, &["format", "--check"], interrupt)
        }),
    ];
    steps.extend(
        PYTESTS
            .map(|(name, folder)| here(name, move || pytest(places, &venv()?, folder, interrupt))),
    );
    steps.push(page_tests(places)?);
    if !options.quick {
        steps.extend([
            command(
                "clippy without pool-v1",
                cargo(
                    places,
                    &[
                        "clippy",
                        "--package=dspex",
                        "--no-default-features",
                        "--all-targets",
                        "--",
                        "--deny=warnings",
                    ],
                ),
            ),
            command(
                "doc tests",
                cargo(places, &["test", "--workspace", "--doc", "--all-features"]),
            ),
            command("documentation", documentation(places)),
        ]);
    }
    Ok(steps)
}

/// Workspaces that nothing here builds: what they are locked to grows old unseen, and whoever builds
/// them is refused.
const APART: [&str; 2] = ["flags/rivals", "pool/fuzz"];

/// Whether the lock of each still fits its manifest and those of our crates that it takes in.
fn locks(places: &Places, interrupt: &Interrupt) -> Result<bool> {
    let mut fits = true;
    for folder in APART {
        let manifest = format!("{folder}/Cargo.toml");
        let mut update = cargo(places, &["update", "--workspace", "--locked", "--quiet"]);
        update.args(["--manifest-path", &manifest]);
        fits &= run_shown(&mut update, false, STEP_LIMIT, interrupt)?;
    }
    Ok(fits)
}

/// OpenFeature's web provider.
fn modules(places: &Places, interrupt: &Interrupt) -> Result<PathBuf> {
    modules::ensure(places, &places.root.join("app/tests/ofrep"), interrupt)
}

fn command(name: &'static str, command: Command) -> Step<'static> {
    Step {
        name,
        work: Work::Command(command),
    }
}

fn here<'a>(name: &'static str, check: impl FnOnce() -> Result<bool> + 'a) -> Step<'a> {
    Step {
        name,
        work: Work::Here(Box::new(check)),
    }
}

fn cargo(places: &Places, arguments: &[&str]) -> Command {
    let mut cargo = Command::new(Places::cargo());
    cargo.args(arguments).current_dir(&places.root);
    cargo
}

fn documentation(places: &Places) -> Command {
    let mut doc = cargo(
        places,
        &["doc", "--workspace", "--no-deps", "--all-features"],
    );
    doc.env("RUSTDOCFLAGS", "--deny=warnings");
    doc
}

/// Each folder of Python names its rules itself.
fn ruff(places: &Places, venv: &Venv, verb: &[&str], interrupt: &Interrupt) -> Result<bool> {
    let mut ruff = Command::new(venv.tool("ruff"));
    ruff.args(verb)
        .args(["pool/python", "xtask/demo", "bench", "app/tests", "flags"])
        .current_dir(&places.root);
    run_shown(&mut ruff, false, STEP_LIMIT, interrupt)
}

fn pytest(places: &Places, venv: &Venv, folder: &str, interrupt: &Interrupt) -> Result<bool> {
    let mut pytest = Command::new(venv.python());
    pytest
        .args(["-m", "pytest", "-q", "-c"])
        .arg(places.root.join("pool/python/pyproject.toml"))
        .arg(".")
        .current_dir(places.root.join(folder));
    run_shown(&mut pytest, false, STEP_LIMIT, interrupt)
}

/// The tests of the pages, once there are pages. `tidy` fails on a page without tests.
fn page_tests(places: &Places) -> Result<Step<'static>> {
    let folder = places.root.join("app/src/dashboard");
    let tests = test_files(&folder)?;
    let work = if tests.is_empty() {
        Work::Nothing("there is no page yet".to_owned())
    } else {
        let mut node = Command::new("node");
        node.arg("--test").args(tests).current_dir(folder);
        Work::Command(node)
    };
    Ok(Step {
        name: "page tests",
        work,
    })
}

fn test_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    if folder.is_dir() {
        for entry in std::fs::read_dir(folder)
            .with_context(|| format!("cannot read {}", folder.display()))?
        {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                found.extend(test_files(&path)?);
            } else if name.ends_with(".test.js") || name.ends_with(".test.mjs") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_tests_are_found_in_every_folder() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        assert!(
            test_files(&folder.path().join("none"))
                .expect("no folder")
                .is_empty()
        );
        let deep = folder.path().join("test");
        std::fs::create_dir(&deep).expect("made");
        for name in ["a.test.mjs", "test/b.test.js", "page.js"] {
            std::fs::write(folder.path().join(name), "").expect("written");
        }
        let found = test_files(folder.path()).expect("read");
        assert_eq!(
            found,
            [folder.path().join("a.test.mjs"), deep.join("b.test.js")]
        );
    }
}
