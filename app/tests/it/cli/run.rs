//! Runs the shipped binary and keeps what it said.

use std::io::Write as _;
use std::process::{Command, Stdio};

/// What a run of `dspex` left behind.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: Option<i32>,
    pub(super) out: String,
    pub(super) err: String,
}

impl Ran {
    /// The standard output as JSON.
    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts the exit code, and shows everything where it is another.
    #[track_caller]
    pub(super) fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }

    /// Asserts that standard error has this text.
    #[track_caller]
    pub(super) fn says(self, text: &str) -> Self {
        assert!(self.err.contains(text), "{text:?} is missing: {self:?}");
        self
    }
}

/// Runs `dspex` in an empty folder with nothing of our environment but the path.
pub(super) fn dspex(arguments: &[&str]) -> Ran {
    dspex_with(arguments, &[], "")
}

/// The same with variables and standard input.
#[expect(
    clippy::disallowed_methods,
    reason = "the test starts the shipped binary, and waits for its end right here"
)]
pub(super) fn dspex_with(arguments: &[&str], env: &[(&str, &str)], input: &str) -> Ran {
    let folder = tempfile::tempdir().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_dspex"))
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap_or_default())
        .env("USER", "ada")
        .envs(env.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A child that ends without reading has closed its side: that is its right.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}
