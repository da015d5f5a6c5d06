//! What the release's binary says that it was made of, against what the archive is of.

use anyhow::{Result, bail};
use serde_json::Value;

use crate::release::build::Source;

/// Whether the server that answers this on `/v1/status` is of the archive's version and commit.
///
/// # Errors
///
/// What it names in their stead, and what to do.
pub(super) fn made_of(status: &Value, source: &Source) -> Result<String> {
    let version = status["version"].as_str().unwrap_or("none");
    if version != source.version {
        bail!(
            "the binary names version {version}, and the archive is of {}: it was not built from this \
             tree; remove the folder that it was built in and release again",
            source.version
        );
    }
    match status["commit"].as_str() {
        // In full, as the build was given it: a shorter name may be another commit's tomorrow.
        Some(commit) if commit == source.commit => Ok(format!("{version}, commit {commit}")),
        Some(commit) => bail!(
            "the binary names commit {commit}, and the archive is of {}: it is left over from another \
             build; remove the folder that it was built in and release again",
            source.commit
        ),
        None => bail!(
            "the binary names no commit, and the archive is of {}: it was built without DSPEX_COMMIT; \
             see that the release's build sets it and that `commit` of /v1/status says it",
            source.commit
        ),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

    fn source() -> Source {
        Source {
            version: "1.2.3".to_owned(),
            commit: COMMIT.to_owned(),
            time: 0,
            target: "t".to_owned(),
        }
    }

    #[test]
    fn a_binary_is_of_the_archive_that_names_its_version_and_commit_in_full() {
        let told = made_of(&json!({"version": "1.2.3", "commit": COMMIT}), &source());
        assert_eq!(told.unwrap(), format!("1.2.3, commit {COMMIT}"));
    }

    #[test]
    fn a_binary_that_names_another_or_none_is_refused_with_both_names() {
        let other = "f".repeat(40);
        for (status, named) in [
            (json!({"version": "1.2.3", "commit": other}), other.as_str()),
            (json!({"version": "1.2.3", "commit": &COMMIT[..12]}), COMMIT),
            (json!({"version": "1.2.3", "commit": ""}), COMMIT),
            (json!({"version": "1.2.3", "commit": null}), "DSPEX_COMMIT"),
            (json!({"version": "1.2.3"}), "names no commit"),
            (json!({"version": "1.2.4", "commit": COMMIT}), "1.2.4"),
            (json!({"commit": COMMIT}), "version none"),
        ] {
            let refused = made_of(&status, &source()).unwrap_err().to_string();
            assert!(refused.contains(named), "{status}: {refused}");
        }
    }
}
