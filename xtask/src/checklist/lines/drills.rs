//! What drills left behind.

use super::fresh::fresh;
use super::{Evidence, Finding};

/// These drills have passed on this commit, in their whole form.
pub(super) fn drills(evidence: &Evidence, names: &[&str]) -> Finding {
    let (mut passed, mut failed, mut missing) = (Vec::new(), Vec::new(), Vec::new());
    let mut reports = Vec::new();
    for name in names {
        let how = format!("cargo xtask drill {name}");
        let found = match fresh(evidence, evidence.drills.get(*name), &how) {
            Ok(found) => found,
            Err(open) => {
                missing.push(format!("{name} ({})", open.value));
                continue;
            }
        };
        reports.push(found);
        if found.value["passed"] != true {
            failed.push(*name);
        } else if found.value["quick"] != false {
            missing.push(format!("{name} (its short form alone)"));
        } else {
            passed.push(*name);
        }
    }
    let found = if !failed.is_empty() {
        let value = format!("drills failed: {}", failed.join(", "));
        Finding::measured(false, value, "all pass")
    } else if !missing.is_empty() {
        let how = format!("cargo xtask drill {}", names.join(" "));
        Finding::open(format!("no drill: {}", missing.join(", ")), how)
    } else {
        let value = format!("drills passed: {}", passed.join(", "));
        Finding::measured(true, value, "all pass")
    };
    reports.into_iter().fold(found, Finding::in_found)
}
