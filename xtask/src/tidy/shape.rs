//! A file is one concept: it has that concept's name, and fits in a reader's head.

use super::{Finding, tree::Tree};

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 8] = [
    "utils", "util", "common", "helpers", "helper", "types", "imp", "misc",
];
const WARN_OVER: usize = 400;
const FAIL_OVER: usize = 600;
const SOURCES: [&str; 4] = [".rs", ".py", ".js", ".mjs"];

/// Looks at names and lengths of source files.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.ending(&SOURCES) {
        let named_emptily = path.split('/').find(|part| {
            let stem = part.split('.').next().unwrap_or(part);
            EMPTY_NAMES.contains(&stem)
        });
        if let Some(part) = named_emptily {
            findings.push(Finding::error(
                path,
                format!("{part:?} names no concept: name it after what it holds"),
            ));
        }
        let lines = text.lines().count();
        let says = format!("{lines} lines: over {WARN_OVER} it is probably two concepts");
        if lines > FAIL_OVER {
            findings.push(Finding::error(path, says));
        } else if lines > WARN_OVER {
            findings.push(Finding::warning(path, says));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_are_found_in_files_and_folders() {
        let tree = Tree::of(&[
            ("a/src/utils.rs", ""),
            ("a/src/common/window.rs", ""),
            ("a/src/typestate.rs", ""),
            ("a/types.md", ""),
        ]);
        let places: Vec<String> = check(&tree).into_iter().map(|f| f.place).collect();
        assert_eq!(places, ["a/src/common/window.rs", "a/src/utils.rs"]);
    }

    #[test]
    fn long_files_warn_and_longer_ones_fail() {
        let found = |lines: usize| check(&Tree::of(&[("a.rs", &"x\n".repeat(lines))]));
        assert_eq!(found(400), []);
        assert!(found(401)[0].warning);
        assert!(found(600)[0].warning);
        assert!(!found(601)[0].warning);
    }
}
