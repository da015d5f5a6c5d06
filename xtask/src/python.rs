//! The Python that the chores use: found, asked for its version, refused when it is too old.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// The oldest version that dspex runs on.
const OLDEST: (u32, u32) = (3, 10);

/// An interpreter that answered.
#[derive(Debug, Clone)]
pub(crate) struct Python {
    /// What to start.
    pub(crate) executable: PathBuf,
    /// Such as `3.11.7`.
    pub(crate) version: String,
}

impl Python {
    /// The interpreter that `variable` names, or `python3`.
    pub(crate) fn find(variable: &str) -> Result<Self> {
        let named = std::env::var_os(variable).filter(|value| !value.is_empty());
        let executable = named
            .clone()
            .map_or_else(|| PathBuf::from("python3"), PathBuf::from);
        let hint = if named.is_some() {
            format!("{variable} names it: point it at a Python 3.10 or newer")
        } else {
            format!("install Python 3.10 or newer, or set {variable} to one")
        };
        Self::ask(executable).with_context(|| hint)
    }

    /// Starts the interpreter once and reads its version.
    pub(crate) fn ask(executable: PathBuf) -> Result<Self> {
        let shown = executable.display().to_string();
        let output = Command::new(&executable)
            .args(["-c", "import platform; print(platform.python_version())"])
            .stdin(Stdio::null())
            .output()
            .with_context(|| format!("cannot start the Python {shown:?}"))?;
        if !output.status.success() {
            bail!(
                "the Python {shown:?} failed ({}): {}",
                output.status,
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        check_version(&version).with_context(|| format!("the Python {shown:?} does not do"))?;
        Ok(Self {
            executable,
            version,
        })
    }
}

fn check_version(version: &str) -> Result<()> {
    let mut parts = version.split('.').map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (parts.next(), parts.next()) else {
        bail!("it says its version is {version:?}");
    };
    if (major, minor) < OLDEST {
        bail!(
            "it is {version}, and {}.{} is the oldest that dspex runs on",
            OLDEST.0,
            OLDEST.1
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_odd_versions_are_refused() {
        check_version("3.10.0").expect("old enough");
        check_version("3.14.1+").expect("new enough");
        let error = check_version("3.9.18").expect_err("too old").to_string();
        assert!(
            error.contains("3.9.18") && error.contains("3.10"),
            "{error}"
        );
        check_version("2.7.18").expect_err("too old");
        check_version("junk").expect_err("no version");
    }

    #[test]
    fn an_interpreter_that_is_not_there_is_named() {
        let error = Python::ask(PathBuf::from("/nonexistent/python")).expect_err("not there");
        assert!(format!("{error:#}").contains("/nonexistent/python"));
    }
}
