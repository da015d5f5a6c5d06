//! What the binary was built from, as CycloneDX 1.5.
//!
//! Source: <https://cyclonedx.org/docs/1.5/json/>. The serial number is left out: it would differ
//! from run to run.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::build::Source;

/// The bill of materials of the package `dspex`, without what only its tests and build need.
pub(super) fn of(tree: &Path, source: &Source) -> Result<String> {
    let metadata = MetadataCommand::new()
        .manifest_path(tree.join("Cargo.toml"))
        .other_options(vec![
            "--locked".to_owned(),
            "--filter-platform".to_owned(),
            source.target.clone(),
        ])
        .exec()
        .context("cargo metadata failed for this workspace")?;
    let bill = bill(&metadata, source)?;
    Ok(format!("{}\n", serde_json::to_string_pretty(&bill)?))
}

fn bill(metadata: &Metadata, source: &Source) -> Result<Value> {
    let resolve = metadata
        .resolve
        .as_ref()
        .context("cargo resolved nothing")?;
    let uses: BTreeMap<&PackageId, Vec<&PackageId>> = resolve
        .nodes
        .iter()
        .map(|node| {
            let normal = node.deps.iter().filter(|dep| {
                dep.dep_kinds
                    .iter()
                    .any(|kind| kind.kind == DependencyKind::Normal)
            });
            (&node.id, normal.map(|dep| &dep.pkg).collect())
        })
        .collect();
    let root = metadata
        .packages
        .iter()
        .find(|package| package.name.as_str() == "dspex")
        .context("the workspace has no package dspex")?;
    let mut reached = BTreeSet::new();
    let mut left = vec![&root.id];
    while let Some(id) = left.pop() {
        if reached.insert(id) {
            left.extend(uses.get(id).into_iter().flatten());
        }
    }
    let packages: BTreeMap<&PackageId, _> = metadata
        .packages
        .iter()
        .filter(|package| reached.contains(&package.id))
        .map(|package| (&package.id, package))
        .collect();
    let reference = |id: &PackageId| {
        packages
            .get(id)
            .map(|package| format!("pkg:cargo/{}@{}", package.name, package.version))
    };
    let mut components: Vec<Value> = packages
        .values()
        .filter(|package| package.id != root.id)
        .map(|package| {
            let url = format!("pkg:cargo/{}@{}", package.name, package.version);
            let mut component = json!({
                "type": "library", "bom-ref": url, "purl": url, "scope": "required",
                "name": package.name.to_string(), "version": package.version.to_string(),
            });
            if let Some(licence) = &package.license {
                component["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
            }
            component
        })
        .collect();
    components.sort_by_key(|component| component["bom-ref"].to_string());
    let mut dependencies: Vec<Value> = packages
        .keys()
        .map(|id| {
            let on: BTreeSet<String> = uses
                .get(*id)
                .into_iter()
                .flatten()
                .filter_map(|used| reference(used))
                .collect();
            json!({ "ref": reference(id), "dependsOn": on })
        })
        .collect();
    dependencies.sort_by_key(|dependency| dependency["ref"].to_string());
    let seconds = i64::try_from(source.time).context("the commit's time is too large")?;
    let url = format!("pkg:cargo/dspex@{}", source.version);
    Ok(json!({
        "bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1,
        "metadata": {
            "timestamp": Timestamp::from_second(seconds)?.to_string(),
            "component": {
                "type": "application", "bom-ref": url, "purl": url, "name": "dspex",
                "version": source.version,
                "licenses": [{ "expression": "MIT OR Apache-2.0" }],
            },
            "properties": [{ "name": "dspex:commit", "value": source.commit }],
        },
        "components": components,
        "dependencies": dependencies,
    }))
}
