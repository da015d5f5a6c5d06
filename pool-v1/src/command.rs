//! The arguments of the bridge protocol's commands.

use std::collections::BTreeMap;

use dspex_pool::{
    BridgeError, Definition, Failure, FailureClass, Field, LmProfile, Module, Program, ProgramKey,
};
use serde_json::{Map, Value, json};

/// The LM profiles, as a worker may be told of them.
#[derive(Debug, Clone)]
pub(crate) struct Lms {
    pub(crate) profiles: BTreeMap<String, LmProfile>,
    /// Our own bridge reads the key from its environment. A script that is not ours must be sent
    /// the key itself: that is its protocol.
    pub(crate) keys_by_name: bool,
}

impl Lms {
    /// Arguments of `configure_lm`; `None` where there is no such profile.
    pub(crate) fn arguments(&self, name: &str) -> Option<Value> {
        let profile = self.profiles.get(name)?;
        let mut args = Map::new();
        args.insert("model".to_owned(), profile.model.as_str().into());
        let provider = profile
            .model
            .split_once('/')
            .map_or("openai", |(provider, _)| provider);
        args.insert("provider".to_owned(), provider.into());
        args.insert("cache".to_owned(), profile.cache.into());
        let optional = [
            ("temperature", profile.temperature.map(Value::from)),
            ("max_tokens", profile.max_tokens.map(Value::from)),
            ("api_base", profile.api_base.clone().map(Value::from)),
        ];
        for (key, value) in optional {
            if let Some(value) = value {
                args.insert(key.to_owned(), value);
            }
        }
        if let Some(variable) = &profile.api_key_env {
            if self.keys_by_name {
                args.insert("api_key_env".to_owned(), variable.as_str().into());
            } else if let Ok(key) = std::env::var(variable) {
                args.insert("api_key".to_owned(), key.into());
            }
        }
        Some(Value::Object(args))
    }

    /// What to say of a profile that is not there.
    pub(crate) fn unknown(&self, name: &str) -> BridgeError {
        let known: Vec<&str> = self.profiles.keys().map(String::as_str).collect();
        let known = match known.as_slice() {
            [] => "none".to_owned(),
            known => known.join(", "),
        };
        BridgeError::Failed {
            failure: Failure {
                class: FailureClass::Rejected,
                exception: None,
                message: format!("there is no LM profile {name:?}; configured are: {known}"),
                traceback: None,
                status: None,
            },
            classified: true,
        }
    }
}

/// Arguments of `create_program`, without the session.
pub(crate) fn create_program(program: &Program) -> Value {
    let mut args = create_from(&program.key, &program.definition);
    // Scripts older than dspex are told nothing that they do not know.
    if program.stateful {
        args["stateful"] = true.into();
    }
    args
}

fn create_from(key: &ProgramKey, definition: &Definition) -> Value {
    match definition {
        Definition::Dspy {
            signature,
            module,
            tools,
            ..
        } => {
            let mut args = json!({
                "id": key.to_string(),
                "signature": {
                    "inputs": fields(&signature.inputs),
                    "outputs": fields(&signature.outputs),
                },
                "program_type": match module {
                    Module::Predict => "predict",
                    Module::ChainOfThought => "chain_of_thought",
                    Module::React => "react",
                },
            });
            if let Some(instructions) = &signature.instructions {
                args["signature"]["instructions"] = instructions.as_str().into();
            }
            if !tools.is_empty() {
                args["tools"] = json!(tools);
            }
            args
        }
        Definition::Callable { target } => json!({
            "id": key.to_string(),
            "program_type": "callable",
            "callable": target,
            // Older scripts insist on a signature; they refuse the type with words of their own.
            "signature": { "inputs": [], "outputs": [] },
        }),
    }
}

/// Older scripts read `description` without asking whether it is there.
fn fields(fields: &[Field]) -> Vec<Value> {
    let described = |field: &Field| {
        json!({
            "name": field.name,
            "type": field.r#type,
            "description": field.description.as_deref().unwrap_or_default(),
        })
    };
    fields.iter().map(described).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_to_our_bridge_and_sent_to_others() {
        let profile: LmProfile = serde_json::from_value(
            json!({"model": "openai/m", "api_key_env": "CARGO_PKG_NAME", "temperature": 0.5}),
        )
        .unwrap();
        let mut lms = Lms {
            profiles: BTreeMap::from([("default".to_owned(), profile)]),
            keys_by_name: true,
        };
        let ours = lms.arguments("default").unwrap();
        assert_eq!(ours["api_key_env"], "CARGO_PKG_NAME");
        assert_eq!(ours.get("api_key"), None);
        lms.keys_by_name = false;
        let theirs = lms.arguments("default").unwrap();
        assert_eq!(theirs["api_key"], env!("CARGO_PKG_NAME"));
        assert_eq!(theirs["provider"], "openai");
        assert_eq!(lms.arguments("other"), None);
    }

    #[test]
    fn definitions_are_written_as_the_protocol_wants_them() {
        let key: ProgramKey = serde_json::from_value(json!({"id": "qa", "version": 3})).unwrap();
        let definition: Definition = serde_json::from_value(
            json!({"kind": "dspy", "signature": "q -> a", "module": "chain_of_thought"}),
        )
        .unwrap();
        let mut program = Program {
            key,
            definition,
            repeatable: false,
            stateful: false,
            side_effects: true,
        };
        let args = create_program(&program);
        assert_eq!(args["id"], "qa@3");
        assert_eq!(args["program_type"], "chain_of_thought");
        assert_eq!(args["signature"]["inputs"][0]["description"], "");
        assert_eq!(args.get("stateful"), None, "older scripts do not know it");
        program.stateful = true;
        assert_eq!(create_program(&program)["stateful"], true);
    }
}
