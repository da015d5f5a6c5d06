//! `dspex programs create`: from options, or from a file, to the body that the server takes.
//!
//! Names, signatures and targets are checked here with the same parsers that the server uses, so
//! that a slip costs no round trip. Whether a worker can build it, only the server can tell.

use clap::{ArgGroup, Args, ValueEnum};
use dspex_pool::{ProgramId, Signature, Target};
use serde_json::{Map, Value, json};

use super::inputs::read_argument;
use crate::cli::exit::{Exit, Failure};

/// Create a program.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("definition").required(true))]
#[command(after_help = "\
Examples:
  dspex programs create qa --signature 'question -> answer' --module predict --lm default
  dspex programs create greet --callable shop.answers:greet --repeatable
  dspex programs create --file qa.json")]
pub(crate) struct Create {
    /// The program's name; made up by the server where it is not given.
    id: Option<ProgramId>,
    /// A DSPy signature, such as 'question, context: list[str] -> answer'.
    #[arg(long, group = "definition", value_name = "SIGNATURE")]
    signature: Option<Signature>,
    /// The DSPy module that is built from the signature.
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["callable", "file"], value_name = "MODULE")]
    module: ModuleName,
    /// The language model, by the name of its profile in the server's configuration.
    #[arg(long, conflicts_with_all = ["callable", "file"], value_name = "NAME")]
    lm: Option<String>,
    /// What the model is told to do.
    #[arg(long, conflicts_with_all = ["callable", "file"], value_name = "TEXT")]
    instructions: Option<String>,
    /// A tool of a react module, as module:attribute; may be given several times.
    #[arg(long = "tool", conflicts_with_all = ["callable", "file"], value_name = "MODULE:ATTR")]
    tools: Vec<Target>,
    /// A Python callable, as module:attribute, from a module that the server allows.
    #[arg(long, group = "definition", value_name = "MODULE:ATTR")]
    callable: Option<Target>,
    /// A JSON file with {id?, definition, repeatable?, stateful?}, or with the definition alone; - reads
    /// standard input.
    #[arg(long, group = "definition", value_name = "FILE")]
    file: Option<String>,
    /// A call that may have run may be run again elsewhere.
    #[arg(long, overrides_with = "not_repeatable")]
    repeatable: bool,
    /// A call that may have run must not be run again.
    #[arg(long, overrides_with = "repeatable")]
    not_repeatable: bool,
    /// Each session has a state of its own, which outlives the worker; calls then need --session.
    #[arg(long)]
    stateful: bool,
    /// A call acts on the world beyond its answer, so that it is never copied for comparison.
    #[arg(long, overrides_with = "no_side_effects")]
    side_effects: bool,
    /// A call does nothing but answer.
    #[arg(long, overrides_with = "side_effects")]
    no_side_effects: bool,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
#[value(rename_all = "snake_case")]
enum ModuleName {
    #[default]
    Predict,
    ChainOfThought,
    React,
}

impl Create {
    /// The body of `POST /v1/programs`.
    pub(crate) fn body(self) -> Result<Value, Failure> {
        let mut body = match (&self.file, self.signature, self.callable) {
            (Some(file), ..) => from_file(file)?,
            (_, Some(mut signature), _) => {
                signature.instructions = self.instructions;
                let module = self.module.to_possible_value();
                let mut definition = json!({
                    "kind": "dspy",
                    "signature": signature,
                    "module": module.as_ref().map(clap::builder::PossibleValue::get_name),
                });
                if let Some(lm) = self.lm {
                    definition["lm"] = lm.into();
                }
                if !self.tools.is_empty() {
                    definition["tools"] = json!(self.tools);
                }
                Map::from_iter([("definition".to_owned(), definition)])
            }
            (_, _, callable) => Map::from_iter([(
                "definition".to_owned(),
                json!({"kind": "callable", "target": callable}),
            )]),
        };
        if let Some(id) = self.id {
            body.insert("id".to_owned(), json!(id));
        }
        if self.repeatable || self.not_repeatable {
            body.insert("repeatable".to_owned(), self.repeatable.into());
        }
        if self.stateful {
            body.insert("stateful".to_owned(), true.into());
        }
        if self.side_effects || self.no_side_effects {
            body.insert("side_effects".to_owned(), self.side_effects.into());
        }
        Ok(body.into())
    }

