//! The `dspex.toml` that the demo writes: what a user would write, with holds of seconds.

use std::path::Path;
use std::time::Duration;

use toml::Value;

use crate::live::model::Profile;

/// The stages of the design, each with the seconds it is held at speed 1: long enough for some
/// two hundred sessions, because few sessions say little about a share.
pub(super) const STAGES: [(u32, f64); 6] = [
    (5, 12.0),
    (10, 12.0),
    (25, 12.0),
    (50, 12.0),
    (75, 12.0),
    (100, 8.0),
];

/// What differs from act to act and from machine to machine.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    /// Where the database goes.
    pub(super) data_dir: &'a Path,
    /// The interpreter of the workers.
    pub(super) python: &'a Path,
    /// The folder of `demo_programs.py`.
    pub(super) programs: &'a Path,
    /// The model, where there is DSPy to ask it.
    pub(super) model: Option<&'a Profile>,
    /// The candidate's `DEMO_FAULT`.
    pub(super) fault: Option<&'a str>,
    /// Divides the holds.
    pub(super) speed: f64,
}

impl Settings<'_> {
    /// The file's text.
    pub(super) fn toml(&self) -> String {
        let mut text = format!(
            r#"# Written by `cargo xtask demo`.
[server]
bind = "127.0.0.1:0"
data_dir = {data_dir}

[log]
filter = "info,sqlx=warn"

[lanes]
stable = "v1"
candidate = "v2"

[python]
executable = {python}
path = [{programs}]
allow_modules = ["demo_programs"]

[pools.v1]
kind = "pool-v1"
workers = 8

[pools.v2]
kind = "pool-v2"
workers = 2
concurrency = 8
preload = {preload}
# A worker that stops dead is found in two seconds, and not in a minute and a half.
health_interval = "500ms"
health_timeout = "750ms"
recovery.health_failures = 2

[router]
call_timeout = "20s"

[migration]
interval = "250ms"
window = "10s"
window_limit = "2m"
drain_limit = "5s"

[migration.thresholds]
# A real migration wants 50 samples and looks for hours; this one has seconds.
minimum_samples = 20
"#,
            data_dir = path(self.data_dir),
            python = path(self.python),
            programs = path(self.programs),
            // So that the candidate's first calls do not wait for an import.
            preload = if self.model.is_some() {
                "[\"dspy\"]"
            } else {
                "[]"
            },
        );
        for (percent, seconds) in STAGES {
            let hold = Duration::from_secs_f64(seconds / self.speed).as_millis();
            text.push_str(&format!(
                "\n[[migration.stages]]\npercent = {percent}\nhold = \"{hold}ms\"\n"
            ));
        }
        if let Some(profile) = self.model {
            text.push_str(&format!(
                "\n[lms.default]\nmodel = {}\napi_key_env = {}\n",
                quoted(&profile.model),
                quoted(&profile.key_env)
            ));
            if let Some(base) = &profile.api_base {
                text.push_str(&format!("api_base = {}\n", quoted(base)));
            }
        }
        if let Some(fault) = self.fault {
            text.push_str(&format!(
                "\n# Broken on purpose: see demo_programs.py.\n[pools.v2.env]\nDEMO_FAULT = {}\n",
                quoted(fault)
            ));
        }
        text
    }
}

fn quoted(text: &str) -> String {
    Value::String(text.to_owned()).to_string()
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_toml_whatever_the_paths_are() {
        let profile = Profile {
            model: "openai/standin".to_owned(),
            api_base: Some("http://127.0.0.1:1/v1".to_owned()),
            key_env: "KEY".to_owned(),
        };
        let settings = Settings {
            data_dir: Path::new("/a \"quoted\" folder"),
            python: Path::new("/b/python"),
            programs: Path::new("/c"),
            model: Some(&profile),
            fault: Some("crash=0.5"),
            speed: 2.0,
        };
        let file: toml::Table = settings.toml().parse().expect("TOML");
        assert_eq!(
            file["server"]["data_dir"].as_str(),
            Some("/a \"quoted\" folder")
        );
        assert_eq!(
            file["pools"]["v2"]["env"]["DEMO_FAULT"].as_str(),
            Some("crash=0.5")
        );
        let stages = file["migration"]["stages"].as_array().expect("stages");
        assert_eq!(stages.len(), 6);
        assert_eq!(stages[0]["hold"].as_str(), Some("6000ms"));
        assert_eq!(stages[5]["percent"].as_integer(), Some(100));
    }
}
