//! Who may use whom.
//!
//! The law stands here, crate by crate; ARCHITECTURE.md shows it in the block that starts with
//! `floor`; the manifests are what is true. All three must agree: an arrow that is not in the law
//! is an error, and so is a diagram that shows other arrows than the manifests have.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::Metadata;

use super::Finding;

/// Crate, floor, and what it may use. `xtask` links none: it drives the shipped binary.
const LAW: &[(&str, u8, &[&str])] = &[
    ("flags", 1, &[]),
    ("breaker", 1, &[]),
    ("telemetry", 1, &[]),
    ("pool", 1, &[]),
    ("pool-v1", 2, &["pool"]),
    ("pool-v2", 2, &["pool", "breaker", "telemetry"]),
    ("router", 2, &["pool", "flags", "breaker", "telemetry"]),
    ("migration", 3, &["pool", "flags", "telemetry"]),
    (
        "app",
        4,
        &[
            "migration",
            "router",
            "pool-v1",
            "pool-v2",
            "pool",
            "flags",
            "breaker",
            "telemetry",
        ],
    ),
    ("xtask", 4, &[]),
];

/// Our crates, by folder name, and which of our crates each depends on in any way.
pub(super) type Crates = BTreeMap<String, BTreeSet<String>>;

/// Reads the arrows from the manifests.
pub(super) fn crates(metadata: &Metadata) -> Crates {
    metadata
        .packages
        .iter()
        .map(|package| {
            let uses = package
                .dependencies
                .iter()
                .filter(|dependency| dependency.path.is_some())
                .map(|dependency| short(&dependency.name))
                .collect();
            (short(&package.name), uses)
        })
        .collect()
}

/// The folder that a package lives in.
pub(super) fn short(package: &str) -> String {
    match package {
        "dspex" => "app".to_owned(),
        other => other.strip_prefix("dspex-").unwrap_or(other).to_owned(),
    }
}

/// Holds manifests, law and diagram against one another.
pub(super) fn check(crates: &Crates, architecture: Option<&str>) -> Vec<Finding> {
    let mut findings = against_law(crates);
    match architecture.and_then(diagram) {
        None => findings.push(Finding::error(
            "ARCHITECTURE.md",
            "has no diagram: a code block whose first line starts with `floor`",
        )),
        Some(diagram) => findings.extend(against_diagram(crates, &diagram)),
    }
    findings
}

fn against_law(crates: &Crates) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, uses) in crates {
        let place = format!("{name}/Cargo.toml");
        let Some((_, _, allowed)) = LAW.iter().find(|(of, _, _)| of == name) else {
            findings.push(Finding::error(
                place,
                "this crate has no line in the law of arrows (xtask/src/tidy/arrows.rs)",
            ));
            continue;
        };
        for used in uses.iter().filter(|used| !allowed.contains(&used.as_str())) {
            findings.push(Finding::error(
                &place,
                format!("{name} may not use {used}: it may use {}", list(allowed)),
            ));
        }
    }
    findings
}

fn list(names: &[&str]) -> String {
    if names.is_empty() {
        "none of ours".to_owned()
    } else {
        names.join(", ")
    }
}

/// What ARCHITECTURE.md shows.
#[derive(Debug, Default, PartialEq, Eq)]
struct Diagram {
    floors: BTreeMap<String, u8>,
    arrows: Crates,
}

/// Reads lines `floor N  a  b` and lines `a -> b c`, or `a -> nothing`.
fn diagram(architecture: &str) -> Option<Diagram> {
    let mut blocks = architecture.split("```");
    // What follows an odd fence is a block; its first line may name a language.
    let block = std::iter::from_fn(|| {
        blocks.next()?;
        blocks.next()
    })
    .find(|block| {
        let body = block.split_once('\n').map_or("", |(_, body)| body);
        body.trim_start().starts_with("floor")
    })?;
    let mut diagram = Diagram::default();
    for line in block.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["floor", number, names @ ..] => {
                let floor = number.parse().unwrap_or(0);
                for name in names {
                    diagram.floors.insert((*name).to_owned(), floor);
                }
            }
            [name, "->", uses @ ..] => {
                let uses = uses.iter().filter(|used| **used != "nothing");
                diagram
                    .arrows
                    .insert((*name).to_owned(), uses.map(ToString::to_string).collect());
            }
            _ => {}
        }
    }
    Some(diagram)
}

