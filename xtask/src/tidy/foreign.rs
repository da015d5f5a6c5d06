//! Nothing in the repository belongs to one machine: no path of a person's computer, no registry
//! but the public ones.

use super::{Finding, tree::Tree};

/// Hosts that lock files and package settings may name.
const HOSTS: [&str; 8] = [
    "github.com",
    "crates.io",
    "index.crates.io",
    "static.crates.io",
    "pypi.org",
    "files.pythonhosted.org",
    "registry.npmjs.org",
    "opencollective.com",
];

/// Files that say where packages come from.
fn names_sources(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.ends_with(".lock")
        || name.starts_with("requirements")
        || matches!(
            name,
            "package-lock.json" | "package.json" | ".npmrc" | "pip.conf" | "pyproject.toml"
        )
        || path == ".cargo/config.toml"
}

/// Looks for machine paths everywhere and for hosts where packages are named. `own_paths` are this
/// checkout's folder and the home folder: whoever runs the check finds the paths they left behind.
pub(super) fn check(tree: &Tree, own_paths: &[String]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, text) in tree.iter() {
        for (number, line) in (1..).zip(text.lines()) {
            let place = || format!("{path}:{number}");
            if let Some(found) = machine_path(line, own_paths) {
                findings.push(Finding::error(
                    place(),
                    format!("{found:?} is a path of one machine"),
                ));
            }
            if names_sources(path)
                && let Some(host) = foreign_host(line)
            {
                findings.push(Finding::error(
                    place(),
                    format!("{host:?} is no public package registry"),
                ));
            }
        }
    }
    findings
}

/// Put together from halves, or this file would be its own finding.
fn personal_folders() -> [String; 3] {
    [["/ho", "me/"], ["/Us", "ers/"], ["/ro", "ot/"]].map(|halves| halves.concat())
}

fn machine_path(line: &str, own_paths: &[String]) -> Option<String> {
    let own = own_paths
        .iter()
        // A checkout in `/src` or a home of `/` would match half of all text.
        .filter(|own| own.split('/').filter(|part| !part.is_empty()).count() >= 2)
        .find(|own| line.contains(own.as_str()))
        .cloned();
    own.or_else(|| {
        personal_folders().into_iter().find(|folder| {
            line.match_indices(folder.as_str()).any(|(at, _)| {
                let before = line[..at].chars().next_back();
                let after = line[at + folder.len()..].chars().next();
                // In a URL, or after another folder, it is somebody else's path.
                !before.is_some_and(|c| c.is_alphanumeric() || "._-/}".contains(c))
                    && after.is_some_and(|c| c.is_alphanumeric() || c == '.')
            })
        })
    })
}

fn foreign_host(line: &str) -> Option<String> {
    ["https://", "http://"].iter().find_map(|scheme| {
        line.match_indices(scheme).find_map(|(at, _)| {
            let host: String = line[at + scheme.len()..]
                .chars()
                .take_while(|c| c.is_alphanumeric() || ".-".contains(*c))
                .collect();
            (!HOSTS.contains(&host.as_str())).then_some(host)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_a_machine_are_found_with_their_line() {
        let [home, users, root] = personal_folders();
        for text in [
            format!("fine\nlet x = \"{home}ann/src\";\n"),
            format!("fine\n{users}ann\n"),
            format!("fine\ncd {root}.cargo\n"),
            "fine\nthe checkout in /srv/build/dspex is mine\n".to_owned(),
        ] {
            let tree = Tree::of(&[("notes.md", &text)]);
            let findings = check(&tree, &["/srv/build/dspex".to_owned()]);
            assert_eq!(findings.len(), 1, "{text}");
            assert_eq!(findings[0].place, "notes.md:2");
        }
    }

    #[test]
    fn urls_and_short_roots_are_no_paths() {
        let [home, ..] = personal_folders();
        let tree = Tree::of(&[
            (
                "a.md",
                &format!("https://example.org{home}page and {home} itself"),
            ),
            ("b.md", "see /src/lib.rs"),
        ]);
        assert_eq!(check(&tree, &["/src".to_owned(), String::new()]), []);
    }

    #[test]
    fn registries_that_are_not_public_are_found() {
        let lock = |url: &str| format!("source = \"{url}\"\n");
        let public = lock("registry+https://github.com/rust-lang/crates.io-index");
        assert_eq!(check(&Tree::of(&[("Cargo.lock", &public)]), &[]), []);
        let private = lock("registry+https://cargo.example.org/index");
        assert_eq!(check(&Tree::of(&[("Cargo.lock", &private)]), &[]).len(), 1);
        let index = "--index-url http://10.0.0.1/simple\n";
        let tree = Tree::of(&[("pool/python/requirements-dspy.txt", index)]);
        assert_eq!(check(&tree, &[]).len(), 1);
        assert_eq!(check(&Tree::of(&[("README.md", index)]), &[]), []);
    }
}
