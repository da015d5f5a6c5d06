//! A signature: named, typed inputs and outputs, written as DSPy writes them or as two lists.

use serde::{Deserialize, Deserializer, Serialize};

use super::InvalidDefinition;

/// Inputs and outputs of a DSPy module.
///
/// Deserializes from DSPy's text (`"question, context: list[str] -> answer"`) or from
/// `{"inputs": [...], "outputs": [...], "instructions": "..."}`; serializes as the latter.
///
/// ```
/// use dspex_pool::Signature;
/// let signature: Signature = "question, context: list[str] -> answer: float".parse()?;
/// assert_eq!(signature.inputs[1].r#type, "list[str]");
/// assert_eq!(signature.outputs[0].name, "answer");
/// # Ok::<(), dspex_pool::InvalidDefinition>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Signature {
    /// At least one.
    pub inputs: Vec<Field>,
    /// At least one.
    pub outputs: Vec<Field>,
    /// What the model is told to do; DSPy's own words where there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub instructions: Option<String>,
}

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Field {
    /// A Python identifier.
    pub name: String,
    /// A Python type as text, such as `str`, `float`, `list[str]`.
    #[serde(default = "text_type")]
    pub r#type: String,
    /// What the model is told about the field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

fn text_type() -> String {
    "str".to_owned()
}

/// Whether the text is an ASCII Python identifier.
pub(super) fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Signature {
    /// Checks and makes a signature.
    pub fn new(
        inputs: Vec<Field>,
        outputs: Vec<Field>,
        instructions: Option<String>,
    ) -> Result<Self, InvalidDefinition> {
        if inputs.is_empty() || outputs.is_empty() {
            return Err(InvalidDefinition(
                "a signature needs at least one input and one output, such as `question -> answer`"
                    .to_owned(),
            ));
        }
        let mut seen = std::collections::HashSet::new();
        for field in inputs.iter().chain(&outputs) {
            if !is_identifier(&field.name) {
                return Err(InvalidDefinition(format!(
                    "signature field {:?} is not a Python identifier",
                    field.name
                )));
            }
            if !seen.insert(&field.name) {
                return Err(InvalidDefinition(format!(
                    "signature field {:?} stands there twice",
                    field.name
                )));
            }
            if field.r#type.trim().is_empty() {
                return Err(InvalidDefinition(format!(
                    "signature field {:?} has an empty type: leave it out or name one, such as `str`",
                    field.name
                )));
            }
        }
        Ok(Self {
            inputs,
            outputs,
            instructions,
        })
    }
}

impl std::str::FromStr for Signature {
    type Err = InvalidDefinition;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut sides = text.split("->");
        let (Some(inputs), Some(outputs), None) = (sides.next(), sides.next(), sides.next()) else {
            return Err(InvalidDefinition(format!(
                "signature {text:?} needs exactly one `->`, such as `question -> answer`"
            )));
        };
        Self::new(fields(inputs)?, fields(outputs)?, None)
    }
}

/// Splits at commas outside brackets: `a, b: dict[str, int]` is two fields.
fn fields(side: &str) -> Result<Vec<Field>, InvalidDefinition> {
    let mut depth = 0_usize;
    let mut parts = vec![String::new()];
    for c in side.chars() {
        match c {
            '[' | '(' => depth += 1,
            ']' | ')' => {
                depth = depth.checked_sub(1).ok_or_else(|| {
                    InvalidDefinition(format!("signature part {side:?} closes a bracket too many"))
                })?;
            }
            ',' if depth == 0 => {
                parts.push(String::new());
                continue;
            }
            _ => {}
        }
        if let Some(part) = parts.last_mut() {
            part.push(c);
        }
    }
    if depth != 0 {
        return Err(InvalidDefinition(format!(
            "signature part {side:?} leaves a bracket open"
        )));
    }
    if parts.len() == 1 && parts[0].trim().is_empty() {
        return Ok(Vec::new());
    }
    Ok(parts
        .iter()
        .map(|part| {
            let (name, r#type) = part.split_once(':').unwrap_or((part, "str"));
            Field {
                name: name.trim().into(),
                r#type: r#type.trim().into(),
                description: None,
            }
        })
        .collect())
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(
            untagged,
            expecting = "a signature is text such as \"question -> answer\", or an object {inputs, outputs} of fields {name, type?, description?}"
        )]
        enum Written {
            Text(String),
            Lists {
                inputs: Vec<Field>,
                outputs: Vec<Field>,
                #[serde(default)]
                instructions: Option<String>,
            },
        }
        match Written::deserialize(deserializer)? {
            Written::Text(text) => text.parse(),
            Written::Lists {
                inputs,
                outputs,
                instructions,
            } => Self::new(inputs, outputs, instructions),
        }
        .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_lists_mean_the_same() {
        let text: Signature = serde_json::from_str(r#""question -> answer: int""#).unwrap();
        let lists: Signature = serde_json::from_str(
            r#"{"inputs":[{"name":"question"}],"outputs":[{"name":"answer","type":"int"}]}"#,
        )
        .unwrap();
        assert_eq!(text, lists);
        let again: Signature =
            serde_json::from_str(&serde_json::to_string(&text).unwrap()).unwrap();
        assert_eq!(again, text);
    }

    #[test]
    fn commas_in_types_do_not_split() {
        let signature: Signature = "a: dict[str, list[int]], b -> c".parse().unwrap();
        assert_eq!(signature.inputs.len(), 2);
        assert_eq!(signature.inputs[0].r#type, "dict[str, list[int]]");
    }

    #[test]
    fn what_is_not_a_signature_is_refused() {
        for text in [
            "",
            "a",
            "a ->",
            "-> b",
            "a -> b -> c",
            "a, a -> b",
            "a -> a",
            "1a -> b",
            "a: -> b",
            "a: list[str -> b",
            "a] -> b",
        ] {
            assert!(
                text.parse::<Signature>().is_err(),
                "{text:?} must be refused"
            );
        }
    }
}
