//! The language model behind the programs: a stand-in of our own, or one of the user's.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::process::Group;

/// Names the model that is asked in place of the stand-in, such as `openai/gpt-4o-mini`.
pub(crate) const MODEL: &str = "DSPEX_DEMO_MODEL";
/// Names the variable that holds its key; the provider's usual one where it is not set.
pub(crate) const KEY_ENV: &str = "DSPEX_DEMO_KEY_ENV";
/// The address of an OpenAI-compatible server, where the model is not at its provider's own.
pub(crate) const API_BASE: &str = "DSPEX_DEMO_API_BASE";

/// A model as a profile of dspex's configuration names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) model: String,
    pub(crate) api_base: Option<String>,
    pub(crate) key_env: String,
}

/// What answers.
#[derive(Debug)]
pub(crate) enum Model {
    /// Answers from the data file; it ends when this is dropped.
    StandIn { profile: Profile, _process: Group },
    /// Costs the user money, so it is only asked on their word.
    Users(Profile),
}

/// The user's model, where they name one and its key is there.
pub(crate) fn users_choice() -> Result<Option<Profile>> {
    let set = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    set(MODEL).map(|model| users(&model, set)).transpose()
}

impl Model {
    /// The user's model where they chose one, otherwise the stand-in.
    pub(crate) fn start(choice: Option<Profile>, python: &Path, folder: &Path) -> Result<Self> {
        match choice {
            Some(profile) => Ok(Self::Users(profile)),
            None => stand_in(python, folder),
        }
    }

    /// How dspex reaches it.
    pub(crate) fn profile(&self) -> &Profile {
        match self {
            Self::StandIn { profile, .. } | Self::Users(profile) => profile,
        }
    }

    /// Makes the stand-in fail every call with this status, or answer again.
    pub(crate) fn fail_with(&self, status: Option<u16>) -> Result<()> {
        let Some(base) = self.profile().api_base.as_deref().filter(|_| self.exact()) else {
            bail!("a model of your own cannot be made to fail: unset {MODEL}");
        };
        ureq::put(format!("{base}/standin/outage"))
            .config()
            .proxy(None)
            .build()
            .send_json(serde_json::json!({"status": status}))
            .context("the stand-in does not take the order to fail")?;
        Ok(())
    }

    /// How often the stand-in was asked by this name, as it stands behind the provider's in a profile.
    pub(crate) fn asked(&self, name: &str) -> Result<u64> {
        let Some(base) = self.profile().api_base.as_deref().filter(|_| self.exact()) else {
            bail!("a model of your own does not tell how often it was asked: unset {MODEL}");
        };
        let asked: Value = ureq::get(format!("{base}/standin/asked"))
            .config()
            .proxy(None)
            .build()
            .call()
            .and_then(|mut answer| answer.body_mut().read_json())
            .context("the stand-in does not tell how often it was asked")?;
        Ok(asked[name].as_u64().unwrap_or(0))
    }

    /// Whether its answers are known beforehand.
    pub(crate) fn exact(&self) -> bool {
        matches!(self, Self::StandIn { .. })
    }
}

/// The variable in which the stand-in's key stands. It wants none; DSPy wants one.
pub(crate) const STAND_IN_KEY: &str = "DEMO_STANDIN_KEY";

fn stand_in(python: &Path, folder: &Path) -> Result<Model> {
    let mut command = Command::new(python);
    command
        .arg(folder.join("lm_standin.py"))
        .arg("--answers")
        .arg(folder.join("questions.jsonl"))
        // It ends when this pipe does, even if we are killed and can end nothing.
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut process = Group::start(&mut command, Duration::from_secs(1))?;
    let out = process.child().stdout.take().context("it has no output")?;
    let mut line = String::new();
    BufReader::new(out)
        .read_line(&mut line)
        .context("cannot read the stand-in's port")?;
    let port = serde_json::from_str::<Value>(&line)
        .ok()
        .and_then(|said| said["port"].as_u64());
    let Some(port) = port else {
        bail!("the language-model stand-in did not start; it said {line:?}");
    };
    let profile = Profile {
        model: "openai/standin".to_owned(),
        api_base: Some(format!("http://127.0.0.1:{port}/v1")),
        key_env: STAND_IN_KEY.to_owned(),
    };
    Ok(Model::StandIn {
        profile,
        _process: process,
    })
}

fn users(model: &str, set: impl Fn(&str) -> Option<String>) -> Result<Profile> {
    let provider = model
        .split_once('/')
        .map_or("openai", |(provider, _)| provider);
    let key_env = set(KEY_ENV).unwrap_or_else(|| format!("{}_API_KEY", provider.to_uppercase()));
    if set(&key_env).is_none() {
        bail!(
            "{MODEL} is {model:?}, but its key is not set: put it into {key_env}, or name another variable in {KEY_ENV}"
        );
    }
    Ok(Profile {
        model: model.to_owned(),
        api_base: set(API_BASE),
        key_env,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_users_model_needs_its_key() {
        let nothing = |_: &str| None;
        let error = users("anthropic/some-model", nothing).expect_err("no key");
        assert!(error.to_string().contains("ANTHROPIC_API_KEY"), "{error}");
        let key = |name: &str| (name == "ANTHROPIC_API_KEY").then(|| "secret".to_owned());
        let profile = users("anthropic/some-model", key).expect("the key is there");
        assert_eq!(profile.key_env, "ANTHROPIC_API_KEY");
        assert_eq!(profile.api_base, None);
        let own = |name: &str| match name {
            KEY_ENV => Some("MY_KEY".to_owned()),
            "MY_KEY" => Some("secret".to_owned()),
            API_BASE => Some("http://127.0.0.1:1/v1".to_owned()),
            _ => None,
        };
        let profile = users("openai/some-model", own).expect("the key is there");
        assert_eq!(profile.key_env, "MY_KEY");
        assert_eq!(profile.api_base.as_deref(), Some("http://127.0.0.1:1/v1"));
    }
}
