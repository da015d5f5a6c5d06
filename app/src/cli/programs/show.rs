//! Programs in words.

use serde::Deserialize;
use serde_json::Value;

use crate::cli::exit::Failure;
use crate::cli::style::{Paint, Tone, dim, plain};
use crate::cli::view::{moment, read, setting};

/// A program as the server tells it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Program {
    id: String,
    version: u64,
    repeatable: bool,
    stateful: bool,
    side_effects: bool,
    /// Where this is one version of several.
    since: Option<String>,
    definition: Definition,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Definition {
    kind: String,
    signature: Signature,
    module: Option<String>,
    lm: Option<String>,
    tools: Vec<String>,
    target: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Signature {
    inputs: Vec<Field>,
    outputs: Vec<Field>,
    instructions: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Field {
    name: String,
    r#type: String,
}

/// A page of programs.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Page {
    programs: Vec<Program>,
    next: Option<String>,
    corrupt: Vec<Corrupt>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Corrupt {
    id: Value,
    reason: Value,
}

impl Program {
    /// Reads a program from an answer.
    pub(super) fn read(body: &Value) -> Result<Self, Failure> {
        read(body)
    }

    /// What it is made of, in few words.
    fn made_of(&self) -> String {
        let definition = &self.definition;
        match (&definition.target, &definition.module) {
            (Some(target), _) => target.clone(),
            (None, Some(module)) => module.clone(),
            (None, None) => definition.kind.clone(),
        }
    }
}

impl Signature {
    /// As DSPy writes it: types that are `str` are left out.
    fn text(&self) -> String {
        let side = |fields: &[Field]| {
            let field = |field: &Field| match field.r#type.as_str() {
                "" | "str" => field.name.clone(),
                r#type => format!("{}: {}", field.name, r#type),
            };
            fields.iter().map(field).collect::<Vec<_>>().join(", ")
        };
        if self.inputs.is_empty() && self.outputs.is_empty() {
            return "-".to_owned();
        }
        format!("{} -> {}", side(&self.inputs), side(&self.outputs))
    }
}

fn yes_or_no(yes: bool) -> &'static str {
    if yes { "yes" } else { "no" }
}

/// What `create` made.
pub(super) fn created(program: &Program, paint: Paint) -> String {
    let name = paint.text(Tone::Strong, &program.id);
    format!(
        "created {name} (version {}, {})",
        program.version,
        program.made_of()
    )
}

/// What `put` left.
pub(super) fn put(program: &Program, paint: Paint) -> String {
    let name = paint.text(Tone::Strong, &program.id);
    format!(
        "{name} is served at version {} ({})",
        program.version,
        program.made_of()
    )
}

/// The versions of a program.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Versions {
    versions: Vec<Program>,
    next: Option<u64>,
}

/// Versions, one a line, the newest first.
pub(super) fn versions(page: &Versions, paint: Paint) -> String {
    let rows = page.versions.iter().map(|version| {
        [
            plain(version.version.to_string()),
            dim(moment(version.since.as_deref().unwrap_or_default())),
            plain(version.made_of()),
            plain(version.definition.signature.text()),
            plain(yes_or_no(version.repeatable)),
            plain(yes_or_no(version.stateful)),
        ]
    });
    let heading = [
        "VERSION",
        "SINCE",
        "MADE OF",
        "SIGNATURE",
        "REPEATABLE",
        "STATEFUL",
    ];
    let mut table = paint.table(heading, rows);
    if let Some(next) = page.next {
        table.push_str(&format!("\nthere are older ones than {next}"));
    }
    table
}

/// Programs, one a line.
pub(super) fn page(page: &Page, paint: Paint) -> String {
    let mut lines = Vec::new();
    if page.programs.is_empty() {
        lines.push("no programs".to_owned());
    } else {
        let rows = page.programs.iter().map(|program| {
            let lm = program.definition.lm.clone();
            [
                plain(&program.id),
                dim(program.version.to_string()),
                plain(program.made_of()),
                plain(program.definition.signature.text()),
                plain(lm.unwrap_or_else(|| "-".to_owned())),
                plain(yes_or_no(program.repeatable)),
                plain(yes_or_no(program.stateful)),
            ]
        });
        let heading = [
            "ID",
            "VERSION",
            "MADE OF",
            "SIGNATURE",
            "LM",
            "REPEATABLE",
            "STATEFUL",
        ];
        lines.push(paint.table(heading, rows));
    }
    for corrupt in &page.corrupt {
        let line = format!(
            "cannot be read: {}: {}",
            setting(&corrupt.id),
            setting(&corrupt.reason)
        );
        lines.push(paint.text(Tone::Bad, &line));
    }
    if let Some(next) = &page.next {
        let line = format!("there are more: `dspex programs list --after {next}`");
        lines.push(paint.text(Tone::Dim, &line));
    }
    lines.join("\n")
}

/// One program, a line for each thing there is to say.
pub(super) fn one(program: &Program, paint: Paint) -> String {
    let definition = &program.definition;
    let signature = definition.signature.text();
    let tools = definition.tools.join(", ");
    let lines = [
        ("id", Some(program.id.clone())),
        ("version", Some(program.version.to_string())),
        ("made of", Some(program.made_of())),
        ("signature", Some(signature).filter(|text| text != "-")),
        ("instructions", definition.signature.instructions.clone()),
        ("lm", definition.lm.clone()),
        ("tools", Some(tools).filter(|tools| !tools.is_empty())),
        ("repeatable", Some(yes_or_no(program.repeatable).to_owned())),
        ("stateful", program.stateful.then(|| "yes".to_owned())),
        (
            "side effects",
            program.side_effects.then(|| "yes".to_owned()),
        ),
    ];
    let said = lines.into_iter().filter_map(|(name, text)| {
        let name = paint.text(Tone::Dim, &format!("{name:<13}"));
        Some(format!("{name} {}", paint.text(Tone::Plain, &text?)))
    });
    said.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const QA: &str = r#"{"id": "qa", "version": 4, "repeatable": true, "definition": {"kind": "dspy",
        "signature": {"inputs": [{"name": "question", "type": "str"}],
        "outputs": [{"name": "score", "type": "float"}]}, "module": "predict", "lm": "small"}}"#;

    fn qa() -> Value {
        serde_json::from_str(QA).unwrap()
    }

    #[test]
    fn programs_are_a_table_and_the_rest_of_them_is_not_forgotten() {
        let greet = json!({"id": "greet", "version": 5, "repeatable": false, "stateful": true,
            "definition": {"kind": "callable", "target": "shop:greet"}});
        let body = json!({"programs": [qa(), greet], "next": "greet",
            "corrupt": [{"id": "old", "reason": "not JSON"}]});
        assert_eq!(
            page(&read(&body).unwrap(), Paint::PLAIN),
            "ID     VERSION  MADE OF     SIGNATURE                 LM     REPEATABLE  STATEFUL\n\
             qa     4        predict     question -> score: float  small  yes         no\n\
             greet  5        shop:greet  -                         -      no          yes\n\
             cannot be read: old: not JSON\n\
             there are more: `dspex programs list --after greet`"
        );
        assert_eq!(page(&Page::default(), Paint::PLAIN), "no programs");
    }

    #[test]
    fn one_program_is_told_line_by_line() {
        let program = Program::read(&qa()).unwrap();
        assert_eq!(
            created(&program, Paint::PLAIN),
            "created qa (version 4, predict)"
        );
        assert_eq!(
            one(&program, Paint::PLAIN),
            "id            qa\nversion       4\nmade of       predict\n\
             signature     question -> score: float\nlm            small\nrepeatable    yes"
        );
    }
}
