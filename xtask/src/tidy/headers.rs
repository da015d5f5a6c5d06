//! Every source file opens with its purpose: `//!` in Rust, a docstring in Python.

use super::{Finding, tree::Tree};

/// Looks at the first line that says anything.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let rust = tree
        .ending(&[".rs"])
        .filter(|(_, text)| !text.trim_start().starts_with("//!"))
        .map(|(path, _)| Finding::error(path, "must open with `//!`: its purpose and invariants"));
    let python = tree
        .ending(&[".py"])
        .filter(|(_, text)| !opens_with_docstring(text))
        .map(|(path, _)| Finding::error(path, "must open with a docstring: its purpose"));
    rust.chain(python).collect()
}

fn opens_with_docstring(text: &str) -> bool {
    text.lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('#'))
        .is_some_and(|line| {
            ["\"\"\"", "r\"\"\"", "'''"]
                .iter()
                .any(|opening| line.starts_with(opening))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_without_a_purpose_are_found() {
        let tree = Tree::of(&[
            ("good.rs", "//! Purpose.\nfn main() {}\n"),
            ("bad.rs", "// no purpose\n"),
            ("empty.rs", ""),
            ("good.py", "#!/usr/bin/env python3\n\"\"\"Purpose.\"\"\"\n"),
            ("bad.py", "import os\n\"\"\"Too late.\"\"\"\n"),
            ("empty.py", ""),
            ("other.txt", "anything"),
        ]);
        let places: Vec<String> = check(&tree).into_iter().map(|f| f.place).collect();
        assert_eq!(places, ["bad.rs", "empty.rs", "bad.py", "empty.py"]);
    }
}