    /// The program's name, which must be given here or in the file, and the body.
    pub(crate) fn named(self) -> Result<(String, Value), Failure> {
        let body = self.body()?;
        let id = body.get("id").and_then(Value::as_str).map(str::to_owned);
        let id = id.ok_or_else(|| {
            Failure::new(Exit::Usage, "which program is it?")
                .hint("name it before the options, or as `id` in the file")
        })?;
        Ok((id, body))
    }
}

fn from_file(file: &str) -> Result<Map<String, Value>, Failure> {
    let at = if file == "-" {
        "-".to_owned()
    } else {
        format!("@{file}")
    };
    let text = read_argument(&at)?;
    let body = match serde_json::from_str(&text) {
        Ok(Value::Object(body)) => body,
        Ok(_) => return Err(Failure::usage(format_args!("{file} is not a JSON object"))),
        Err(error) => {
            return Err(Failure::usage(format_args!("{file} is not JSON: {error}")));
        }
    };
    if body.contains_key("kind") {
        return Ok(Map::from_iter([("definition".to_owned(), body.into())]));
    }
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        create: Create,
    }

    fn body(arguments: &[&str]) -> Value {
        let line = Line::try_parse_from([&["create"], arguments].concat()).unwrap();
        line.create.body().unwrap()
    }

    #[test]
    fn options_become_the_body_of_the_request() {
        assert_eq!(
            body(&[
                "qa",
                "--signature",
                "question -> answer: int",
                "--module",
                "chain_of_thought",
                "--lm",
                "small"
            ]),
            json!({"id": "qa", "definition": {"kind": "dspy", "signature": {
                "inputs": [{"name": "question", "type": "str"}],
                "outputs": [{"name": "answer", "type": "int"}]},
                "module": "chain_of_thought", "lm": "small"}})
        );
        assert_eq!(
            body(&["--callable", "shop:greet", "--repeatable"]),
            json!({"definition": {"kind": "callable", "target": "shop:greet"}, "repeatable": true})
        );
        assert_eq!(
            body(&["--callable", "shop:greet", "--stateful"]),
            json!({"definition": {"kind": "callable", "target": "shop:greet"}, "stateful": true})
        );
        assert_eq!(
            body(&["--callable", "shop:greet", "--not-repeatable"])["repeatable"],
            json!(false)
        );
        let react = [
            "--signature",
            "q -> a",
            "--module",
            "react",
            "--tool",
            "m:t",
            "--tool",
            "m:u",
        ];
        assert_eq!(body(&react)["definition"]["tools"], json!(["m:t", "m:u"]));
    }

    #[test]
    fn a_file_is_a_whole_draft_or_a_definition_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("def.json");
        let file = path.to_str().unwrap();
        std::fs::write(&path, r#"{"kind":"callable","target":"m:a"}"#).unwrap();
        let definition = json!({"kind": "callable", "target": "m:a"});
        assert_eq!(
            body(&["named", "--file", file]),
            json!({"id": "named", "definition": definition})
        );
        let draft = json!({"id": "x", "definition": definition, "repeatable": true});
        std::fs::write(&path, draft.to_string()).unwrap();
        assert_eq!(body(&["--file", file]), draft);
        std::fs::write(&path, "[1]").unwrap();
        let line = Line::try_parse_from(["create", "--file", file]).unwrap();
        assert!(
            line.create
                .body()
                .unwrap_err()
                .message
                .contains("not a JSON object")
        );
    }

    #[test]
    fn slips_are_caught_before_anything_is_sent() {
        for arguments in [
            &["--signature", "question"][..],
            &["--signature", "a -> b", "--module", "oracle"],
            &["--callable", "no-colon"],
            &["--callable", "m:a", "--lm", "x"],
            &["bad id", "--callable", "m:a"],
            &["--callable", "m:a", "--file", "x.json"],
        ] {
            let line = Line::try_parse_from([&["create"], arguments].concat());
            assert!(line.is_err(), "{arguments:?} must be refused");
        }
    }
}
