//! The app's own sections: server, log, storage, lanes, Python, telemetry.
//!
//! Invariant: no defaults here. `default.toml` is the one place that has them, so that what it says
//! is what happens.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use dspex_pool::WorkerLimits;
use serde::{Deserialize, Deserializer};

use super::error::ConfigError;
use super::units::{ByteSize, duration};

/// An empty text stands for nothing: figment's layers can overwrite a value, but not remove one.
pub(super) fn text_or_none<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    Ok(Some(text).filter(|text| !text.trim().is_empty()))
}

/// `[server]`: the HTTP server and the data directory.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Server {
    /// Address to listen on; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Names under which it is asked without a token, beside those of this machine.
    pub allowed_hosts: Vec<String>,
    /// Folder of the database, the lock and the admin token's hash.
    pub data_dir: PathBuf,
    /// Name of the variable with the programs API's token.
    #[serde(deserialize_with = "text_or_none")]
    pub programs_token_env: Option<String>,
    /// Longest request body.
    pub max_body: ByteSize,
    /// Deepest nesting of a JSON body, in levels.
    pub max_json_depth: usize,
    /// Connections open at once.
    pub max_connections: usize,
    /// A new connection's first byte must come within this time.
    #[serde(with = "duration")]
    pub first_byte_timeout: Duration,
    /// A request's headers must be complete within this time.
    #[serde(with = "duration")]
    pub header_timeout: Duration,
    /// A request's body must be complete within this time.
    #[serde(with = "duration")]
    pub body_timeout: Duration,
    /// A client that takes in nothing of its answer for this time is cut off.
    #[serde(with = "duration")]
    pub write_timeout: Duration,
    /// Calls in flight may finish within this time after SIGTERM.
    #[serde(with = "duration")]
    pub drain_limit: Duration,
}

impl Server {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        positive("server.first_byte_timeout", self.first_byte_timeout)?;
        positive("server.header_timeout", self.header_timeout)?;
        positive("server.body_timeout", self.body_timeout)?;
        positive("server.write_timeout", self.write_timeout)?;
        at_least_one("server.max_connections", self.max_connections)?;
        at_least_one("server.max_body", self.max_body.0)?;
        // serde_json stops at 128 by itself, with words that no caller could act on.
        if !(1..=120).contains(&self.max_json_depth) {
            return Err(ConfigError::of(
                "server.max_json_depth",
                format!("must be 1 to 120 levels, not {}", self.max_json_depth),
            ));
        }
        Ok(())
    }
}

/// `[log]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogSection {
    /// For people or for machines.
    pub format: LogFormat,
    /// An `EnvFilter` directive list.
    pub filter: String,
}

/// How a log line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[storage]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Storage {
    /// Connections that read.
    pub readers: u32,
    /// How long a statement waits for another process's lock.
    #[serde(with = "duration")]
    pub busy_timeout: Duration,
    /// Backups that are kept.
    pub keep_backups: usize,
}

impl Storage {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        at_least_one("storage.keep_backups", self.keep_backups)?;
        at_least_one("storage.readers", self.readers as usize)
    }
}

/// `[lanes]`: which pool stands where.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lanes {
    /// The pool that serves.
    pub stable: String,
    /// The pool that a migration brings in.
    #[serde(deserialize_with = "text_or_none")]
    pub candidate: Option<String>,
}

/// `[python]`: how workers of every pool are started.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PythonSection {
    /// The interpreter, by path or by name on `PATH`.
    pub executable: PathBuf,
    /// Folders put in front of the module path.
    pub path: Vec<PathBuf>,
    /// Variables set in the worker.
    pub env: BTreeMap<String, String>,
    /// Names of our variables that workers may see.
    pub pass_env: Vec<String>,
    /// Modules from which callables and tools may come.
    pub allow_modules: Vec<String>,
    /// What the system lets a worker use.
    pub limits: Limits,
    /// Longest frame between the server and a worker.
    pub max_frame: ByteSize,
}

/// `[python.limits]`: what the system lets a worker use; 0 is no limit. Text could say it better, but
/// layers can overwrite a value and not remove one.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Address space.
    pub address_space: ByteSize,
    /// Open files.
    pub open_files: u64,
    /// Processes and threads.
    pub processes: u64,
}

/// What every worker has beside the threads that run its calls: those that read and that it may hand
/// over to, the event loop, and what it starts to begin with.
pub(crate) const LEAST_PROCESSES: u64 = 8;

impl Limits {
    /// No limit at all.
    pub(crate) const NONE: Self = Self {
        address_space: ByteSize(0),
        open_files: 0,
        processes: 0,
    };

    /// As the pools take them.
    #[must_use]
    pub(crate) fn of_worker(self) -> WorkerLimits {
        let limit = |number| Some(number).filter(|number| *number > 0);
        WorkerLimits {
            address_space: limit(self.address_space.0 as u64),
            open_files: limit(self.open_files),
            processes: limit(self.processes),
        }
    }

    /// Names the limit under which no Python starts, with what would do.
    pub(crate) fn check(self) -> Result<(), (&'static str, String)> {
        let least = |setting, value: u64, least: u64, words: &str| {
            if value == 0 || value >= least {
                return Ok(());
            }
            Err((
                setting,
                format!("must be 0 for no limit, or at least {words}"),
            ))
        };
        let space = self.address_space.0 as u64;
        least("limits.address_space", space, 128 << 20, "\"128MiB\"")?;
        least("limits.open_files", self.open_files, 32, "32")?;
        self.check_processes(LEAST_PROCESSES)
    }

    /// The same for processes and threads, where a worker is known to need so many by itself.
    pub(crate) fn check_processes(self, needed: u64) -> Result<(), (&'static str, String)> {
        if self.processes == 0 || self.processes >= needed {
            return Ok(());
        }
        Err((
            "limits.processes",
            format!(
                "{} is too few: threads count, and a worker has up to {needed} of its own; 0 is no \
                 limit",
                self.processes
            ),
        ))
    }
}

/// `[telemetry]`
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetrySection {
    /// How far back the windows reach.
    #[serde(with = "duration")]
    pub span: Duration,
    /// Width of one slot of a window.
    #[serde(with = "duration")]
    pub slot: Duration,
    /// Programs counted one by one.
    pub max_programs: usize,
    /// How often the host is sampled.
    #[serde(with = "duration")]
    pub host_interval: Duration,
}

impl TelemetrySection {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        positive("telemetry.slot", self.slot)?;
        positive("telemetry.host_interval", self.host_interval)?;
        if self.span < self.slot {
            return Err(ConfigError::of(
                "telemetry.span",
                "must not be shorter than telemetry.slot",
            ));
        }
        // Each slot that was used takes memory; a day of seconds is more than anybody looks at.
        if self.span.as_nanos() / self.slot.as_nanos() > 86_400 {
            return Err(ConfigError::of(
                "telemetry.slot",
                "telemetry.span must not hold more than 86,400 of them",
            ));
        }
        Ok(())
    }
}

pub(super) fn positive(key: &str, value: Duration) -> Result<(), ConfigError> {
    if value.is_zero() {
        return Err(ConfigError::of(key, "must be longer than nothing"));
    }
    Ok(())
}

pub(super) fn at_least_one(key: &str, value: usize) -> Result<(), ConfigError> {
    if value == 0 {
        return Err(ConfigError::of(key, "must be at least 1"));
    }
    Ok(())
}
