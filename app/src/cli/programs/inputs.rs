//! A call's inputs as the command line gives them.
//!
//! `key=value` is text, always: `zip=01234` must not become a number. `key:=value` is JSON, for
//! numbers, lists and the rest. `--inputs` takes all of them as one JSON object.

use std::io::Read;

use serde_json::{Map, Value};

use crate::cli::exit::{Exit, Failure};

/// The inputs of one call: the object first, single inputs over it.
pub(crate) fn collect(
    object: Option<&str>,
    pairs: &[String],
) -> Result<Map<String, Value>, Failure> {
    let mut inputs = match object {
        None => Map::new(),
        Some(argument) => match serde_json::from_str(&read_argument(argument)?) {
            Ok(Value::Object(inputs)) => inputs,
            Ok(_) => return Err(Failure::usage("--inputs is not a JSON object").hint(FORMS)),
            Err(error) => {
                return Err(
                    Failure::usage(format_args!("--inputs is not JSON: {error}")).hint(FORMS),
                );
            }
        },
    };
    let mut seen = std::collections::HashSet::new();
    for pair in pairs {
        let (name, value) = input(pair)?;
        if !seen.insert(name.clone()) {
            return Err(Failure::usage(format_args!(
                "the input {name:?} is given twice"
            )));
        }
        inputs.insert(name, value);
    }
    Ok(inputs)
}

const FORMS: &str =
    "give an object like '{\"question\": \"why?\"}', @file to read one, or - for standard input";

fn input(pair: &str) -> Result<(String, Value), Failure> {
    let Some((name, text)) = pair.split_once('=') else {
        return Err(Failure::usage(format_args!("the input {pair:?} has no ="))
            .hint("write key=text, or key:=json for numbers, lists and the like"));
    };
    let (name, value) = match name.strip_suffix(':') {
        None => (name, Value::from(text)),
        Some(name) => match serde_json::from_str(text) {
            Ok(value) => (name, value),
            Err(error) => {
                return Err(Failure::usage(format_args!(
                    "the value of {name:?} is not JSON: {error}"
                ))
                .hint(format_args!("write {name}={text} to send it as text")));
            }
        },
    };
    if name.is_empty() {
        return Err(Failure::usage(format_args!(
            "the input {pair:?} has no name"
        )));
    }
    Ok((name.to_owned(), value))
}

/// The text itself, or what it points at: `@file`, or `-` for standard input.
pub(crate) fn read_argument(argument: &str) -> Result<String, Failure> {
    let read = |what: &str, text: std::io::Result<String>| {
        text.map_err(|error| Failure::new(Exit::Usage, format_args!("cannot read {what}: {error}")))
    };
    if argument == "-" {
        let mut text = String::new();
        let got = std::io::stdin().read_to_string(&mut text);
        read("standard input", got.map(|_| text))
    } else if let Some(file) = argument.strip_prefix('@') {
        read(file, std::fs::read_to_string(file))
    } else {
        Ok(argument.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pairs(pairs: &[&str]) -> Result<Value, Failure> {
        let pairs: Vec<String> = pairs.iter().map(|&pair| pair.to_owned()).collect();
        collect(None, &pairs).map(Value::from)
    }

    #[test]
    fn text_stays_text_and_json_is_marked() {
        assert_eq!(
            pairs(&[
                "zip=01234",
                "n:=3",
                "tags:=[\"a\"]",
                "formula=a=b",
                "empty="
            ])
            .unwrap(),
            json!({"zip": "01234", "n": 3, "tags": ["a"], "formula": "a=b", "empty": ""})
        );
    }

    #[test]
    fn single_inputs_lie_over_the_object() {
        let inputs = collect(Some(r#"{"a": 1, "b": 2}"#), &["b=two".to_owned()]).unwrap();
        assert_eq!(Value::from(inputs), json!({"a": 1, "b": "two"}));
    }

    #[test]
    fn what_cannot_be_understood_is_refused_with_the_way_to_write_it() {
        for (given, part) in [
            (&["question"][..], "has no ="),
            (&["=x"], "has no name"),
            (&[":=1"], "has no name"),
            (&["n:=three"], "is not JSON"),
            (&["a=1", "a=2"], "given twice"),
        ] {
            let failure = pairs(given).unwrap_err();
            assert_eq!(failure.exit, Exit::Usage);
            assert!(failure.message.contains(part), "{}", failure.message);
        }
        for object in ["[1]", "{", "@/no/such/file"] {
            assert_eq!(collect(Some(object), &[]).unwrap_err().exit, Exit::Usage);
        }
    }
}
