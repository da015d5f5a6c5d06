//! CHANGELOG.md has a place for what is new.

use super::Finding;

/// Wants the heading `## [Unreleased]`.
pub(super) fn check(changelog: Option<&str>) -> Vec<Finding> {
    let has_place = changelog.is_some_and(|text| {
        text.lines()
            .any(|line| line.trim_end() == "## [Unreleased]")
    });
    if has_place {
        Vec::new()
    } else {
        vec![Finding::error(
            "CHANGELOG.md",
            "needs the section `## [Unreleased]` (keepachangelog.com)",
        )]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_section_is_needed() {
        assert_eq!(check(Some("# Changelog\n\n## [Unreleased]\n\n- x\n")), []);
        assert_eq!(check(Some("# Changelog\n\n## 1.0.0\n")).len(), 1);
        assert_eq!(check(None).len(), 1);
    }
}
