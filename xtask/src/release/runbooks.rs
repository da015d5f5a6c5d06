//! Runbooks with the binary's own help in them, so that what they say of a command is what it does.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::build::output;
use super::layers::Layers;

/// A line of this form is replaced by the help of that command.
const MARK: (&str, &str) = ("<!-- help: dspex ", " -->");

/// Puts each runbook of `docs/runbooks` in, filled.
pub(super) fn put(layers: &mut Layers, tree: &Path, binary: &Path) -> Result<()> {
    let folder = tree.join("docs/runbooks");
    let read = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(&folder).with_context(read)? {
        let path = entry.with_context(read)?.path();
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        if !name.ends_with(".md") {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {name}"))?;
        let filled = fill(&text, |words| help(binary, words)).with_context(|| name.clone())?;
        layers.put(
            &format!("runbooks/{name}"),
            filled.into_bytes(),
            false,
            "docs/runbooks",
        )?;
    }
    Ok(())
}

fn fill(text: &str, help: impl Fn(&[&str]) -> Result<String>) -> Result<String> {
    let mut filled = String::new();
    for line in text.lines() {
        let words = line
            .trim()
            .strip_prefix(MARK.0)
            .and_then(|rest| rest.strip_suffix(MARK.1));
        match words {
            Some(words) => {
                let words: Vec<&str> = words.split_whitespace().collect();
                filled.push_str(&format!("```text\n{}\n```\n", help(&words)?));
            }
            None if line.contains(MARK.0) => bail!("not a line of its own: {line}"),
            None => {
                filled.push_str(line);
                filled.push('\n');
            }
        }
    }
    Ok(filled)
}

fn help(binary: &Path, words: &[&str]) -> Result<String> {
    let mut command = Command::new(binary);
    // Help is wrapped to the terminal, and a release must not depend on one.
    command.args(words).arg("--help").env("COLUMNS", "100");
    let text = output(&mut command)?;
    Ok(text
        .lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_becomes_the_commands_help() {
        let help = |words: &[&str]| Ok(format!("help of {}", words.join("+")));
        let text = "# A\n<!-- help: dspex migrate pause -->\nend";
        let filled = fill(text, help).expect("filled");
        assert_eq!(filled, "# A\n```text\nhelp of migrate+pause\n```\nend\n");
        assert!(fill("x <!-- help: dspex a --> y", help).is_err());
        assert!(fill("<!-- help: dspex a -->", |_| bail!("no such command")).is_err());
    }
}
