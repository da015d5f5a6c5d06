//! The README has one row for each crate, in the words of its manifest, and each crate that others
//! can use has a README with an example that runs.

use std::collections::BTreeMap;

use cargo_metadata::Metadata;

use super::{Finding, arrows::short, tree::Tree};

/// Crates without a Rust interface of their own: a program, and the chores.
const PROGRAMS: [&str; 2] = ["app", "xtask"];

/// Descriptions by folder.
pub(super) type Members = BTreeMap<String, String>;

/// Reads the descriptions from the manifests.
pub(super) fn members(metadata: &Metadata) -> Members {
    metadata
        .packages
        .iter()
        .map(|package| {
            let description = package.description.clone().unwrap_or_default();
            (short(&package.name), description)
        })
        .collect()
}

/// Holds the table and the crates' own READMEs against the manifests.
pub(super) fn check(tree: &Tree, members: &Members) -> Vec<Finding> {
    let mut findings = Vec::new();
    let rows = rows(tree.text("README.md").unwrap_or_default());
    for (folder, description) in members {
        let mine: Vec<&str> = rows
            .iter()
            .filter(|(of, _)| of == folder)
            .map(|(_, text)| text.as_str())
            .collect();
        if mine != [description.as_str()] {
            findings.push(Finding::error(
                "README.md",
                format!(
                    "the crate table needs one row ``| [`{folder}`]({folder}/) | {description} |``, and has {mine:?}"
                ),
            ));
        }
    }
    for (folder, _) in rows.iter().filter(|(of, _)| !members.contains_key(of)) {
        findings.push(Finding::error(
            "README.md",
            format!("the crate table has a row for {folder:?}, which is no crate"),
        ));
    }
    for folder in members.keys().filter(|folder| *folder != "xtask") {
        let path = format!("{folder}/README.md");
        match tree.text(&path) {
            None => findings.push(Finding::error(path, "is missing: each crate has a README")),
            Some(text) if !PROGRAMS.contains(&folder.as_str()) && !has_rust(text) => {
                findings.push(Finding::error(
                    path,
                    "needs a runnable example: a ```rust block",
                ));
            }
            Some(_) => {}
        }
    }
    findings
}

fn has_rust(text: &str) -> bool {
    text.lines().any(|line| {
        line.strip_prefix("```rust")
            .is_some_and(|rest| !rest.contains("ignore") && !rest.contains("text"))
    })
}

/// Rows ``| [`folder`](folder/) | text |``.
fn rows(readme: &str) -> Vec<(String, String)> {
    readme
        .lines()
        .filter_map(|line| {
            let (folder, rest) = line.strip_prefix("| [`")?.split_once("`](")?;
            let (link, text) = rest.split_once(") | ")?;
            let text = text.strip_suffix(" |")?;
            (link.trim_end_matches('/') == folder).then(|| (folder.to_owned(), text.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROW: &str = "| [`flags`](flags/) | Typed flags |\n";
    const EXAMPLE: &str = "# flags\n\n```rust\nassert!(true);\n```\n";

    fn found(readme: &str, own: &str) -> Vec<Finding> {
        let members = Members::from([("flags".to_owned(), "Typed flags".to_owned())]);
        let tree = Tree::of(&[("README.md", readme), ("flags/README.md", own)]);
        check(&tree, &members)
    }

    #[test]
    fn a_true_table_passes() {
        assert_eq!(found(ROW, EXAMPLE), []);
    }

    #[test]
    fn rows_that_are_missing_double_wrong_or_too_many_are_found() {
        for readme in [
            String::new(),
            ROW.repeat(2),
            ROW.replace("Typed flags", "Other words"),
            ROW.replace("(flags/)", "(flag/)"),
            format!("{ROW}| [`core`](core/) | Everything |\n"),
        ] {
            assert_eq!(found(&readme, EXAMPLE).len(), 1, "{readme}");
        }
    }

    #[test]
    fn a_crate_without_an_example_is_found() {
        assert_eq!(found(ROW, "# flags\n").len(), 1);
        assert_eq!(found(ROW, &EXAMPLE.replace("rust", "rust,ignore")).len(), 1);
        let members = Members::from([("flags".to_owned(), "Typed flags".to_owned())]);
        assert_eq!(check(&Tree::of(&[("README.md", ROW)]), &members).len(), 1);
    }
}