fn against_diagram(crates: &Crates, diagram: &Diagram) -> Vec<Finding> {
    let error = |text: String| Finding::error("ARCHITECTURE.md", text);
    let mut findings = Vec::new();
    for (name, floor, _) in LAW {
        let shown = diagram.floors.get(*name);
        if shown != Some(floor) {
            findings.push(error(format!(
                "the diagram shows {name} on floor {shown:?}, and it stands on {floor}"
            )));
        }
    }
    for (name, uses) in crates {
        match diagram.arrows.get(name) {
            None => findings.push(error(format!("the diagram has no line `{name} -> …`"))),
            Some(shown) if shown != uses => findings.push(error(format!(
                "the diagram shows {name} -> {shown:?}, and its manifest has {uses:?}"
            ))),
            Some(_) => {}
        }
    }
    for name in diagram
        .arrows
        .keys()
        .filter(|name| !crates.contains_key(*name))
    {
        findings.push(error(format!(
            "the diagram shows {name}, which is no crate"
        )));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lawful() -> Crates {
        LAW.iter()
            .map(|(name, _, uses)| {
                let uses = uses.iter().map(ToString::to_string).collect();
                ((*name).to_owned(), uses)
            })
            .collect()
    }

    fn drawn(crates: &Crates) -> String {
        let mut text = "words\n\n```text\n".to_owned();
        for floor in (1..=4).rev() {
            let names = LAW.iter().filter(|(_, on, _)| *on == floor);
            let names: Vec<&str> = names.map(|(name, _, _)| *name).collect();
            text.push_str(&format!("floor {floor}   {}\n", names.join("  ")));
        }
        for (name, uses) in crates {
            let uses: Vec<&str> = uses.iter().map(String::as_str).collect();
            let uses = if uses.is_empty() {
                "nothing".to_owned()
            } else {
                uses.join(" ")
            };
            text.push_str(&format!("{name} -> {uses}\n"));
        }
        text + "```\n"
    }

    #[test]
    fn the_law_drawn_truly_passes_and_points_downwards() {
        let crates = lawful();
        assert_eq!(check(&crates, Some(&drawn(&crates))), []);
        for (name, floor, uses) in LAW {
            for used in *uses {
                let below = LAW.iter().find(|(of, _, _)| of == used).expect("a crate");
                assert!(below.1 < *floor, "{name} -> {used} points sideways or up");
            }
        }
    }

    #[test]
    fn an_arrow_outside_the_law_is_an_error() {
        let mut crates = lawful();
        crates
            .get_mut("flags")
            .expect("flags")
            .insert("pool".to_owned());
        let findings = check(&crates, Some(&drawn(&crates)));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(findings[0].text.contains("flags may not use pool"));
        crates
            .get_mut("xtask")
            .expect("xtask")
            .insert("app".to_owned());
        assert_eq!(against_law(&crates).len(), 2);
    }

    #[test]
    fn a_crate_that_nobody_wrote_a_law_for_is_an_error() {
        let mut crates = lawful();
        crates.insert("core".to_owned(), BTreeSet::new());
        let findings = check(&crates, Some(&drawn(&crates)));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(findings[0].place, "core/Cargo.toml");
    }

    #[test]
    fn a_diagram_that_shows_something_else_is_an_error() {
        let crates = lawful();
        let text = drawn(&crates);
        for (was, becomes) in [
            ("pool-v1 -> pool\n", "pool-v1 -> pool flags\n"),
            ("pool-v1 -> pool\n", ""),
            ("floor 3   migration", "floor 2   migration"),
            ("```\n", "ghost -> pool\n```\n"),
            ("floor", "level"),
        ] {
            assert!(text.contains(was));
            let other = if was == "```\n" {
                text.trim_end_matches("```\n").to_owned() + becomes
            } else {
                text.replace(was, becomes)
            };
            assert!(!check(&crates, Some(&other)).is_empty(), "{becomes:?}");
        }
        assert_eq!(check(&crates, None).len(), 1);
    }
}
