//! What tests that start real Python share.

use std::path::{Path, PathBuf};

use crate::launch::LaunchSpec;
use crate::testing::fixture_programs::MODULE;

/// The interpreter for tests: `DSPEX_TEST_PYTHON`, else `python3`. `cargo xtask test` sets the
/// variable to a virtual environment that has DSPy.
#[must_use]
pub fn python() -> PathBuf {
    std::env::var_os("DSPEX_TEST_PYTHON").map_or_else(|| "python3".into(), PathBuf::from)
}

/// The folder of the scripts and callables that tests run.
#[must_use]
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// How workers of a test are started: the embedded package unpacked into `folder`, the fixtures
/// importable and allowed.
///
/// # Panics
/// Where the folder cannot be written.
#[must_use]
pub fn launch(folder: &Path) -> LaunchSpec {
    let package = crate::python::unpack(folder).expect("a test's folder can be written");
    LaunchSpec {
        python: python(),
        python_path: vec![package, fixtures()],
        allow_modules: vec![MODULE.to_owned()],
        max_frame: 1024 * 1024,
        ..LaunchSpec::default()
    }
}
