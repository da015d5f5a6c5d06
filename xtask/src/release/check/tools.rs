//! Each part of a release against the tool that will read it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use super::Row;
use crate::interrupt::Interrupt;
use crate::places::Places;
use crate::process::describe;
use crate::python::Python;
use crate::venv::Venv;

/// Validates a bill of materials against the schema of its own version.
const SBOM: &str = "
import sys
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(open(sys.argv[1]).read())
sys.exit(str(error) if error else 0)
";

pub(super) fn all(root: &Path, places: &Places, interrupt: &Interrupt) -> Vec<Row> {
    let mut rows = vec![
        Row {
            what: "systemd/dspex.service, by systemd-analyze",
            outcome: unit(root),
        },
        Row {
            what: "prometheus/dspex.rules.yml, by promtool",
            outcome: rules(root, places),
        },
        Row {
            what: "completions/dspex.bash, by bash",
            outcome: ran(Command::new("bash")
                .arg("-n")
                .arg(root.join("completions/dspex.bash"))),
        },
        Row {
            what: "scripts in bin, by sh",
            outcome: scripts(root),
        },
        Row {
            what: "alerts point to runbooks that are there",
            outcome: runbooks(root),
        },
    ];
    let venv = Python::find("DSPEX_DEMO_PYTHON").and_then(|python| {
        let requirements = places.root.join("xtask/release/requirements.txt");
        Venv::ensure(places, "release", &python, &[requirements], interrupt)
    });
    match venv {
        Ok(venv) => {
            let mut kubernetes = Command::new(venv.tool("kubernetes-validate"));
            kubernetes
                .arg("--strict")
                .arg(root.join("kubernetes/dspex.yaml"));
            let mut hadolint = Command::new(venv.tool("hadolint"));
            hadolint.arg(root.join("docker/Dockerfile"));
            let mut sbom = Command::new(venv.python());
            sbom.args(["-c", SBOM]).arg(root.join("sbom.cdx.json"));
            rows.extend([
                Row {
                    what: "kubernetes/dspex.yaml, by kubernetes-validate",
                    outcome: ran(&mut kubernetes),
                },
                Row {
                    what: "docker/Dockerfile, by hadolint",
                    outcome: ran(&mut hadolint),
                },
                Row {
                    what: "sbom.cdx.json, by CycloneDX's own validator",
                    outcome: ran(&mut sbom),
                },
            ]);
        }
        Err(error) => rows.push(Row {
            what: "tools of PyPI",
            outcome: Err(error),
        }),
    }
    rows
}

/// The unit, with the place that it is installed to replaced by the place where it is.
fn unit(root: &Path) -> Result<String> {
    let text = fs::read_to_string(root.join("systemd/dspex.service")).context("no unit")?;
    let folder = tempfile::tempdir().context("cannot make a temporary folder")?;
    let here = folder.path().join("dspex.service");
    fs::write(&here, text.replace("/opt/dspex", &root.to_string_lossy()))
        .context("cannot write the unit")?;
    let mut verify = Command::new("systemd-analyze");
    verify.args(["verify", "--man=no"]).arg(&here);
    let output = verify.output().context("cannot run systemd-analyze")?;
    // It warns of mistakes and succeeds all the same.
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours: Vec<&str> = words
        .lines()
        .filter(|line| line.contains("dspex"))
        .collect();
    if !output.status.success() || !ours.is_empty() {
        bail!("{}", words.trim());
    }
    Ok("verified".to_owned())
}

fn rules(root: &Path, places: &Places) -> Result<String> {
    let tool = promtool(places)?;
    let mut check = Command::new(tool);
    check
        .args(["check", "rules"])
        .arg(root.join("prometheus/dspex.rules.yml"));
    ran(&mut check)
}

