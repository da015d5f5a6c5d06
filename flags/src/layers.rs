//! What lies under the store: compiled defaults, then configuration, then the environment.
//!
//! Invariant: every value was read as its flag's kind; a name that is no flag is an error.

use serde::Serialize;
use serde_json::Value;

use crate::declared::Declared;
use crate::error::FlagError;
use crate::value::FlagValue;

/// Where a flag's value comes from; a later one lies over an earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Layer {
    /// The default in the declaration.
    Compiled,
    /// The program's configuration.
    Configuration,
    /// The program's environment.
    Environment,
    /// The store.
    Store,
    /// This process, in which it is lowered until the store has it: see
    /// [`Flags::override_until_written`](crate::Flags::override_until_written).
    Lowered,
}

/// What lies between the compiled defaults and the store; see [`crate::Flags::open_layered`].
#[derive(Debug, Clone, Default)]
pub struct Layers {
    configuration: Vec<(String, Value)>,
    environment: Vec<(String, String)>,
}

impl Layers {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds what a configuration sets, by the flags' keys.
    #[must_use]
    pub fn configuration(mut self, set: impl IntoIterator<Item = (String, Value)>) -> Self {
        self.configuration.extend(set);
        self
    }

    /// Adds those variables whose names begin with the prefix: `PREFIX` and the flag's key in
    /// capitals, such as `APP_FLAG_NEW_SEARCH` with the prefix `APP_FLAG_`. The variables are handed
    /// in, such as by `std::env::vars()`: this crate reads no environment by itself.
    #[must_use]
    pub fn environment(
        mut self,
        prefix: &str,
        variables: impl IntoIterator<Item = (String, String)>,
    ) -> Self {
        let ours = variables.into_iter().filter_map(|(name, value)| {
            let key = name.strip_prefix(prefix)?.to_ascii_lowercase();
            Some((key, value))
        });
        self.environment.extend(ours);
        self
    }

    /// Lays them over the compiled defaults, in the order of the declarations.
    pub(crate) fn over(self, declared: &Declared) -> Result<Base, FlagError> {
        let defaults = declared.all().iter();
        let mut base = Base {
            values: defaults
                .map(|declaration| declaration.default.clone())
                .collect(),
            layers: vec![Layer::Compiled; declared.all().len()].into(),
        };
        let environment = self.environment.into_iter();
        let environment = environment.map(|(key, text)| (key, text.into(), Layer::Environment));
        let configuration = self.configuration.into_iter();
        let configuration = configuration.map(|(key, json)| (key, json, Layer::Configuration));
        for (key, json, layer) in configuration.chain(environment) {
            let value = declared.get(&key)?.read(&json)?;
            if let Some(place) = declared.place(&key) {
                (base.values[place], base.layers[place]) = (value, layer);
            }
        }
        Ok(base)
    }
}

/// What a flag has where the store has nothing, in the order of the declarations.
#[derive(Debug)]
pub(crate) struct Base {
    pub(crate) values: Box<[FlagValue]>,
    pub(crate) layers: Box<[Layer]>,
}
