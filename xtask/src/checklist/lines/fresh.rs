//! Which evidence counts: that of this commit, and young enough.
//!
//! Invariant: evidence that does not say how old it is, or of which commit, is none.

use super::super::ago;
use super::super::evidence::{Evidence, Found};
use super::Finding;

/// Evidence of this commit that is young enough, or what to say of it.
pub(super) fn fresh<'a>(
    evidence: &Evidence,
    found: Option<&'a Found>,
    how: &str,
) -> Result<&'a Found, Finding> {
    let found = young(evidence, found, how)?;
    let other = match &found.commit {
        Some(commit) if same(commit, &evidence.commit) => return Ok(found),
        Some(commit) => format!("evidence of commit {commit}, this is {}", evidence.commit),
        None => "evidence that does not say of which commit it is".to_owned(),
    };
    Err(Finding::open(other, how).in_found(found))
}

/// Evidence of any commit that is young enough, or what to say of it.
pub(super) fn young<'a>(
    evidence: &Evidence,
    found: Option<&'a Found>,
    how: &str,
) -> Result<&'a Found, Finding> {
    let Some(found) = found else {
        return Err(Finding::open("no evidence", how));
    };
    let stale = match found.age {
        Some(age) if age <= evidence.max_age => return Ok(found),
        Some(age) => format!("evidence of {} ago", ago(age)),
        None => "evidence that says no time that has been".to_owned(),
    };
    Err(Finding::open(stale, how).in_found(found))
}

/// Whether two names of a commit, of different lengths, are of one. What is no commit's name, such as
/// `unknown`, or that of a changed tree, is the same as nothing, itself included.
pub(in crate::checklist) fn same(one: &str, other: &str) -> bool {
    let names = |text: &str| text.len() >= 7 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let length = one.len().min(other.len());
    names(one) && names(other) && one.as_bytes()[..length] == other.as_bytes()[..length]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_commit_is_the_same_as_nothing() {
        assert!(same("0123456", "0123456789ab"));
        assert!(!same("0123456", "012345f789ab"));
        for name in [
            "unknown",
            "unknown (--binary)",
            "0123456-dirty",
            "01234",
            "",
        ] {
            assert!(!same(name, name), "{name}");
        }
    }
}
