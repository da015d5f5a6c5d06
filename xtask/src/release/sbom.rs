//! What the binary was built from, as CycloneDX 1.5.
//!
//! Source: <https://cyclonedx.org/docs/1.5/json/>. The serial number is left out: it would differ
//! from run to run.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};
use jiff::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};

use super::archive::sum_of;
use super::build::Source;

/// Where the page's plotting library stands, and the Python package that the binary carries.
const VENDORED: &str = "app/src/dashboard/vendor/uplot";
const PYTHON: &str = "pool/python";

/// What was taken into the repository from elsewhere, as its `vendored.toml` says.
#[derive(Debug, Deserialize)]
struct Vendored {
    name: String,
    version: String,
    licence: String,
    source: String,
    sha256: BTreeMap<String, String>,
}

/// What `pyproject.toml` says of the package.
#[derive(Debug, Deserialize)]
struct Pyproject {
    project: Project,
}

#[derive(Debug, Deserialize)]
struct Project {
    name: String,
    version: String,
    license: String,
}

/// The bill of materials of the package `dspex`, without what only its tests and build need: crates, and
/// what else is inside the binary.
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
    let carried = [uplot(tree)?, python(tree)?];
    let bill = bill(&metadata, source, &carried)?;
    Ok(format!("{}\n", serde_json::to_string_pretty(&bill)?))
}

/// The plotting library of the page, with its files' hashes.
fn uplot(tree: &Path) -> Result<Value> {
    let folder = tree.join(VENDORED);
    let vendored: Vendored = read(&folder.join("vendored.toml"))?;
    for (file, sum) in &vendored.sha256 {
        let seen = sum_of(&folder.join(file))?;
        ensure!(seen == *sum, "{VENDORED}/{file} is not what was published");
    }
    let name = vendored.name.to_lowercase();
    let url = format!("pkg:npm/{name}@{}", vendored.version);
    Ok(json!({
        "type": "library", "bom-ref": url, "purl": url, "scope": "required",
        "name": vendored.name, "version": vendored.version,
        "licenses": [{ "expression": vendored.licence }],
        "externalReferences": [{ "type": "distribution", "url": vendored.source }],
        "components": files(&url, &vendored.sha256),
    }))
}

/// The package that the workers run, with its files' hashes.
fn python(tree: &Path) -> Result<Value> {
    let Pyproject { project } = read(&tree.join(PYTHON).join("pyproject.toml"))?;
    let folder = tree.join(PYTHON).join(project.name.replace('-', "_"));
    let mut sums = BTreeMap::new();
    let entries = fs::read_dir(&folder)
        .with_context(|| format!("cannot read the folder {}", folder.display()))?;
    for entry in entries {
        let path = entry.context("cannot read the Python package")?.path();
        if path.extension().is_some_and(|ending| ending == "py") {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            sums.insert(name.into_owned(), sum_of(&path)?);
        }
    }
    ensure!(!sums.is_empty(), "{} has no module", folder.display());
    let url = format!("pkg:pypi/{}@{}", project.name, project.version);
    Ok(json!({
        "type": "library", "bom-ref": url, "purl": url, "scope": "required",
        "name": project.name, "version": project.version,
        "licenses": [{ "expression": project.license }],
        "components": files(&url, &sums),
    }))
}

fn files(of: &str, sums: &BTreeMap<String, String>) -> Vec<Value> {
    let file = |(name, sum): (&String, &String)| {
        json!({
            "type": "file", "bom-ref": format!("{of}#{name}"), "name": name,
            "hashes": [{ "alg": "SHA-256", "content": sum }],
        })
    };
    sums.iter().map(file).collect()
}

fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("{} is of another form", path.display()))
}

/// `carried` is inside the binary beside the crates.
fn bill(metadata: &Metadata, source: &Source, carried: &[Value]) -> Result<Value> {
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
    components.extend_from_slice(carried);
    components.sort_by_key(|component| component["bom-ref"].to_string());
    let mut dependencies: Vec<Value> = packages
        .keys()
        .map(|id| {
            let mut on: BTreeSet<String> = uses
                .get(*id)
                .into_iter()
                .flatten()
                .filter_map(|used| reference(used))
                .collect();
            if *id == &root.id {
                let carried = carried.iter().map(|component| &component["bom-ref"]);
                on.extend(carried.filter_map(Value::as_str).map(str::to_owned));
            }
            json!({ "ref": reference(id), "dependsOn": on })
        })
        .collect();
    for component in carried {
        dependencies.push(json!({ "ref": component["bom-ref"], "dependsOn": [] }));
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_binary_carries_beside_its_crates_is_named() {
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let source = Source {
            version: "1.2.3".to_owned(),
            commit: "abc".to_owned(),
            time: 0,
            target: "x86_64-unknown-linux-gnu".to_owned(),
        };
        let text = of(&tree, &source).expect("a bill");
        let bill: Value = serde_json::from_str(&text).expect("JSON");
        let components = bill["components"].as_array().expect("components");
        let named = |name: &str| {
            let mut of_name = components.iter().filter(|part| part["name"] == name);
            let one = of_name
                .next()
                .unwrap_or_else(|| panic!("{name} is missing"));
            assert!(of_name.next().is_none(), "{name} is there once");
            one
        };
        named("tokio");
        for (name, file) in [("uPlot", "uPlot.iife.min.js"), ("dspex-worker", "wire.py")] {
            let part = named(name);
            let inside = part["components"].as_array().expect("its files");
            let file = inside.iter().find(|inside| inside["name"] == file);
            let sum = &file.expect("the file")["hashes"][0]["content"];
            assert_eq!(sum.as_str().map(str::len), Some(64), "{part}");
            assert!(part["licenses"][0]["expression"].is_string(), "{part}");
        }
        let root = bill["dependencies"].as_array().expect("dependencies");
        let root = root
            .iter()
            .find(|one| one["dependsOn"].to_string().contains("pkg:npm/uplot@"));
        let root = root.expect("somebody depends on it");
        assert!(
            root["ref"].to_string().contains("pkg:cargo/dspex@"),
            "{root}"
        );
    }
}
