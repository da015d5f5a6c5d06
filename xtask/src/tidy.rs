//! `cargo xtask tidy`: the laws of the repository that no compiler holds.
//!
//! Each check is a pure function from what is in the repository to [`Finding`]s, with tests that
//! show it failing. Reading the files and asking cargo happens here and in `tree`.

mod arrows;
mod changelog;
mod foreign;
mod headers;
mod licences;
mod pages;
mod readme;
mod shape;
mod tree;

use anyhow::{Context, Result};
use cargo_metadata::{CargoOpt, MetadataCommand};

use self::tree::Tree;
use crate::places::Places;

/// Something that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// The file, with its line where there is one.
    place: String,
    /// What is wrong, and what to do about it.
    text: String,
    /// A warning fails nothing.
    warning: bool,
}

impl Finding {
    fn error(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            place: place.into(),
            text: text.into(),
            warning: false,
        }
    }

    fn warning(place: impl Into<String>, text: impl Into<String>) -> Self {
        Self {
            warning: true,
            ..Self::error(place, text)
        }
    }
}

/// Runs every check and prints what it finds. Answers whether nothing was wrong.
pub(crate) fn run(places: &Places) -> Result<bool> {
    let tree = Tree::read(&places.root)?;
    let crates = arrows::crates(&places.metadata);
    let packages = all_packages(places)?;
    let home = std::env::var("HOME").unwrap_or_default();
    let own_paths = [places.root.to_string_lossy().into_owned(), home];

    let findings: Vec<Finding> = [
        arrows::check(&crates, tree.text("ARCHITECTURE.md")),
        headers::check(&tree),
        shape::check(&tree),
        readme::check(&tree, &readme::members(&places.metadata)),
        changelog::check(tree.text("CHANGELOG.md")),
        foreign::check(&tree, &own_paths),
        pages::check(&tree),
        licences::check(&packages, tree.text("deny.toml").unwrap_or_default()),
    ]
    .concat();

    for finding in &findings {
        let level = if finding.warning { "warning" } else { "error" };
        eprintln!("{level}: {}: {}", finding.place, finding.text);
    }
    let errors = findings.iter().filter(|f| !f.warning).count();
    eprintln!(
        "tidy: {} files, {} crates, {} packages: {errors} errors, {} warnings",
        tree.len(),
        crates.len(),
        packages.len(),
        findings.len() - errors
    );
    Ok(errors == 0)
}

/// Our crates and everything that they are built from, on this platform.
fn all_packages(places: &Places) -> Result<Vec<licences::Package>> {
    let metadata = MetadataCommand::new()
        .manifest_path(places.root.join("Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        .other_options(vec![
            "--filter-platform".to_owned(),
            host_platform()?,
            "--locked".to_owned(),
        ])
        .exec()
        .context("cargo metadata failed with all dependencies")?;
    Ok(metadata
        .packages
        .iter()
        .map(|package| licences::Package {
            name: package.name.to_string(),
            version: package.version.to_string(),
            licence: package.license.clone(),
            source: package.source.as_ref().map(ToString::to_string),
        })
        .collect())
}

fn host_platform() -> Result<String> {
    let output = std::process::Command::new("rustc")
        .arg("-vV")
        .output()
        .context("cannot ask rustc for the platform")?;
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .find_map(|line| line.strip_prefix("host: ").map(str::to_owned))
        .context("rustc -vV names no host")
}
