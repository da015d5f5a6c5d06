//! Backups in words for people.

use std::path::Path;

use super::super::style::{Paint, Tone, dim, plain};
use crate::archive::{Kind, Manifest, Written};
use crate::backup::{self, Listed, Proof};
use crate::checks::mib;

pub(super) fn written(written: &Written, paint: Paint) -> String {
    format!(
        "{} {}\n{}",
        paint.text(Tone::Good, "kept in"),
        paint.text(Tone::Plain, &written.path.display().to_string()),
        paint.text(
            Tone::Dim,
            &format!("{}, SHA-256 {}", mib(written.bytes), written.sha256)
        ),
    )
}

pub(super) fn list(listed: &[Listed], folder: &Path, paint: Paint) -> String {
    if listed.is_empty() {
        return format!("there are no backups in {}", folder.display());
    }
    let rows = listed.iter().map(|listed| {
        let (at, why) = match &listed.manifest {
            Ok(manifest) => (
                plain(format!("{:.0}", manifest.created_at)),
                dim(&manifest.reason),
            ),
            Err(error) => (
                ("unreadable".to_owned(), Tone::Bad),
                (error.to_string(), Tone::Bad),
            ),
        };
        let file = plain(listed.path.display().to_string());
        [file, plain(mib(listed.bytes)), at, why]
    });
    paint.table(["FILE", "SIZE", "MADE", "WHY"], rows)
}

pub(super) fn proof(proof: &Proof, paint: Paint) -> String {
    if proof.kind == Kind::Pool {
        return format!(
            "{}: {} members of a pool's archive as they were written, with {} recorded looks of {} \
             migrations",
            paint.text(Tone::Good, "good"),
            proof.members,
            proof.looks,
            proof.migrations,
        );
    }
    format!(
        "{}: {} members as they were written, {} tables with {} rows; a server reads {} programs, \
         {} sessions, flags at revision {}, {} migrations with {} entries",
        paint.text(Tone::Good, "good"),
        proof.members,
        proof.tables,
        proof.rows,
        proof.programs,
        proof.sessions,
        proof.flag_revision,
        proof.migrations,
        proof.entries,
    )
}

pub(super) fn restored(manifest: &Manifest, into: &Path, paint: Paint) -> String {
    let mut text = format!(
        "{} what was kept at {:.0} into {}",
        paint.text(Tone::Good, "restored"),
        manifest.created_at,
        into.display()
    );
    for remark in &manifest.remarks {
        text.push('\n');
        text.push_str(&paint.text(Tone::Dim, remark));
    }
    text.push_str(&format!(
        "\nstart a server on it: dspex serve --data-dir {}",
        into.display()
    ));
    if let Some(flags) = backup::flags_of(manifest, into) {
        text.push_str(&format!(" --set flags.store=file:{}", flags.display()));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::ArchiveError;

    #[test]
    fn a_backup_that_cannot_be_read_stands_in_the_list_with_its_reason() {
        let path = Path::new("/d/backups/backup-1.tar.gz");
        let listed = [Listed {
            path: path.to_owned(),
            bytes: 3 << 20,
            manifest: Err(ArchiveError::Truncated {
                path: path.to_owned(),
                what: "the stream ends too early".to_owned(),
            }),
        }];
        let text = list(&listed, Path::new("/d/backups"), Paint::PLAIN);
        assert!(text.contains("3 MiB"), "{text}");
        assert!(text.contains("is cut short"), "{text}");
        let none = list(&[], Path::new("/d/backups"), Paint::PLAIN);
        assert_eq!(none, "there are no backups in /d/backups");
    }
}