/// On the path, or out of Debian's package, unpacked into the cache and not installed.
fn promtool(places: &Places) -> Result<PathBuf> {
    if Command::new("promtool").arg("--version").output().is_ok() {
        return Ok("promtool".into());
    }
    let folder = places.cache.join("promtool");
    let tool = folder.join("usr/bin/promtool");
    if tool.is_file() {
        return Ok(tool);
    }
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    ran(Command::new("apt-get")
        .args(["download", "prometheus"])
        .current_dir(&folder))
    .context("there is no promtool, and Debian's package cannot be had (apt-get update?)")?;
    let package = fs::read_dir(&folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|end| end == "deb"))
        .context("apt-get downloaded nothing")?;
    ran(Command::new("dpkg").arg("-x").arg(package).arg(&folder))?;
    Ok(tool)
}

fn scripts(root: &Path) -> Result<String> {
    let mut count = 0;
    for entry in fs::read_dir(root.join("bin")).context("no bin")? {
        let path = entry?.path();
        if fs::read(&path)?.starts_with(b"#!/bin/sh") {
            ran(Command::new("sh").arg("-n").arg(&path))?;
            count += 1;
        }
    }
    if count == 0 {
        bail!("there is none");
    }
    Ok(format!("{count} of them"))
}

fn runbooks(root: &Path) -> Result<String> {
    let rules = fs::read_to_string(root.join("prometheus/dspex.rules.yml")).context("no rules")?;
    let mut named = BTreeSet::new();
    for line in rules.lines() {
        if let Some(path) = line.trim().strip_prefix("runbook: ") {
            named.insert(path.to_owned());
        }
    }
    let missing: Vec<&String> = named
        .iter()
        .filter(|path| !root.join(path).is_file())
        .collect();
    if !missing.is_empty() || named.is_empty() {
        bail!("missing: {missing:?}");
    }
    Ok(format!("{} of them", named.len()))
}

/// Every metric that the dashboard or an alert asks for is one that a server tells.
pub(super) fn metrics(root: &Path, told: &str) -> Result<String> {
    let told: BTreeSet<&str> = told
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let mut asked = BTreeSet::new();
    for file in ["grafana/dspex.json", "prometheus/dspex.rules.yml"] {
        let text = fs::read_to_string(root.join(file)).with_context(|| format!("no {file}"))?;
        asked.extend(names(&text).map(str::to_owned));
    }
    let missing: Vec<&String> = asked
        .iter()
        .filter(|name| !told.contains(name.as_str()) && !conditional(name))
        .collect();
    if !missing.is_empty() || asked.is_empty() {
        bail!("no such metric: {missing:?}");
    }
    Ok(format!("{} names", asked.len()))
}

/// Told only once there was something to tell, which a healthy migration has not.
fn conditional(name: &str) -> bool {
    name == "dspex_errors_total"
}

/// Names of our metrics in a text. Those of recording rules have a colon and are not ours to tell.
fn names(text: &str) -> impl Iterator<Item = &str> {
    text.split(|letter: char| !(letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':')))
        .filter(|word| word.starts_with("dspex_"))
}

fn ran(command: &mut Command) -> Result<String> {
    let shown = describe(command);
    let output = command
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    if !output.status.success() {
        let (out, err) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        bail!("{shown} ({}): {} {}", output.status, out.trim(), err.trim());
    }
    Ok("well".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_metric_that_nobody_tells_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in [
            (
                "grafana/dspex.json",
                r#"{"expr": "rate(dspex_calls_total{lane=\"x\"}[5m])"}"#,
            ),
            (
                "prometheus/dspex.rules.yml",
                "expr: dspex:ratio > dspex_pool_size",
            ),
        ] {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().expect("a folder")).expect("made");
            fs::write(path, text).expect("written");
        }
        let told = "# HELP x\ndspex_calls_total{lane=\"x\"} 1\ndspex_pool_size 2\n";
        assert_eq!(metrics(folder.path(), told).expect("all there"), "2 names");
        let error = metrics(folder.path(), "dspex_calls_total 1").expect_err("one is missing");
        assert!(error.to_string().contains("dspex_pool_size"), "{error}");
    }
}
