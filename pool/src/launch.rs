//! How workers of a pool are started: data that every pool's configuration shares.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// What a worker's process is started with.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct LaunchSpec {
    /// The Python interpreter.
    pub python: PathBuf,
    /// Folders put in front of Python's module path, the unpacked `dspex_worker` among them.
    pub python_path: Vec<PathBuf>,
    /// Variables set in the worker.
    pub env: BTreeMap<String, String>,
    /// Names of our own variables that the worker may see, beside those that name an LM's key.
    pub pass_env: Vec<String>,
    /// Python modules from which callables and tools may come. A listed package covers its
    /// submodules.
    pub allow_modules: Vec<String>,
    /// LM profiles by name.
    pub lms: BTreeMap<String, LmProfile>,
    /// The longest frame, in bytes.
    pub max_frame: usize,
    /// What the system lets a worker use.
    pub limits: WorkerLimits,
}

/// Limits that the kernel holds a worker to. What is not set stays as it is for us.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerLimits {
    /// Address space in bytes (`RLIMIT_AS`): beyond it Python raises `MemoryError`. It counts what is
    /// reserved and not what is used: each thread reserves some 75 MB, so leave room for the
    /// worker's concurrency.
    pub address_space: Option<u64>,
    /// Open files (`RLIMIT_NOFILE`).
    pub open_files: Option<u64>,
    /// Processes and threads that the worker and what it started may have together. They are counted
    /// by us, five times a second, and over it all of them are killed: the kernel's own limit counts
    /// a user's processes, so one worker's excess would be its siblings' refusal, and does not hold
    /// for root.
    pub processes: Option<u64>,
}

/// A language model that programs may name. Callers of the API never give an address or a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LmProfile {
    /// The model as DSPy names it, such as `openai/gpt-4o-mini`.
    pub model: String,
    /// The provider's base address; the provider's own where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_base: Option<String>,
    /// The *name* of the environment variable that holds the key. Never the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// Sampling temperature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    /// The longest answer, in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u32>,
    /// Whether DSPy may answer from its cache. Off, so that two lanes are compared on real work.
    #[serde(default)]
    pub cache: bool,
}

/// Variables of ours that every worker may see.
const ALWAYS_PASSED: [&str; 8] = [
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TMPDIR",
    "TZ",
    "SSL_CERT_FILE",
    "REQUESTS_CA_BUNDLE",
];

impl LaunchSpec {
    /// The whole environment of a worker: a short list of harmless variables, those that the
    /// configuration passes or sets, and the keys of the LM profiles.
    #[must_use]
    pub fn environment(&self) -> BTreeMap<OsString, OsString> {
        let keys = self.key_names();
        let names = ALWAYS_PASSED
            .into_iter()
            .chain(self.pass_env.iter().map(String::as_str));
        let mut env: BTreeMap<OsString, OsString> = names
            .chain(keys)
            .filter_map(|name| Some((name.into(), std::env::var_os(name)?)))
            .collect();
        env.insert("PYTHONUNBUFFERED".into(), "1".into());
        env.insert(
            "DSPEX_ALLOW_MODULES".into(),
            self.allow_modules.join(",").into(),
        );
        env.insert("DSPEX_MAX_FRAME".into(), self.max_frame.to_string().into());
        if let Ok(path) = std::env::join_paths(&self.python_path) {
            env.insert("PYTHONPATH".into(), path);
        }
        env.extend(
            self.env
                .iter()
                .map(|(name, value)| (name.into(), value.into())),
        );
        env
    }

    /// The environment of a process that must not know a key, even where one is passed or set by
    /// another line of the configuration.
    #[must_use]
    pub fn environment_without_keys(&self) -> BTreeMap<OsString, OsString> {
        let mut env = self.environment();
        for name in self.key_names() {
            env.remove(OsStr::new(name));
        }
        env
    }

    fn key_names(&self) -> impl Iterator<Item = &str> {
        self.lms.values().filter_map(|lm| lm.api_key_env.as_deref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_sees_only_what_is_listed() {
        let spec = LaunchSpec {
            env: BTreeMap::from([("SET".to_owned(), "1".to_owned())]),
            pass_env: vec!["CARGO_PKG_NAME".to_owned()],
            ..LaunchSpec::default()
        };
        let env = spec.environment();
        assert_eq!(env.get(&OsString::from("SET")), Some(&OsString::from("1")));
        assert!(env.contains_key(&OsString::from("CARGO_PKG_NAME")));
        assert!(
            !env.contains_key(&OsString::from("CARGO_MANIFEST_DIR")),
            "it was never listed"
        );
    }
}
