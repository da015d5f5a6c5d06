//! What every act and drill needs: the release binary, a Python with DSPy, a language model.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::model::{self, MODEL, Model};
use crate::interrupt::{Interrupt, Interrupted};
use crate::places::Places;
use crate::process::run_shown;
use crate::python::Python;
use crate::venv::Venv;

/// Names the Python that the venv is made with.
const PYTHON: &str = "DSPEX_DEMO_PYTHON";
/// A first release build takes minutes on two cores; one that takes this long hangs.
const BUILD_LIMIT: Duration = Duration::from_secs(60 * 60);

/// Everything that was made ready. The model's stand-in ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Setup<'a> {
    pub(crate) places: &'a Places,
    /// The dspex to drive.
    pub(crate) binary: PathBuf,
    /// The workers' interpreter.
    pub(crate) python: PathBuf,
    /// `xtask/demo`.
    pub(crate) folder: PathBuf,
    /// The model; none where there is no DSPy that could ask it.
    pub(crate) model: Option<Model>,
}

impl<'a> Setup<'a> {
    /// Starts what callables alone need: nothing but Python. Builds the release binary where none is
    /// named.
    pub(crate) fn plain(
        binary: Option<PathBuf>,
        places: &'a Places,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        let python = Python::find(PYTHON)?;
        let binary = match binary {
            // The server is started in a folder of its own.
            Some(binary) => std::path::absolute(binary).context("the path of the binary")?,
            None => build(places, interrupt)?,
        };
        Ok(Self {
            places,
            binary,
            python: python.executable,
            folder: places.root.join("xtask/demo"),
            model: None,
        })
    }

    /// Installs and starts what DSPy needs too. Where it cannot be installed, callables are what is
    /// left.
    pub(crate) fn make(
        binary: Option<PathBuf>,
        places: &'a Places,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        // Asked first: it takes no time, and who has no Python, or no key, should not wait for a
        // build to be told so.
        let python = Python::find(PYTHON)?;
        let choice = model::users_choice()?;
        let binary = match binary {
            // The server is started in a folder of its own.
            Some(binary) => std::path::absolute(binary).context("the path of the binary")?,
            None => build(places, interrupt)?,
        };
        let folder = places.root.join("xtask/demo");
        let requirements = places.root.join("pool/python/requirements-dspy.txt");
        let venv = match Venv::ensure(places, "dspy", &python, &[requirements], interrupt) {
            Ok(venv) => Some(venv),
            Err(error) if error.is::<Interrupted>() => return Err(error),
            Err(error) => {
                eprintln!("{error:#}");
                eprintln!(
                    "DSPy cannot be installed (is a package registry reachable?): callables alone can run, which need nothing but Python"
                );
                None
            }
        };
        let (python, model) = match venv {
            None => (python.executable, None),
            Some(venv) => {
                let model = Model::start(choice, &venv.python(), &folder)
                    .context("there is no language model to ask")?;
                if !model.exact() {
                    eprintln!(
                        "asking {} ({MODEL}), a few thousand times; it may cost money",
                        model.profile().model
                    );
                }
                (venv.python(), Some(model))
            }
        };
        Ok(Self {
            places,
            binary,
            python,
            folder,
            model,
        })
    }
    /// The interpreter of another environment, with another DSPy than the workers' own. The first time it
    /// is installed, which takes a minute.
    pub(crate) fn another_dspy(&self, interrupt: &Interrupt) -> Result<PathBuf> {
        let python = Python::find(PYTHON)?;
        let requirements = self.folder.join("requirements-another-dspy.txt");
        let venv = Venv::ensure(
            self.places,
            "another-dspy",
            &python,
            &[requirements],
            interrupt,
        )?;
        Ok(venv.python())
    }
}

/// Builds the release binary, and says where it is.
pub(crate) fn build(places: &Places, interrupt: &Interrupt) -> Result<PathBuf> {
    eprintln!("building the release binary …");
    let mut build = Command::new(Places::cargo());
    build
        .args(["build", "--release", "--package=dspex", "--bin=dspex"])
        .current_dir(&places.root);
    ensure!(
        run_shown(&mut build, true, BUILD_LIMIT, interrupt)?,
        "the release binary cannot be built; what cargo says is above"
    );
    Ok(places.release_binary())
}
