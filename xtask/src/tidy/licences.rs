//! What we are built from: its licences, where it comes from, and what must not be in it.
//!
//! The lists stand in deny.toml, in cargo-deny's own form. cargo-deny itself takes minutes to
//! build and wants an advisory database from the network; these three checks need neither.

use serde::Deserialize;

use super::Finding;

/// A crate, ours or another's.
#[derive(Debug, Clone)]
pub(super) struct Package {
    pub(super) name: String,
    pub(super) version: String,
    /// The SPDX expression.
    pub(super) licence: Option<String>,
    /// The registry or repository; none for our own.
    pub(super) source: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Lists {
    licenses: Licences,
    bans: Bans,
    sources: Sources,
}

#[derive(Debug, Deserialize)]
struct Licences {
    allow: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Sources {
    allow_registry: Vec<String>,
}

/// Holds every package against the lists.
pub(super) fn check(packages: &[Package], deny: &str) -> Vec<Finding> {
    let lists: Lists = match toml::from_str(deny) {
        Ok(lists) => lists,
        Err(error) => return vec![Finding::error("deny.toml", error.to_string())],
    };
    let mut findings = Vec::new();
    for package in packages {
        let place = format!("{} {}", package.name, package.version);
        let licence = package.licence.as_deref().unwrap_or("");
        if !allowed(licence, &lists.licenses.allow) {
            findings.push(Finding::error(
                &place,
                format!("its licence {licence:?} is not allowed by deny.toml"),
            ));
        }
        if let Some(source) = &package.source {
            let known = lists
                .sources
                .allow_registry
                .iter()
                .any(|registry| source == &format!("registry+{registry}"));
            if !known {
                findings.push(Finding::error(
                    &place,
                    format!("comes from {source}, which deny.toml does not allow"),
                ));
            }
        }
        if let Some(ban) = lists.bans.deny.iter().find(|ban| ban.name == package.name) {
            findings.push(Finding::error(
                &place,
                format!("is banned by deny.toml: {}", ban.reason),
            ));
        }
    }
    findings
}

/// Whether an SPDX expression can be satisfied by the allowed licences.
fn allowed(expression: &str, allow: &[String]) -> bool {
    // Old manifests write a slash for OR.
    let spaced = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let mut words = spaced.split_whitespace().peekable();
    let result = either(&mut words, allow);
    result && words.peek().is_none()
}

type Words<'a> = std::iter::Peekable<std::str::SplitWhitespace<'a>>;

fn either(words: &mut Words<'_>, allow: &[String]) -> bool {
    let mut result = both(words, allow);
    while words.next_if_eq(&"OR").is_some() {
        // Not short-circuited: the words must be consumed.
        result |= both(words, allow);
    }
    result
}

fn both(words: &mut Words<'_>, allow: &[String]) -> bool {
    let mut result = one(words, allow);
    while words.next_if_eq(&"AND").is_some() {
        result &= one(words, allow);
    }
    result
}

fn one(words: &mut Words<'_>, allow: &[String]) -> bool {
    if words.next_if_eq(&"(").is_some() {
        let result = either(words, allow);
        return words.next_if_eq(&")").is_some() && result;
    }
    let Some(name) = words.next() else {
        return false;
    };
    if words.next_if_eq(&"WITH").is_some() {
        let with = format!("{name} WITH {}", words.next().unwrap_or_default());
        return allow.contains(&with);
    }
    allow.iter().any(|licence| licence == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DENY: &str = r#"
        [licenses]
        allow = ["MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "Unicode-3.0"]
        [bans]
        deny = [{ crate = "openssl-sys", reason = "we use rustls" }]
        [sources]
        allow-registry = ["https://github.com/rust-lang/crates.io-index"]
    "#;
    const INDEX: &str = "registry+https://github.com/rust-lang/crates.io-index";

    fn package(licence: Option<&str>, source: Option<&str>) -> Package {
        Package {
            name: "some".to_owned(),
            version: "1.0.0".to_owned(),
            licence: licence.map(str::to_owned),
            source: source.map(str::to_owned),
        }
    }

    #[test]
    fn expressions_are_understood() {
        let allow = [
            "MIT",
            "Apache-2.0",
            "Apache-2.0 WITH LLVM-exception",
            "Unicode-3.0",
        ]
        .map(str::to_owned);
        for yes in [
            "MIT",
            "MIT OR GPL-3.0",
            "GPL-3.0/MIT",
            "(MIT OR GPL-3.0) AND Unicode-3.0",
            "Apache-2.0 WITH LLVM-exception",
            "GPL-3.0 AND BSL-1.0 OR MIT",
        ] {
            assert!(allowed(yes, &allow), "{yes}");
        }
        for no in [
            "",
            "GPL-3.0",
            "MIT AND GPL-3.0",
            "(MIT OR Apache-2.0) AND GPL-3.0",
            "GPL-2.0 WITH Classpath-exception-2.0",
            "(MIT",
            "MIT Apache-2.0",
        ] {
            assert!(!allowed(no, &allow), "{no}");
        }
    }

    #[test]
    fn licences_sources_and_bans_are_held() {
        let good = package(Some("MIT"), Some(INDEX));
        assert_eq!(check(&[good, package(Some("MIT"), None)], DENY), []);
        for bad in [
            package(Some("GPL-3.0"), Some(INDEX)),
            package(None, Some(INDEX)),
            package(Some("MIT"), Some("git+https://github.com/some/some")),
            Package {
                name: "openssl-sys".to_owned(),
                ..package(Some("MIT"), Some(INDEX))
            },
        ] {
            assert_eq!(check(std::slice::from_ref(&bad), DENY).len(), 1, "{bad:?}");
        }
    }

    #[test]
    fn lists_that_cannot_be_read_are_a_finding() {
        assert_eq!(check(&[], "licenses = 3").len(), 1);
        assert_eq!(check(&[], "").len(), 1);
    }
}
