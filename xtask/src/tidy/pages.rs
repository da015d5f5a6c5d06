//! A page in the dashboard comes with tests.

use super::{Finding, tree::Tree};

const FOLDER: &str = "app/src/dashboard/";

/// Wants at least one `*.test.js` or `*.test.mjs` where there is a page.
pub(super) fn check(tree: &Tree) -> Vec<Finding> {
    let within = |endings: &'static [&'static str]| {
        tree.iter().find(|(path, _)| {
            path.starts_with(FOLDER) && endings.iter().any(|ending| path.ends_with(ending))
        })
    };
    match (within(&[".html"]), within(&[".test.js", ".test.mjs"])) {
        (Some((page, _)), None) => vec![Finding::error(
            page,
            "has no tests: put `*.test.mjs` files for `node --test` beside it",
        )],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_without_tests_is_found() {
        let page = ("app/src/dashboard/index.html", "");
        assert_eq!(check(&Tree::of(&[page])).len(), 1);
        assert_eq!(
            check(&Tree::of(&[page, ("app/src/dashboard/page.test.mjs", "")])),
            []
        );
        assert_eq!(check(&Tree::of(&[("app/src/lib.rs", "")])), []);
    }
}
