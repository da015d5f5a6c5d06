//! The options by which commands find the server's configuration, and its loading.

use std::path::PathBuf;

use clap::Args;

use super::exit::Failure;
use crate::config::{Config, Sources};

/// Where the configuration comes from, beside the defaults and the environment.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Configuration")]
pub(crate) struct Settings {
    /// The configuration file; dspex.toml of the working directory where there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Override one setting, such as server.bind=127.0.0.1:9000; may be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = setting)]
    set: Vec<String>,
    /// Listen on this address; short for --set server.bind=ADDRESS.
    #[arg(long, value_name = "ADDRESS")]
    bind: Option<String>,
    /// Keep data in this folder; short for --set server.data_dir=DIR.
    #[arg(long, value_name = "DIR")]
    data_dir: Option<String>,
}

fn setting(text: &str) -> Result<String, String> {
    match text.split_once('=') {
        Some((key, _)) if !key.is_empty() => Ok(text.to_owned()),
        _ => Err("write it as section.key=value".to_owned()),
    }
}

impl Settings {
    /// The sources in order of precedence.
    pub(crate) fn sources(self) -> Sources {
        let mut set = self.set;
        // Quoted, so that a folder named 2026 stays text.
        let quoted = |key: &str, value: String| format!("server.{key}=\"{value}\"");
        set.extend(self.bind.map(|bind| quoted("bind", bind)));
        set.extend(self.data_dir.map(|folder| quoted("data_dir", folder)));
        Sources::of_process(self.config, set)
    }

    /// Loads and checks the configuration.
    pub(crate) fn load(self) -> Result<Config, Failure> {
        Ok(Config::load(&self.sources())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_options_come_after_settings_and_stay_text() {
        let settings = Settings {
            set: vec!["server.bind=127.0.0.1:1".to_owned()],
            bind: Some("127.0.0.1:2".to_owned()),
            data_dir: Some("2026".to_owned()),
            ..Settings::default()
        };
        assert_eq!(
            settings.sources().set,
            [
                "server.bind=127.0.0.1:1",
                "server.bind=\"127.0.0.1:2\"",
                "server.data_dir=\"2026\""
            ]
        );
    }
}
