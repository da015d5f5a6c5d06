//! The `dspex.toml` of a drill: one base for all, and what a drill lays over it.

use std::path::Path;

use anyhow::{Context, Result};
use serde_json::json;
use toml::{Table, Value};

use crate::live::model::Profile;

/// What differs from machine to machine and from drill to drill.
#[derive(Debug)]
pub(super) struct Base<'a> {
    pub(super) port: u16,
    /// The drill's folder: data, receipts of orders, the fault file. Workers carry its name in their
    /// environment, so that what is left of them can be found.
    pub(super) folder: &'a Path,
    pub(super) python: &'a Path,
    /// The folder of the programs.
    pub(super) programs: &'a Path,
    /// The model, for drills that ask one.
    pub(super) model: Option<&'a Profile>,
}

/// The file that the candidate's workers read their faults from.
pub(super) const FAULTS: &str = "faults";
/// The file with a line for each run of `order`.
pub(super) const ORDERS: &str = "orders";

const COMMON: &str = r#"
[log]
filter = "info,sqlx=warn"
[lanes]
stable = "v1"
candidate = "v2"
[pools.v1]
kind = "pool-v1"
workers = 4
[pools.v2]
kind = "pool-v2"
workers = 2
concurrency = 8
# A worker that stops dead is found in two seconds, and not in a minute and a half.
health_interval = "500ms"
health_timeout = "750ms"
recovery.health_failures = 2
[router]
call_timeout = "10s"
[flags]
poll = "100ms"
[migration]
interval = "200ms"
window = "10s"
window_limit = "1m"
drain_limit = "5s"
stages = [
    { percent = "10%", hold = "3s" },
    { percent = "25%", hold = "3s" },
    { percent = "50%", hold = "3s" },
    { percent = "100%", hold = "3s" },
]
[migration.validation]
# The suite takes its time, and rehearses faults itself; the drill `happy` has it.
run = "none"
[migration.thresholds]
# A real migration wants 50 samples and looks for hours; this one has seconds.
minimum_samples = 20
"#;

impl Base<'_> {
    /// The file's text, with the drill's own settings over the base.
    pub(super) fn with(&self, own: &str) -> Result<String> {
        let mut all: Table = COMMON.parse().context("the drills' base is no TOML")?;
        lay_over(&mut all, self.places()?);
        let own: Table = own.parse().context("the drill's settings are no TOML")?;
        lay_over(&mut all, own);
        Ok(format!("# Written by `cargo xtask drill`.\n{all}"))
    }

    fn places(&self) -> Result<Table> {
        let mut places = json!({
            "server": {
                "bind": format!("127.0.0.1:{}", self.port),
                "data_dir": self.folder.join("data"),
            },
            "python": {
                "executable": self.python,
                "path": [self.programs],
                "allow_modules": ["demo_programs", "drill_programs"],
                "env": {"DRILL_ORDERS": self.folder.join(ORDERS)},
            },
            "pools": {"v2": {"env": {"DRILL_FAULT_FILE": self.folder.join(FAULTS)}}},
        });
        if let Some(profile) = self.model {
            let mut lm = json!({"model": profile.model, "api_key_env": profile.key_env});
            if let Some(base) = &profile.api_base {
                lm["api_base"] = base.as_str().into();
            }
            places["lms"] = json!({"default": lm});
        }
        Table::try_from(places).context("the drill's places are no TOML")
    }
}

/// Tables are merged, anything else is replaced.
fn lay_over(below: &mut Table, above: Table) {
    for (key, value) in above {
        match (below.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => lay_over(below, above),
            (_, value) => {
                below.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drill_changes_what_it_names_and_nothing_else() {
        let profile = Profile {
            model: "openai/standin".to_owned(),
            api_base: Some("http://127.0.0.1:1/v1".to_owned()),
            key_env: "KEY".to_owned(),
        };
        let base = Base {
            port: 4711,
            folder: Path::new("/a \"quoted\" folder"),
            python: Path::new("/b/python"),
            programs: Path::new("/c"),
            model: Some(&profile),
        };
        let own = "[pools.v2]\nworkers = 1\n[migration]\nstages = []\n";
        let file: Table = base.with(own).expect("TOML").parse().expect("TOML");
        let v2 = &file["pools"]["v2"];
        assert_eq!(v2["workers"].as_integer(), Some(1));
        assert_eq!(v2["concurrency"].as_integer(), Some(8));
        assert_eq!(
            v2["env"]["DRILL_FAULT_FILE"].as_str(),
            Some("/a \"quoted\" folder/faults")
        );
        assert_eq!(file["server"]["bind"].as_str(), Some("127.0.0.1:4711"));
        assert!(
            file["migration"]["stages"]
                .as_array()
                .is_some_and(Vec::is_empty)
        );
        assert_eq!(
            file["lms"]["default"]["model"].as_str(),
            Some("openai/standin")
        );
        assert!(base.with("nonsense").is_err());
    }
}
